"""A cluster as one picture: a box per node, the overlay and the underlay as lines that join them.

Pure; the looks are those of the walk's map.  The overlay is a mesh, drawn as the line that it
behaves like; a node hangs on it by its tunnel, and on the underlay by its NIC.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tulle.render.cluster import Cluster, ClusterNode, ClusterWay
from tulle.render.graph_hosts import ROOM, hosts_row
from tulle.render.looks import asset, packed
from tulle.render.scene import Point, Said
from tulle.render.svg import ROOT
from tulle.render.svg_map import HATCH
from tulle.render.svg_parts import Bilingual, cut, el, escape, spoken, switch, text

BOX: Final = 300
GAP: Final = 24
MARGIN: Final = 28
COLUMNS: Final = 3
MOST_PODS: Final = 6
MOST_WAYS: Final = 5
_POD: Final = 120
_TOP: Final = 70
_BUS: Final = 74
"""Below each row of nodes: the overlay's line and the underlay's."""
_ONLY_A_LEASE: Final = Said("known by its lease only", "仅由租约得知")
_AGENTS: Final = {"paused": Said("agent paused", "代理已暂停"), "gone": Said("no agent", "代理未运行")}
_NOT_RUNNING: Final = Said("from the topology, not running", "来自拓扑文件，未运行")
_UNDERLAYS: Final = {
    "switch": Said("underlay: one switch", "底层网络：一台交换机"),
    "router": Said("underlay: a router", "底层网络：一台路由器"),
    "": Said("underlay", "底层网络"),
}


Mark: TypeAlias = Callable[[str, str], str]
"""From a name and what was drawn of it to what stands in the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How a cluster is drawn: nodes in a row, who chooses the language, and what goes round each node and pod."""

    columns: int = COLUMNS
    choose: Bilingual = switch
    node: Mark = lambda _, drawn: drawn
    pod: Mark = lambda _, drawn: drawn


FILE: Final = Drawing()
"""As it lies in a file."""


def graph_svg(cluster: Cluster) -> str:
    """The file's text; the same cluster gives the same bytes."""
    width, height, drawn = graph_map(cluster, FILE, top=_TOP)
    style = packed(asset("map.css") + f"@media (prefers-color-scheme:dark){{{asset('dark.css')}}}")
    told = description(cluster)
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {ROOT}>',
            el("title", escape(cluster.name), id="t"),
            el("desc", escape(told), id="d"),
            el("style", style),
            el("rect", class_="bg", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=12),
            HATCH,
            _head(cluster, width),
            drawn,
            "</svg>\n",
        ]
    )


def graph_map(cluster: Cluster, drawing: Drawing, top: int) -> tuple[int, int, str]:
    """Nodes and lines below ``top``: the picture's width and height, and what is drawn."""
    step = drawing.columns
    rows = [cluster.nodes[at : at + step] for at in range(0, len(cluster.nodes), step)]
    across = max(min(2, step), min(step, len(cluster.nodes)))
    width = 2 * MARGIN + across * BOX + (across - 1) * GAP
    drawn, y = "", top
    for row in rows:
        height = max(_height(node) for node in row)
        drawn += "".join(_node(node, _left(at), y, height, drawing) for at, node in enumerate(row))
        drawn += _buses(cluster, row, y, height, width)
        drawn += _names(cluster, y + height, drawing) if y == top else ""
        y += height + _BUS + 18
    if cluster.hosts:
        drawn += hosts_row(cluster.hosts, y - _BUS - 18, width - MARGIN, drawing.choose)
        y += ROOM
    return width, y, _trunk(rows, top) + drawn


def _head(cluster: Cluster, width: int) -> str:
    title = text(Point(MARGIN, 36), cut(cluster.name, width - 2 * MARGIN, 21), class_="h1")
    if not any(node.source == "topology" for node in cluster.nodes):
        return title
    return title + spoken(_NOT_RUNNING, lambda told: text(Point(MARGIN, 57), told, class_="sm m"), switch)


def description(cluster: Cluster) -> str:
    """The cluster in words, for who cannot see it."""
    return "\n".join(
        f"{node.name} {' '.join(node.addresses)}: "
        + ", ".join([*(f"{pod.name} {pod.address}".strip() for pod in node.pods), *(_told(way) for way in node.ways)])
        for node in cluster.nodes
    ) + "".join(f"\n{host.name} {' '.join(host.addresses)}" for host in cluster.hosts)


