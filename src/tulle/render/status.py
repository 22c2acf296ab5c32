"""``tulle status``, ``peers``, ``leases`` and ``plan`` as terminal text, from their JSON form.

Rendering from the JSON means that a recorded answer prints the same anywhere.  Whatever is wrong
is one paragraph that ends with the next step; what is well is one line.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from tulle.render.states import state
from tulle.render.walk_text import clean, fit, width, wrap

JsonObject = dict[str, Any]

COLUMNS: Final = 80
NAME: Final = 12
"""Columns of a fact's name, its indent included."""
MOST: Final = 8
"""So many faults of one kind are told; of ten thousand the number says more."""
NS: Final = 1_000_000_000
COUNTLESS: Final = 1 << 32
"""So many free addresses, or more, are no figure that anybody needs."""

TEXT: dict[str, dict[str, str]] = {
    "en": {
        "lease": "lease",
        "lease_line": "{subnets}, good for {left}",
        "lease_over": "{subnets}, past its time: no new pods until the store answers",
        "underlay": "underlay",
        "backend": "backend",
        "store": "store",
        "store_line": "{url}, revision {revision}",
        "store_away": "{url} is away: the data path stays, leases of others are as of revision {revision}; "
        "see whether it runs",
        "store_recalled": "{url} is away: the node goes by its own memory of {when}; see whether it runs",
        "peers": "peers",
        "addresses": "addresses",
        "addresses_line": "{subnet}: {used} in use, {free} free",
        "addresses_countless": "{subnet}: {used} in use",
        "addresses_low": "{subnet}: {used} in use, only {free} free: delete pods, or give nodes larger subnets",
        "work": "work",
        "work_line": "{passes} passes, {steps} steps, {repairs} repairs",
        "conflict": "conflict",
        "conflict_line": "{wanted} is wanted, but {holder} is there and not tulle's: remove it, and the agent goes on",
        "stranger": "foreign",
        "stranger_line": "{object} is on a link of ours and not ours: kept",
        "unclaimed": "unclaimed",
        "unclaimed_line": "{object} looks like flannel's, and no lease has it: remove it if nobody needs it",
        "dropping": "forward",
        "dropping_accepted": "{family} {table} {chain} drops by policy: our accept stands in it",
        "dropping_left": "{family} {table} {chain} drops by policy, and the overlay's packets with it: accept "
        "{networks} in it, or start the agent without --iptables-forward-rules=false",
        "dropping_rule": "{family} {table} {chain} drops the overlay's packets by its rule '{by_rule}', which is "
        "left alone: accept {networks} before it",
        "failure": "failed",
        "failure_line": "{reason}: tried again by itself, within a minute",
        "refused": "refused",
        "refused_line": "lease {key}: {rule}: no entry is made for it; correct or delete it in the store",
        "garbled": "garbled",
        "garbled_line": "lease {key}: {reason}: its last good value counts; correct or delete it in the store",
        "held": "held",
        "held_line": "lease {key} vanished without a delete: still programmed, for an hour",
        "problem": "problem",
        "none": "no peers",
        "subnet": "SUBNET",
        "node": "NODE",
        "vtep": "VTEP MAC",
        "state": "STATE",
        "more": "and {n} more: see --json",
        "nothing": "nothing to change",
        "hours": "{n} h",
        "minutes": "{n} min",
        "seconds": "{n} s",
    },
    "zh": {
        "lease": "租约",
        "lease_line": "{subnets}，有效期还有 {left}",
        "lease_over": "{subnets}，已过期：在存储恢复应答之前不接受新的 Pod",
        "underlay": "底层网络",
        "backend": "后端",
        "store": "存储",
        "store_line": "{url}，修订版 {revision}",
        "store_away": "{url} 不可达：数据通路保持不变，其他节点的租约停留在修订版 {revision}；请检查它是否在运行",
        "store_recalled": "{url} 不可达：节点按自己在 {when} 的记录工作；请检查它是否在运行",
        "peers": "对等节点",
        "addresses": "地址",
        "addresses_line": "{subnet}：{used} 个在用，{free} 个空闲",
        "addresses_countless": "{subnet}：{used} 个在用",
        "addresses_low": "{subnet}：{used} 个在用，只剩 {free} 个空闲：请删除 Pod，或给节点更大的子网",
        "work": "工作量",
        "work_line": "{passes} 轮，{steps} 步，{repairs} 次修复",
        "conflict": "冲突",
        "conflict_line": "需要 {wanted}，但该处已有不属于 tulle 的 {holder}：移除它，代理便会继续",
        "stranger": "外来",
        "stranger_line": "{object} 位于我们的设备上但不属于我们：予以保留",
        "unclaimed": "无主",
        "unclaimed_line": "{object} 像是 flannel 写的，但没有任何租约拥有它：若无人需要，请移除",
        "dropping": "转发链",
        "dropping_accepted": "{family} {table} {chain} 的默认策略为丢弃：已在其中加入我们的放行规则",
        "dropping_left": "{family} {table} {chain} 的默认策略为丢弃，覆盖网络的数据包也被丢弃："
        "请在其中放行 {networks}，或启动代理时不使用 --iptables-forward-rules=false",
        "dropping_rule": "{family} {table} {chain} 的规则“{by_rule}”丢弃覆盖网络的数据包，未作改动："
        "请在它之前放行 {networks}",
        "failure": "失败",
        "failure_line": "{reason}：一分钟内会自动重试",
        "refused": "拒绝",
        "refused_line": "租约 {key}：{rule}：没有为它建立表项；请在存储中改正或删除它",
        "garbled": "无法读取",
        "garbled_line": "租约 {key}：{reason}：沿用其最后一个有效值；请在存储中改正或删除它",
        "held": "保留",
        "held_line": "租约 {key} 未经删除而消失：仍保留转发一小时",
        "problem": "问题",
        "none": "没有对等节点",
        "subnet": "子网",
        "node": "节点",
        "vtep": "VTEP MAC",
        "state": "状态",
        "more": "还有 {n} 个：见 --json",
        "nothing": "无需更改",
        "hours": "{n} 小时",
        "minutes": "{n} 分钟",
        "seconds": "{n} 秒",
    },
}


