"""Every word of the live view, in two languages, and its numbers with their units."""

from typing import Final

UNITS: Final = ("", "k", "M", "G", "T")
DASH: Final = "–"

WORDS: Final[dict[str, dict[str, str]]] = {
    "en": {
        "nodes_one": "1 node",
        "nodes": "{n} nodes",
        "every": "every {s} s",
        "paused": "PAUSED",
        "node": "NODE",
        "state": "STATE",
        "peers": "PEERS",
        "lease": "LEASE",
        "overlay_rx": "OVERLAY RX",
        "overlay_tx": "TX",
        "underlay_rx": "UNDERLAY RX",
        "underlay_tx": "TX",
        "drops": "DROPS",
        "repairs": "REPAIRS",
        "store": "STORE",
        "all": "all",
        "silent": "no answer",
        "past": "over",
        "reachable": "ok",
        "away": "away",
        "pass": "pass",
        "pass_line": "{took}, {ago} ago; audit {audit} ago",
        "no_audit": "pass {ago} ago",
        "drops_line": "{dropped} since you watch: {no_route} for want of a route, {discarded} discarded, since boot",
        "kernel": "kernel",
        "links": "links",
        "link": "LINK",
        "role": "IS",
        "underlay": "underlay",
        "tunnel": "tunnel",
        "bridge": "bridge",
        "pod": "pod",
        "down": "down",
        "no_carrier": "no carrier",
        "rx": "RX",
        "tx": "TX",
        "rx_packets": "RX",
        "tx_packets": "TX",
        "dropped": "DROPPED",
        "errors": "ERRORS",
        "peer_table": "peers",
        "subnet": "SUBNET",
        "public": "NODE",
        "mac": "VTEP MAC",
        "no_peers": "no peers",
        "events": "what happened",
        "quiet": "nothing yet",
        "wrong": "what is wrong",
        "well": "nothing",
        "more": "… {n} more",
        "keys": "q quit   ? help   ↑ ↓ Tab node   p pause",
        "keys_alone": "q quit   ? help   p pause",
        "back": "any key goes back",
        "nobody": "no node to be seen: {why}",
        "repaired": "repaired",
        "conflict": "conflict",
        "foreign": "foreign",
        "failed": "failed",
        "problem": "problem",
        "over": "over",
        "store_news": "store",
        "lease_news": "lease",
        "refused": "refused",
        "held": "held",
        "kind_silent": "silent",
        "answers": "answers",
        "restarted": "restarted",
        "joined": "joined",
        "left": "left",
    },
    "zh": {
        "nodes_one": "1 个节点",
        "nodes": "{n} 个节点",
        "every": "每 {s} 秒",
        "paused": "已暂停",
        "node": "节点",
        "state": "状态",
        "peers": "对等",
        "lease": "租约",
        "overlay_rx": "覆盖网络 收",
        "overlay_tx": "发",
        "underlay_rx": "底层网络 收",
        "underlay_tx": "发",
        "drops": "丢弃",
        "repairs": "修复",
        "store": "存储",
        "all": "合计",
        "silent": "无应答",
        "past": "已过期",
        "reachable": "正常",
        "away": "不可达",
        "pass": "轮",
        "pass_line": "用时 {took}，{ago}前；审计在 {audit}前",
        "no_audit": "{ago}前一轮",
        "drops_line": "观察以来 {dropped} 个；启动以来无路由 {no_route} 个，被丢弃 {discarded} 个",
        "kernel": "内核",
        "links": "设备",
        "link": "设备",
        "role": "用途",
        "underlay": "底层网络",
        "tunnel": "隧道",
        "bridge": "网桥",
        "pod": "Pod",
        "down": "已停用",
        "no_carrier": "无载波",
        "rx": "收",
        "tx": "发",
        "rx_packets": "收",
        "tx_packets": "发",
        "dropped": "丢弃",
        "errors": "错误",
        "peer_table": "对等节点",
        "subnet": "子网",
        "public": "节点",
        "mac": "VTEP MAC",
        "no_peers": "没有对等节点",
        "events": "发生了什么",
        "quiet": "尚无",
        "wrong": "哪里不对",
        "well": "没有",
        "more": "…… 还有 {n} 项",
        "keys": "q 退出   ? 帮助   ↑ ↓ Tab 选择节点   p 暂停",
        "keys_alone": "q 退出   ? 帮助   p 暂停",
        "back": "按任意键返回",
        "nobody": "看不到节点：{why}",
        "repaired": "已修复",
        "conflict": "冲突",
        "foreign": "外来",
        "failed": "失败",
        "problem": "问题",
        "over": "已消除",
        "store_news": "存储",
        "lease_news": "租约",
        "refused": "拒绝",
        "held": "保留",
        "kind_silent": "无应答",
        "answers": "有应答",
        "restarted": "已重启",
        "joined": "加入",
        "left": "离开",
    },
}

HELP: Final[dict[str, tuple[str, ...]]] = {
    "en": (
        "q, Ctrl-C      quit",
        "?, h           this page",
        "↑ ↓, k j, Tab  another node",
        "p, space       hold the picture still; what happens meanwhile is not lost",
        "",
        (
            "Rates are the kernel's own counters of each device, from one look to the next; inner bytes on the tunnel, "
            "outer bytes on the underlay. – means that nobody counts it."
        ),
        "",
        (
            "DROPS counts since you watch: frames that tunnel, bridge and underlay dropped or that were in error, "
            "and packets for which there was no route. A tunnel drops multicast in health too: only what grows "
            "together with a loss is evidence."
        ),
        "",
        (
            "REPAIRS counts since the agent's start what others had changed and is right again; the time beside a "
            "repair is from the kernel's word of the damage to its end."
        ),
        "",
        "A node whose agent does not answer keeps its counters: the data path needs no agent.",
    ),
    "zh": (
        "q、Ctrl-C      退出",
        "?、h           本页",
        "↑ ↓、k j、Tab  选择另一个节点",
        "p、空格        画面暂停；期间发生的事不会丢失",
        "",
        "速率来自内核对每个设备的计数，按两次查看之差计算；隧道上是内层字节，底层网络上是外层字节。– 表示无人计数。",
        "",
        (
            "“丢弃”从开始观察时计起：隧道、网桥和底层设备丢弃或出错的帧，以及没有路由的数据包。"
            "隧道在健康时也会丢弃多播：只有与丢包同时增长的数字才是证据。"
        ),
        "",
        "“修复”从代理启动时计起：被他人改动、现已恢复的表项；旁边的时间是从内核报告损坏到修复完成。",
        "",
        "代理无应答的节点仍有计数：数据通路不需要代理。",
    ),
}


def per_second(value: float | None, unit: str) -> str:
    """A rate in three digits with its unit; a dash when nobody counts."""
    if value is None:
        return DASH
    scaled, prefix = _scaled(value)
    digits = 0 if scaled >= 100 or (not prefix and scaled == int(scaled)) else 1 if scaled >= 10 or not prefix else 2
    return f"{scaled:.{digits}f} {prefix}{unit}/s"


def _scaled(value: float) -> tuple[float, str]:
    for prefix in UNITS[:-1]:
        if value < 999.5:
            return value, prefix
        value /= 1000
    return value, UNITS[-1]


def took(length_ns: int) -> str:
    """How long something took, in three digits."""
    for limit, divisor, unit in ((1_000_000, 1_000, "µs"), (1_000_000_000, 1_000_000, "ms")):
        if length_ns < limit:
            return f"{length_ns / divisor:.3g} {unit}"
    return f"{length_ns / 1_000_000_000:.3g} s"
