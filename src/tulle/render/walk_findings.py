"""What a finding means, in English and Chinese: the diagnosis and its why, one entry a rule of ``trace.diagnose``."""

from typing import Final

from tulle.render.walk_words import LANGUAGES
from tulle.trace.journey import Finding

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
        "on a node its agent writes this route from the peer's lease: does it run? A host outside knows no pods",
        "节点上的这条路由由其代理根据对等租约写入：代理在运行吗？集群外的主机不认识任何 Pod",
    ),
    "refusing-route": (
        "{node} refuses {target}: a route of type {kind}",
        "{node} 拒绝 {target}：路由类型为 {kind}",
        "such a route is put there on purpose by somebody; a more specific one is needed, or this one gone",
        "这种路由是有意设置的；需要一条更具体的路由，或删除它",
    ),
    "too-big": (
        "{node}: a packet of {size} bytes does not fit into {device}, whose MTU is {mtu}",
        "{node}：{size} 字节的包放不进 {device}，它的 MTU 是 {mtu}",
        "it may not be fragmented, so the kernel answers its sender with the size that fits (path MTU discovery)",
        "它不允许分片，因此内核把可用的大小告知发送方（路径 MTU 发现）",
    ),
    "too-big-learnt": (
        "{node} has learnt that {size} bytes do not fit on the way to {target}",
        "{node} 已得知去往 {target} 的路上放不下 {size} 字节",
        "an ICMP error told it the path's MTU, which it keeps for some minutes (ip route flush cache forgets it)",
        "ICMP 差错告知了路径 MTU，内核会记住几分钟（ip route flush cache 清除路由缓存）",
    ),
    "narrow-link": (
        "{device} in {where} takes {mtu} bytes, this packet has {size}",
        "{where} 中的 {device} 只接受 {mtu} 字节，而这个包有 {size} 字节",
        "a link drops what is too long without a word: all that is on one link must have one MTU",
        "链路会一声不响地丢弃过长的帧：同一条链路上的设备必须使用相同的 MTU",
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
    "bridge-filter": (
        "a filter on {node} drops it inside the bridge {device} ({place})",
        "{node} 上网桥 {device} 的过滤规则丢弃了它（{place}）",
        "the packet was routed into the bridge and no port sent it on: a table of the bridge family dropped it",
        "包已被路由进网桥，但没有端口送出：bridge 族的表丢弃了它",
    ),
    "tables-agree": (
        "{node} would forward it by every table, and it did not come out",
        "{node} 的所有表都会转发它，但它没有出来",
        "a filter is the likely reason (nft list ruleset); as root the kernel's own drop reason is shown here",
        "很可能是过滤规则（nft list ruleset）；以 root 运行时这里会显示内核的丢弃原因",
    ),
    "underlay-lost": (
        "it was last seen on {device} and did not reach the other node",
        "它最后出现在 {device}，没有到达另一个节点",
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
    "device-down": (
        "{device} is down on {node}, and the routes through it are gone",
        "{node} 上的 {device} 未启用，经过它的路由已消失",
        "the kernel removes a device's routes when it goes down; once it is up they have to be written again",
        "设备停用时内核会删除它的路由；启用之后还要重新写入这些路由",
    ),
    "not-in-the-bridge": (
        "{device} on {node} is not a port of {bridge}, but the frame is for {bridge}'s MAC",
        "{node} 上的 {device} 不是 {bridge} 的端口，而帧发往 {bridge} 的 MAC",
        "a node answers ARP on any of its devices, so the pod believes that it has reached its gateway",
        "节点会在任何设备上应答 ARP，因此 Pod 以为到达了网关",
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
