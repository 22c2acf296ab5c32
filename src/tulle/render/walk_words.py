"""The sentences of a walk in English and Chinese: what happened at a hop, what the finding means.

A sentence is chosen by what the hop is and filled from its facts; where a fact is missing, the
sentence that does without it is chosen, never one with a hole.
"""

from typing import Final

from tulle.trace.journey import End, Finding, Hop, Journey, Reason

Words = dict[str, tuple[str, str]]
LANGUAGES: Final = ("en", "zh")

WORDS: Final[Words] = {
    # name: (English, Chinese)
    "step": ("step", "步骤"),
    "at": ("at", "位置"),
    "bytes": ("bytes", "字节"),
    "what": ("what happened", "发生了什么"),
    "underlay": ("underlay", "底层网络"),
    "probe": ("probe", "探测包"),
    "header.packet": ("{proto}, probe {id}, {len} bytes", "{proto}，探测包 {id}，{len} 字节"),
    "header.end": ("{pod} {ip} on {node}", "{pod} {ip}（位于 {node}）"),
    "header.node": ("{pod} {ip}", "{pod} {ip}"),
    "header.tunnel": ("{backend} VNI {vni}, udp/{port}", "{backend} VNI {vni}，udp/{port}"),
    "header.same": ("same node: the bridge alone", "同一节点：只经过网桥"),
    "header.plain": ("no tunnel on this path", "此路径上没有隧道"),
    "header.clock": ("one kernel, one clock", "同一内核，同一时钟"),
    "header.outer": ("outer {src} → {dst}", "外层 {src} → {dst}"),
    "hop.1.via": ("leaves {pod} to its gateway {via} (MAC {mac})", "离开 {pod}，发往网关 {via}（MAC {mac}）"),
    "hop.1": ("leaves {pod} straight to {dst} (MAC {mac})", "离开 {pod}，直接发往 {dst}（MAC {mac}）"),
    "hop.pair.port": ("other end of the pair, port of {master}", "虚拟网卡对的另一端，{master} 的端口"),
    "hop.pair": ("other end of the pair", "虚拟网卡对的另一端"),
    "hop.2": ("bridge hands it up: the MAC is {dev}'s own", "网桥上交协议栈：目的 MAC 就是 {dev} 自己的"),
    "hop.2.other": ("bridge passes a copy up: the MAC is not {dev}'s", "网桥上交一份副本：目的 MAC 不是 {dev} 的"),
    "hop.2.fdb": ("bridge FDB: {mac} is behind {port}", "网桥转发表：{mac} 在 {port} 后面"),
    "hop.2.flood": ("bridge FDB does not know the MAC: sent to every port", "网桥转发表中没有该 MAC：发往所有端口"),
    "hop.route": ("{text}", "{text}"),
    "hop.noroute": ("the kernel refuses to route it: {text}", "内核拒绝路由：{text}"),
    "hop.3b": ("wraps it: {ip} is {mac}, which lives at {dst}", "封装：{ip} 的 MAC 是 {mac}，它位于 {dst}"),
    "hop.3b.nofdb": (
        "{ip} is {mac}, but no FDB entry says where that MAC lives",
        "{ip} 的 MAC 是 {mac}，但转发表没有说明它在哪里",
    ),
    "hop.3b.noneigh": ("enters the tunnel device; no neighbour entry for {ip}", "进入隧道设备；邻居表中没有 {ip}"),
    "hop.3b.bare": ("enters the tunnel device", "进入隧道设备"),
    "hop.3c": (
        "outer packet leaves: udp {sport}→{dport} (+{more} bytes)",
        "外层包离开：udp {sport}→{dport}（+{more} 字节）",
    ),
    "hop.3c.plain": ("leaves the node as it is", "原样离开节点"),
    "hop.4": ("only node addresses are visible here", "这里只看得到节点地址"),
    "hop.4.plain": ("on the underlay, pod addresses in the open", "在底层网络上，Pod 地址可见"),
    "hop.5": ("carried to {node}", "送达 {node}"),
    "hop.wire": ("not seen: no tap between the two nodes", "未观测到：两节点之间没有观测点"),
    "hop.underlay": ("passes on", "继续传递"),
    "hop.6a": ("port {port} belongs to {dev}", "端口 {port} 属于 {dev}"),
    "hop.6a.nobody": ("no VXLAN device of this node listens on udp/{port}", "本节点没有 VXLAN 设备监听 udp/{port}"),
    "hop.6a.plain": ("arrives at the node", "到达节点"),
    "hop.6b": ("unwrapped, VNI {vni} matches", "解封装，VNI {vni} 相符"),
    "hop.6b.other": (
        "unwrapped, but MAC {mac} is not {dev}'s: not accepted",
        "已解封装，但 MAC {mac} 不是 {dev} 的：不接受",
    ),
    "hop.7": (
        "{ip} is {mac}, behind {port} (neighbour {state})",
        "{ip} 的 MAC 是 {mac}，在 {port} 后面（邻居状态 {state}）",
    ),
    "hop.7.routed": (
        "{ip} is {mac} on {dev} (neighbour {state})",
        "{ip} 的 MAC 是 {mac}，在 {dev} 上（邻居状态 {state}）",
    ),
    "hop.7.bare": ("into the pair that ends in {pod}", "进入通往 {pod} 的虚拟网卡对"),
    "hop.8": ("accepted by {pod}", "{pod} 已接收"),
    "hop.8.other": ("seen, not accepted: sent to MAC {mac}", "看到但不接收：目的 MAC 是 {mac}"),
    "hop.target": ("accepted by {pod}", "{pod} 已接收"),
    "hop.rx": ("arrives", "到达"),
    "hop.tx": ("leaves", "离开"),
    "rewritten": ("source rewritten: {change}", "源地址被改写：{change}"),
    "by": ("by {owner}", "由 {owner} 写入"),
    "nothing": ("nothing", "没有"),
    "arp.answered": ("{type} who-has {q} → {mac} answered on {dev}", "{type} 询问 {q} → {mac} 在 {dev} 上应答"),
    "arp.silent": ("{type} who-has {q} on {dev}: nobody answered", "{type} 在 {dev} 上询问 {q}：无人应答"),
    "arrived": ("arrived in {time} over {n} hops", "用时 {time} 到达，经过 {n} 跳"),
    "reply.same": ("reply came back the same way in {n} hops", "应答原路返回，经过 {n} 跳"),
    "reply.other": ("reply came back another way in {n} hops", "应答经另一条路返回，经过 {n} 跳"),
    "reply.icmp": ("the answer is {icmp}", "得到的回答是 {icmp}"),
    "reply": ("reply", "应答"),
    "rtt": ("RTT {traced} traced, {plain} untraced", "往返时间：跟踪时 {traced}，不跟踪时 {plain}"),
    "rtt.traced": ("RTT {traced} traced", "往返时间：跟踪时 {traced}"),
    "slowest": ("slowest", "最慢"),
    "lost": ("did not arrive: stopped at step {step}, {place}", "未到达：停在第 {step} 步，{place}"),
    "lost.start": ("never left {pod}", "没有离开 {pod}"),
    "noreply": (
        "arrived, but the reply did not: it stopped at step {step}, {place}",
        "已到达，但应答没有回来：停在第 {step} 步，{place}",
    ),
    "noreply.start": ("arrived, but {pod} sent no reply", "已到达，但 {pod} 没有发出应答"),
    "dropped": ("DROPPED in {place}: {reason}", "被丢弃于 {place}：{reason}"),
    "sent.error": ("the kernel refused to send: {error}", "内核拒绝发送：{error}"),
    "icmp.from": ("answered with {icmp}", "收到 {icmp}"),
    "unreached": ("{first} … {last}  not reached", "{first} … {last}  未到达"),
    "evidence": ("evidence", "证据"),
    "repair": ("repair", "修复"),
    "why": ("why", "原因"),
    "on": ("on {node}", "在 {node} 上"),
    "series": ("{n} probes, {lost} lost ({share})", "{n} 个探测包，丢失 {lost} 个（{share}）"),
    "series.head": ("median and p95 per leg, µs; seen of {n}", "每段的中位数与 p95（µs）；{n} 个中观测到的个数"),
    "median": ("median", "中位数"),
    "p95": ("p95", "p95"),
    "seen": ("seen", "观测到"),
    "note.tracepoints": (
        "no tracepoints ({reason}): drop reasons and look-ups are not shown, ties stay ties",
        "没有跟踪点（{reason}）：不显示丢弃原因与路由查询，并列时间无法区分",
    ),
    "note.overflow": ("a tap lost {n} frames: hops may be missing", "观测点丢失 {n} 帧：可能缺少若干跳"),
    "note.flood": ("a bridge flooded copies to {devices}", "网桥把副本泛洪到 {devices}"),
    "note.unjoined": (
        "the two ends are not joined by anything that can be seen from here",
        "从这里看不到连接两端的路径",
    ),
    "note.csum": ("checksum left to the NIC", "校验和由网卡补齐"),
}

