"""State files as disks, crashes and strangers leave them: cut short, empty, nonsense, links; disks that take nothing.

A pod that lives keeps its addresses whatever became of its files, nobody else gets them, and DEL or GC leaves nothing.
"""

import os
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_HOST_ROOT, NEEDS_ROOT
from tests.kit.plugin import PluginNode, plugin_node
from tulle.cni.attach import host_device

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

NONE_VALID: dict[str, Any] = {"cni.dev/valid-attachments": []}
ADDRESSES, RECORDS, TOMBSTONES = "var/lib/cni/networks/net", "var/lib/tulle/attachments/net", "var/lib/tulle/tombstones"


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        made.start()
        yield made


def address_file(node: PluginNode, pod: str) -> Path:
    (ip,) = (ip for ip, name in node.addresses.items() if name == pod)
    return node.root / ADDRESSES / ip


def record_file(node: PluginNode, pod: str) -> Path:
    (found,) = (path for path in (node.root / RECORDS).glob("*.json") if pod.encode() in path.read_bytes())
    return found


def check_they_live_on_and_go(node: PluginNode, pods: list[str], given: set[str]) -> None:
    """Restarted, the agent gives nobody else an address of ``pods``; GC keeps them; DEL leaves nothing."""
    node.restart()
    others = [node.new_pod() for _ in pods]
    fresh = {node.add(pod)["ips"][0]["address"] for pod in others}
    assert fresh & given == set()
    listed: Any = [{"containerID": pod, "ifname": "eth0"} for pod in (*pods, *others)]
    assert node.run("GC", **{"cni.dev/valid-attachments": listed}).code == 0
    assert {host_device(pod, "eth0") for pod in pods} <= node.devices
    last = node.new_pod()
    assert node.add(last)["ips"][0]["address"] not in given | fresh
    for pod in (*pods, *others, last):
        assert node.run("DEL", pod).code == 0
    assert node.is_clean(), (node.addresses, node.records, node.devices)


# -- what became of the files --------------------------------------------------------------

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "one byte": lambda content: content[:1],
    "half": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "a third": lambda content: content[: len(content) // 3],
    "zeros": lambda content: bytes(len(content)),
    "nonsense": lambda content: bytes((byte * 7 + 13) % 256 for byte in content),
    "twice": lambda content: content + content,
}


def test_f43_damaged_address_files_cost_living_pods_nothing(node: PluginNode) -> None:
    pods = [node.new_pod() for _ in (*DAMAGE, "id alone", "id and line")]
    given = {node.add(pod)["ips"][0]["address"] for pod in pods}
    for pod, damage in zip(
        pods,
        (*DAMAGE.values(), lambda content: content.split(b"\r")[0], lambda content: content.split(b"eth0")[0]),
        strict=True,
    ):
        path = address_file(node, pod)
        path.write_bytes(damage(path.read_bytes()))
    check_they_live_on_and_go(node, pods, given)


def test_f43_del_frees_an_address_whose_file_is_damaged_while_the_agent_runs(node: PluginNode) -> None:
    for damage in DAMAGE.values():
        pod = node.new_pod()
        node.add(pod)
        path = address_file(node, pod)
        path.write_bytes(damage(path.read_bytes()))
        assert node.run("DEL", pod).code == 0
    assert node.is_clean(), (node.addresses, node.records, node.devices)


def test_f43_damaged_records_cost_living_pods_nothing(node: PluginNode) -> None:
    pods = [node.new_pod() for _ in DAMAGE]
    given = {node.add(pod)["ips"][0]["address"] for pod in pods}
    for pod, damage in zip(pods, DAMAGE.values(), strict=True):
        path = record_file(node, pod)
        path.write_bytes(damage(path.read_bytes()))
    check_they_live_on_and_go(node, pods, given)


@pytest.mark.parametrize("key", ["boot_id", "container_id", "ifname", "device", "netns", "addresses", "mac", "network"])
def test_f43_a_flipped_bit_in_a_record_costs_a_living_pod_nothing(node: PluginNode, key: str) -> None:
    pods = [node.new_pod() for _ in range(3)]
    given = {node.add(pod)["ips"][0]["address"] for pod in pods}
    for bit, pod in enumerate(pods):
        path = record_file(node, pod)
        content = bytearray(path.read_bytes())
        content[content.index(f'"{key}":'.encode()) + len(key) + 7 + bit] ^= 1 << bit
        path.write_bytes(content)
    check_they_live_on_and_go(node, pods, given)


