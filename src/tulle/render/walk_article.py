"""Where the well-known tutorials and the kernel differ, step by step, in English and Chinese (``--article``).

They tell the way through a tunnel between two nodes; of other ways there is nothing to compare.
"""

from typing import Final

ARTICLE: Final[dict[str, tuple[str, str]]] = {
    # step: (English, Chinese); the line begins with the word "article" of ``walk_words``
    "2": (
        (
            "that the bridge ARPs for the target. In fact the pod asks for its gateway, and that is the bridge's own "
            "MAC: nobody on this node ever asks for a pod of another node."
        ),
        ("网桥用 ARP 询问目标。实际上 Pod 询问的是网关，而那就是网桥自己的 MAC：本节点上没有谁会询问其他节点的 Pod。"),
    ),
    "3a": (
        (
            "that nobody answers, so the bridge passes the packet to flannel0. In fact the frame is for the bridge's "
            "own MAC, so the bridge hands it up, and the node's routing table sends it to the tunnel device."
        ),
        (
            "无人应答，于是网桥把包交给 flannel0。实际上该帧的目的 MAC 就是网桥自己，"
            "网桥将其上交，由节点的路由表送往隧道设备。"
        ),
    ),
    "3b": (
        (
            "that the daemon knows every pod's address, and that the device is flannel0. In fact it knows one subnet "
            "per node, writes one route, one neighbour and one FDB entry for it and is out of the way; flannel0 is the "
            "udp backend's device, VXLAN's is flannel.<VNI>."
        ),
        (
            "守护进程知道每个 Pod 的地址，设备是 flannel0。实际上它只知道每个节点一个子网，为其写一条路由、"
            "一条邻居表项和一条转发表项，然后就不再参与；flannel0 是 udp 后端的设备，VXLAN 的设备是 flannel.<VNI>。"
        ),
    ),
    "3c": (
        (
            "that eth0 simply sends it. In fact the outer packet is routed once more and needs the other node's MAC "
            "on the underlay."
        ),
        "eth0 直接发送。实际上外层包要再查一次路由，还需要对方节点在底层网络上的 MAC。",
    ),
    "6a": (
        "that the port decides. In fact the port does, and then the VNI must match.",
        "由端口决定。实际上先看端口，然后 VNI 也必须相符。",
    ),
    "6b": (
        "that it is unwrapped, and that is all. In fact the inner frame's MAC must also be the tunnel device's own.",
        "解封装即可。实际上内层帧的目的 MAC 还必须是隧道设备自己的。",
    ),
    "7": (
        (
            "that the bridge ARPs. In fact the node asks through the bridge, mostly from its cache, and the bridge's "
            "FDB picks the port."
        ),
        "网桥发出 ARP。实际上是节点经网桥询问（多数时候用缓存），再由网桥的转发表选出端口。",
    ),
}

ASIDE: Final[tuple[tuple[str, str], ...]] = (
    (
        "cbr0 is kubenet's name for the bridge; the bridge plugin's own default is cni0.",
        "cbr0 是 kubenet 给网桥起的名字；bridge 插件自己的默认名是 cni0。",
    ),
    (
        (
            "UDP 8472 is Linux's old default, IANA's port for VXLAN is 4789; the outer headers cost 50 bytes over "
            "IPv4, so the pods' MTU is that of the underlay minus 50."
        ),
        (
            "UDP 8472 是 Linux 的旧默认值，IANA 分配给 VXLAN 的端口是 4789；IPv4 的外层头占 50 字节，"
            "因此 Pod 的 MTU 是底层网络的 MTU 减去 50。"
        ),
    ),
    (
        "a route table of AWS takes 50 routes: a default quota, raised since; ask the API for the table's own.",
        "AWS 的一张路由表容纳 50 条路由：这是默认配额，后来已提高；请向 API 查询该表的配额。",
    ),
)
"""What belongs to no step."""