def format_status(answer: JsonObject, lang: str = "en") -> str:
    """The node in a few lines: one fact each, then what is wrong with the next step.  An agent that starts says why."""
    words = TEXT[lang]
    starting = "lease" not in answer
    told = [*_problems(answer, words)] if starting else [*facts(answer, words), *wrongs(answer, words)]
    return "\n".join(
        [f"tulle: {state(answer['state'], lang)}", *(line for name, value in told for line in _fact(name, value))]
    )


def format_plan_answer(answer: JsonObject, lang: str = "en") -> str:
    """What a shell can execute: commands, and beside them as comments what stands in the way."""
    words = TEXT[lang]
    notes = [f"# {words['conflict']}: {clean(words['conflict_line'].format(**c))}" for c in answer["conflicts"]]
    if answer["empty"] and not notes:
        notes = [f"# {words['nothing']}"]
    return "\n".join([*notes, *str(answer["text"]).splitlines()])


def format_peers(answer: JsonObject, lang: str = "en") -> str:
    """One block for each peer: its lease, then the kernel entries that reach it."""
    if not answer["peers"]:
        return TEXT[lang]["none"]
    blocks: list[str] = []
    for peer in answer["peers"]:
        head = ["  ".join(filter(None, row)) for row in _rows(peer, state(peer["state"], lang))]
        blocks.append("\n".join([*head, *(f"    {line}" for line in peer["objects"])]))
    return "\n".join(blocks)


def format_leases(answer: JsonObject, lang: str = "en") -> str:
    """A table of all leases that the node knows, its own first."""
    words = TEXT[lang]
    rows = [(words["subnet"], words["node"], words["vtep"], words["state"])]
    rows += [row for lease in answer["leases"] for row in _rows(lease, state(lease["state"], lang), absent="-")]
    widths = [max(width(row[column]) for row in rows) for column in range(4)]
    return "\n".join("  ".join(map(fit, row, widths)).rstrip() for row in rows)


def _backend(backend: JsonObject) -> str:
    wire = f" VNI {backend['vni']} udp/{backend['port']}" if "vni" in backend else ""
    return f"{backend['type']}{wire}"


