"""Networks made with plain ``ip`` and ``bridge``, for tests of what tulle sees: tulle built none of it.

Every namespace is called ``tullet-<random>-<name>`` and goes with the ``Net``; nothing outside is touched.

    with Net() as net:
        two_nodes(net)                 # pod1 | node1 - switch - node2 | pod4, VXLAN between
        net.ip("node1", "route del 10.244.2.0/24")
"""

import json
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.kit.enter import enter

MISSING = next((tool for tool in ("ip", "bridge") if shutil.which(tool) is None), None)
"""A tool that this kit needs and that is not installed."""


class Net:
    """A set of namespaces with one random prefix."""

    def __init__(self) -> None:
        self.prefix = f"tullet-{secrets.token_hex(3)}"
        self._names: list[str] = []

    def __enter__(self) -> "Net":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the namespaces; the kernel removes what is in them."""
        while self._names:
            subprocess.run(["ip", "netns", "del", self._names.pop()], check=False, capture_output=True)

    def add(self, *names: str) -> None:
        """New namespaces with ``lo`` up, duplicate address detection and bridge netfilter out of the way."""
        for name in names:
            full = self.full(name)
            subprocess.run(["ip", "netns", "add", full], check=True, capture_output=True)
            self._names.append(full)
            self.ip(name, "link set lo up")
            self.sysctl(name, "net/ipv6/conf/default/accept_dad", "0")

    @property
    def names(self) -> list[str]:
        """The short names of the namespaces."""
        return [full.removeprefix(f"{self.prefix}-") for full in self._names]

    def full(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def path(self, name: str) -> Path:
        return Path("/run/netns") / self.full(name)

    def candidates(self) -> list[tuple[str, Path]]:
        """(label, path) of every namespace, as the trace wants them."""
        return [(full.removeprefix(f"{self.prefix}-"), Path("/run/netns") / full) for full in self._names]

    def run(self, name: str, *argv: str, check: bool = True) -> str:
        """A command inside a namespace; its output."""
        command = [*enter(self.full(name)), *argv]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def ip(self, name: str, *commands: str) -> None:
        """``ip`` commands in one namespace, one batch."""
        self._batch([*enter(self.full(name)), "ip", "-batch", "-"], commands)

    def bridge(self, name: str, *commands: str) -> None:
        """``bridge`` commands in one namespace."""
        self._batch([*enter(self.full(name)), "bridge", "-batch", "-"], commands)

    def sysctl(self, name: str, key: str, value: str) -> None:
        self.run(name, "sh", "-c", f"echo {value} > /proc/sys/{key} 2>/dev/null || true")

    def veth(self, left: tuple[str, str], right: tuple[str, str]) -> None:
        """A pair between two namespaces, both ends up: (namespace, device) each."""
        (space, device), (other_space, other) = left, right
        self.ip(
            space,
            f"link add {device} type veth peer name {other} netns {self.full(other_space)}",
            f"link set {device} up",
        )
        self.ip(other_space, f"link set {other} up")

    def mac(self, name: str, device: str) -> str:
        shown = json.loads(self.run(name, "ip", "-j", "link", "show", "dev", device))
        return str(shown[0]["address"])

    @staticmethod
    def _batch(argv: Sequence[str], commands: Sequence[str]) -> None:
        done = subprocess.run(argv, check=False, input="\n".join(commands), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{argv[0]}: {done.stderr.strip()} in {list(commands)}")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How ``two_nodes`` looks."""

    vni: int = 1
    port: int = 8472
    bridge: str = "cbr0"
    tunnel: str = "flannel.1"
    routed: bool = False
    """Pods on routed veths, without a bridge."""
    extra: bool = False
    """Another namespace between node1 and the switch, bridging."""
    ipv6: bool = False
    plain: bool = False
    """No tunnel: routes between the nodes."""


def two_nodes(net: Net, shape: Shape = Shape()) -> None:
    """pod1, pod2 on node1 (192.168.64.11), pod4 on node2 (192.168.64.12), an L2 switch between them."""
    net.add("switch", "node1", "node2", "pod1", "pod2", "pod4")
    net.ip("switch", "link add br0 type bridge forward_delay 0", "link set br0 up")
    for number in (1, 2):
        _cable(net, number, shape)
        _node(net, number, shape)
    for pod, number, host in (("pod1", 1, 2), ("pod2", 1, 3), ("pod4", 2, 3)):
        _pod(net, pod, number, host, shape)
    _peer(net, 1, 2, shape)
    _peer(net, 2, 1, shape)