FINDINGS: Final[dict[str, tuple[str, str, str, str]]] = {
    # rule: (English, Chinese, English why, Chinese why)
    "source-no-route": (
        "{node} has no route to {target}",
        "{node} 没有到 {target} 的路由",
        "a pod's default route is set when it is attached; attach it again",
        "Pod 的默认路由在接入时设置；请重新接入",
    ),
    "gateway-silent": (
        "{node} asks for {ip} and nobody answers",
        "{node} 询问 {ip}，无人应答",
        "the gateway is the bridge's own address on the node: see that the bridge is up and holds it",
        "网关是节点网桥自己的地址：请检查网桥是否启用并持有该地址",
    ),
    "source-filter": (
        "a filter in {node} refuses to let the probe out",
        "{node} 中的过滤规则不让探测包发出",
        "the kernel answered the send with EPERM: an output rule of this namespace",
        "内核以 EPERM 拒绝发送：该命名空间的出站规则",
    ),
    "veth-down": (
        "{device} in {where} is down",
        "{where} 中的 {device} 未启用",
        "a pair carries nothing while one of its ends is down",
        "虚拟网卡对的任何一端未启用时都无法传输",
    ),
    "no-forwarding": (
        "{node} does not forward: {key} is 0",
        "{node} 不转发：{key} 为 0",
        "a node routes between its pods and the tunnel; something switched that off",
        "节点在 Pod 与隧道之间做路由转发；它被关闭了",
    ),
    "no-route": (
        "{node} has no route to {target}",
        "{node} 没有到 {target} 的路由",
        "the agent writes one route per peer's lease; check that it runs on {node} and knows that lease",
        "代理为每个对等租约写一条路由；请检查它是否在 {node} 上运行并知道该租约",
    ),
    "refusing-route": (
        "{node} refuses {target}: a route of type {kind}",
        "{node} 拒绝 {target}：路由类型为 {kind}",
        "such a route is put there on purpose by somebody; a more specific one is needed, or this one gone",
        "这种路由是有意设置的；需要一条更具体的路由，或删除它",
    ),
    "no-neighbour": (
        "{node} has no neighbour entry for {ip} on {device}",
        "{node} 在 {device} 上没有 {ip} 的邻居表项",
        "nobody answers ARP in the tunnel, so the agent writes this entry from the peer's lease",
        "隧道里无人应答 ARP，该表项由代理根据对等租约写入",
    ),
    "no-fdb-entry": (
        "{node} has no FDB entry for VTEP {mac} ({ip})",
        "{node} 没有 VTEP {mac}（{ip}）的转发表项",
        "the agent writes this entry when it sees the peer's lease; check it is running on {node}",
        "代理看到对等租约时写入该表项；请检查它是否在 {node} 上运行",
    ),
    "wrong-node": (
        "{node}: the FDB entry of {mac} points to {ip}, which is not the target's node",
        "{node}：{mac} 的转发表项指向 {ip}，它不是目标节点",
        "the outer packet goes to a stranger; the entry must hold the address of the target's node",
        "外层包被送给了别的主机；该表项应为目标节点的地址",
    ),
    "underlay-silent": (
        "{ip} does not answer on the underlay",
        "底层网络上 {ip} 没有应答",
        "the node cannot find the other node's MAC: a cable, a switch port, or the node itself",
        "节点找不到对方的 MAC：线缆、交换机端口，或对方节点本身",
    ),
    "no-underlay-route": (
        "{node} has no route to {ip} for the outer packet",
        "{node} 没有外层包到 {ip} 的路由",
        "the tunnel's own addresses have to be reachable without the tunnel",
        "隧道两端的地址必须不经隧道即可到达",
    ),
    "tunnel-filter-out": (
        "a filter on {node} drops the outer packet to udp/{port}",
        "{node} 上的过滤规则丢弃了发往 udp/{port} 的外层包",
        "an output rule matches the tunnel's UDP; let it through to the other nodes",
        "出站规则匹配了隧道的 UDP；请放行到其他节点",
    ),
    "tunnel-filter-in": (
        "a filter on {node} drops what arrives at udp/{port}",
        "{node} 上的过滤规则丢弃了到达 udp/{port} 的包",
        "an input rule matches the tunnel's UDP; let it through from the other nodes",
        "入站规则匹配了隧道的 UDP；请放行来自其他节点的包",
    ),
    "forward-filter": (
        "a filter on {node} drops pod traffic ({place})",
        "{node} 上的过滤规则丢弃了 Pod 流量（{place}）",
        "a chain in the forward hook drops it; an accept elsewhere does not help, list the chains that drop",
        "forward 钩子上的某条链丢弃了它；别处的 accept 无济于事，请列出会丢弃的链",
    ),
    "tables-agree": (
        "{node} would forward it by every table, and it did not come out",
        "{node} 的所有表都会转发它，但它没有出来",
        "a filter is the likely reason; as root the kernel's own drop reason is shown here",
        "很可能是过滤规则；以 root 运行时这里会显示内核的丢弃原因",
    ),
    "underlay-lost": (
        "the outer packet was last seen on {device} and did not reach the other node",
        "外层包最后出现在 {device}，没有到达另一个节点",
        "the network between the nodes lost or refused it",
        "节点之间的网络丢失或拒绝了它",
    ),
    "wrong-vni": (
        "{sender} sends VNI {vni}, {node} listens to VNI {theirs}",
        "{sender} 使用 VNI {vni}，{node} 监听 VNI {theirs}",
        "both nodes take the VNI from the network's configuration: one of them has an old one",
        "两个节点都应使用网络配置中的 VNI：其中一个是旧值",
    ),
    "wrong-port": (
        "nothing on {node} listens on udp/{port} (VXLAN devices: {theirs})",
        "{node} 上没有设备监听 udp/{port}（VXLAN 设备：{theirs}）",
        "Linux's old default is 8472, IANA's port is 4789: both nodes must use one",
        "Linux 的旧默认值是 8472，IANA 端口是 4789：两个节点必须一致",
    ),
    "tunnel-down": (
        "{device} is down on {node}, so its port is closed",
        "{node} 上的 {device} 未启用，因此其端口关闭",
        "the agent brings it up again within its audit; check it is running on {node}",
        "代理会在审计时重新启用它；请检查它是否在 {node} 上运行",
    ),
    "wrong-inner-mac": (
        "the inner frame is for {mac}, but {device} on {node} is {own}",
        "内层帧发往 {mac}，但 {node} 上的 {device} 是 {own}",
        "the sender's neighbour entry holds an old VTEP MAC",
        "发送方的邻居表项里是旧的 VTEP MAC",
    ),
    "reverse-path": (
        "{node} has no way back to {source} through {device}, and rp_filter drops what came that way",
        "{node} 没有经 {device} 返回 {source} 的路由，rp_filter 丢弃了它",
        "the route of the sender's subnet is missing here, or points elsewhere",
        "这里缺少发送方子网的路由，或它指向别处",
    ),
    "target-silent": (
        "nobody on {node} answers for {ip}",
        "{node} 上无人应答 {ip}",
        "the pod is gone, has another address, or does not answer ARP",
        "该 Pod 已不存在、地址不同，或不应答 ARP",
    ),
    "stale-neighbour": (
        "{node} got a frame for {ip} with MAC {mac}, but its own is {own}",
        "{node} 收到发往 {ip} 的帧，MAC 为 {mac}，而自己的是 {own}",
        "the node's neighbour entry is of an earlier pod with this address",
        "节点的邻居表项属于曾使用该地址的 Pod",
    ),
    "target-filter": (
        "a filter inside {node} drops it",
        "{node} 内的过滤规则丢弃了它",
        "it arrived, and an input rule of the target's own namespace refused it",
        "它已到达，但被目标命名空间的入站规则拒绝",
    ),
}


