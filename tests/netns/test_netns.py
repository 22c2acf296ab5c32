"""Namespaces: made as ``ip netns`` makes them, entered for a moment, always left again."""

import ctypes
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.kit.kernels import NEEDS_HOST_ROOT
from tulle.errors import ConfigError, KernelError, TulleError
from tulle.kernel import netns
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.wire.rtnetlink.links import LinkSettings, new_bridge

NOBODY: Final = 65534
PR_SET_DUMPABLE: Final = 4

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")
needs_host_root = pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=NEEDS_HOST_ROOT or "")


@pytest.fixture
def name() -> Iterator[str]:
    """A free name, removed afterwards whatever the test left there."""
    chosen = f"tullet-{secrets.token_hex(4)}"
    yield chosen
    netns.delete(chosen)


@pytest.fixture
def foreign() -> Iterator[Path]:
    """Somebody else's namespace, which must survive."""
    chosen = f"tullet-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", chosen], check=True)
    path = netns.NETNS_FOLDER / chosen
    before = netns.identify(path)
    yield path
    assert netns.identify(path) == before
    subprocess.run(["ip", "netns", "del", chosen], check=True)


def _devices() -> set[str]:
    return set(os.listdir("/proc/thread-self/net/dev_snmp6"))


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2")
def test_ip_netns_sees_what_we_make_and_removes_it(name: str, foreign: Path) -> None:
    path = netns.create(name)
    listed = subprocess.run(["ip", "netns", "list"], check=True, capture_output=True, text=True).stdout
    assert name in listed.split()
    assert foreign.name in listed.split()
    assert netns.is_network_namespace(path)
    assert netns.identify(path) not in {netns.identify(), netns.identify(foreign)}
    subprocess.run(["ip", "netns", "del", name], check=True)
    assert not path.exists()


def test_a_name_that_is_taken_is_refused_and_untouched(name: str, foreign: Path) -> None:
    netns.create(name)
    before = netns.identify(netns.NETNS_FOLDER / name)
    for taken in (name, foreign.name):
        with pytest.raises(ConfigError, match="already in use"):
            netns.create(taken)
    assert netns.identify(netns.NETNS_FOLDER / name) == before


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "../etc", "a\0b", "n" * 256])
def test_a_name_that_no_file_can_have_is_refused(bad: str) -> None:
    for act in (netns.create, netns.delete):
        with pytest.raises(ConfigError):
            act(bad)


def test_deleting_twice_is_success_and_devices_go_with_the_namespace(name: str) -> None:
    path = netns.create(name)
    netns.delete(name)
    netns.delete(name)
    assert not path.exists()


