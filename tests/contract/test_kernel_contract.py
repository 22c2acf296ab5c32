"""The kernel's port, on the kernel in memory and on the real one: one story each, told twice."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from errno import EEXIST, EINVAL, ENETDOWN, ENODEV, ENOENT
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface

import pytest

from tests.kit.kernels import NEEDS_ROOT, World, fake_world, real_world, vtep
from tulle.model.change import Change, Create, Delete
from tulle.model.network import MacAddress, Vni
from tulle.model.objects import (
    Address,
    AddressKey,
    BridgeKind,
    FdbEntry,
    KernelObject,
    Link,
    LinkKey,
    Neighbor,
    NftTable,
    Route,
    RouteKey,
    Sysctl,
    SysctlKey,
    VethKind,
    VxlanKind,
)
from tulle.model.state import Scope
from tulle.plan.compare import Gap, gap
from tulle.plan.firewall import NodeFirewall, firewall_table
from tulle.plan.guard import Port, guard_elements, guard_table

GATEWAY = IPv4Address("10.244.2.0")
SUBNET = IPv4Network("10.244.2.0/24")
GATEWAY6 = IPv6Address("fd10:244:0:2::")
SUBNET6 = IPv6Network("fd10:244:0:2::/64")
MAC, OTHER_MAC = MacAddress("02:00:0a:f4:02:00"), MacAddress("02:00:0a:f4:03:00")
ZERO_MAC = MacAddress("00:00:00:00:00:00")
PEER, OTHER_PEER = IPv4Address("192.168.64.12"), IPv4Address("192.168.64.13")

VTEP = vtep()
ADDRESS = Address(device="flannel.1", interface=ip_interface("10.244.1.0/32"))
ADDRESS6 = Address(device="flannel.1", interface=ip_interface("fd10:244:0:1::/128"), nodad=True)
ROUTE = Route(dst=SUBNET, device="flannel.1", via=GATEWAY, onlink=True)
ROUTE6 = Route(dst=SUBNET6, device="flannel.1", via=GATEWAY6, onlink=True)
NEIGHBOR = Neighbor(device="flannel.1", ip=GATEWAY, mac=MAC)
NEIGHBOR6 = Neighbor(device="flannel.1", ip=GATEWAY6, mac=MAC)
FDB_ENTRY = FdbEntry(device="flannel.1", mac=MAC, dst=PEER)
ON_TUNNEL: tuple[KernelObject, ...] = (ADDRESS, ADDRESS6, NEIGHBOR, NEIGHBOR6, FDB_ENTRY, ROUTE, ROUTE6)
BRIDGE = Link(name="cbr0", kind=BridgeKind(), mtu=1450, mac=MacAddress("02:00:0a:f4:01:01"))
DEAF = replace(BRIDGE, kind=BridgeKind(linklocal_learning=False))
PAIR = Link(
    name="vethA", kind=VethKind(peer="vethB", peer_mtu=1450), mtu=1450, alias="tulle:pod a", hairpin=True, master="cbr0"
)


@pytest.fixture(
    params=["fake", pytest.param("linux", marks=pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT)))]
)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made: AbstractContextManager[World] = fake_world() if request.param == "fake" else real_world()
    with made as found:
        yield found


def satisfied(world: World, *wanted: KernelObject) -> bool:
    """Does the kernel hold each of ``wanted``, asked for by key?"""
    state = world.observe(*(obj.key for obj in wanted))
    pairs = ((obj, state.get(obj.key)) for obj in wanted)
    return all(found is not None and gap(obj, found) is Gap.NONE for obj, found in pairs)


def absent(world: World, *objects: KernelObject) -> bool:
    state = world.observe(*(obj.key for obj in objects))
    return not any(obj.key in state for obj in objects)


def created(*objects: KernelObject) -> tuple[Create, ...]:
    return tuple(Create(obj) for obj in objects)


# -- what is applied is what is observed ----------------------------------------------


@pytest.mark.parametrize(
    ("before", "wanted"),
    [
        pytest.param((), VTEP, id="a VXLAN device, made and up in one step"),
        pytest.param((), vtep("vx7", vni=7, learning=True), id="a learning VXLAN device"),
        pytest.param(
            (),
            Link(
                name="flannel-v6.1",
                kind=VxlanKind(vni=Vni(1), port=8472, local=IPv6Address("fd64::11"), underlay="eth0"),
                mtu=1430,
            ),
            id="a VXLAN device over IPv6",
        ),
        pytest.param((), replace(VTEP, up=False), id="a device that stays down"),
        pytest.param((), replace(VTEP, alias="tulle:x"), id="an alias"),
        pytest.param((), BRIDGE, id="a bridge"),
        pytest.param((), DEAF, id="a bridge that learns nothing from LLDP"),
        pytest.param((BRIDGE,), PAIR, id="a pair of which one end is a bridge's port that reflects"),
        pytest.param((VTEP,), ADDRESS, id="an address"),
        pytest.param((VTEP,), ADDRESS6, id="an IPv6 address"),
        pytest.param((VTEP,), ROUTE, id="an onlink route"),
        pytest.param((VTEP,), ROUTE6, id="an IPv6 route without a metric"),
        pytest.param((), Route(dst=SUBNET, device="eth0", via=PEER), id="a route through a neighbour"),
        pytest.param((), Route(dst=SUBNET, device="eth0"), id="a route without a gateway"),
        pytest.param(
            (), Route(dst=SUBNET, device="eth0", via=PEER, mtu=1400, metric=7, table=100), id="metric, MTU, table"
        ),
        pytest.param((), Route(dst=SUBNET, device="eth0", via=PEER, table=5000), id="a table beyond a byte"),
        pytest.param(
            (), Route(dst=SUBNET, device="eth0", source=IPv4Address("192.168.64.11")), id="a route with a source"
        ),
        pytest.param((), Route(dst=SUBNET, device=None, kind="blackhole"), id="a blackhole"),
        pytest.param((), Route(dst=SUBNET6, device=None, kind="unreachable"), id="an unreachable IPv6 prefix"),
        pytest.param((), Route(dst=IPv4Network("0.0.0.0/0"), device="eth0", via=PEER), id="a default route"),
        pytest.param((VTEP,), NEIGHBOR, id="a neighbour"),
        pytest.param((VTEP,), NEIGHBOR6, id="an IPv6 neighbour"),
        pytest.param((VTEP,), FDB_ENTRY, id="an FDB entry"),
        pytest.param(
            (VTEP,), FdbEntry(device="flannel.1", mac=MAC, dst=PEER, port=4789, vni=9), id="an FDB entry's port and VNI"
        ),
        pytest.param((VTEP,), FdbEntry(device="flannel.1", mac=ZERO_MAC, dst=PEER), id="a default FDB entry"),
    ],
)
def test_what_is_created_is_observed_and_goes_when_deleted(
    world: World, before: tuple[KernelObject, ...], wanted: KernelObject
) -> None:
    world.do(*created(*before))
    world.do(Create(wanted))
    assert satisfied(world, wanted)
    assert world.observe().get(wanted.key) == world.observe(wanted.key).get(wanted.key), "one key and everything agree"
    world.do(Delete(wanted))
    assert absent(world, wanted)


@pytest.mark.parametrize("obj", [VTEP, BRIDGE, *ON_TUNNEL], ids=lambda obj: f"{type(obj).__name__}")
def test_a_create_is_exclusive_and_a_second_delete_is_done(world: World, obj: KernelObject) -> None:
    base = () if isinstance(obj, Link) else (VTEP,)
    world.do(*created(*base, obj))
    assert world.errno(Create(obj)) == EEXIST
    assert satisfied(world, obj)
    world.do(Delete(obj), Delete(obj))


@pytest.mark.parametrize("obj", [VTEP, *ON_TUNNEL], ids=lambda obj: f"{type(obj).__name__}")
def test_deleting_what_is_on_no_device_is_done(world: World, obj: KernelObject) -> None:
    world.do(Delete(obj))


@pytest.mark.parametrize("obj", ON_TUNNEL, ids=lambda obj: f"{type(obj).__name__}")
def test_a_create_on_no_device_says_so(world: World, obj: KernelObject) -> None:
    assert world.errno(Create(obj)) == ENODEV


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(ROUTE, replace(ROUTE, via=IPv4Address("10.244.9.0")), id="a route's gateway"),
        pytest.param(ROUTE, Route(dst=SUBNET, device="eth0", via=PEER), id="a route's device"),
        pytest.param(replace(ROUTE, protocol=4), ROUTE, id="a route's protocol"),
        pytest.param(ROUTE6, replace(ROUTE6, via=IPv6Address("fd10:244:0:9::")), id="an IPv6 route's gateway"),
        pytest.param(NEIGHBOR, replace(NEIGHBOR, mac=OTHER_MAC), id="a neighbour's MAC"),
        pytest.param(replace(NEIGHBOR6, permanent=False), NEIGHBOR6, id="a neighbour made permanent"),
        pytest.param(FDB_ENTRY, replace(FDB_ENTRY, dst=OTHER_PEER), id="an FDB entry's destination"),
        pytest.param(VTEP, replace(VTEP, mtu=1400), id="an MTU"),
        pytest.param(VTEP, replace(VTEP, mac=OTHER_MAC), id="a MAC"),
        pytest.param(VTEP, replace(VTEP, up=False), id="down"),
        pytest.param(VTEP, replace(VTEP, alias="tulle:other"), id="an alias"),
        pytest.param(VTEP, replace(VTEP, kind=replace(VTEP.kind, learning=True)), id="a tunnel's learning"),
        pytest.param(VTEP, replace(VTEP, kind=replace(VTEP.kind, local=OTHER_PEER)), id="a tunnel's local address"),
        pytest.param(VTEP, replace(VTEP, kind=replace(VTEP.kind, underlay="far0")), id="a tunnel's underlay"),
    ],
)
def test_a_change_is_made_in_place(world: World, before: KernelObject, after: KernelObject) -> None:
    base = () if isinstance(before, Link) else (VTEP,)
    world.do(*created(*base, before))
    world.do(Change(before, after))
    assert satisfied(world, after)


def test_a_pair_joins_and_leaves_a_bridge(world: World) -> None:
    free = replace(PAIR, master="", hairpin=False)
    world.do(Create(BRIDGE), Create(free), Change(free, PAIR))
    assert satisfied(world, PAIR)
    world.do(Change(PAIR, replace(PAIR, master="", hairpin=None)))
    assert satisfied(world, replace(PAIR, master="", hairpin=None))


def test_a_bridge_stops_learning_from_lldp_and_another_change_leaves_that(world: World) -> None:
    world.do(Create(BRIDGE), Change(BRIDGE, DEAF))
    assert satisfied(world, DEAF)
    world.do(Change(DEAF, replace(BRIDGE, mtu=1400)))
    assert satisfied(world, replace(DEAF, mtu=1400))


def test_a_change_needs_no_predecessor_for_entries(world: World) -> None:
    """What a plan held for a change may be gone by now: a route, neighbour or FDB entry is made then."""
    world.do(Create(VTEP), *(Change(obj, obj) for obj in (NEIGHBOR, FDB_ENTRY, ROUTE, ROUTE6)))
    assert satisfied(world, NEIGHBOR, FDB_ENTRY, ROUTE, ROUTE6)


# -- refusals -------------------------------------------------------------------------


def test_a_refused_step_stops_nobody_else(world: World) -> None:
    unreachable = Route(dst=IPv4Network("10.9.0.0/24"), device="eth0", via=IPv4Address("10.77.0.1"))
    outcomes = world.apply(Create(VTEP), Create(NEIGHBOR), Create(unreachable), Create(FDB_ENTRY))
    assert [outcome.error is None for outcome in outcomes] == [True, True, False, True]
    assert satisfied(world, NEIGHBOR, FDB_ENTRY)


def test_steps_on_a_device_that_could_not_be_made_fail_with_it(world: World) -> None:
    """Somebody made a bridge of our name meanwhile: nothing of ours lands on it."""
    world.do(Create(replace(BRIDGE, name="flannel.1")))
    outcomes = world.apply(*created(VTEP, ADDRESS, NEIGHBOR, ROUTE), Create(Route(dst=SUBNET, device="eth0", metric=3)))
    assert [outcome.error is None for outcome in outcomes] == [False, False, False, False, True]
    assert absent(world, ADDRESS, NEIGHBOR, ROUTE)


def test_a_second_tunnel_of_one_vni_is_refused(world: World) -> None:
    world.do(Create(VTEP))
    assert world.errno(Create(vtep("vx1"))) == EEXIST


def test_a_tunnel_is_no_larger_than_its_underlay_allows(world: World) -> None:
    world.do(Create(replace(VTEP, mtu=1500)))
    found = world.observe(VTEP.key).link("flannel.1")
    assert found is not None
    assert found.mtu == 1450


def test_routes_are_refused_on_a_device_that_is_down(world: World) -> None:
    world.do(Create(replace(VTEP, up=False)))
    assert [world.errno(Create(route)) for route in (ROUTE, ROUTE6)] == [ENETDOWN, ENETDOWN]
    world.do(Create(NEIGHBOR), Create(FDB_ENTRY), Create(ADDRESS))


# -- what the kernel does by itself ---------------------------------------------------


def test_a_device_that_goes_down_loses_its_routes_and_neighbours_and_keeps_its_fdb(world: World) -> None:
    world.do(Create(VTEP), *created(*ON_TUNNEL))
    world.do(Change(VTEP, replace(VTEP, up=False)))
    assert satisfied(world, FDB_ENTRY, ADDRESS)
    assert absent(world, ROUTE, ROUTE6, NEIGHBOR, NEIGHBOR6, ADDRESS6)


def test_a_new_mac_flushes_the_neighbours_and_nothing_else(world: World) -> None:
    world.do(Create(VTEP), *created(*ON_TUNNEL))
    world.do(Change(VTEP, replace(VTEP, mac=OTHER_MAC)))
    assert absent(world, NEIGHBOR, NEIGHBOR6)
    assert satisfied(world, ADDRESS, ADDRESS6, FDB_ENTRY, ROUTE, ROUTE6)


def test_the_last_ipv4_address_takes_the_ipv4_routes_and_neighbours_of_its_device(world: World) -> None:
    second = Address(device="flannel.1", interface=ip_interface("10.244.7.0/32"))
    world.do(Create(VTEP), *created(*ON_TUNNEL, second), Delete(second))
    assert satisfied(world, ROUTE, NEIGHBOR)
    world.do(Delete(ADDRESS))
    assert absent(world, ROUTE, NEIGHBOR)
    assert satisfied(world, ROUTE6, NEIGHBOR6, FDB_ENTRY)


def test_an_address_takes_the_ipv4_routes_that_use_it_as_source(world: World) -> None:
    second = Address(device="eth0", interface=ip_interface("10.1.1.1/32"))
    route = Route(dst=SUBNET, device="eth0", via=PEER, source=IPv4Address("10.1.1.1"))
    world.do(Create(second), Create(route), Delete(second))
    assert absent(world, route)


def test_an_address_brings_and_takes_its_connected_route(world: World) -> None:
    address = Address(device="eth0", interface=ip_interface("10.7.0.1/24"))
    connected = RouteKey(IPv4Network("10.7.0.0/24"), 254, 0)
    world.do(Create(address))
    assert connected in world.observe(connected)
    world.do(Delete(address))
    assert connected not in world.observe(connected)


def test_a_deleted_device_takes_all_that_is_on_it(world: World) -> None:
    world.do(Create(VTEP), *created(*ON_TUNNEL), Delete(VTEP))
    assert absent(world, VTEP, *ON_TUNNEL)


def test_a_deleted_underlay_takes_the_tunnel(world: World) -> None:
    world.do(Create(VTEP), Delete(Link(name="eth0", kind=VethKind())))
    assert absent(world, VTEP, Link(name="far0", kind=VethKind()))


def test_a_deleted_bridge_frees_its_ports(world: World) -> None:
    world.do(Create(BRIDGE), Create(PAIR), Delete(BRIDGE))
    assert satisfied(world, replace(PAIR, master="", hairpin=False))


# -- scopes ---------------------------------------------------------------------------


def test_a_device_scope_shows_all_that_lives_on_the_device(world: World) -> None:
    world.do(Create(VTEP), *created(*ON_TUNNEL))
    state = world.see(Scope.of(devices=["flannel.1"]))
    assert all(obj.key in state for obj in (VTEP, *ON_TUNNEL))


def test_a_key_shows_what_holds_it_wherever_that_lives(world: World) -> None:
    foreign = Route(dst=SUBNET, device="eth0", via=PEER, protocol=4)
    world.do(Create(VTEP), Create(foreign))
    assert satisfied(world, foreign)
    assert world.observe(ROUTE.key).get(ROUTE.key) == world.observe().get(ROUTE.key)


@pytest.mark.parametrize(
    "around",
    [
        pytest.param((), id="nothing"),
        pytest.param((ROUTE, ROUTE6), id="the route itself"),
        pytest.param((ROUTE, replace(ROUTE, metric=7), ROUTE6, replace(ROUTE6, metric=7)), id="two metrics"),
        pytest.param((replace(ROUTE, metric=7), replace(ROUTE6, metric=2000)), id="only a higher metric"),
        pytest.param((replace(ROUTE, dst=IPv4Network("10.244.0.0/16")),), id="what covers it"),
        pytest.param((ROUTE, replace(ROUTE, dst=IPv4Network("10.244.2.0/32"))), id="a longer prefix inside"),
        pytest.param((replace(ROUTE, dst=IPv4Network("10.244.2.0/32")),), id="only a longer prefix"),
        pytest.param((replace(ROUTE, table=1000),), id="another table"),
        pytest.param((Route(dst=SUBNET, device=None, kind="blackhole", protocol=4),), id="a blackhole"),
        pytest.param((Route(dst=SUBNET6, device=None, kind="unreachable", protocol=4),), id="unreachable, IPv6"),
    ],
)
def test_one_routes_key_shows_what_reading_all_shows(world: World, around: tuple[Route, ...]) -> None:
    world.do(Create(VTEP), Create(ADDRESS), Create(ADDRESS6), *created(*around))
    whole = world.observe()
    for key in {ROUTE.key, ROUTE6.key, *(route.key for route in around)}:
        assert world.observe(key).get(key) == whole.get(key)


def test_many_keys_are_answered_like_one(world: World) -> None:
    macs = [MacAddress(f"02:00:0a:f4:00:{n:02x}") for n in range(70)]
    ips = [IPv4Address(f"10.244.{n}.0") for n in range(70)]
    peers: list[KernelObject] = []
    for ip, mac in zip(ips, macs, strict=True):
        peers += (
            Neighbor(device="flannel.1", ip=ip, mac=mac),
            FdbEntry(device="flannel.1", mac=mac, dst=PEER),
            Route(dst=IPv4Network(f"{ip}/24"), device="flannel.1", via=ip, onlink=True),
        )
    world.do(Create(VTEP), *created(*peers))
    assert satisfied(world, *peers)
    world.do(*(Delete(obj) for obj in peers))
    assert absent(world, *peers)


def test_what_is_not_there_is_absent_without_an_error(world: World) -> None:
    table = RouteKey(IPv6Network("fd77::/64"), 777, 1024)
    keys = (
        VTEP.key,
        *(obj.key for obj in ON_TUNNEL),
        table,
        LinkKey("a-name-longer-than-fits"),
        AddressKey("", ADDRESS.interface),
    )
    state = world.observe(*keys)
    assert not any(key in state for key in keys)


def test_everything_shows_no_sysctl_that_was_not_named(world: World) -> None:
    assert not list(world.observe().each(Sysctl))


# -- sysctls --------------------------------------------------------------------------


def test_a_sysctl_is_written_and_read_back(world: World) -> None:
    forwarding = Sysctl("net/ipv4/ip_forward", "1")
    (before,) = world.observe(forwarding.key).each(Sysctl)
    world.do(Change(before, replace(before, value="0")), Change(before, forwarding))
    assert satisfied(world, forwarding)


def test_a_device_with_a_dot_in_its_name_has_its_sysctls(world: World) -> None:
    key = SysctlKey("net/ipv6/conf/flannel.1/accept_ra")
    assert world.observe(key).get(key) == Sysctl(key.path, None), "observed as absent"
    wanted = Sysctl(key.path, "0")
    assert world.errno(Change(Sysctl(key.path, None), wanted)) == ENOENT
    world.do(Create(VTEP), Create(wanted))
    assert satisfied(world, wanted)


@pytest.mark.parametrize(
    "path", ["kernel/hostname", "net/../kernel/hostname", "net/ipv4/./ip_forward", "/net/ipv4", "net/a b"]
)
def test_a_sysctl_outside_net_is_refused(world: World, path: str) -> None:
    assert world.errno(Change(Sysctl(path, None), Sysctl(path, "x"))) in {EINVAL, ENOENT}


# -- nftables -------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_a_table_is_made_changed_and_removed_whole(world: World) -> None:
    first, second = (
        firewall_table(
            NodeFirewall(
                network4=IPv4Network("10.244.0.0/16"),
                network6=None,
                subnet4=IPv4Network("10.244.1.0/24"),
                subnet6=None,
                masquerade=masquerade,
                forward=True,
            )
        )
        for masquerade in (False, True)
    )
    assert absent(world, first)
    world.do(Create(first))
    assert satisfied(world, first)
    world.do(Change(first, second))
    assert satisfied(world, second)
    assert not satisfied(world, first)
    world.do(Delete(second))
    assert absent(world, second)
    assert not list(world.observe().each(NftTable))


PORT = Port(device="veth1", mac=MAC, addresses=frozenset((IPv4Address("10.244.1.2"), IPv6Address("fd10:244::2"))))


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
def test_elements_are_made_and_removed_in_one_transaction_and_go_with_their_table(world: World) -> None:
    table, elements = guard_table(), guard_elements([PORT], [OTHER_MAC])
    world.do(Create(table), *created(*elements))
    assert set(elements) <= set(world.observe(table.key)), "a table is shown with what its sets hold"
    world.do(*created(*elements))  # that they are there already is success
    world.do(*map(Delete, elements[:3]), *map(Delete, elements[:1]))
    assert set(world.observe(table.key)) - {table} >= set(elements[3:])
    assert absent(world, *elements[:3])
    world.do(Change(table, replace(table, digest="", text=guard_table(advertisements=False).text)))
    assert absent(world, *elements)
    world.do(Delete(table))
    assert world.errno(Create(elements[0])) == ENOENT


# -- announcements --------------------------------------------------------------------


@pytest.mark.parametrize("lost", [ROUTE, ROUTE6, NEIGHBOR, NEIGHBOR6, FDB_ENTRY], ids=lambda obj: type(obj).__name__)
def test_a_deleted_entry_is_announced_by_key(world: World, lost: KernelObject) -> None:
    world.do(Create(VTEP), *created(*ON_TUNNEL))
    world.listen()
    world.meddle(Delete(lost))
    assert world.heard(lambda scope: scope.covers(lost))


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        pytest.param((Delete(ADDRESS),), (ADDRESS, ROUTE), id="the last address, with the routes that go silently"),
        pytest.param((Change(VTEP, replace(VTEP, up=False)),), ON_TUNNEL, id="down"),
        pytest.param((Change(VTEP, replace(VTEP, mac=OTHER_MAC)),), (VTEP, NEIGHBOR, NEIGHBOR6), id="another MAC"),
        pytest.param((Delete(VTEP),), (VTEP, *ON_TUNNEL), id="the device"),
        pytest.param((Delete(Link(name="eth0", kind=VethKind())),), (VTEP, *ON_TUNNEL), id="the underlay"),
    ],
)
def test_damage_to_a_device_names_all_that_lives_on_it(
    world: World, damage: tuple[Change | Delete, ...], lost: tuple[KernelObject, ...]
) -> None:
    world.do(Create(VTEP), *created(*ON_TUNNEL))
    world.listen()
    world.meddle(*damage)
    assert world.heard(lambda scope: all(scope.covers(obj) for obj in lost))


@pytest.mark.parametrize("path", ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"])
def test_forwarding_that_somebody_switches_off_is_announced(world: World, path: str) -> None:
    on = Sysctl(path, "1")
    world.do(Change(replace(on, value="0"), on))
    world.listen()
    world.meddle(Change(on, replace(on, value="0")))
    assert world.heard(lambda scope: scope.covers(on))


def test_what_happens_between_listening_and_the_first_look_is_not_lost(world: World) -> None:
    world.do(Create(VTEP), *created(*ON_TUNNEL))
    world.listen()
    world.meddle(Delete(ROUTE))
    world.meddle(Delete(NEIGHBOR))
    assert world.heard(lambda scope: scope.covers(ROUTE) and scope.covers(NEIGHBOR))