def say(name: str, lang: str, **facts: object) -> str:
    """The sentence ``name`` in ``lang``, filled."""
    text = WORDS[name][LANGUAGES.index(lang)]
    return text.format(**facts) if facts else text


def finding_text(finding: Finding, lang: str) -> tuple[str, str]:
    """The diagnosis and its why; a rule of a later version is shown by its name."""
    at = LANGUAGES.index(lang)
    sentences = FINDINGS.get(finding.rule)
    if sentences is None:
        return f"{finding.node}: {finding.rule}", ""
    try:
        return sentences[at].format(**finding.facts), sentences[at + 2].format(**finding.facts)
    except (KeyError, IndexError):
        return f"{finding.node}: {finding.rule}", ""


def what_happened(journey: Journey, hop: Hop, lang: str) -> str:
    """One sentence for ``hop``; what NAT changed is added to it."""
    text = _sentence(journey, hop, lang)
    rewritten = [change for change in hop.diff if change.startswith(("src ", "dst "))]
    return " · ".join([text, *(say("rewritten", lang, change=change) for change in rewritten)])


def _sentence(journey: Journey, hop: Hop, lang: str) -> str:
    if hop.kind == "wire":
        return say("hop.wire", lang)
    if hop.kind == "decision":
        return _decision(hop, lang)
    match hop.step:
        case "1":
            return _leaves(journey, hop, lang)
        case "2":
            return _bridge(hop, lang)
        case "3b":
            return _wraps(hop, lang)
        case "3c":
            return _goes_out(journey, hop, lang)
        case "4":
            return say("hop.4" if hop.outer else "hop.4.plain", lang)
        case "5":
            return say("hop.5", lang, node=_far_end(journey, hop).node)
        case "6a":
            return _arrives(journey, hop, lang)
        case "6b":
            return _unwraps(journey, hop, lang)
        case "6c":
            return _decision(hop, lang) if hop.reason("route") else say("hop.tx", lang)
        case "7":
            return _delivers(journey, hop, lang)
        case "8":
            return _accepted(journey, hop, lang)
        case _:
            return _passing(hop, lang)


