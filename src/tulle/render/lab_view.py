"""What a lab's page shows of the lab at one moment: a value that JSON carries, and its markup.

Pure.  The picture is that of ``graph``, with pods that can be pressed; the tables are ``lab_rows``'.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from tulle.errors import DecodeError
from tulle.render.cluster import AgentState, Cluster
from tulle.render.graph import Drawing, description, graph_map
from tulle.render.html_parts import both, in_svg, said, tag
from tulle.render.lab_rows import KINDS, Kind, Row, name_of
from tulle.render.scene import Said
from tulle.render.svg_map import HATCH
from tulle.render.svg_parts import el, escape

MOST_COLUMNS: Final = 3
MOST_ROWS: Final = 60
"""Of one table; more are counted."""
_TOP: Final = 18
_KINDS: Final[dict[Kind, Said]] = {
    "route": Said("Routes", "路由"),
    "neighbour": Said("Neighbours", "邻居表"),
    "fdb": Said("FDB entries", "转发表"),
}
_ASIDES: Final[dict[Kind, Said]] = {
    "route": Said("pod subnet → device", "Pod 子网 → 设备"),
    "neighbour": Said("overlay IP → inner MAC", "覆盖网络 IP → 内层 MAC"),
    "fdb": Said("inner MAC → underlay IP", "内层 MAC → 底层 IP"),
}
_AGENTS: Final[dict[AgentState, Said]] = {
    "running": Said("agent running", "代理运行中"),
    "paused": Said("agent paused", "代理已暂停"),
    "gone": Said("no agent", "代理未运行"),
    "": Said("", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node beside its picture: its lease in one line, and its tables."""

    name: str
    lease: str
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        """The row that is called ``name``; None: there is none now."""
        return next((row for row in self.rows if name_of(row) == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabView:
    """A lab at one moment."""

    cluster: Cluster
    nodes: tuple[NodeView, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """Where a packet can start and end: pods, then nodes."""
        pods = [pod.name for node in self.cluster.nodes for pod in node.pods]
        return (*pods, *(node.name for node in self.cluster.nodes))

    def agent(self, name: str) -> AgentState:
        """How the agent of the node called ``name`` is; "" when there is no such node."""
        found = next((node for node in self.cluster.nodes if node.name == name), None)
        return found.agent if found is not None else ""

    def node(self, name: str) -> NodeView | None:
        return next((node for node in self.nodes if node.name == name), None)


def encode_view(view: LabView) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(view)


def decode_view(data: bytes) -> LabView:
    """Raises DecodeError: not a view."""
    try:
        return msgspec.json.decode(data, type=LabView)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DecodeError("lab view", reason=str(error)) from None


def view_event(view: LabView, columns: int) -> bytes:
    """What a page is sent when the lab has changed: JSON of markup, and of the places to choose from."""
    told = {
        "picture": picture(view.cluster, columns),
        "tables": tables(view),
        "places": [
            {"name": pod.name, "label": f"{pod.name}  {pod.address}  ({node.name})"}
            for node in view.cluster.nodes
            for pod in node.pods
        ]
        + [{"name": node.name, "label": "  ".join([node.name, *node.addresses[:1]])} for node in view.cluster.nodes],
        "paused": [node.name for node in view.cluster.nodes if node.agent == "paused"],
        "wrong": sum(row.state in {"missing", "wrong"} for node in view.nodes for row in node.rows),
    }
    return msgspec.json.encode(told)


def picture(cluster: Cluster, columns: int) -> str:
    """The cluster as SVG for the page, with at most ``columns`` nodes in a row; pods are buttons."""
    drawing = Drawing(columns=columns, choose=in_svg, node=_node, pod=_pod)
    width, height, drawn = graph_map(cluster, drawing, top=_TOP)
    title = el("title", escape(cluster.name), id="map-title") + el("desc", escape(description(cluster)))
    shape = f'viewBox="0 0 {width} {height}" width="{width * 6 // 5}" role="group" aria-labelledby="map-title"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {shape}>{title}{HATCH}{drawn}</svg>'


def _node(name: str, drawn: str) -> str:
    return el("g", drawn, class_="node", data_node=name)


def _pod(name: str, drawn: str) -> str:
    return el("g", drawn, class_="pod", role="button", tabindex=0, data_place=name, aria_pressed="false")


def tables(view: LabView) -> str:
    """A card for each node: its agent, its lease, its entries."""
    return "".join(_card(node, drawn.agent) for node, drawn in zip(view.nodes, view.cluster.nodes, strict=True))


def _card(node: NodeView, agent: AgentState) -> str:
    name = escape(node.name)
    title = tag("h3", name, id=f"h-{name}", tabindex=-1)
    pill = tag("span", said(_AGENTS[agent]), class_=f"pill {agent}")
    lease = tag("p", both("lease ", "租约 "), tag("code", escape(node.lease) or "—"), class_="lease")
    return tag(
        "section",
        tag("div", title, pill, _agent_button(node.name, agent), class_="card-top"),
        lease,
        *(_table(node, kind) for kind in KINDS),
        class_=f"card {agent}",
        aria_labelledby=f"h-{name}",
    )


def _agent_button(node: str, agent: AgentState) -> str:
    if agent not in {"running", "paused"}:
        return ""
    verb, words = (
        ("pause", Said("Pause agent", "暂停代理"))
        if agent == "running"
        else ("resume", Said("Resume agent", "恢复代理"))
    )
    whose = said(Said(f" of {node}", f"（{node}）"), "vh")
    return tag("button", said(words), whose, type="button", class_=f"act {verb}", data_act=verb, data_node=node)


def _table(node: NodeView, kind: Kind) -> str:
    rows = [row for row in node.rows if row.kind == kind]
    name = Said(f"{_KINDS[kind].en} ", f"{_KINDS[kind].zh} ")  # the space is read, and heard, with the word
    head = tag("caption", said(name), tag("small", said(_ASIDES[kind])))
    shown = "".join(_row(node.name, row) for row in rows[:MOST_ROWS])
    more = len(rows) - MOST_ROWS
    if more > 0:
        shown += tag("tr", tag("td", both(f"and {more} more", f"另有 {more} 条"), colspan=3))
    if not rows:
        shown = tag("tr", tag("td", both("none", "无"), colspan=3, class_="soft"))
    return tag("table", head, tag("tbody", shown))


def _row(node: str, row: Row) -> str:
    missing = row.state == "missing"
    words = tag("s", tag("code", escape(row.text))) if missing else tag("code", escape(row.text))
    mark = "".join(_marks(row))
    step = tag("span", escape(row.step), class_="step") if row.step else ""
    return tag(
        "tr",
        tag("td", step),
        tag("td", words, tag("div", mark, said(row.means), class_="means")),
        tag("td", _delete_button(node, row)),
        class_=row.state,
    )


def _marks(row: Row) -> Iterator[str]:
    if row.state == "missing":
        yield tag("b", both("missing: ", "缺失："), class_="bad")
    if row.state == "wrong":
        yield tag("b", both("not as the lease says: ", "与租约不符："), class_="bad")


def _delete_button(node: str, row: Row) -> str:
    if not row.removal:
        return ""
    whose = said(Said(f" {row.text} on {node}", f"：{node} 上的 {row.text}"), "vh")
    return tag(
        "button",
        both("Delete", "删除"),
        whose,
        type="button",
        class_="act delete",
        data_act="delete",
        data_node=node,
        data_object=name_of(row),
    )