def _told(way: ClusterWay) -> str:
    return f"{way.subnet} → {way.peer or way.via or way.device}"


def _left(column: int) -> int:
    return MARGIN + column * (BOX + GAP)


def _height(node: ClusterNode) -> int:
    pods, ways = _pod_rows(node), min(len(node.ways), MOST_WAYS + 1)
    return (
        40
        + (50 * pods)
        + (44 if node.bridge or node.routed else 0)
        + (18 * ways + 18 if ways else 0)
        + (48 if node.nic else 8)
    )


def _pod_rows(node: ClusterNode) -> int:
    return (min(len(node.pods), MOST_PODS) + 1) // 2


def _node(node: ClusterNode, x: int, y: int, height: int, drawing: Drawing) -> str:
    shape = {"x": x, "y": y, "width": BOX, "height": height, "rx": 10}
    parts = [el("rect", class_="nd", **shape)]
    if node.source == "peer":
        parts.append(el("rect", class_="un", **shape))
    parts += [_title(node, x, y, drawing)]
    below = y + 40
    parts.append(_pods(node, x, below, drawing))
    below += 50 * _pod_rows(node)
    if node.bridge or node.routed:
        parts.append(_bridge(node, x, below))
        below += 44
    parts.append(_ways(node, x, below, drawing))
    if node.nic:
        parts.append(_feet(node, x, y + height - 40))
    return drawing.node(node.name, "".join(parts))


def _title(node: ClusterNode, x: int, y: int, drawing: Drawing) -> str:
    name = cut(node.name, 130, 15)
    aside = " ".join(a for a in node.addresses if a != node.name) or " ".join(node.subnets)
    words = text(Point(x + 14, y + 25), name, class_="b")
    words += text(Point(x + BOX - 14, y + 25), cut(aside, 150, 11, mono=True), class_="mono s m e")
    note, choose = Point(x + 14, y + 43), drawing.choose
    if node.source == "peer":
        words += spoken(_ONLY_A_LEASE, lambda told: text(note, told, class_="xs m"), choose)
    elif node.agent in _AGENTS:
        words += spoken(_AGENTS[node.agent], lambda told: text(note, told, class_="xs bad"), choose)
    return words


