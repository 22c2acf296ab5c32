"""What this node's kernel should hold, from configuration, host facts, own lease and peers."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from tests.kit.cluster import CONFIG, DUAL, DUAL_HOST, HOST, ONLY6, OWN, OWN_DUAL, by_key, dual_lease, lease, mac
from tulle.errors import ConfigError
from tulle.model.lease import Lease
from tulle.model.network import DroppingChain, Host, NetworkConfig, Vxlan
from tulle.model.objects import (
    Address,
    ChainAccept,
    FdbEntry,
    FdbKey,
    Link,
    Neighbor,
    NftTable,
    ObjectKey,
    Route,
    Sysctl,
    VxlanKind,
)
from tulle.ownership import Standing
from tulle.plan.desired import (
    BLACKHOLE_METRIC,
    Inputs,
    Settings,
    check_room,
    desired,
    node_objects,
    node_ownership,
    pod_mtu,
    tunnels,
)


def inputs(
    *peers: Lease,
    config: NetworkConfig = CONFIG,
    host: Host = HOST,
    own: Lease = OWN,
    settings: Settings | None = None,
) -> Inputs:
    return Inputs(config=config, host=host, own=own, settings=settings or Settings(ip_masq=True), peers=by_key(peers))


ONLY6_OWN = dual_lease(1, subnet=None, public_ip=None, vtep_mac=None)
ONLY6_HOST = replace(DUAL_HOST, underlay=replace(DUAL_HOST.underlay, address=None))


@pytest.mark.parametrize(
    ("given", "devices", "sysctls"),
    [
        pytest.param(inputs(), {"flannel.1"}, {"net/ipv4/ip_forward"}, id="IPv4"),
        pytest.param(
            inputs(config=DUAL, host=DUAL_HOST, own=OWN_DUAL),
            {"flannel.1", "flannel-v6.1"},
            {"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"},
            id="both",
        ),
        pytest.param(
            inputs(config=ONLY6, host=ONLY6_HOST, own=ONLY6_OWN),
            {"flannel-v6.1"},
            {"net/ipv6/conf/all/forwarding"},
            id="IPv6 only",
        ),
    ],
)
def test_a_node_has_a_device_an_address_and_forwarding_for_each_family(
    given: Inputs, devices: set[str], sysctls: set[str]
) -> None:
    state = desired(given).state
    assert {link.name for link in state.each(Link)} == devices
    assert {address.device for address in state.each(Address)} == devices
    accept_ra = {f"net/ipv6/conf/{device}/accept_ra" for device in devices}
    assert {sysctl.path for sysctl in state.each(Sysctl)} == sysctls | accept_ra


def test_every_peer_accounts_for_its_own_entries() -> None:
    found = desired(inputs(lease(2), lease(3)))
    of_each = [found.keys_of(lease(number).key) for number in (2, 3)]
    assert [len(keys) for keys in of_each] == [3, 3]
    assert not found.keys_of(lease(4).key), "no peer"
    own = {obj.key for obj in node_objects(found.inputs)}
    peers = frozenset[ObjectKey]().union(*of_each)
    assert own.isdisjoint(peers)
    assert own | peers == found.state.objects.keys()


@pytest.mark.parametrize(
    ("settings", "tables", "words"),
    [
        pytest.param(Settings(), 1, ("forward",), id="forward rules only, as flannel without --ip-masq"),
        pytest.param(Settings(ip_masq=True), 1, ("forward", "masquerade"), id="both"),
        pytest.param(Settings(ip_masq=True, forward_rules=False), 1, ("masquerade",), id="masquerade only"),
        pytest.param(Settings(forward_rules=False), 0, (), id="neither: no table at all"),
    ],
)
def test_the_table_holds_what_was_asked_for(settings: Settings, tables: int, words: tuple[str, ...]) -> None:
    found = list(desired(inputs(settings=settings)).state.each(NftTable))
    text = "".join(table.text or "" for table in found)
    assert len(found) == tables
    assert [word for word in ("forward", "masquerade") if word in text] == list(words)


def test_what_is_for_none_of_our_pods_ends_here_where_that_was_asked_for() -> None:
    made = desired(inputs(config=DUAL, own=OWN_DUAL, host=DUAL_HOST, settings=Settings(blackhole=True))).state
    holes = [route for route in made.each(Route) if route.kind == "blackhole"]
    assert [route.dst for route in holes] == list(OWN_DUAL.subnets)
    assert {(route.device, route.metric) for route in holes} == {(None, BLACKHOLE_METRIC)}
    assert not [route for route in desired(inputs()).state.each(Route) if route.kind == "blackhole"]


FORWARD = DroppingChain(engine="nft", family="ip", table="filter", chain="FORWARD")
FORWARD6 = replace(FORWARD, family="ip6")
INET = replace(FORWARD, family="inet", table="firewalld", chain="fwd")


@pytest.mark.parametrize(
    ("chain", "config", "networks"),
    [
        pytest.param(FORWARD, CONFIG, ["10.244.0.0/16"], id="IPv4"),
        pytest.param(FORWARD6, CONFIG, None, id="an IPv6 chain sees no packet of an IPv4 network"),
        pytest.param(FORWARD6, DUAL, ["fd10:244::/48"], id="IPv6"),
        pytest.param(INET, DUAL, ["10.244.0.0/16", "fd10:244::/48"], id="inet sees both"),
    ],
)
def test_a_chain_that_drops_gets_an_accept_of_what_it_sees(
    chain: DroppingChain, config: NetworkConfig, networks: list[str] | None
) -> None:
    own, host = (OWN_DUAL, DUAL_HOST) if config is DUAL else (OWN, HOST)
    state = desired(inputs(config=config, own=own, host=replace(host, dropping_chains=(chain,)))).state
    found = [[str(net) for net in accept.networks] for accept in state.each(ChainAccept)]
    assert found == ([networks] if networks else [])


def test_no_forward_rules_means_no_accept_in_foreign_chains() -> None:
    settings = Settings(ip_masq=True, forward_rules=False)
    state = desired(inputs(host=replace(HOST, dropping_chains=(FORWARD,)), settings=settings)).state
    assert list(state.each(ChainAccept)) == []


@pytest.mark.parametrize(
    ("given", "mtu"),
    [
        pytest.param(inputs(), 1450, id="IPv4"),
        pytest.param(inputs(config=DUAL, host=DUAL_HOST, own=OWN_DUAL), 1430, id="both: the smaller one"),
        pytest.param(inputs(config=replace(CONFIG, backend=Vxlan(mtu=1400))), 1350, id="as configured"),
    ],
)
def test_the_pods_mtu_fits_every_family(given: Inputs, mtu: int) -> None:
    assert pod_mtu(given) == mtu


def test_room_is_checked_for_the_families_of_the_network() -> None:
    tight = replace(HOST, underlay=replace(HOST.underlay, mtu=1300))
    check_room(CONFIG, tight)
    with pytest.raises(ConfigError, match="eth0"):
        check_room(DUAL, tight)


def test_the_tunnels_are_known_by_name_and_kind() -> None:
    assert tunnels(CONFIG) == {"flannel.1": VxlanKind, "flannel-v6.1": VxlanKind}


def test_the_judge_knows_the_networks_subnets_and_the_macs_it_is_told() -> None:
    judge = node_ownership(DUAL, [mac(2)])
    gateway6 = IPv6Network("fd10:244:0:2::/64").network_address
    assert judge(Neighbor(device="flannel-v6.1", ip=gateway6, mac=mac(9))) is Standing.OURS
    assert judge(Neighbor(device="flannel-v6.1", ip=gateway6 + 1, mac=mac(9))) is Standing.FOREIGN
    entry = FdbEntry(device="flannel.1", mac=mac(2), dst=IPv4Address("192.168.64.12"))
    assert (judge(entry), judge(replace(entry, mac=mac(3)))) == (Standing.OURS, Standing.FOREIGN)


# -- step by step --------------------------------------------------------------------------


def test_a_mac_that_moves_to_another_peer_keeps_its_entry_and_points_to_the_new_one() -> None:
    before = desired(inputs(lease(2), lease(3)))
    moved = lease(4, vtep_mac=mac(2))
    after, scope = before.with_peers(by_key([lease(3), moved]), {lease(2).key, moved.key})
    assert after.state.objects == desired(inputs(lease(3), moved)).state.objects
    entry = after.state.get(FdbKey("flannel.1", mac(2)))
    assert isinstance(entry, FdbEntry)
    assert entry.dst == IPv4Address("192.168.64.14")
    assert entry.key in scope.keys


def test_the_version_before_is_left_as_it_was() -> None:
    before = desired(inputs(lease(2)))
    before.with_peers({}, {lease(2).key})
    assert before == desired(inputs(lease(2)))
    assert IPv4Network("10.244.2.0/24") in {route.dst for route in before.state.each(Route)}
