"""A cluster in the terminal: one tree per node, the underlay below."""

from collections.abc import Iterable
from typing import Final

from tulle.render.cluster import Cluster, ClusterNode, ClusterWay
from tulle.render.walk_text import Line, width, wrap

WORDS: Final = {
    "pods": ("pods", "Pod"),
    "bridge": ("bridge", "网桥"),
    "routed": ("routed", "路由"),
    "tunnel": ("tunnel", "隧道"),
    "peers": ("peers", "对端"),
    "no": ("no", "缺少"),
    "neighbour": ("neighbour", "邻居表项"),
    "FDB entry": ("FDB entry", "转发表项"),
    "route": ("route", "路由"),
    "paused": ("agent paused", "代理已暂停"),
    "gone": ("no agent", "代理未运行"),
    "switch": ("underlay: one switch", "底层网络：一台交换机"),
    "router": ("underlay: a router between the nodes", "底层网络：节点之间有一台路由器"),
    "topology": ("from the topology, not running", "来自拓扑文件，未运行"),
    "peer": ("known by its lease only", "仅由租约得知"),
    "host paused": ("paused", "已暂停"),
    "host gone": ("does not run", "未运行"),
    "none": ("none", "无"),
    "more": ("and {} more", "另有 {} 个"),
}
SHOWN: Final = 8
"""Peers of a node that are listed before they are counted."""


def say(word: str, lang: str) -> str:
    return WORDS[word][lang == "zh"]


def graph_lines(cluster: Cluster, lang: str, columns: int) -> list[Line]:
    """The whole cluster in ``columns``."""
    told = any(node.source == "topology" for node in cluster.nodes)
    lines = [Line(f"{cluster.name}: {say('topology', lang)}"), Line("")] if told else []
    for node in cluster.nodes:
        lines += [*_node(node, lang, columns), Line("")]
    if not cluster.underlay:
        return lines[:-1]
    return [*lines, Line(say(cluster.underlay, lang)), *_hosts(cluster, lang)]


def _hosts(cluster: Cluster, lang: str) -> Iterable[Line]:
    """What is on the underlay beside the nodes."""
    for at, host in enumerate(cluster.hosts):
        stem = "└ " if at == len(cluster.hosts) - 1 else "├ "
        unwell = f"  ({say(f'host {host.state}', lang)})" if f"host {host.state}" in WORDS else ""
        told = f"{stem}{host.name:8}{' '.join(host.addresses)}{unwell}"
        yield Line(told, "bad") if unwell else Line(told)


def _node(node: ClusterNode, lang: str, columns: int) -> Iterable[Line]:
    aside = f"  ({say('peer', lang)})" if node.source == "peer" else ""
    if node.agent in WORDS:
        aside = f"  ({say(node.agent, lang)})"
    facts = [*([node.nic] if node.nic else []), *(a for a in node.addresses if a != node.name)]
    title = "  ".join([node.name, " ".join(facts), " ".join(node.subnets)])
    yield Line(title.replace("    ", "  ").rstrip() + aside)
    rows = [row for row in _rows(node, lang) if row[1]]
    for at, (name, entries) in enumerate(rows):
        yield from _branch(say(name, lang), entries, last=at == len(rows) - 1, columns=columns)


def _rows(node: ClusterNode, lang: str) -> Iterable[tuple[str, list[Line]]]:
    pods = "   ".join(f"{pod.name} {pod.address}".rstrip() for pod in node.pods)
    yield "pods", [Line(pods)] if pods else []
    yield "bridge", [Line(node.bridge)] if node.bridge else []
    yield "routed", [Line(" ".join(node.subnets))] if node.routed else []
    yield "tunnel", [Line(f"{tunnel.name}  VNI {tunnel.vni}  udp/{tunnel.port}") for tunnel in node.tunnels]
    ways = [_way(way, lang) for way in node.ways[:SHOWN]]
    more = len(node.ways) - len(ways)
    yield "peers", [*ways, *([Line(say("more", lang).format(more))] if more else [])]


def _way(way: ClusterWay, lang: str) -> Line:
    if way.missing:
        into = f" → {way.device}" if way.device else ""
        return Line(f"{way.subnet}{into} ✘ {say('no', lang)} {say(way.missing[0], lang)}", "bad")
    peer = f" {way.peer}" if way.peer else ""
    return Line(f"{way.subnet} → {way.device} →{peer} {way.via}")


def _branch(name: str, entries: list[Line], *, last: bool, columns: int) -> Iterable[Line]:
    stem, bar = ("└ ", "  ") if last else ("├ ", "│ ")
    label = name + " " * (8 - width(name))
    first = True
    for entry in entries:
        for piece in wrap(entry.text, columns - 10):
            yield Line((stem + label if first else bar + " " * 8) + piece, entry.style)
            first = False
