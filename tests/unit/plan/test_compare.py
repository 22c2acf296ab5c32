"""When is it right already, can it be set, or must it be made anew?"""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_interface

import pytest

from tulle.model.network import MacAddress, Vni
from tulle.model.objects import (
    Address,
    BridgeKind,
    ChainAccept,
    FdbEntry,
    KernelObject,
    Link,
    Neighbor,
    NftTable,
    OtherKind,
    Route,
    Sysctl,
    VethKind,
    VxlanKind,
)
from tulle.plan.compare import Gap, gap

KIND = VxlanKind(vni=Vni(1), port=8472, local=IPv4Address("192.168.64.11"), underlay="eth0")
LINK = Link(name="flannel.1", kind=KIND, mtu=1450)
ADDRESS = Address(device="flannel.1", interface=ip_interface("10.244.1.0/32"))
ROUTE = Route(dst=IPv4Network("10.244.2.0/24"), device="flannel.1", via=IPv4Address("10.244.2.0"), onlink=True)
NEIGHBOR = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.0"), mac=MacAddress("02:00:00:00:00:02"))
FDB = FdbEntry(device="flannel.1", mac=MacAddress("02:00:00:00:00:02"), dst=IPv4Address("192.168.64.12"))
TABLE = NftTable(family="inet", name="tulle", digest="d", text="…")
ACCEPT = ChainAccept(
    engine="nft", family="ip", table="filter", chain="FORWARD", networks=(IPv4Network("10.244.0.0/16"),)
)


def vxlan(**changes: object) -> Link:
    return replace(LINK, kind=replace(KIND, **changes))


@pytest.mark.parametrize(
    ("desired", "observed", "expected"),
    [
        pytest.param(LINK, LINK, Gap.NONE, id="link: the same"),
        pytest.param(LINK, vxlan(vni=Vni(7)), Gap.REBUILD, id="link: another VNI"),
        pytest.param(LINK, vxlan(port=4789), Gap.REBUILD, id="link: another port"),
        pytest.param(LINK, vxlan(gbp=True), Gap.REBUILD, id="link: with GBP"),
        pytest.param(LINK, vxlan(local=None), Gap.SETTABLE, id="link: another local address"),
        pytest.param(LINK, vxlan(underlay="eth1"), Gap.SETTABLE, id="link: another underlay"),
        pytest.param(LINK, vxlan(learning=True), Gap.SETTABLE, id="link: learning"),
        pytest.param(LINK, replace(LINK, kind=BridgeKind()), Gap.REBUILD, id="link: another kind"),
        pytest.param(LINK, replace(LINK, mtu=1300), Gap.SETTABLE, id="link: another MTU"),
        pytest.param(LINK, replace(LINK, up=False), Gap.SETTABLE, id="link: down"),
        pytest.param(
            Link(name="a", kind=VethKind(peer="b")), Link(name="a", kind=VethKind()), Gap.NONE, id="veth: any pair"
        ),
        pytest.param(
            Link(name="a", kind=BridgeKind(linklocal_learning=False)),
            Link(name="a", kind=BridgeKind()),
            Gap.SETTABLE,
            id="bridge: learns from LLDP and shall not",
        ),
        pytest.param(
            Link(name="a", kind=BridgeKind()),
            Link(name="a", kind=BridgeKind(linklocal_learning=False)),
            Gap.NONE,
            id="bridge: learns nothing from LLDP, and may",
        ),
        pytest.param(
            Link(name="a", kind=BridgeKind()), Link(name="a", kind=OtherKind("bond")), Gap.REBUILD, id="link: a bond"
        ),
        pytest.param(ADDRESS, ADDRESS, Gap.NONE, id="address: the same"),
        pytest.param(ADDRESS, replace(ADDRESS, nodad=True), Gap.NONE, id="address: however it was made"),
        pytest.param(ADDRESS, replace(ADDRESS, scope=253), Gap.REBUILD, id="address: another scope"),
        pytest.param(ADDRESS, replace(ADDRESS, permanent=False), Gap.REBUILD, id="address: one that ends"),
        pytest.param(ROUTE, replace(ROUTE, protocol=3), Gap.NONE, id="route: whoever wrote it"),
        pytest.param(
            ROUTE, replace(ROUTE, source=IPv4Address("10.244.1.0")), Gap.NONE, id="route: its source is not ours to say"
        ),
        pytest.param(
            replace(ROUTE, source=IPv4Address("10.244.1.0")), ROUTE, Gap.SETTABLE, id="route: unless we say one"
        ),
        pytest.param(ROUTE, replace(ROUTE, device="eth0"), Gap.SETTABLE, id="route: another device"),
        pytest.param(ROUTE, replace(ROUTE, via=None), Gap.SETTABLE, id="route: without a gateway"),
        pytest.param(ROUTE, replace(ROUTE, onlink=False), Gap.SETTABLE, id="route: not onlink"),
        pytest.param(ROUTE, replace(ROUTE, kind="blackhole"), Gap.SETTABLE, id="route: a blackhole"),
        pytest.param(ROUTE, replace(ROUTE, mtu=1300), Gap.SETTABLE, id="route: another MTU"),
        pytest.param(ROUTE, replace(ROUTE, multipath=True), Gap.SETTABLE, id="route: multipath"),
        pytest.param(NEIGHBOR, NEIGHBOR, Gap.NONE, id="neighbour: the same"),
        pytest.param(NEIGHBOR, replace(NEIGHBOR, permanent=False), Gap.SETTABLE, id="neighbour: one that ages"),
        pytest.param(NEIGHBOR, replace(NEIGHBOR, mac=None), Gap.SETTABLE, id="neighbour: not resolved"),
        pytest.param(FDB, replace(FDB, dst=IPv4Address("192.168.64.99")), Gap.SETTABLE, id="FDB: elsewhere"),
        pytest.param(FDB, replace(FDB, port=4789), Gap.SETTABLE, id="FDB: another port"),
        pytest.param(Sysctl("a", "1"), Sysctl("a", "0"), Gap.SETTABLE, id="sysctl: another value"),
        pytest.param(Sysctl("a", "1"), Sysctl("a", None), Gap.SETTABLE, id="sysctl: absent"),
        pytest.param(TABLE, replace(TABLE, text=None), Gap.NONE, id="table: the same digest"),
        pytest.param(TABLE, replace(TABLE, digest=""), Gap.SETTABLE, id="table: a rule is missing or foreign"),
        pytest.param(ACCEPT, replace(ACCEPT, networks=()), Gap.SETTABLE, id="accept: other networks"),
        pytest.param(ACCEPT, ACCEPT, Gap.NONE, id="accept: the same"),
    ],
)
def test_gap(desired: KernelObject, observed: KernelObject, expected: Gap) -> None:
    assert gap(desired, observed) is expected


@pytest.mark.parametrize("field", ["mtu", "mac", "up", "master", "alias", "hairpin", "promiscuous"])
def test_a_setting_counts_only_when_it_is_wanted(field: str) -> None:
    full = replace(
        LINK,
        mac=MacAddress("02:00:00:00:00:01"),
        up=True,
        master="cbr0",
        alias="tulle:x",
        hairpin=True,
        promiscuous=True,
    )
    other = {
        "mtu": 1,
        "mac": MacAddress("02:00:00:00:00:09"),
        "up": False,
        "master": "",
        "alias": "",
        "hairpin": False,
        "promiscuous": False,
    }
    observed = replace(full, **{field: other[field]})
    assert gap(full, observed) is Gap.SETTABLE
    assert gap(replace(full, **{field: None}), observed) is Gap.NONE
