"""Real container runtimes on a node: containerd behind its CRI, as kubelets call it, and podman.

    with machine(node) as m:            # the node's own mounts: /run and /var/lib are empty, and gone afterwards
        m.start()
        m.install_plugin()
        with containerd(m) as runtime:
            pod = runtime.run_pod("one")

The only image is busybox, made here.  Needs root of the host, cgroups and the packages.
"""

import asyncio
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EBUSY
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
from grpclib.client import Channel
from grpclib.const import Cardinality

from tests.kit.agents import Node, until
from tests.kit.enter import enter
from tests.kit.kernels import NEEDS_HOST_ROOT
from tulle.store.etcd_channel import AsIs
from tulle.wire.protobuf import bytes_field, message_field, number_field, walk

IMAGE = "localhost/tullet/busybox:1"
BUSYBOX = "/bin/busybox"
CGROUPS = Path("/sys/fs/cgroup")
CRI = "/runtime.v1.RuntimeService/"
PATIENCE_S = 60.0
OWN_PLACES = """
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mkdir /run/netns
mount --bind /run/netns /run/netns
mount --make-shared /run/netns
touch "/run/netns/$1"
mount --bind /proc/self/ns/net "/run/netns/$1"
for place in run/tulle var/lib/tulle var/lib/cni; do
    mkdir -p "$2/$place" "/$place"
    chmod 700 "$2/$place"
    mount --bind "$2/$place" "/$place"
done
echo
exec sleep 1000000
"""
"""The agent's files are where the plugin looks for them when nobody says anything else."""
CONTAINERD = """
version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", \
"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{bin_dir}"
    conf_dir = "{conf_dir}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
"""