def test_f43_what_is_no_tombstone_is_removed_and_the_others_are_done(node: PluginNode) -> None:
    pods = [node.new_pod() for _ in DAMAGE]
    for pod in pods:
        node.add(pod)
    node.stop()
    node.socket.unlink()
    (node.root / "var/lib/tulle/cni-offline").unlink()
    for pod in pods:
        assert node.run("DEL", pod).code == 0
    left = sorted((node.root / TOMBSTONES).iterdir())
    assert len(left) == len(pods)
    for path, damage in zip(left[1:], DAMAGE.values(), strict=False):
        path.write_bytes(damage(path.read_bytes()))
    node.start()
    assert list((node.root / TOMBSTONES).glob("[!l]*")) == []
    assert pods[0] not in node.addresses.values()
    for pod in pods:
        assert node.run("DEL", pod).code == 0
    assert node.is_clean()


# -- what strangers plant ------------------------------------------------------------------


@pytest.mark.parametrize("place", [ADDRESSES, RECORDS, TOMBSTONES])
def test_f58_a_link_in_the_place_of_a_folder_is_not_followed(node: PluginNode, place: str) -> None:
    pod = node.new_pod()
    node.stop()
    node.socket.unlink()
    target = node.root / "elsewhere"
    target.mkdir()
    (target / "precious").write_text("precious")
    (node.root / place).parent.mkdir(parents=True, exist_ok=True)
    (node.root / place).symlink_to(target)
    node.start()
    node.run("ADD", pod)
    node.run("DEL", pod)
    node.run("GC", **NONE_VALID)
    assert {path.name: path.read_text() for path in target.iterdir()} == {"precious": "precious"}
    assert not node.devices


@pytest.mark.parametrize("how", ["link", "FIFO", "folder"])
@pytest.mark.parametrize("name", ["10.244.1.2", "lock", "released", "last_reserved_ip.0", ".new"])
def test_f58_what_is_no_file_among_the_addresses_is_not_followed_and_not_waited_for(
    node: PluginNode, name: str, how: str
) -> None:
    first, second = node.new_pod(), node.new_pod()
    node.add(first)
    node.run("DEL", first)
    node.stop()
    node.socket.unlink()
    precious, path = node.root / "precious", node.root / ADDRESSES / name
    precious.write_text("precious")
    path.unlink(missing_ok=True)
    match how:
        case "link":
            path.symlink_to(precious)
        case "FIFO":
            os.mkfifo(path)
        case _:
            path.mkdir()
    node.start()
    done = node.run("ADD", second)
    if done.code == 0:
        assert path.name != done.answer["ips"][0]["address"].partition("/")[0]
    else:
        assert done.error == 11
        assert str(path) in done.answer["details"]
    assert node.run("DEL", second).code == 0
    assert precious.read_text() == "precious"
    assert not node.devices
    assert not node.records


# -- disks that take nothing -----------------------------------------------------------------


@contextmanager
def small_disk(path: Path, *options: str) -> Generator[None]:
    """Sixteen pages at ``path``."""
    path.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", ",".join(("size=64k,nr_inodes=64", *options)), "none", path]
    subprocess.run(words, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(folder: Path) -> Path:
    """No page of the disk is free."""
    filler = folder / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


@pytest.mark.parametrize("place", ["var/lib/tulle", "var/lib"])
def test_f41_an_agent_starts_on_a_full_disk_says_so_and_takes_dels(node: PluginNode, place: str) -> None:
    node.stop()
    node.socket.unlink()
    with small_disk(node.root / place):
        node.start()
        first, second = node.new_pod(), node.new_pod()
        node.add(first)
        filler = fill(node.root / place)
        node.restart()
        assert node.run("STATUS").error == 50
        assert node.run("ADD", second).error == 11
        assert node.run("DEL", first).code == 0
        assert node.is_clean(), (node.addresses, node.records, node.devices)
        filler.unlink()
        assert node.run("STATUS").code == 0
        node.add(second)
        assert node.run("DEL", second).code == 0
        assert node.is_clean()
        node.stop()


@pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=str(NEEDS_HOST_ROOT))
@pytest.mark.parametrize("place", ["var/lib/tulle", "var/lib"])
def test_f42_an_agent_starts_on_a_read_only_disk_says_so_and_keeps_dels(node: PluginNode, place: str) -> None:
    node.stop()
    node.socket.unlink()
    disk = node.root / place
    with small_disk(disk):
        node.start()
        first, second = node.new_pod(), node.new_pod()
        node.add(first)
        node.stop()
        node.socket.unlink()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        node.start()
        assert node.run("STATUS").error == 50
        assert node.run("ADD", second).error == 11
        assert node.run("DEL", first).code == 0
        assert not node.devices
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        node.add(second)
        assert set(node.addresses.values()) == {second}
        node.stop()
