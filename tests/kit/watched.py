"""Two nodes as they are watched, as values: node1 with its four devices and one peer, looked at again and again."""

from dataclasses import replace
from typing import Any

from tulle.render.watch_board import Board
from tulle.render.watch_links import Role, WatchedLink
from tulle.render.watch_view import NodeSample, NodeView, followed
from tulle.wire.proc_net import IpCounters
from tulle.wire.rtnetlink.links import LinkStatistics

SECOND_NS = 1_000_000_000
HOUR_NS = 3_600 * SECOND_NS

STATUS: dict[str, Any] = {
    "state": "ready",
    "pid": 42,
    "now_ns": HOUR_NS,
    "network": ["10.244.0.0/16"],
    "lease": {"subnet": "10.244.1.0/24", "subnet6": None, "deadline_ns": 24 * HOUR_NS},
    "underlay": {"device": "eth0", "address": "192.168.64.11", "address6": None, "mtu": 1500},
    "backend": {"type": "vxlan", "vni": 1, "port": 8472},
    "store": {"url": "sqlite:///leases.db", "reachable": True, "revision": 5},
    "peers": 1,
    "passes": 4,
    "steps": 8,
    "repairs": 3,
    "last_pass_ns": 7_500_000,
    "last_pass_at_ns": HOUR_NS - 3 * SECOND_NS,
    "last_audit_at_ns": HOUR_NS - 4 * SECOND_NS,
    **{kind: [] for kind in ("problems", "conflicts", "failures", "refused", "undecodable", "held")},
    "dropping_chains": [],
    "strangers": [],
}
PEER: dict[str, Any] = {
    "key": "10.244.2.0-24",
    "subnet": "10.244.2.0/24",
    "subnet6": None,
    "public_ip": "192.168.64.12",
    "public_ip6": None,
    "vtep_mac": "02:00:0a:f4:02:00",
    "vtep_mac6": None,
    "state": "ok",
}
NOTHING = LinkStatistics(
    rx_packets=0, tx_packets=0, rx_bytes=0, tx_bytes=0, rx_errors=0, tx_errors=0, rx_dropped=0, tx_dropped=0
)


def a_link(role: Role, name: str, pod: str = "", /, **counters: int) -> WatchedLink:
    """A device that is up."""
    return WatchedLink(
        index=len(name), name=name, role=role, pod=pod, up=True, carrier=True, counters=replace(NOTHING, **counters)
    )


def the_links(packets: int = 0, **tunnel: int) -> tuple[WatchedLink, ...]:
    """Node1's devices once ``packets`` of 100 bytes have passed each way."""
    passed = {"rx_packets": packets, "tx_packets": packets, "rx_bytes": 100 * packets, "tx_bytes": 100 * packets}
    return (
        a_link("underlay", "eth0", **passed),
        a_link("tunnel", "flannel.1", **{**passed, **tunnel}),
        a_link("bridge", "cbr0", **passed),
        a_link("pod", "veth909be12a", "pod1", **passed),
    )


def a_sample(second: int = 0, name: str = "node1", **changes: Any) -> NodeSample:
    """A look at a healthy node, ``second`` seconds after the first."""
    made = NodeSample(
        name=name,
        wall_ns=second * SECOND_NS,
        at_ns=second * SECOND_NS,
        status=STATUS,
        peers=(PEER,),
        links=the_links(),
        ip=IpCounters(no_route=0, discarded=0),
    )
    return replace(made, **changes)


def after(*samples: NodeSample) -> NodeView:
    """The view after these looks."""
    view: NodeView | None = None
    for sample in samples:
        view = followed(view, sample)
    assert view is not None
    return view


def a_board(*views: NodeView) -> Board:
    return Board(title="lab lab", views=views, wall_ns=20 * HOUR_NS + 31 * 60 * SECOND_NS, interval_s=1.0)


def news(kind: str, text: str, second: int = 0, took_ns: int | None = None) -> dict[str, Any]:
    """An entry of an agent's history."""
    return {"number": 1, "at_ns": second * SECOND_NS, "kind": kind, "text": text, "took_ns": took_ns}
