"""tulle and the real flannel on one etcd: node1 runs tulle, node2 flannel, a pod on each.

with mixed(tmp_path) as site:       # pod1 | node1 (tulle) - switch (etcd) - node2 (flannel) | pod2
    site.start()
    assert site.crosses(1, 2, 64)
"""

import socket
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kit.agents import Cluster, Node, cluster, until
from tests.kit.enter import enter
from tests.kit.etcd import Etcd, etcd
from tests.kit.flanneld import Flanneld
from tulle.kernel.netns import inside

ADDRESS = "192.168.64.1"
CONFIG = '{"Network":"10.244.0.0/16","SubnetLen":24,"EnableNFTables":true,"Backend":{"Type":"vxlan"}}'
DUAL = (
    '{"Network":"10.244.0.0/16","SubnetLen":24,"EnableIPv6":true,"IPv6Network":"fd10:244::/48",'
    '"EnableNFTables":true,"Backend":{"Type":"vxlan"}}'
)
DIRECT = CONFIG.replace('"vxlan"', '"vxlan","DirectRouting":true')
PMTUDISC_DO = 2
DISCOVER = {socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
"""The socket option that forbids fragments, for each family.  Source: linux/in.h, linux/in6.h."""
FULL_SIZE = {socket.AF_INET: 1430 - 28, socket.AF_INET6: 1430 - 48}
"""The UDP payload of a packet that fills the pods' MTU."""
PORT = 9909


@dataclass
class Site:
    """node1 runs tulle, node2 flannel; a pod on each."""

    cluster: Cluster
    server: Etcd
    tulle: Node
    flannel: Flanneld

    def start(self, *flags: str) -> None:
        """Both, with the same flags."""
        self.tulle.start(*flags)
        self.flannel.start(*flags)
        self.meet()

    def meet(self) -> None:
        """Wait until each knows the way to the other."""
        self.tulle.converge(1)
        way = "10.244.1.0/24"
        until(lambda: way in self.cluster.net.run("node2", "ip", "route"), f"node2: {way}", lambda: self.flannel.log)

    def crosses(self, source: int, sink: int, size: int, family: socket.AddressFamily = socket.AF_INET) -> bool:
        """Does a datagram that must not be fragmented arrive?"""
        net = self.cluster.net
        target = f"10.244.{sink}.2" if family is socket.AF_INET else f"fd10:244:0:{sink}::2"
        with ExitStack() as stack:
            with inside(net.path(f"pod{source}")):
                sender = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            with inside(net.path(f"pod{sink}")):
                receiver = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            sender.setsockopt(*DISCOVER[family], PMTUDISC_DO)
            receiver.bind(("", PORT))
            receiver.settimeout(0.5)
            for _ in range(10):
                sender.sendto(b"x" * size, (target, PORT))
                try:
                    return len(receiver.recv(2048)) == size
                except TimeoutError:
                    continue
        return False


@contextmanager
def mixed(folder: Path, *, ipv6: bool = False, config: str | None = None, pods: bool = True) -> Generator[Site]:
    """The site, with nothing started.  Without ``pods`` the test attaches pod1 and pod2 itself, first of all."""
    with cluster(folder, nodes=2, pods=pods, ipv6=ipv6) as nodes:
        nodes.net.ip("switch", f"addr add {ADDRESS}/24 dev br0")
        nodes.net.sysctl("node2", "net/ipv4/ip_forward", "1")  # flannel leaves that to the operator
        with etcd(folder, host=ADDRESS, before=enter(nodes.net.full("switch"))) as server:
            server.put("config", config or (DUAL if ipv6 else CONFIG))
            for node in nodes.nodes:
                node.store_url = server.url
                server.put(*reservation(node.number, ipv6=ipv6))
            second = nodes.node(2)
            flannel = Flanneld(nodes.net, second.name, second.root, f"http://{server.endpoint}")
            try:
                yield Site(nodes, server, nodes.node(1), flannel)
            finally:
                flannel.stop()


def reservation(number: int, *, ipv6: bool) -> tuple[str, str]:
    """Key and value that pin node ``number``'s subnets."""
    four, six = f'"PublicIP":"192.168.64.1{number}"', f'"PublicIPv6":"fd64::1{number}"'
    if ipv6:
        return f"subnets/10.244.{number}.0-24&fd10:244:0:{number}::-64", f"{{{four},{six}}}"
    return f"subnets/10.244.{number}.0-24", f"{{{four}}}"
