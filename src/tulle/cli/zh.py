"""Help in Chinese: every help text of the commands, by its English, and the parser that prints it."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tulle.cli.main import OneLineParser
from tulle.render.walk_text import wrap

HELP: Final[Mapping[str, str]] = {
    # argparse's own
    "usage: ": "用法：",
    "positional arguments": "参数",
    "options": "选项",
    "verbs": "操作",
    "show this help message and exit": "显示本帮助",
    "print the version": "显示版本",
    # network
    "show or set the network configuration that all nodes share": "显示或设置所有节点共用的网络配置",
    "print the configuration as JSON; exit code 1 when there is none": "以 JSON 打印配置；没有时退出码为 1",
    "check a configuration and store it": "检查一份配置并写入存储",
    "flannel's net-conf.json; - for standard input": "flannel 的 net-conf.json；- 表示标准输入",
    "the agent's root (default: TULLE_ROOT, else /)": "代理的根目录（默认 TULLE_ROOT，否则 /）",
    "the store (default: the embedded one in the state folder)": "存储（默认为状态目录中的内置存储）",
    # cni
    "put the CNI plugin where container runtimes look for it, or take it away": (
        "把 CNI 插件放到容器运行时查找的位置，或将其移除"
    ),
    "write the plugin and its configuration, each whole or not at all": "写入插件及其配置，每个文件要么完整要么不写",
    "the network's name (default: as the last time, else cbr0)": "网络名称（默认与上次相同，否则为 cbr0）",
    "flannel's configuration in that folder: only type changes, and the file is set aside": (
        "该目录中 flannel 的配置：只改 type，原文件移到一旁"
    ),
    "be the loopback plugin too, also if there is one": "同时充当 loopback 插件，即使已有一个",
    "replace what somebody changed": "替换别人改动过的文件",
    "remove exactly what install wrote; exit code 1 when somebody changed it": (
        "只删除 install 写入的文件；有人改动过时退出码为 1"
    ),
    "only say what would be done": "只显示将要做什么",
    "where plugins are (default: /opt/cni/bin)": "插件所在目录（默认 /opt/cni/bin）",
    "where configurations are (default: /etc/cni/net.d)": "配置所在目录（默认 /etc/cni/net.d）",
    # etcd
    "members (default: http://127.0.0.1:4001,http://127.0.0.1:2379)": (
        "成员地址（默认 http://127.0.0.1:4001,http://127.0.0.1:2379）"
    ),
    "where its keys begin (default: /coreos.com/network)": "键的前缀（默认 /coreos.com/network）",
    "the authority that signed its certificates": "签发其证书的机构",
    "our certificate": "我们的证书",
    "our certificate's key": "我们证书的私钥",
    "whom to log in as": "登录所用的用户名",
    "the password's file (or FLANNELD_ETCD_PASSWORD)": "存放密码的文件（或 FLANNELD_ETCD_PASSWORD）",
    "the password, for all to see: better in a file": "密码，所有人都看得见：最好放在文件里",
    # show, and the pictures of trace
    "draw the walk as a picture that moves by itself ('-': stdout)": "画成一张会自己动的图（-：标准输出）",
    "write the walk as one page that works offline ('-': stdout)": "写成一个可离线查看的网页（-：标准输出）",
    "write the captured frames as pcapng, with comments ('-': stdout)": (
        "把捕获的帧写成带注释的 pcapng（-：标准输出）"
    ),
    "replace all names and addresses, each by always the same": "替换所有名称和地址，同一个总是换成同一个",
    "a recorded walk again, in any form": "以任意形式再次显示记录下来的路径",
    "Show a recorded walk again: read it from JSON, from a page or from a capture file that tulle wrote, and print or "
    "draw it in any form. The same walk gives the same bytes everywhere.": (
        "再次显示记录下来的路径：从 tulle 写的 JSON、网页或捕获文件读取，以任意形式打印或画出。"
        "同一条路径在任何地方都得到相同的字节。"
    ),
    "Prints the walk, unless a file is asked for. Exit code 0: shown, 2: the file holds no walk.": (
        "打印路径，除非要求写入文件。退出码 0：已显示，2：文件中没有路径。"
    ),
    "walk.json, walk.html or walk.pcapng ('-': stdin)": "walk.json、walk.html 或 walk.pcapng（-：标准输入）",
    # trace
    "Send one packet and show every place where the kernel had it, there and back: what it looked like, how long it "
    "took, which route, neighbour and FDB entry decided. When it does not arrive: where it ended, and why.": (
        "发送一个数据包，显示内核在哪些地方经手过它（去程与回程）：它是什么样子、用了多久、"
        "由哪条路由、邻居和转发表项决定。没有到达时：停在哪里，为什么。"
    ),
    "FROM and TO are nodes or pods of a lab, names in /run/netns, paths of namespaces, or process ids; TO may be an "
    "address. Exit code 0: delivered, 1: not delivered, 2: could not look.": (
        "FROM 和 TO 可以是实验中的节点或 Pod、/run/netns 中的名称、命名空间的路径或进程号；TO 也可以是地址。"
        "退出码 0：已送达，1：未送达，2：无法观测。"
    ),
    "where the packet starts": "数据包从哪里出发",
    "where it is sent": "发往哪里",
    "what is sent (default: icmp)": "发送什么（默认 icmp）",
    "port of udp (33434) and tcp (80)": "udp（33434）或 tcp（80）的端口",
    "probes (default: 1); more give figures": "探测包个数（默认 1）；多个时给出统计",
    "the journey as JSON (tulle.trace/1), indented": "以带缩进的 JSON（tulle.trace/1）输出",
    "one line of JSON per probe": "每个探测包一行 JSON",
    "one line: how it ended": "只用一行说明结果",
    "the walk as one arrow line": "用一行箭头画出路径",
    "the header fields that changed at each hop": "每一跳改变了哪些首部字段",
    "where the well-known tutorial tells it differently": "著名教程的说法与实际不同之处",
    "also write the journey there as JSON": "同时以 JSON 写入该文件",
    # watch
    "the live view in the terminal": "终端里的实时视图",
    "Watch nodes live: peers, what passes each device, what is repaired or dropped, leases held or refused.": (
        "实时观察节点：对等节点、每个设备上的流量、修复与丢弃、被保留或拒绝的租约。"
    ),
    "Without --node, --name or --root: the running lab, else this machine's agent. Keys: q quits, ? explains, arrows "
    "and Tab choose a node, p pauses. Exit code with --once 0: all is well, 1: something is not.": (
        "不带 --node、--name 或 --root：正在运行的实验，否则本机的代理。按键：q 退出，? 说明，方向键和 Tab 选择节点，"
        "p 暂停。使用 --once 时退出码 0：一切正常，1：有问题。"
    ),
    "only this node of a lab": "只看实验中的这个节点",
    "seconds between two looks (default: 1)": "两次查看之间的秒数（默认 1）",
    "two looks, one picture, and the verdict as exit code": "查看两次，显示一次，以退出码给出结论",
    "one line of JSON (tulle.watch/1) for each look": "每次查看输出一行 JSON（tulle.watch/1）",
    # graph
    "the cluster as a picture": "把集群画成图",
    "Draw the cluster: nodes, pods, bridges, tunnels, and how each node reaches the others, as the kernels hold it.": (
        "画出集群：节点、Pod、网桥、隧道，以及各节点如何到达其他节点，一切以内核所持有的为准。"
    ),
    "Without FILE: the running lab, else this machine's own kernel. With FILE: the lab that it describes, which need "
    "not run.": "不给 FILE：运行中的实验，否则为本机内核。给出 FILE：它所描述的实验，无需运行。",
    "a topology (lab.toml); nothing has to run": "拓扑文件（lab.toml）；无需运行任何东西",
    "only what this node's kernel knows": "只画该节点内核所知道的",
    "this machine's own kernel, also when a lab runs": "本机自己的内核，即使有实验在运行",
    "write the picture there ('-': stdout)": "把图写入该文件（“-”为标准输出）",
    # lab
    "A cluster on this machine, in network namespaces: every node runs a real agent, every pod is attached "
    "through CNI, every packet is real. Root is not needed where user namespaces are allowed.": (
        "用网络命名空间在本机搭建一个集群：每个节点运行真正的代理，每个 Pod 经 CNI 接入，每个数据包都是真实的。"
        "允许使用用户命名空间时不需要 root。"
    ),
    "Begin with 'tulle lab up': two nodes, four pods, a picture, and three commands to try. "
    "'tulle lab VERB --help' explains a verb; docs/lab.md describes lab.toml.": (
        "先运行 tulle lab up：两个节点、四个 Pod、一张图，以及三条可以一试的命令。"
        "tulle lab VERB --help 解释某个操作；lab.toml 的写法见 docs/lab.zh.md。"
    ),
    "a cluster on this machine": "本机上的一个集群",
    "make a lab and draw it": "创建一个实验并画出来",
    "bytes of the packet with its IP header; it may not be fragmented": "数据包连同 IP 首部的字节数；该包不允许分片",
    "the labs that there are": "现有的实验",
    "echo requests from one place to another; exit code 1 when one is lost": "从一处 ping 另一处；有丢失时退出码为 1",
    "prove what shall reach what; exit code 1 when something does not hold": "验证谁能到达谁；有一项不成立时退出码为 1",
    "run a command in a node or pod": "在节点或 Pod 中运行命令",
    "a shell in a node or pod": "在节点或 Pod 中打开 shell",
    "add a node to a running lab": "给运行中的实验增加一个节点",
    "take a node out of a running lab": "从运行中的实验移除一个节点",
    "hold a node's agent where it is: nothing is repaired meanwhile": "暂停某个节点的代理：期间不做任何修复",
    "the lab as a page in the browser, for this machine only": "在浏览器中把实验显示为网页，仅限本机",
    "port on 127.0.0.1 (default: a free one)": "127.0.0.1 上的端口（默认任选空闲端口）",
    "open it in a browser (default: where there is a desktop)": "在浏览器中打开（默认：有桌面环境时）",
    "let a paused agent go on: it repairs what it finds": "让已暂停的代理继续运行：它会修复所发现的问题",
    "remove a lab, also a half-made one; nothing else is touched": "删除一个实验（未完成的也可以）；不触碰其他任何东西",
    "names, networks and checks of the lab; flags win over it": "实验的名称、网络与验证项；命令行选项优先于它",
    "nodes (default: 2)": "节点数（默认 2）",
    "pods per node (default: 2)": "每个节点的 Pod 数（默认 2）",
    "one segment, or a router between the nodes (default: switch)": (
        "底层网络：switch 是一个网段，router 是节点之间隔一台路由器（默认 switch）"
    ),
    "IPv4 and IPv6 (dual stack)": "同时使用 IPv4 和 IPv6（双栈）",
    "draw with plain characters": "只用普通字符画图",
    "print nothing when it works": "成功时不输出任何内容",
    "which lab (default: TULLE_LAB, else lab)": "哪个实验（默认 TULLE_LAB，否则 lab）",
    "only this lab (default: all)": "只列出该实验（默认全部）",
    "print the facts as JSON": "以 JSON 输出",
    "every lab of this user": "该用户的所有实验",
    "a node or pod": "节点或 Pod",
    "a node, a pod, or an address": "节点、Pod 或地址",
    "pods without a bridge: a route to each": "Pod 不接网桥，各有一条路由",
    "a tunnel between the nodes, or plain routes (default: vxlan)": "节点之间用隧道，或用普通路由（默认 vxlan）",
    "a host on the underlay that is no part of the cluster": "底层网络上一台不属于集群的主机",
    "a node, a pod, outside, etcd, or the underlay (switch, router)": (
        "节点、Pod、outside、etcd 或底层网络（switch、router）"
    ),
    "what the agents share: a file, or a real etcd on a host of its own (default: sqlite)": (
        "各代理共用的存储：一个文件，或独立主机上真正的 etcd（默认 sqlite）"
    ),
    "its name, or etcd for the lab's store": "名称；etcd 表示实验的存储",
    "over IPv6": "使用 IPv6",
    "how many (default: 3)": "次数（默认 3）",
    "seconds to wait for each (default: 1)": "每次等待的秒数（默认 1）",
    'like "pod1 reaches pod4 with mtu 1450" (default: those of lab.toml, else each pod reaches the next)': (
        "例如 \"pod1 reaches pod4 with mtu 1450\"（默认：lab.toml 中的各项，否则为每个 Pod 到达下一个）"
    ),
    "the command and its arguments": "命令及其参数",
    "its name (default: node and its number)": "名称（默认为 node 加编号）",
    "its name": "名称",
    "pods on it (default: 2)": "其上的 Pod 数（默认 2）",
    # status, peers, leases, plan
    "what this node's agent holds, repairs and misses": "本节点代理持有、修复和缺失的内容",
    "the other nodes, and the kernel entries that reach each": "其他节点，以及到达每个节点的内核表项",
    "who holds which pod subnet": "各 Pod 子网由谁持有",
    "what the agent would change now, as ip/bridge/nft text (the dry run)": (
        "代理现在会做的更改，以 ip/bridge/nft 命令显示（只看不做）"
    ),
    "a node of a lab instead of this machine": "实验中的一个节点，而不是本机",
    "as if the kernel held nothing of it: the whole state as text": "假定内核中什么都没有：显示全部状态",
    # need-overlay
    "whether plain routes to the peers would do": "到对等节点用普通路由是否足够",
    "Ask the network whether an overlay is needed: an echo request to each peer's pod side, past the tunnel, and what "
    "comes back. Changes nothing.": (
        "向网络求证是否需要覆盖网络：绕过隧道，向每个对等节点的 Pod 一侧发送回显请求，看有什么回来。"
        "不做任何改动。"
    ),
    "Each node answers for itself: its packets there, and the answers back. Exit code 0: an overlay is needed, 1: "
    "plain routes would do for every peer, 2: not known.": (
        "每个节点只回答自己的情况：自己发去的包与返回的应答。"
        "退出码 0：需要覆盖网络，1：普通路由对每个对等节点都足够，2：无法得知。"
    ),
    # agent
    "Be this node's agent: hold a lease, and keep the kernel's overlay state true.": (
        "作为本节点的代理：持有租约，并使内核中的覆盖网络状态始终正确。"
    ),
    "keep every file below DIR (default: TULLE_ROOT, else /)": "所有文件都放在 DIR 之下（默认 TULLE_ROOT，否则 /）",
    "sqlite:///path or etcd://host:port[,host:port]/prefix (default: the embedded store in the state folder)": (
        "sqlite:///路径 或 etcd://主机:端口[,主机:端口]/前缀（默认：状态目录中的内嵌存储）"
    ),
    "sqlite:///path or etcd://host:port[,host:port]/prefix (default: etcd where flanneld looks for it)": (
        "sqlite:///路径 或 etcd://主机:端口[,主机:端口]/前缀（默认：flanneld 所用的 etcd 地址）"
    ),
    "underlay device; of several the first that fits (default: that of the default route)": (
        "底层网络设备；给出多个时取第一个合适的（默认：默认路由所用的设备）"
    ),
    "the first device whose address or name matches, after --iface": "地址或名称匹配的第一个设备，在 --iface 之后尝试",
    "the device that the route to IP takes, after both": "到 IP 的路由所用的设备，最后尝试",
    "IPv4 address that other nodes send to": "其他节点发往本节点的 IPv4 地址",
    "IPv6 address that other nodes send to": "其他节点发往本节点的 IPv6 地址",
    "where to write subnet.env": "subnet.env 的写入位置",
    "masquerade what leaves the overlay (default: false)": "对离开覆盖网络的流量做地址伪装（默认 false）",
    "accept the overlay's traffic in forward chains (default: true)": "在转发链中放行覆盖网络的流量（默认 true）",
    "renew the lease so long before its end (default: 60)": "在租约到期前多久续租（默认 60）",
    "where /healthz and /readyz are served (default: 0.0.0.0)": "/healthz 与 /readyz 的监听地址（默认 0.0.0.0）",
    "their port (default: 0, not served)": "其端口（默认 0，不提供）",
    "/metrics too, there (default: /run/tulle/http.sock)": "在该处还提供 /metrics（默认 /run/tulle/http.sock）",
    "accepted": "仅为兼容而接受",
    "refused: there is no Kubernetes store yet": "会被拒绝：尚无 Kubernetes 存储",
    "accepted as flanneld's, without effect here": "为兼容 flanneld 而接受，在此不起作用",
    "how often everything is compared with the kernel (default: %(default)s)": (
        "多久把全部状态与内核比较一次（默认 %(default)s）"
    ),
    "drop what is for none of this node's pods (default: false)": "丢弃不属于本节点任何 Pod 的数据包（默认 false）",
    "masqueraded connections keep their port (default: false)": "被伪装的连接保留原端口（默认 false）",
    "how often rules of iptables-legacy, which announces nothing, are looked at (default: 5)": (
        "iptables-legacy 不会通知变化，多久检查一次其中的规则（默认 5）"
    ),
    "give this node back to flannel's daemon, or clean it of tulle": "把本节点交还给 flannel 守护进程，或清除 tulle",
    "remove devices, routes, rules and the lease": "移除设备、路由、规则和租约",
    "with --clean: the lease stays until it expires": "与 --clean 合用：租约保留到过期",
    "with --clean: also while pods are attached": "与 --clean 合用：有 Pod 接入时也执行",
    "print what would be done as commands, and do nothing": "以命令形式显示将要做的事，不实际执行",
    "where subnet.env is": "subnet.env 所在位置",
    "append the log to PATH instead of stderr": "把日志追加到 PATH，而不是标准错误",
    "log more": "记录更详细的日志",
    # completion, man
    "print a completion script for a shell": "输出 shell 的补全脚本",
    "which shell; places: the names of nodes, pods and namespaces that there are": (
        "哪个 shell；places：现有的节点、Pod 和命名空间的名称"
    ),
    "Print the manual page: 'tulle man | man -l -' shows it.": "输出手册页：用 tulle man | man -l - 查看。",
}  # fmt: skip


class ChineseParser(OneLineParser):
    """``OneLineParser`` with its help in Chinese; a text without a translation stays English."""

    def __init__(self, **settings: object) -> None:
        settings["formatter_class"] = _Formatter
        super().__init__(**settings)

    def format_usage(self) -> str:
        return _translated("usage: ") + super().format_usage().removeprefix("usage: ")

    def format_help(self) -> str:
        self.description, self.epilog = _translated(self.description), _translated(self.epilog)
        for group in self._action_groups:
            group.title = _translated(group.title)
        for action in _lines(self._actions):
            action.help = _translated(action.help)
        return _translated("usage: ") + super().format_help().removeprefix("usage: ")


class _Formatter(argparse.HelpFormatter):
    """Breaks lines where Chinese breaks them, and counts two columns for a character of it."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrap(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in wrap(text, width - len(indent)))


def _translated(text: str | None) -> str:
    """In Chinese, whether it stands alone as a sentence or in a list."""
    text = text or ""
    if text in HELP:
        return HELP[text]
    phrase = text[:1].lower() + text[1:].removesuffix(".")
    return f"{HELP[phrase]}。" if phrase in HELP else text


def _lines(actions: Sequence[argparse.Action]) -> Iterator[argparse.Action]:
    """The actions that help has a line for: a parser's own, and each of its commands."""
    for action in actions:
        yield action
        yield from getattr(action, "_choices_actions", ())