def _pods(node: ClusterNode, x: int, y: int, drawing: Drawing) -> str:
    """Two in a row; what does not fit is counted."""
    shown = node.pods[:MOST_PODS]
    more = len(node.pods) - len(shown)
    drawn = ""
    for at, pod in enumerate(shown):
        row, right = at // 2, at % 2
        left, top = x + 14 + right * 152, y + 8 + row * 50
        is_last = more and at == len(shown) - 1
        name, address = (f"+ {more + 1}", "") if is_last else (pod.name, pod.address)
        drawn += _cable(x, top + 19, y + 50 * _pod_rows(node) + 12, row, right) if node.bridge or node.routed else ""
        box = el("rect", class_="pd", x=left, y=top, width=_POD, height=38, rx=7)
        box += text(Point(left + _POD // 2, top + (16 if address else 24)), cut(name, 112, 13), class_="sm b k")
        if address:
            box += text(Point(left + _POD // 2, top + 31), cut(address, 116, 11, mono=True), class_="mono s m k")
        drawn += box if is_last else drawing.pod(pod.name, box)
    return drawn


def _cable(x: int, y: int, bridge: int, row: int, right: int) -> str:
    """From the pod's side down between the two columns: each pod its own line to the bridge."""
    edge, down = (x + 166, x + 152 + 5 * row) if right else (x + 14 + _POD, x + 148 - 5 * row)
    return el("path", class_="lc", d=f"M{edge} {y}H{down}V{bridge}")


def _bridge(node: ClusterNode, x: int, y: int) -> str:
    """What the pods hang on; without a bridge it is the node's own routing, drawn thin."""
    height = 8 if node.bridge else 2
    bar = el("rect", class_="br", x=x + 14, y=y + 12, width=BOX - 28, height=height, rx=height // 2)
    told = " · ".join(filter(None, (node.bridge, " ".join(node.subnets))))
    return bar + text(Point(x + 14, y + 36), cut(told, BOX - 28, 11, mono=True), class_="mono s")


def _ways(node: ClusterNode, x: int, y: int, drawing: Drawing) -> str:
    shown = node.ways[:MOST_WAYS]
    more = len(node.ways) - len(shown)
    drawn = "".join(_way(way, Point(x + 14, y + 16 + at * 18)) for at, way in enumerate(shown))
    if more:
        rest = Said(f"and {more} more", f"另有 {more} 条")
        at = Point(x + 14, y + 16 + len(shown) * 18)
        drawn += spoken(rest, lambda told: text(at, told, class_="s m"), drawing.choose)
    return drawn


def _way(way: ClusterWay, at: Point) -> str:
    if way.missing:
        told = f"{way.subnet} ✘ {way.missing[0]}"
        return text(at, cut(told, BOX - 28, 11, mono=True), class_="mono s bad")
    peer = " ".join(word for word in (way.peer, way.via) if word)
    return text(at, cut(f"{way.subnet} → {peer}", BOX - 28, 11, mono=True), class_="mono s")


def _feet(node: ClusterNode, x: int, y: int) -> str:
    """The tunnel and the NIC, from which the node hangs on the two lines below."""
    drawn = ""
    first = next(iter(node.tunnels), None)
    if first is not None:
        more = f" +{len(node.tunnels) - 1}" if len(node.tunnels) > 1 else ""
        drawn += el("rect", class_="ft", x=x + 14, y=y, width=132, height=28, rx=7)
        drawn += text(Point(x + 80, y + 18), cut(first.name + more, 124, 12, mono=True), class_="mono t k")
    drawn += el("rect", class_="cd", x=x + 154, y=y, width=132, height=28, rx=7)
    return drawn + text(Point(x + 220, y + 18), cut(node.nic, 124, 12, mono=True), class_="mono t k")


def _buses(cluster: Cluster, row: Sequence[ClusterNode], y: int, height: int, width: int) -> str:
    over, under, foot = y + height + 24, y + height + 54, y + height - 12
    tunnels = [tunnel for node in cluster.nodes for tunnel in node.tunnels]
    drawn = el("path", class_="lu", d=f"M{MARGIN} {under}H{width - MARGIN}")
    for at, node in enumerate(row):
        x = _left(at)
        joins = node.nic or node.source == "peer"
        drawn += el("path", class_="lu", d=f"M{x + 220} {foot if node.nic else y + height}V{under}") if joins else ""
        if node.tunnels or (node.source == "peer" and tunnels):
            drawn += el("path", class_="lo", d=f"M{x + 80} {foot if node.nic else y + height}V{over}")
    return drawn + (el("path", class_="lo", d=f"M{MARGIN} {over}H{width - MARGIN}") if tunnels else "")


def _names(cluster: Cluster, bottom: int, drawing: Drawing) -> str:
    """What the two lines are, between the first node's feet and the second's."""
    at = Point(MARGIN + 2, bottom + 71)
    drawn = spoken(_UNDERLAYS[cluster.underlay], lambda words: text(at, words, class_="s m"), drawing.choose)
    tunnel = next((tunnel for node in cluster.nodes for tunnel in node.tunnels), None)
    if tunnel is not None:
        told = f"VNI {tunnel.vni} udp/{tunnel.port}"
        beside = Point(MARGIN + 88, bottom + 42)  # between the feet of the only node of the row
        between = Point(MARGIN + 232, bottom + 42)
        is_narrow = drawing.columns == 1
        drawn += text(beside if is_narrow else between, told if is_narrow else f"vxlan {told}", class_="mono s tn")
    return drawn


def _trunk(rows: Sequence[Sequence[ClusterNode]], top: int) -> str:
    """What joins the lines of several rows, along the left edge."""
    if len(rows) < 2:
        return ""
    heights = [max(_height(node) for node in row) for row in rows]
    tops: list[int] = []
    y = top
    for height in heights:
        tops.append(y)
        y += height + _BUS + 18
    first, last = tops[0] + heights[0], tops[-1] + heights[-1]
    return el("path", class_="lo", d=f"M{MARGIN} {first + 24}H{MARGIN - 10}V{last + 24}H{MARGIN}") + el(
        "path", class_="lu", d=f"M{MARGIN} {first + 54}H{MARGIN - 18}V{last + 54}H{MARGIN}"
    )