def _far_end(journey: Journey, hop: Hop) -> End:
    return journey.target if hop.direction == "request" else journey.source


def _near_end(journey: Journey, hop: Hop) -> End:
    return journey.source if hop.direction == "request" else journey.target


def _leaves(journey: Journey, hop: Hop, lang: str) -> str:
    route, mac = hop.reason("route"), hop.inner.dmac if hop.inner else ""
    pod = _near_end(journey, hop).pod
    if route is not None and route.facts.get("via"):
        return say("hop.1.via", lang, pod=pod, via=route.facts["via"], mac=mac)
    return say("hop.1", lang, pod=pod, dst=hop.inner.dst if hop.inner else "", mac=mac)


def _bridge(hop: Hop, lang: str) -> str:
    link = hop.reason("link")
    return say("hop.2" if link is None or link.found else "hop.2.other", lang, dev=hop.dev)


def _decision(hop: Hop, lang: str) -> str:
    route, entry = hop.reason("route"), hop.reason("bridge-fdb")
    if route is None:
        return _switched(entry, lang)
    if not route.found:
        return say("hop.noroute", lang, text=route.text)
    ttl = next((change for change in hop.diff if change.startswith("ttl ")), "")
    return say("hop.route", lang, text=route.text) + (f"  {ttl}" if ttl else "")


