"""One small cluster as values, for tests that need leases and hosts but no kernel and no store.

Network 10.244.0.0/16 (and fd10:244::/48), underlay 192.168.64.0/24 (fd64::/64).  Node n holds
10.244.n.0/24 and is reached at 192.168.64.(10+n); this node is node 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface
from typing import Any

from tulle.model.lease import Lease, LeaseBook, LeaseEvent, LeaseKey, Snapshot
from tulle.model.network import Host, MacAddress, NetworkConfig, SubnetPool, Underlay, Vni, Vxlan
from tulle.model.objects import Address, KernelObject, Link, OtherKind
from tulle.plan.desired import Settings
from tulle.plan.intent import Intent
from tulle.wire.leases import lease_key

POOL4 = SubnetPool(
    network=IPv4Network("10.244.0.0/16"),
    subnet_len=24,
    first=IPv4Network("10.244.1.0/24"),
    last=IPv4Network("10.244.255.0/24"),
)
POOL6 = SubnetPool(
    network=IPv6Network("fd10:244::/48"),
    subnet_len=64,
    first=IPv6Network("fd10:244:0:1::/64"),
    last=IPv6Network("fd10:244:0:ffff::/64"),
)
CONFIG = NetworkConfig(pool4=POOL4, pool6=None, backend=Vxlan())
DUAL = replace(CONFIG, pool6=POOL6)
ONLY6 = NetworkConfig(pool4=None, pool6=POOL6, backend=Vxlan())
HOST = Host(
    underlay=Underlay(device="eth0", mtu=1500, address=IPv4Address("192.168.64.11"), address6=None),
    connected=(IPv4Network("192.168.64.0/24"),),
)
DUAL_HOST = Host(
    underlay=replace(HOST.underlay, address6=IPv6Address("fd64::11")),
    connected=(*HOST.connected, IPv6Network("fd64::/64")),
)
DAY_NS = 86_400 * 1_000_000_000


def mac(number: int) -> MacAddress:
    """A VTEP MAC: node ``number``'s unless somebody else uses it."""
    return MacAddress(f"02:00:0a:f4:{number:02x}:00")


def lease(number: int, **changes: Any) -> Lease:
    """Node ``number``'s lease, with ``changes``; its key follows its subnets."""
    made = Lease(
        key=LeaseKey(""),
        subnet=IPv4Network(f"10.244.{number}.0/24"),
        public_ip=IPv4Address(f"192.168.64.{10 + number}"),
        backend_type="vxlan",
        vni=Vni(1),
        vtep_mac=mac(number),
        created=number,
        expires_at_ns=DAY_NS,
    )
    changed = replace(made, **changes)
    return changed if changed.key else replace(changed, key=lease_key(changed.subnet, changed.subnet6))


def dual_lease(number: int, **changes: Any) -> Lease:
    """The same with fd10:244:0:n::/64 beside it."""
    six = {
        "subnet6": IPv6Network(f"fd10:244:0:{number:x}::/64"),
        "public_ip6": IPv6Address(f"fd64::{10 + number}"),
        "vtep_mac6": MacAddress(f"06:00:0a:f4:{number:02x}:00"),
    }
    return lease(number, **{**six, **changes})


OWN = lease(1)
OWN_DUAL = dual_lease(1)


def book(*leases: Lease, **changes: Any) -> LeaseBook:
    """A book that holds ``leases``."""
    return replace(LeaseBook(synced=True, cluster_id="c", revision=1, leases=by_key(leases)), **changes)


def by_key(leases: Iterable[Lease]) -> Mapping[LeaseKey, Lease]:
    return {each.key: each for each in leases}


def snapshot(*leases: Lease, **changes: Any) -> Snapshot:
    """Everything that the store ``c`` holds at revision 1, with ``changes``."""
    return replace(Snapshot(cluster_id="c", revision=1, leases=leases), **changes)


def intent(*events: LeaseEvent, config: NetworkConfig = CONFIG, host: Host = HOST, own: Lease = OWN) -> Intent:
    """This node's intent after ``events``."""
    made = Intent.initial(config, host, own, Settings(ip_masq=True))
    for event in events:
        made, _ = made.after(event, 0)
    return made


def bare_host() -> tuple[KernelObject, ...]:
    """What this node's kernel holds before the agent comes: a NIC with its addresses."""
    return (
        Link(name="eth0", kind=OtherKind(), mtu=1500, mac=MacAddress("02:42:c0:a8:40:0b"), master="", alias=""),
        Address(device="eth0", interface=ip_interface("192.168.64.11/24")),
        Address(device="eth0", interface=ip_interface("fd64::11/64")),
    )
