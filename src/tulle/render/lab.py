"""A lab as a person sees it: the picture of its nodes, pods and wires, or a table where that is too wide.

Works on the JSON that ``tulle lab`` prints, so that picture and facts cannot differ.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from tulle.render.walk_text import fit, width

JsonObject = dict[str, Any]
GAP: Final = 4
ASCII: Final = str.maketrans("┌┐└┘─│┬┴├┤┼·", "++++-|+++++.")

WORDS: Final = {
    "switch": ("underlay: switch", "底层网络：交换机 switch"),
    "router": ("underlay: router", "底层网络：路由器 router"),
    "hosts": ("{}, with {}", "{}，另有 {}"),
    "etcd away": (" (does not run)", "（未运行）"),
    "etcd paused": (" (paused)", "（已暂停）"),
    "route": ("route", "路由"),
    "routed": ("routed", "路由"),
    "try": ("Try:", "试一试："),
    "lab": ("lab {}: {}, {}", "实验 {}：{}，{}"),
    "ready in": ("ready in {:.2f} s", "{:.2f} 秒后就绪"),
    "ready": ("ready", "就绪"),
    "half": ("not finished: 'tulle lab down --name {}' removes it", "未完成：用 tulle lab down --name {} 删除"),
    "no agent": ("no agent", "代理未运行"),
    "paused": ("agent paused", "代理已暂停"),
    "none": ("no lab: make one with 'tulle lab up'", "没有实验：用 tulle lab up 创建"),
    "node": ("1 node", "1 个节点"),
    "nodes": ("{} nodes", "{} 个节点"),
    "pod": ("1 pod", "1 个 Pod"),
    "pods": ("{} pods", "{} 个 Pod"),
    "and": (", ", "，"),
    "header": ("NODE ADDRESS SUBNET PODS", "节点 地址 子网 Pod"),
}


def say(word: str, lang: str) -> str:
    return WORDS[word][lang == "zh"]


def format_up(lab: JsonObject, seconds: float, lang: str, columns: int) -> str:
    """What ``lab up`` ends with: the picture, how long it took, and three commands to try."""
    summary = say("lab", lang).format(lab["lab"], _counts(lab, lang), say("ready in", lang).format(seconds))
    commands = [f"  {command}" for command in suggestions(lab)]
    return "\n".join([format_lab(lab, lang, columns), "", summary, "", say("try", lang), *commands])


def format_labs(labs: Sequence[JsonObject], lang: str, columns: int) -> str:
    """What ``lab ls`` prints: each lab in a line and its picture."""
    if not labs:
        return say("none", lang)
    return "\n\n".join(f"{_state(lab, lang)}\n\n{format_lab(lab, lang, columns)}" for lab in labs)


def format_lab(lab: JsonObject, lang: str, columns: int) -> str:
    """The picture if it fits into ``columns``, else a table of the nodes."""
    boxes = [_box(node, lab, lang) for node in lab["nodes"]]
    if boxes and sum(width(box[0]) + GAP for box in boxes) - GAP <= columns:
        return "\n".join(line.rstrip() for line in _side_by_side(boxes, _in_the_wire(lab, lang)))
    return "\n".join([*_table(lab, lang, columns), "", _underlay(lab, lang)])


def suggestions(lab: JsonObject) -> list[str]:
    """Three commands that work in this lab."""
    name = "" if lab["lab"] == "lab" else f" --name {lab['lab']}"
    node = lab["nodes"][0]["name"]
    pods = [pod["name"] for pod in lab["pods"]]
    walk = f"tulle trace {pods[0]} {pods[-1]}{name}" if len(pods) > 1 else f"tulle status --node {node}{name}"
    return [walk, f"tulle lab exec{name} {node} -- ip route", f"tulle lab down{name}"]


# -- words ------------------------------------------------------------------------------


def _state(lab: JsonObject, lang: str) -> str:
    state = say("ready", lang) if lab["ready"] else say("half", lang).format(lab["lab"])
    return say("lab", lang).format(lab["lab"], _counts(lab, lang), state)


def _counts(lab: JsonObject, lang: str) -> str:
    numbers = (("node", len(lab["nodes"])), ("pod", len(lab["pods"])))
    texts = [say(word if number == 1 else f"{word}s", lang).format(number) for word, number in numbers]
    return say("and", lang).join(texts)


def _underlay(lab: JsonObject, lang: str) -> str:
    """What joins the nodes, and who else is on it."""
    hosts = [f"{name} {lab[name]['address']}" for name in ("outside", "etcd") if lab[name]]
    underlay, unwell = say(lab["underlay"], lang), _etcd_unwell(lab["etcd"])
    told = say("and", lang).join(hosts) + (say(unwell, lang) if unwell else "")
    return say("hosts", lang).format(underlay, told) if hosts else underlay


def _etcd_unwell(etcd: JsonObject | None) -> str:
    """Why the store does not answer, as a word; "" when it does, or is a file."""
    if etcd is None or (etcd["pid"] and not etcd["paused"]):
        return ""
    return "etcd paused" if etcd["pid"] else "etcd away"


# -- the picture ------------------------------------------------------------------------


def _box(node: JsonObject, lab: JsonObject, lang: str) -> list[str]:
    """A node as a box of equally wide lines; the last one carries its wire."""
    pods = [_pod(pod) for pod in _pods(node, lab)]
    stack = _stack(node, lab, lang, bool(pods))
    title = " ".join(["", node["name"], *_unwell(node, lang), ""])
    rows = _beside(pods)
    inner = _odd(max(width(title) + 2, *(width(row) + 2 for row in (*rows, *stack))))
    if rows:
        rows = [_centred(row, inner) for row in rows]
        rows.append(_joined(rows[-1], inner // 2))
    lines = [*rows, *(_on_wire(line, inner) for line in stack)]
    half = "─" * (inner // 2)
    return [f"┌{_centred(title, inner, '─')}┐", *(f"│{line}│" for line in lines), f"└{half}┬{half}┘"]


def _unwell(node: JsonObject, lang: str) -> list[str]:
    """Why nobody looks after the node, where that is so."""
    if not node["agent_pid"]:
        return [f"({say('no agent', lang)})"]
    return [f"({say('paused', lang)})"] if node["agent_paused"] else []


def _pod(pod: JsonObject) -> list[str]:
    addresses = [address.partition("/")[0] for address in pod["addresses"]] or ["?"]
    size = _odd(max(width(pod["name"]) + 4, *(width(address) + 2 for address in addresses)))
    title, half = _centred(f" {pod['name']} ", size, "─"), "─" * (size // 2)
    return [f"┌{title}┐", *(f"│{_centred(address, size)}│" for address in addresses), f"└{half}┬{half}┘"]


def _odd(columns: int) -> int:
    """At least ``columns``, with one in the middle for the wire."""
    return columns | 1


def _stack(node: JsonObject, lab: JsonObject, lang: str, pods: bool) -> list[str]:
    """What is below the pods, from the bridge to the underlay device; a line that begins with a bar is a wire."""
    devices = f"flannel.{lab['vni']}" + (f" · flannel-v6.{lab['vni']}" if node["subnet6"] else "")
    tunnel = [devices, f"│ UDP {lab['port']}"] if lab["backend"] == "vxlan" else []
    joint = "cbr0" if lab["pod_mode"] == "bridge" else say("routed", lang)
    shared = [f"{joint} {node['subnet']}", *_given(node["subnet6"]), f"│ {say('route', lang)}"] if pods else []
    return [*shared, *tunnel, f"eth0 {node['address']}", *_given(node["address6"])]


def _given(text: str | None) -> list[str]:
    return [text] if text else []


def _beside(boxes: Sequence[Sequence[str]]) -> list[str]:
    """Boxes in one row, those with fewer lines stretched above their last."""
    height = max((len(box) for box in boxes), default=0)
    return [" ".join(parts) for parts in zip(*(_stretched(box, height) for box in boxes), strict=True)]


def _stretched(box: Sequence[str], height: int) -> list[str]:
    blank = "│" + " " * (width(box[0]) - 2) + "│"
    return [*box[:-1], *[blank] * (height - len(box)), box[-1]]


def _joined(row: str, middle: int) -> str:
    """The line below ``row`` that leads its wires to column ``middle``."""
    wires = [column for column, char in enumerate(row) if char == "┬"]
    first, last = min(*wires, middle), max(*wires, middle)
    return "".join(_joint(column, wires, middle, first, last) for column in range(len(row)))


def _joint(column: int, wires: Sequence[int], middle: int, first: int, last: int) -> str:
    """One character of a line that joins ``wires`` from above with one to below."""
    if not first <= column <= last:
        return " "
    above, below = column in wires, column == middle
    left, right = column > first, column < last
    return _LINES[above, below, left, right]


_LINES: Final = {
    (True, True, True, True): "┼",
    (True, True, True, False): "┤",
    (True, True, False, True): "├",
    (True, True, False, False): "│",
    (True, False, True, True): "┴",
    (True, False, True, False): "┘",
    (True, False, False, True): "└",
    (False, True, True, True): "┬",
    (False, True, True, False): "┐",
    (False, True, False, True): "┌",
    (False, False, True, True): "─",
}
"""By whether a wire goes up, down, left, right."""


def _on_wire(line: str, inner: int) -> str:
    """A device in the middle, or a wire there with its label at the right."""
    if not line.startswith("│"):
        return _centred(line, inner)
    return fit(" " * (inner // 2) + line, inner)


def _centred(text: str, columns: int, filler: str = " ") -> str:
    spare = columns - width(text)
    return filler * (spare // 2) + text + filler * (spare - spare // 2)


def _side_by_side(boxes: Sequence[Sequence[str]], label: str) -> Iterable[str]:
    """The boxes, and the wire that joins them below."""
    height = max(len(box) for box in boxes)
    places: list[int] = []
    start = 0
    for box in boxes:
        places.append(start + width(box[0]) // 2)
        start += width(box[0]) + GAP
    for row in zip(*(_stretched(box, height) for box in boxes), strict=True):
        yield (" " * GAP).join(row)
    yield "".join("│" if column in places else " " for column in range(places[-1] + 1))
    yield from _bus(places, label)


def _in_the_wire(lab: JsonObject, lang: str) -> str:
    """A switch is one wire for all; a router ends each."""
    name = f" {_underlay(lab, lang)} "
    return f"┤{name}├" if lab["underlay"] == "router" else name


def _bus(places: Sequence[int], label: str) -> Iterable[str]:
    """The underlay: a line from the first node's wire to the last one's, with its name in it where there is room."""
    indent = " " * places[0]
    if len(places) == 1:
        yield f"{indent}└──{label.rstrip('├')}"
        return
    ends = {places[0]: "└", places[-1]: "┘"}
    wires = "".join(ends.get(column, "┴" if column in places else "─") for column in range(places[0], places[-1] + 1))
    spare = places[1] - places[0] - 1
    if width(label) > spare:
        yield indent + wires
        yield indent + label.strip("┤ ├")
        return
    start = 1 + (spare - width(label)) // 2
    yield indent + wires[:start] + label + wires[start + width(label) :]


# -- the table --------------------------------------------------------------------------


def _table(lab: JsonObject, lang: str, columns: int) -> Iterable[str]:
    """A line for each node, more where its pods or its IPv6 addresses need them."""
    rows = [_cells(node, lab, lang) for node in lab["nodes"]]
    header = [[word] for word in say("header", lang).split()]
    sizes = [max(width(text) for row in (header, *rows) for text in row[cell]) + 2 for cell in range(3)]
    for row in (header, *rows):
        pods = _packed(row[3], max(20, columns - sum(sizes)))
        for line in range(max(len(cell) for cell in (*row[:3], pods))):
            left = (fit(_line(cell, line), size) for cell, size in zip(row[:3], sizes, strict=True))
            yield ("".join(left) + _line(pods, line)).rstrip()


def _cells(node: JsonObject, lab: JsonObject, lang: str) -> list[list[str]]:
    name = [node["name"], *_unwell(node, lang)]
    addresses = [node["address"], *_given(node["address6"])]
    pods = [
        " ".join([pod["name"], *(address.partition("/")[0] for address in pod["addresses"])])
        for pod in _pods(node, lab)
    ]
    return [name, addresses, [node["subnet"], *_given(node["subnet6"])], pods]


def _packed(texts: Sequence[str], columns: int) -> list[str]:
    """As many texts in a line as fit, none broken."""
    lines: list[str] = []
    for text in texts:
        if lines and width(lines[-1]) + 2 + width(text) <= columns:
            lines[-1] += f"  {text}"
        else:
            lines.append(text)
    return lines


def _line(cell: Sequence[str], number: int) -> str:
    return cell[number] if number < len(cell) else ""


def _pods(node: JsonObject, lab: JsonObject) -> list[JsonObject]:
    return [pod for pod in lab["pods"] if pod["node"] == node["name"]]
