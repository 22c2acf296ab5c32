"""What others do to a node, and how a whole node looks."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.kit.agents import Node


@dataclass(frozen=True)
class Damage:
    """One thing that somebody else changes on node 1, whose peer is node 2."""

    what: str
    do: Callable[[Node], object]


def peer_mac(node: Node) -> str:
    """The VTEP MAC of node 2, as node 1 has it in its FDB; a wrong neighbour does not hide it."""
    return re.findall(r"(\S+) dev flannel.1 dst 192.168.64.12", node.sh("bridge", "fdb"))[0]


def ip(*commands: str) -> Callable[[Node], object]:
    return lambda node: node.ip(*commands)


def run(*argv: str) -> Callable[[Node], object]:
    return lambda node: node.sh(*argv)


def fdb(verb: str, rest: str = "") -> Callable[[Node], object]:
    return lambda node: node.net.bridge(node.name, f"fdb {verb} {peer_mac(node)} dev flannel.1 {rest}")


def _delete_a_rule(node: Node) -> None:
    handle = re.findall(r"accept comment .* # handle (\d+)", node.sh("nft", "-a", "list", "table", "inet", "tulle"))[0]
    node.sh("nft", "delete", "rule", "inet", "tulle", "forward", "handle", handle)


ANNOUNCED = (
    Damage("route deleted", ip("route del 10.244.2.0/24")),
    Damage("route replaced by another of ours", ip("route replace 10.244.2.0/24 dev lo proto 116")),
    Damage("neighbour deleted", ip("neigh del 10.244.2.0 dev flannel.1")),
    Damage("neighbour given another MAC", ip("neigh replace 10.244.2.0 lladdr 02:00:00:00:be:ef dev flannel.1")),
    Damage("FDB entry deleted", fdb("del")),
    Damage("FDB entry given another destination", fdb("replace", "dst 192.168.64.99 self permanent")),
    Damage("ip addr del on flannel.1", ip("addr del 10.244.1.0/32 dev flannel.1")),
    Damage("ip addr flush on flannel.1", ip("addr flush dev flannel.1")),
    Damage("flannel.1 down", ip("link set flannel.1 down")),
    Damage("flannel.1 down and up", ip("link set flannel.1 down", "link set flannel.1 up")),
    Damage("flannel.1 MTU changed", ip("link set flannel.1 mtu 1300")),
    Damage("flannel.1 MAC changed", ip("link set flannel.1 address 02:00:00:00:be:ef")),
    Damage("flannel.1 deleted", ip("link del flannel.1")),
    Damage("nft table deleted", run("nft", "delete", "table", "inet", "tulle")),
    Damage("nft table flushed", run("nft", "flush", "table", "inet", "tulle")),
    Damage("nft ruleset flushed", run("nft", "flush", "ruleset")),
    Damage("one nft rule deleted", _delete_a_rule),
    Damage("ip_forward off", run("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")),
)
"""What the kernel announces, or announces enough of."""


def picture(node: Node) -> str:
    """Everything of ours in a node's kernel, in the words of the tools, without what counts or ages."""
    link = re.sub(
        r"^\d+: |qlen \d+|numtxqueues.*|promiscuity \d+ |allmulti \d+ ",
        "",
        node.sh("ip", "-d", "link", "show", "type", "vxlan"),
    )
    address = sorted(line.strip() for line in node.sh("ip", "-4", "address", "show").splitlines() if "inet" in line)
    entries = sorted(line for line in node.sh("bridge", "fdb").splitlines() if "flannel" in line and "dst" in line)
    neighbours = node.sh("ip", "neigh", "show", "nud", "permanent")
    rules = node.sh("sh", "-c", "nft list table inet tulle 2>&1 || true")
    forwarding = node.sh("cat", "/proc/sys/net/ipv4/ip_forward")
    routes = node.sh("ip", "route")
    return "\n".join([link, *address, *entries, neighbours, routes, rules, forwarding])