def _switched(entry: Reason | None, lang: str) -> str:
    if entry is None or not entry.found:
        return say("hop.2.flood", lang)
    return say("hop.2.fdb", lang, mac=entry.facts.get("mac", ""), port=entry.facts.get("port", ""))


def _wraps(hop: Hop, lang: str) -> str:
    neigh, fdb = hop.reason("neigh"), hop.reason("fdb")
    if neigh is None:
        return say("hop.3b.bare", lang)
    facts = {"ip": neigh.facts.get("ip", ""), "mac": neigh.facts.get("mac", "")}
    if not neigh.found:
        return say("hop.3b.noneigh", lang, **facts)
    if fdb is None or not fdb.found:
        return say("hop.3b.nofdb", lang, **facts)
    return say("hop.3b", lang, **facts, dst=fdb.facts.get("dst", ""))


def _goes_out(journey: Journey, hop: Hop, lang: str) -> str:
    if hop.outer is None:
        return say("hop.3c.plain", lang)
    inside = next((h.len for h in journey.walk(hop.direction) if h.n and h.outer is None and h.len), 0)
    more = (hop.len or 0) - inside
    return say("hop.3c", lang, sport=hop.outer.udp[0], dport=hop.outer.udp[1], more=more)


def _arrives(journey: Journey, hop: Hop, lang: str) -> str:
    link = hop.reason("link")
    if link is None or "port" not in link.facts:
        is_end = _far_end(journey, hop).role == "node" and hop.pkttype == "host"
        return say("hop.target", lang, pod=_far_end(journey, hop).pod) if is_end else say("hop.6a.plain", lang)
    return say(
        "hop.6a" if link.found else "hop.6a.nobody", lang, port=link.facts["port"], dev=link.facts.get("dev", "")
    )