PODMAN = """
[network]
network_backend = "cni"
cni_plugin_dirs = ["{bin_dir}"]
network_config_dir = "{conf_dir}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""
NETWORK = "cbr0"
"""The name that ``tulle cni install`` gives."""


def needs_runtime(*programs: str) -> pytest.MarkDecorator:
    """Skips, by name, where containers cannot be run."""
    missing = [name for name in (*programs, "runc", "busybox") if shutil.which(name) is None]
    reason = NEEDS_HOST_ROOT or (f"{', '.join(missing)}: not installed" if missing else None) or _no_cgroups()
    return pytest.mark.skipif(reason is not None, reason=str(reason))


def _no_cgroups() -> str | None:
    known = ("cgroup.controllers", "pids/cgroup.procs")
    return None if any((CGROUPS / name).exists() for name in known) else "no cgroups below /sys/fs/cgroup"


@dataclass(frozen=True)
class Machine:
    """One node as a whole machine: ``words`` before a command run it there."""

    node: Node
    holder: subprocess.Popen[bytes]

    @property
    def words(self) -> tuple[str, ...]:
        place = f"/proc/{self.holder.pid}/ns"
        return ("nsenter", f"--mount={place}/mnt", f"--net={place}/net", "--")

    @property
    def cgroup(self) -> str:
        """The parent of every container's cgroup."""
        return self.node.net.full(self.node.name)

    @property
    def conf_dir(self) -> Path:
        return self.node.root / "etc/cni/net.d"

    @property
    def bin_dir(self) -> Path:
        return self.node.root / "opt/cni/bin"

    def run(self, *words: str, **environment: str) -> str:
        """What a command there printed that has to work."""
        done = subprocess.run(
            [*self.words, *words], capture_output=True, text=True, check=False, env={**os.environ, **environment}
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def start(self) -> None:
        """Start its agent, without waiting for anything."""
        self.node.start(before=self.words)

    def install_plugin(self) -> None:
        """As an operator does it, also in the place of ``loopback``."""
        done = self.node.tulle("cni", "install", "--loopback")
        assert done.returncode == 0, done.stderr

    def ping(self, pod: "Pod", address: IPv4Address | IPv6Address) -> bool:
        """Whether the pod hears an answer to one echo request."""
        command = [*self.words, "nsenter", f"--net={pod.netns}", BUSYBOX, "ping", "-c", "1", "-W", "5", str(address)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    @property
    def addresses(self) -> frozenset[str]:
        """Those that are reserved on disk."""
        folders = (self.node.root / "var/lib/cni/networks").glob("*/[0-9]*")
        return frozenset(path.name for path in folders)

    @property
    def namespaces(self) -> frozenset[str]:
        """Those of pods, as the runtime made them."""
        return frozenset(name for name in self.run("ls", "/run/netns").split() if name != self.cgroup)

    @property
    def pairs(self) -> frozenset[str]:
        """The node's ends of pods' pairs."""
        links = self.node.json("ip", "-j", "link", "show", "type", "veth")
        return frozenset(link["ifname"] for link in links if link["ifname"] != "eth0")

    @property
    def leftovers(self) -> frozenset[str]:
        """What there is of pods: addresses, pairs, namespaces."""
        return self.addresses | self.pairs | self.namespaces


@contextmanager
def machine(node: Node) -> Generator[Machine]:
    """The node with mounts of its own; every process of it and every cgroup goes with it."""
    name = node.net.full(node.name)
    command = [*enter(name), "unshare", "--mount", "sh", "-ec", OWN_PLACES, "sh", name, str(node.root)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        yield Machine(node, holder)
    finally:
        _end_all(holder.pid, name)
        holder.wait()
        holder.stdout.close()


def _end_all(pid: int, cgroup: str) -> None:
    """End every process in the mounts of ``pid`` and in the cgroup, then remove that."""
    place = os.stat(f"/proc/{pid}/ns/mnt").st_ino
    until(lambda: not _kill_all({*_living_in(place), *_members(cgroup)}), f"{cgroup}: its end")
    until(lambda: _are_removed(_cgroups(cgroup)), f"{cgroup}: its cgroups' end")


def _living_in(mounts: int) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.stat(process / "ns/mnt").st_ino == mounts:
                yield int(process.name)


def _members(cgroup: str) -> Iterator[int]:
    for folder in _cgroups(cgroup):
        yield from map(int, (folder / "cgroup.procs").read_text().split())


def _cgroups(name: str) -> list[Path]:
    """Its folders and all below, below every controller that there is."""
    tops = [*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")]
    return [folder for top in tops for folder in (top, *(path for path in top.rglob("*") if path.is_dir()))]


def _kill_all(pids: Iterable[int]) -> bool:
    """Whether there was one to kill.  A zombie is its parent's to bury."""
    found = False
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            found |= Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return found


def _are_removed(cgroups: Iterable[Path]) -> bool:
    """One with a process that is dead, and that nobody has buried, is busy for a moment more."""
    for folder in sorted(cgroups, reverse=True):  # the inner ones first
        try:
            folder.rmdir()
        except OSError as error:
            if error.errno != EBUSY:
                raise
            return False
    return True


@dataclass(frozen=True)
class Pod:
    """A sandbox that the runtime has made: its ``netns`` is a path on its machine."""

    id: str
    netns: str
    address: IPv4Address


@dataclass
class Containerd:
    """One containerd; its requests are those that a kubelet sends to the CRI."""

    machine: Machine
    process: subprocess.Popen[bytes]

    def run_pod(self, name: str) -> Pod:
        """A pod that runs: its only container is the sandbox's."""
        metadata = bytes_field(1, name.encode()) + bytes_field(2, f"uid-{name}".encode()) + bytes_field(3, b"default")
        cgroup = bytes_field(1, f"/{self.machine.cgroup}".encode())
        config = message_field(1, metadata) + bytes_field(2, name.encode()) + message_field(8, cgroup)
        pod = _field(1, self.call("RunPodSandbox", message_field(1, config))).decode()
        answer = self.call("PodSandboxStatus", bytes_field(1, pod.encode()) + number_field(2, 1))
        info = json.loads(_field(2, _field(2, answer)))
        network = next(place for place in info["runtimeSpec"]["linux"]["namespaces"] if place["type"] == "network")
        address = _field(1, _field(5, _field(1, answer))).decode()
        return Pod(pod, network["path"], IPv4Address(address))

    def stop_pod(self, pod: Pod) -> None:
        self.call("StopPodSandbox", bytes_field(1, pod.id.encode()))

    def remove_pod(self, pod: Pod) -> None:
        self.call("RemovePodSandbox", bytes_field(1, pod.id.encode()))

    def is_network_ready(self) -> bool:
        """What a kubelet asks before it starts pods."""
        conditions = [_fields(found) for found in _all(1, _field(1, self.call("Status", b"")))]
        return any(found.get(1) == b"NetworkReady" and found.get(2) == 1 for found in conditions)

    def call(self, method: str, request: bytes) -> bytes:
        """The answer to one request of the CRI.  Raises GRPCError."""
        return asyncio.run(_exchange(self.socket, CRI + method, request))

    @property
    def socket(self) -> str:
        """As seen from outside of the machine."""
        return f"/proc/{self.machine.holder.pid}/root/run/containerd/containerd.sock"

    @property
    def log(self) -> str:
        return (self.machine.node.root / "containerd.log").read_text(errors="replace")


@contextmanager
def containerd(host: Machine) -> Generator[Containerd]:
    """One that is ready, with the image in its store."""
    root = host.node.root
    config = root / "containerd.toml"
    config.write_text(CONTAINERD.format(image=IMAGE, bin_dir=host.bin_dir, conf_dir=host.conf_dir))
    with (root / "containerd.log").open("ab") as log:
        process = subprocess.Popen([*host.words, "containerd", "--config", str(config)], stdout=log, stderr=log)
    runtime = Containerd(host, process)
    try:
        until(lambda: "successfully booted" in runtime.log, "containerd", lambda: runtime.log)
        host.run("ctr", "--namespace", "k8s.io", "images", "import", str(busybox_image(root)))
        yield runtime
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Podman:
    """podman with its CNI backend; it has no daemon, and calls the plugin itself."""

    machine: Machine

    def __call__(self, *words: str) -> str:
        """What ``podman WORDS`` printed."""
        return self.machine.run("podman", *words, CONTAINERS_CONF=str(self.config), STORAGE_DRIVER="vfs").strip()

    @property
    def config(self) -> Path:
        return self.machine.node.root / "containers.conf"

    def run_pod(self, name: str) -> Pod:
        """A container that runs on the network."""
        cgroup = f"--cgroup-parent=/{self.machine.cgroup}"
        pod = self("run", "--detach", "--name", name, "--network", NETWORK, cgroup, IMAGE)
        (told,) = json.loads(self("inspect", pod))
        found = told["NetworkSettings"]
        return Pod(pod, found["SandboxKey"], IPv4Address(found["Networks"][NETWORK]["IPAddress"]))

    def remove_pod(self, pod: Pod) -> None:
        self("rm", "--force", "--time", "0", pod.id)


def podman(host: Machine) -> Podman:
    """One with the image in its store."""
    runtime = Podman(host)
    runtime.config.write_text(PODMAN.format(bin_dir=host.bin_dir, conf_dir=host.conf_dir))
    runtime("load", "--input", str(busybox_image(host.node.root)))
    return runtime


def busybox_image(folder: Path) -> Path:
    """IMAGE as ``docker save`` writes one: busybox alone, which sleeps when it is not told anything else."""
    path = folder / "busybox.tar"
    layer = _archive({"bin/busybox": Path(BUSYBOX).read_bytes()})
    start = {"Entrypoint": ["/bin/busybox"], "Cmd": ["sleep", "1000000"]}
    layers = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    config = {"architecture": "amd64", "os": "linux", "config": start, "rootfs": layers}
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    told = {"config.json": config, "manifest.json": manifest}
    path.write_bytes(
        _archive({**{name: json.dumps(value).encode() for name, value in told.items()}, "layer.tar": layer})
    )
    return path


def _archive(files: Mapping[str, bytes]) -> bytes:
    """A tar archive with programs in it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


async def _exchange(socket: str, method: str, request: bytes) -> bytes:
    channel = Channel(path=socket, codec=AsIs())
    try:
        async with (
            asyncio.timeout(PATIENCE_S),
            channel.request(method, Cardinality.UNARY_UNARY, bytes, bytes) as stream,
        ):
            await stream.send_message(request, end=True)
            return await stream.recv_message() or b""
    finally:
        channel.close()


def _all(field: int, message: bytes) -> list[bytes]:
    return [value for number, value in walk("a CRI answer", message) if number == field and isinstance(value, bytes)]


def _field(field: int, message: bytes) -> bytes:
    """The first field of that number; it has to be there."""
    found, *_ = _all(field, message)
    return found


def _fields(message: bytes) -> dict[int, int | bytes]:
    return dict(walk("a CRI answer", message))