def facts(answer: JsonObject, words: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What there is, whether or not it is well."""
    underlay, store, backend = answer["underlay"], answer["store"], answer["backend"]
    addresses = " ".join(str(ip) for ip in (underlay["address"], underlay["address6"]) if ip)
    yield words["lease"], _lease(answer["lease"], answer.get("now_ns"), words)
    yield words["underlay"], f"{underlay['device']} {addresses} mtu {underlay['mtu']}"
    yield words["backend"], _backend(backend)
    yield words["store"], _store(store, words)
    yield words["peers"], str(answer["peers"])
    for use in answer.get("addresses", []):
        if use["used"] or use["resting"]:
            yield words["addresses"], words[_fill(use)].format(**use)
    yield words["work"], words["work_line"].format(**answer)


def _store(store: JsonObject, words: dict[str, str]) -> str:
    recalled_ns = store.get("recalled_ns")
    if recalled_ns is not None:
        when = datetime.fromtimestamp(recalled_ns // NS, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return words["store_recalled"].format(url=store["url"], when=when)
    return words["store_line" if store["reachable"] else "store_away"].format(**store)


def wrongs(answer: JsonObject, words: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What is not as it should be, the gravest first, each with the next step."""
    yield from _problems(answer, words)
    for kind, items in (
        ("conflict", answer["conflicts"]),
        ("failure", answer["failures"]),
        ("refused", answer["refused"]),
        ("garbled", answer["undecodable"]),
        ("held", [{"key": key} for key in answer["held"]]),
    ):
        for item in items[:MOST]:
            yield words[kind], words[f"{kind}_line"].format(**item)
        if len(items) > MOST:
            yield words[kind], words["more"].format(n=len(items) - MOST)
    for chain in answer["dropping_chains"]:
        yield words["dropping"], _dropping(chain, answer["network"], words)
    for kind, objects in (("stranger", answer["strangers"]), ("unclaimed", answer.get("unclaimed", []))):
        for obj in objects[:MOST]:
            yield words[kind], words[f"{kind}_line"].format(object=obj)
        if len(objects) > MOST:
            yield words[kind], words["more"].format(n=len(objects) - MOST)


def _problems(answer: JsonObject, words: dict[str, str]) -> Iterator[tuple[str, str]]:
    return ((words["problem"], problem) for problem in answer["problems"])


def _lease(lease: JsonObject, now_ns: int | None, words: dict[str, str]) -> str:
    """Our subnets, and for how long we may trust that they are ours."""
    subnets, deadline_ns = _subnets(lease), lease["deadline_ns"]
    if now_ns is None or deadline_ns is None:
        return subnets
    left_s = (deadline_ns - now_ns) // NS
    if left_s <= 0:
        return words["lease_over"].format(subnets=subnets)
    return words["lease_line"].format(subnets=subnets, left=span(left_s, words))


def span(seconds: int, words: dict[str, str]) -> str:
    """A length of time in the unit that fits."""
    unit, n = ("hours", seconds // 3600) if seconds >= 7200 else ("minutes", seconds // 60)
    if seconds < 120:
        unit, n = "seconds", seconds
    return words[unit].format(n=n)


def _fill(use: JsonObject) -> str:
    """How it is said how many addresses a subnet has left."""
    if use["low"]:
        return "addresses_low"
    return "addresses_line" if use["free"] < COUNTLESS else "addresses_countless"


def _dropping(chain: JsonObject, networks: list[str], words: dict[str, str]) -> str:
    kind = "dropping_rule" if chain.get("by_rule") else "dropping_accepted" if chain["accepted"] else "dropping_left"
    return words[kind].format(**chain, networks=" ".join(networks))


def _fact(name: str, value: str) -> list[str]:
    """A name and its value, wrapped under itself."""
    first, *rest = wrap(clean(value), COLUMNS - NAME)
    return [f"{fit(f'  {name} ', NAME)}{first}", *(f"{' ' * NAME}{line}" for line in rest)]


def _subnets(lease: JsonObject) -> str:
    return " ".join(str(net) for net in (lease["subnet"], lease["subnet6"]) if net)


def _rows(lease: JsonObject, told: str, absent: str = "") -> list[tuple[str, str, str, str]]:
    """Subnet, node and VTEP MAC of each family that the lease has, a row each; ``told``, its state, in the first."""
    families = [
        (str(lease[f"subnet{six}"]), str(lease[f"public_ip{six}"] or absent), lease[f"vtep_mac{six}"] or absent)
        for six in ("", "6")
        if lease[f"subnet{six}"]
    ]
    return [(*family, told if at == 0 else "") for at, family in enumerate(families)]