def _cable(net: Net, number: int, shape: Shape) -> None:
    if shape.extra and number == 1:
        net.add("patch")
        net.ip("patch", "link add br0 type bridge forward_delay 0", "link set br0 up")
        net.veth(("node1", "eth0"), ("patch", "left"))
        net.veth(("patch", "right"), ("switch", "port1"))
        net.ip("patch", "link set left master br0", "link set right master br0")
    else:
        net.veth((f"node{number}", "eth0"), ("switch", f"port{number}"))
    net.ip("switch", f"link set port{number} master br0")
    net.ip(f"node{number}", f"addr add 192.168.64.1{number}/24 dev eth0", f"addr add fd64::1{number}/64 dev eth0 nodad")


def _node(net: Net, number: int, shape: Shape) -> None:
    name = f"node{number}"
    for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        net.sysctl(name, key, "1")
    if not shape.routed:
        net.ip(
            name,
            f"link add {shape.bridge} type bridge forward_delay 0",
            f"link set {shape.bridge} address 02:00:00:00:0{number}:fe",
            f"link set {shape.bridge} up",
            f"addr add 10.244.{number}.1/24 dev {shape.bridge}",
            f"addr add fd10:244:0:{number}::1/64 dev {shape.bridge} nodad",
        )
    if shape.plain:
        return
    net.ip(
        name,
        f"link add {shape.tunnel} address {vtep(number)} type vxlan id {shape.vni} dstport {shape.port} "
        f"local 192.168.64.1{number} dev eth0 nolearning",
        f"link set {shape.tunnel} mtu 1450 up",
        f"addr add 10.244.{number}.0/32 dev {shape.tunnel}",
        f"addr add fd10:244:0:{number}::/128 dev {shape.tunnel} nodad",
    )


def vtep(number: int) -> str:
    """The MAC of a node's tunnel device."""
    return f"02:00:0a:f4:0{number}:00"


def _pod(net: Net, pod: str, number: int, host: int, shape: Shape) -> None:
    node, end = f"node{number}", f"veth{pod}"
    net.veth((pod, "eth0"), (node, end))
    address, address6 = f"10.244.{number}.{host}", f"fd10:244:0:{number}::{host}"
    if shape.routed:
        net.sysctl(node, f"net/ipv4/conf/{end}/proxy_arp", "1")
        net.ip(node, f"route add {address}/32 dev {end} scope link", f"addr add 169.254.1.1/32 dev {end}")
        net.ip(pod, f"addr add {address}/32 dev eth0", "route add 169.254.1.1 dev eth0 scope link")
        net.ip(pod, "route add default via 169.254.1.1 dev eth0")
        return
    net.ip(node, f"link set {end} master {shape.bridge}")
    net.ip(pod, f"addr add {address}/24 dev eth0", f"route add default via 10.244.{number}.1")
    net.ip(pod, f"addr add {address6}/64 dev eth0 nodad", f"route add default via fd10:244:0:{number}::1")


def _peer(net: Net, number: int, other: int, shape: Shape) -> None:
    name = f"node{number}"
    if shape.plain:
        net.ip(name, f"route add 10.244.{other}.0/24 via 192.168.64.1{other}")
        return
    net.ip(
        name,
        f"route add 10.244.{other}.0/24 via 10.244.{other}.0 dev {shape.tunnel} onlink",
        f"neigh add 10.244.{other}.0 lladdr {vtep(other)} dev {shape.tunnel} nud permanent",
        f"route add fd10:244:0:{other}::/64 via fd10:244:0:{other}:: dev {shape.tunnel} onlink",
        f"neigh add fd10:244:0:{other}:: lladdr {vtep(other)} dev {shape.tunnel} nud permanent",
    )
    net.bridge(name, f"fdb append {vtep(other)} dev {shape.tunnel} dst 192.168.64.1{other}")