def _unwraps(journey: Journey, hop: Hop, lang: str) -> str:
    if hop.pkttype == "otherhost":
        return say("hop.6b.other", lang, mac=hop.inner.dmac if hop.inner else "", dev=hop.dev)
    link = hop.reason("link")
    vni = link.facts.get("vni") if link else None
    return say("hop.6b", lang, vni=vni or (journey.overlay.vni if journey.overlay else ""))


def _delivers(journey: Journey, hop: Hop, lang: str) -> str:
    neigh, entry = hop.reason("neigh"), hop.reason("bridge-fdb")
    if neigh is None or not neigh.found:
        return say("hop.7.bare", lang, pod=_far_end(journey, hop).pod)
    facts = {name: neigh.facts.get(name, "") for name in ("ip", "mac", "state")}
    if entry is not None and entry.found:
        return say("hop.7", lang, **facts, port=entry.facts.get("port", ""))
    return say("hop.7.routed", lang, **facts, dev=hop.dev)


def _accepted(journey: Journey, hop: Hop, lang: str) -> str:
    if hop.pkttype == "otherhost":
        return say("hop.8.other", lang, mac=hop.inner.dmac if hop.inner else "")
    return say("hop.8", lang, pod=_far_end(journey, hop).pod)


def _passing(hop: Hop, lang: str) -> str:
    link = hop.reason("link")
    if hop.kind == "veth" and hop.dir == "rx":
        master = link.facts.get("master") if link else None
        return say("hop.pair.port", lang, master=master) if master else say("hop.pair", lang)
    if hop.node == "underlay":
        return say("hop.underlay", lang)
    return say("hop.rx" if hop.dir == "rx" else "hop.tx", lang)
