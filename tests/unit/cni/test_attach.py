"""What an attachment is, as values: both sides' states, names and MACs that need no memory, whose what is."""

import json
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tulle.cni.attach import (
    PodNetwork,
    adopted,
    alias_of,
    attachment,
    host_device,
    host_mac,
    host_scope,
    judge,
    mac_of,
    new_bridge,
)
from tulle.model.network import MacAddress
from tulle.model.objects import (
    Address,
    BridgeKind,
    Link,
    LinkKey,
    OtherKind,
    Route,
    VethKind,
    VxlanKind,
)
from tulle.ownership import Standing
from tulle.plan.diff import diff
from tulle.wire.cni import Invocation, decode_invocation

NETWORK = PodNetwork(
    subnet=IPv4Network("10.244.1.0/24"),
    subnet6=IPv6Network("fd10:244:0:1::/64"),
    mtu=1430,
    networks=(IPv4Network("10.244.0.0/16"), IPv6Network("fd10:244::/48")),
)
GIVEN = (ip_interface("10.244.1.5/24"), ip_interface("fd10:244:0:1::5/64"))
CONTAINERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,80}", fullmatch=True)


def call(**conf: Any) -> Invocation:
    environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "eth0"}
    given = {"cniVersion": "1.1.0", "name": "net", "type": "tulle", **conf}
    return decode_invocation(environment, json.dumps(given).encode())


def test_the_node_holds_bridge_gateways_and_one_end() -> None:
    made = attachment(call(), NETWORK, GIVEN, new_bridge("cbr0", NETWORK))
    bridge, pair = made.host.link("cbr0"), made.host.link(host_device("c1", "eth0"))
    assert bridge is not None
    assert pair is not None
    assert (bridge.mac, bridge.mtu) == ("0a:58:0a:f4:01:01", 1430)
    assert (pair.master, pair.alias, pair.hairpin, pair.mtu) == ("cbr0", "tulle:c1", True, 1430)
    assert {str(each.interface) for each in made.host.each(Address)} == {"10.244.1.1/24", "fd10:244:0:1::1/64"}


def test_the_pod_holds_its_end_its_addresses_and_a_way_out() -> None:
    made = attachment(call(), NETWORK, GIVEN, new_bridge("cbr0", NETWORK))
    inner = made.pod.link("eth0")
    assert inner is not None
    assert (inner.mac, inner.mtu, inner.up) == ("0a:58:0a:f4:01:05", 1430, True)
    assert {str(each.interface) for each in made.pod.each(Address)} == {"10.244.1.5/24", "fd10:244:0:1::5/64"}
    assert {(str(route.dst), str(route.via)) for route in made.pod.each(Route)} == {
        ("0.0.0.0/0", "10.244.1.1"),
        ("::/0", "fd10:244:0:1::1"),
    }


def test_without_a_default_route_a_pod_reaches_the_overlay() -> None:
    made = attachment(call(isDefaultGateway=False), NETWORK, GIVEN, new_bridge("cbr0", NETWORK))
    assert {str(route.dst) for route in made.pod.each(Route)} == {"10.244.0.0/16", "fd10:244::/48"}


def test_the_newborn_pair_is_set_right_without_a_question() -> None:
    made = attachment(call(), NETWORK, GIVEN, new_bridge("cbr0", NETWORK))
    plan = diff(made.pod, made.newborn, judge)
    assert plan.conflicts == ()
    assert {step.key for step in plan.steps} == set(made.pod.objects)


def test_all_that_the_node_holds_of_it_is_looked_at_before() -> None:
    made = attachment(call(), NETWORK, GIVEN, new_bridge("cbr0", NETWORK))
    assert set(made.host.objects) == host_scope("cbr0", host_device("c1", "eth0"), NETWORK).keys


def test_an_adopted_bridge_keeps_its_mac_and_its_mtu() -> None:
    found = Link(name="cni0", kind=BridgeKind(), mtu=1400, mac=MacAddress("02:00:00:00:00:07"), up=False, alias="x")
    assert adopted(found) == Link(name="cni0", kind=BridgeKind(), mtu=1400, mac=MacAddress("02:00:00:00:00:07"))


def test_what_is_answered_is_what_is_made() -> None:
    made = attachment(call(mtu=1300), NETWORK, GIVEN, new_bridge("cbr0", NETWORK))
    names = [each.name for each in made.attached.interfaces]
    assert names == ["cbr0", host_device("c1", "eth0"), "eth0"]
    states = (made.host, made.host, made.pod)
    for each, state in zip(made.attached.interfaces, states, strict=True):
        link = state.link(each.name)
        assert link is not None
        assert (each.mac, each.mtu) == (link.mac, link.mtu)
    assert made.attached.interfaces[-1].sandbox == "/run/netns/c1"


@given(CONTAINERS, CONTAINERS)
def test_a_name_follows_from_its_attachment_alone(one: str, other: str) -> None:
    assert host_device(one, "eth0") == host_device(one, "eth0")
    assert len(host_device(one, "eth0")) <= 15
    assert (host_mac(one, "eth0") == host_mac(other, "eth0")) is (one == other)
    assert host_mac(one, "eth0") != host_mac(one, "net1")
    assert int(host_mac(one, "eth0")[:2], 16) & 3 == 2, "locally administered, one receiver"
    assert len(alias_of(one * 5)) <= 255


def test_a_mac_follows_from_its_address() -> None:
    assert mac_of(ip_address("10.244.1.5")) == "0a:58:0a:f4:01:05"
    assert mac_of(ip_address("fd10::5")) != mac_of(ip_address("fd10::6"))


def test_whose_what_is() -> None:
    other_route = Route(dst=ip_network("0.0.0.0/0"), device="eth9", protocol=3)
    assert judge(other_route) is Standing.FOREIGN
    assert judge(replace(other_route, protocol=116)) is Standing.KEPT
    assert judge(Link(name="cbr0", kind=BridgeKind())) is Standing.KEPT
    assert judge(Link(name="x", kind=VethKind())) is Standing.KEPT
    assert judge(Link(name="x", kind=OtherKind("tun"))) is Standing.FOREIGN
    assert judge(Link(name="x", kind=VxlanKind(vni=1, port=8472, local=None, underlay=None))) is Standing.FOREIGN  # type: ignore[arg-type]
    assert LinkKey("x") == Link(name="x", kind=VethKind()).key