def test_two_at_once_mount_the_folder_once(tmp_path: Path) -> None:
    folder = tmp_path / "netns"
    threads = [threading.Thread(target=netns.create, args=(f"n{n}", folder)) for n in range(8)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({netns.identify(folder / f"n{n}") for n in range(8)}) == 8
        mounts = Path("/proc/self/mountinfo").read_text()
        assert sum(line.split()[4] == str(folder) for line in mounts.splitlines()) == 1
    finally:
        for n in range(8):
            netns.delete(f"n{n}", folder)
        netns.remove_folder(folder)
    assert not folder.exists()
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()


def test_only_this_thread_is_inside_and_it_comes_home(name: str) -> None:
    path, home = netns.create(name), netns.identify()
    seen: list[tuple[int, int]] = []
    entered = threading.Event()

    def watch() -> None:
        entered.wait(10)
        seen.append(netns.identify())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with netns.inside(path):
        entered.set()
        watcher.join()
        assert netns.identify() == netns.identify(path)
        assert _devices() == {"lo"}
    assert (netns.identify(), seen) == (home, [home])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_it_comes_home_whatever_the_body_raises(name: str, error: type[BaseException]) -> None:
    path, home = netns.create(name), netns.identify()
    with pytest.raises(error), netns.inside(path):
        raise error
    assert netns.identify() == home


def test_namespaces_nest_and_a_descriptor_that_was_given_stays_open(name: str, foreign: Path) -> None:
    path, home = netns.create(name), netns.identify()
    descriptor = netns.open_path(path)
    try:
        with netns.inside(descriptor):
            with netns.inside(foreign):
                assert netns.identify() == netns.identify(foreign)
            assert netns.identify() == netns.identify(path)
        assert netns.identify() == home
        os.fstat(descriptor)
    finally:
        os.close(descriptor)


def test_nothing_leaks_a_descriptor(name: str) -> None:
    path = netns.create(name)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        with netns.inside(path):
            pass
        netns.run_in(path, netns.identify)
        assert not netns.is_network_namespace(Path("/proc/self/ns/mnt"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_run_in_returns_or_raises_and_never_moves_the_caller(name: str) -> None:
    path, home = netns.create(name), netns.identify()
    assert netns.run_in(path, _devices) == {"lo"}

    def fails() -> None:
        raise ValueError("from inside")

    with pytest.raises(ValueError, match="from inside"):
        netns.run_in(path, fails)
    assert netns.identify() == home


def test_own_names_this_threads_namespace_for_other_threads(name: str) -> None:
    path = netns.create(name)
    with netns.inside(path):
        here = netns.own()
        assert netns.run_in(netns.OWN, lambda: netns.identify(here)) == netns.identify(path)


def _plant(kind: str, folder: Path) -> Path:
    path = folder / kind
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "file":
            path.write_text("no namespace")
        case "folder":
            path.mkdir()
        case "mount namespace":
            return Path("/proc/self/ns/mnt")
        case _:
            pass
    return path


@pytest.mark.parametrize("kind", ["fifo", "file", "folder", "mount namespace", "nothing"])
def test_what_is_no_network_namespace_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path, home = _plant(kind, tmp_path), netns.identify()
    assert not netns.is_network_namespace(path)
    with pytest.raises(ConfigError) as caught, netns.inside(path):
        raise AssertionError("entered")
    assert "\n" not in str(caught.value)
    assert netns.identify() == home


def _as_nobody(work: Callable[[], str]) -> str:
    """What ``work`` returns, or the name and line of its error, in a child process that is an ordinary user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = "nothing"
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)  # as any process is that began as this user
            answer = work()
        except BaseException as error:  # noqa: BLE001 - the forked child has nobody else to tell
            answer = f"{type(error).__name__}: {error}"
        finally:
            os.write(writer, answer.encode())
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    return answer


def _rootless_bridge(folder: Path) -> str:
    netns.enter_user_namespace()
    path = netns.create("node1", folder)
    with NetlinkSocket.open(path) as sock:
        sock.run(new_bridge("cbr0", LinkSettings(up=True)))
    found = sorted(netns.run_in(path, _devices))
    netns.delete("node1", folder)
    return str(found)


@needs_host_root
def test_an_ordinary_user_makes_namespaces_in_a_folder_of_its_own() -> None:
    folder = Path(f"/tmp/tullet-{secrets.token_hex(4)}")
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    try:
        answer = _as_nobody(lambda: _rootless_bridge(folder))
        if answer.startswith("Unsupported: user namespaces"):
            pytest.skip("user namespaces are forbidden here")
        assert answer == "['cbr0', 'lo']"
        assert list(folder.iterdir()) == []
    finally:
        shutil.rmtree(folder)


@needs_host_root
def test_forbidden_user_namespaces_are_refused_with_the_settings_that_allow_them() -> None:
    def crowded() -> str:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        netns.enter_user_namespace()  # the kernel refuses a process of two threads, as a host may refuse any
        return "entered"

    answer = _as_nobody(crowded)
    assert answer.startswith("Unsupported: user namespaces")
    for setting in ("user.max_user_namespaces", "unprivileged_userns_clone", "apparmor_restrict_unprivileged_userns"):
        assert setting in answer
    assert "\n" not in answer


@needs_host_root
def test_an_ordinary_user_cannot_make_one_without() -> None:
    answer = _as_nobody(lambda: str(netns.create("tullet-never")))
    assert answer.startswith("KernelError: share /run/netns: ")
    assert not (netns.NETNS_FOLDER / "tullet-never").exists()


def test_entering_what_is_gone_is_an_error_of_ours(name: str) -> None:
    path = netns.create(name)
    netns.delete(name)
    with pytest.raises(TulleError), netns.inside(path):
        raise AssertionError("entered")
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        with pytest.raises(KernelError), netns.inside(descriptor):
            raise AssertionError("entered")
    finally:
        os.close(descriptor)
