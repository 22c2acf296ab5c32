"""A lab as a person sees it: the picture of its nodes, pods and wires, or a table where that is too wide.

Works on the JSON that ``tulle lab`` prints, so that picture and facts cannot differ.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from unicodedata import east_asian_width

JsonObject = dict[str, Any]
GAP: Final = 4
ASCII: Final = str.maketrans("┌┐└┘─│┬┴├┤┼·", "++++-|+++++.")

WORDS: Final = {
    "switch": ("underlay: one switch", "底层网络：一台交换机"),
    "router": ("underlay: a router between the nodes", "底层网络：节点之间有一台路由器"),
    "try": ("Try:", "试一试："),
    "lab": ("lab", "实验"),
    "ready": ("ready", "就绪"),
    "half": ("not finished", "未完成"),
    "no agent": ("no agent", "无代理"),
    "none": ("no lab", "没有实验"),
    "ready in": ("ready in {:.2f} s", "{:.2f} 秒后就绪"),
    "counts": ("{} nodes, {} pods", "{} 个节点，{} 个 Pod"),
}


def say(word: str, lang: str) -> str:
    return WORDS[word][lang == "zh"]


def format_up(lab: JsonObject, seconds: float, lang: str, width: int) -> str:
    """What ``lab up`` ends with: the picture, how long it took, and three commands to try."""
    counts = say("counts", lang).format(len(lab["nodes"]), len(lab["pods"]))
    summary = f"{say('lab', lang)} {lab['lab']}: {counts}, {say('ready in', lang).format(seconds)}"
    commands = [f"  {command}" for command in suggestions(lab)]
    return "\n".join([format_lab(lab, lang, width), "", summary, "", say("try", lang), *commands])


def format_lab(lab: JsonObject, lang: str, width: int) -> str:
    """The picture if it fits into ``width`` columns, else one line per node."""
    boxes = [_box(node, lab) for node in lab["nodes"]]
    if boxes and sum(len(box[0]) + GAP for box in boxes) - GAP <= width:
        return "\n".join(line.rstrip() for line in _side_by_side(boxes, f" {say(lab['underlay'], lang)} "))
    return "\n".join([*format_nodes(lab, lang), say(lab["underlay"], lang)])


def format_nodes(lab: JsonObject, lang: str) -> Iterable[str]:
    """One line per node: address, subnet, pods."""
    addresses = _first_addresses(lab)
    for node in lab["nodes"]:
        pods = "  ".join(f"{pod} {addresses[pod]}" for pod in node["pods"])
        agent = "" if node["agent_pid"] else f"  ({say('no agent', lang)})"
        yield f"{node['name']:<10} {node['address']:<15} {node['subnet']:<18} {pods}{agent}"


def format_labs(labs: Sequence[JsonObject], lang: str) -> str:
    """What ``lab ls`` prints."""
    if not labs:
        return say("none", lang)
    lines: list[str] = []
    for lab in labs:
        state = say("ready" if lab["ready"] else "half", lang)
        lines += [f"{lab['lab']}: {state}, {say(lab['underlay'], lang)}"]
        lines += [f"  {line}" for line in format_nodes(lab, lang)]
    return "\n".join(lines)


def suggestions(lab: JsonObject) -> list[str]:
    """Three commands that work in this lab."""
    name = "" if lab["lab"] == "lab" else f" --name {lab['lab']}"
    node = lab["nodes"][0]["name"]
    pods = [lab["pods"][0]["name"], lab["pods"][-1]["name"]] if len(lab["pods"]) > 1 else []
    walk = [f"tulle trace {pods[0]} {pods[1]}{name}"] if pods else [f"tulle peers --node {node}{name}"]
    return [*walk, f"tulle lab exec{name} {node} -- ip route", f"tulle lab down{name}"]


def _box(node: JsonObject, lab: JsonObject) -> list[str]:
    """A node as a box of equally wide lines; the last one carries its wire."""
    addresses = _first_addresses(lab)
    pods = [_pod(pod, addresses[pod]) for pod in node["pods"]]
    rows = [" ".join(parts) for parts in zip(*pods, strict=True)] if pods else []
    title = f" {node['name']} "
    middle = [*rows, *_stack(node, lab, bool(pods))]
    inner = max(len(title), *(len(row) + 2 for row in middle))
    wire = "─" * (inner // 2) + "┬" + "─" * (inner - inner // 2 - 1)
    return [f"┌{title.center(inner, '─')}┐", *(f"│{row.center(inner)}│" for row in middle), f"└{wire}┘"]


def _pod(name: str, address: str) -> list[str]:
    width = max(len(name) + 2, len(address) + 2)
    return [f"┌{f' {name} '.center(width, '─')}┐", f"│{address.center(width)}│", f"└{'┬'.center(width, '─')}┘"]


def _stack(node: JsonObject, lab: JsonObject, pods: bool) -> list[str]:
    bridge = [f"cbr0 · {node['subnet']}"] if pods else []
    return [*bridge, f"flannel.{lab['vni']}", f"eth0 · {node['address']}"]


def _side_by_side(boxes: Sequence[Sequence[str]], label: str) -> Iterable[str]:
    """The boxes, and the wire that joins them below."""
    height = max(len(box) for box in boxes)
    padded = [[*box[:-1], *["│" + " " * (len(box[0]) - 2) + "│"] * (height - len(box)), box[-1]] for box in boxes]
    for row in zip(*padded, strict=True):
        yield (" " * GAP).join(row)
    places: list[int] = []
    start = 0
    for box in padded:
        places.append(start + box[-1].index("┬"))
        start += len(box[0]) + GAP
    yield "".join("│" if column in places else " " for column in range(places[-1] + 1))
    yield _bus(places, label)


def _bus(places: Sequence[int], label: str) -> str:
    if len(places) == 1:
        return " " * places[0] + "└──" + label
    columns = ["─"] * (places[-1] - places[0] + 1)
    for place in places:
        columns[place - places[0]] = "┴"
    columns[0], columns[-1] = "└", "┘"
    text, size = "".join(columns), sum(2 if east_asian_width(char) in "WF" else 1 for char in label)
    spare = places[1] - places[0] - 1
    if size > spare:
        return " " * places[0] + text + "\n" + " " * places[0] + label.strip()
    start = 1 + (spare - size) // 2
    return " " * places[0] + text[:start] + label + text[start + size :]


def _first_addresses(lab: JsonObject) -> dict[str, str]:
    return {pod["name"]: pod["addresses"][0].partition("/")[0] if pod["addresses"] else "?" for pod in lab["pods"]}
