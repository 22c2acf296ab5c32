"""``tulle status``, ``peers`` and ``leases`` as terminal text, from their JSON form.

Rendering from the JSON means that a recorded answer prints the same anywhere.
"""

from typing import Any

JsonObject = dict[str, Any]

TEXT: dict[str, dict[str, str]] = {
    "en": {
        "lease": "lease",
        "underlay": "underlay",
        "backend": "backend",
        "store": "store",
        "peers": "peers",
        "work": "work",
        "reachable": "reachable",
        "away": "away, the data path stays",
        "work_line": "{passes} passes, {steps} steps, {repairs} repairs",
        "conflict": "conflict",
        "conflict_line": "{wanted}: held by something that is not tulle's: {holder}",
        "stranger": "foreign",
        "stranger_line": "{object}: on a link of ours, kept",
        "dropping": "forward",
        "dropping_accepted": "{family} {table} {chain} drops by policy: our accept stands in it",
        "dropping_left": "{family} {table} {chain} drops by policy, and the overlay's packets with it: left alone",
        "failure": "failed",
        "refused": "refused",
        "held": "held",
        "held_line": "{key}: vanished without a delete, still programmed",
        "problem": "problem",
        "none": "no peers",
        "subnet": "SUBNET",
        "node": "NODE",
        "vtep": "VTEP MAC",
        "state": "STATE",
        "self": "this node",
    },
    "zh": {
        "lease": "租约",
        "underlay": "底层网络",
        "backend": "后端",
        "store": "存储",
        "peers": "对等节点",
        "work": "工作量",
        "reachable": "可达",
        "away": "不可达，数据通路保持不变",
        "work_line": "{passes} 轮，{steps} 步，{repairs} 次修复",
        "conflict": "冲突",
        "conflict_line": "{wanted}：被不属于 tulle 的对象占用：{holder}",
        "stranger": "外来",
        "stranger_line": "{object}：位于我们的设备上，予以保留",
        "dropping": "转发链",
        "dropping_accepted": "{family} {table} {chain} 的默认策略为丢弃：已在其中加入我们的放行规则",
        "dropping_left": "{family} {table} {chain} 的默认策略为丢弃，覆盖网络的数据包也被丢弃：未作改动",
        "failure": "失败",
        "refused": "拒绝",
        "held": "保留",
        "held_line": "{key}：未经删除而消失，仍保留转发",
        "problem": "问题",
        "none": "没有对等节点",
        "subnet": "子网",
        "node": "节点",
        "vtep": "VTEP MAC",
        "state": "状态",
        "self": "本节点",
    },
}


def format_status(answer: JsonObject, lang: str = "en") -> str:
    """The node in ten lines: one fact each, what is wrong last and named."""
    words = TEXT[lang]
    lease, underlay, store = answer["lease"], answer["underlay"], answer["store"]
    backend = answer["backend"]
    reachable = words["reachable"] if store["reachable"] else words["away"]
    addresses = " ".join(str(ip) for ip in (underlay["address"], underlay["address6"]) if ip)
    lines = [
        f"tulle: {answer['state']}",
        _fact(words["lease"], _subnets(lease)),
        _fact(words["underlay"], f"{underlay['device']} {addresses} mtu {underlay['mtu']}"),
        _fact(words["backend"], f"{backend['type']} VNI {backend['vni']} udp/{backend['port']}"),
        _fact(words["store"], f"{store['url']} ({reachable}), revision {store['revision']}"),
        _fact(words["peers"], str(answer["peers"])),
        _fact(words["work"], words["work_line"].format(**answer)),
    ]
    lines += [_fact(words["problem"], problem) for problem in answer["problems"]]
    lines += [_fact(words["conflict"], words["conflict_line"].format(**c)) for c in answer["conflicts"]]
    lines += [_fact(words["dropping"], _dropping(chain, words)) for chain in answer["dropping_chains"]]
    lines += [_fact(words["failure"], failure["reason"]) for failure in answer["failures"]]
    lines += [_fact(words["refused"], f"{refusal['key']}: {refusal['rule']}") for refusal in answer["refused"]]
    lines += [_fact(words["held"], words["held_line"].format(key=key)) for key in answer["held"]]
    lines += [_fact(words["stranger"], words["stranger_line"].format(object=o)) for o in answer["strangers"]]
    return "\n".join(lines)


def format_peers(answer: JsonObject, lang: str = "en") -> str:
    """One block for each peer: its lease, then the kernel entries that reach it."""
    words = TEXT[lang]
    if not answer["peers"]:
        return words["none"]
    blocks: list[str] = []
    for peer in answer["peers"]:
        macs = " ".join(mac for mac in (peer["vtep_mac"], peer["vtep_mac6"]) if mac)
        head = f"{_subnets(peer)}  {_public(peer)}  {macs}  {peer['state']}"
        blocks.append("\n".join([head, *(f"    {line}" for line in peer["objects"])]))
    return "\n".join(blocks)


def format_leases(answer: JsonObject, lang: str = "en") -> str:
    """A table of all leases that the node knows, its own first."""
    words = TEXT[lang]
    rows = [(words["subnet"], words["node"], words["vtep"], words["state"])]
    rows += [
        (_subnets(lease), _public(lease), lease["vtep_mac"] or lease["vtep_mac6"] or "-", lease["state"])
        for lease in answer["leases"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _dropping(chain: JsonObject, words: dict[str, str]) -> str:
    return words["dropping_accepted" if chain["accepted"] else "dropping_left"].format(**chain)


def _fact(name: str, value: str) -> str:
    wide = sum(2 if ord(character) > 0x2E80 else 1 for character in name)
    return f"  {name}{' ' * max(1, 10 - wide)}{value}"


def _subnets(lease: JsonObject) -> str:
    return " ".join(str(net) for net in (lease["subnet"], lease["subnet6"]) if net)


def _public(lease: JsonObject) -> str:
    return " ".join(str(ip) for ip in (lease["public_ip"], lease["public_ip6"]) if ip)
