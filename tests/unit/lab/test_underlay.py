"""The wires between nodes, as values: a switch is one segment, a router has a link per node."""

from ipaddress import IPv4Interface, IPv6Interface, IPv6Network, ip_address, ip_network

from tulle.lab.topology import Wishes, design
from tulle.lab.underlay import RTPROT_STATIC, everything_kept, ground, middle, node_end, port
from tulle.model.change import Delete
from tulle.model.objects import RTPROT_TULLE, Address, BridgeKind, Link, Route, Sysctl, VethKind
from tulle.model.state import KernelState
from tulle.plan.diff import diff

NETNS = "/run/netns/tulle-lab-node1"


def test_a_switch_is_a_bridge_with_a_port_per_node() -> None:
    lab = design(Wishes())
    bridge = middle(lab.settings).link("br0")
    assert bridge is not None
    assert bridge.kind == BridgeKind()
    (link,) = port(lab.settings, lab.nodes[0], NETNS)
    assert isinstance(link, Link)
    assert (link.name, link.master, link.mtu, link.alias) == ("port1", "br0", 1500, "tulle:lab lab")
    assert link.kind == VethKind(peer="eth0", peer_netns=NETNS, peer_mtu=1500)


def test_a_host_outside_has_a_port_as_nodes_have_and_knows_no_pods() -> None:
    lab = design(Wishes(outside=True))
    outsider = lab.settings.outsider
    assert outsider is not None
    link = port(lab.settings, outsider, NETNS).link("port0")
    assert link is not None
    assert link.master == "br0"
    state = node_end(lab.settings, outsider)
    assert {address.interface for address in state.each(Address)} == {IPv4Interface("192.168.64.2/24")}
    assert not list(state.each(Route))


def test_a_node_on_a_switch_has_one_segment_and_no_route() -> None:
    lab = design(Wishes(ipv6=True))
    state = node_end(lab.settings, lab.nodes[0])
    assert {address.interface for address in state.each(Address)} == {
        IPv4Interface("192.168.64.11/24"),
        IPv6Interface("fd64::b/64"),
    }
    assert not list(state.each(Route))


def test_a_node_behind_a_router_reaches_everything_through_it_on_link() -> None:
    lab = design(Wishes(underlay="router", ipv6=True))
    state = node_end(lab.settings, lab.nodes[0])
    assert IPv4Interface("192.168.64.11/32") in {address.interface for address in state.each(Address)}
    routes = {route.dst: route for route in state.each(Route)}
    assert routes[ip_network("0.0.0.0/0")].via == ip_address("192.168.64.1")
    assert routes[ip_network("::/0")].via == ip_address("fd64::1")
    assert all(route.onlink and route.device == "eth0" for route in routes.values())


def test_a_router_forwards_and_knows_each_node_by_its_own_link() -> None:
    lab = design(Wishes(underlay="router", ipv6=True))
    assert set(middle(lab.settings).each(Sysctl)) == {
        Sysctl("net/ipv4/ip_forward", "1"),
        Sysctl("net/ipv6/conf/all/forwarding", "1"),
    }
    state = port(lab.settings, lab.nodes[1], NETNS)
    link = state.link("port2")
    assert link is not None
    assert link.master is None
    assert {route.dst for route in state.each(Route)} == {ip_network("192.168.64.12/32"), IPv6Network("fd64::c/128")}


def test_an_agent_cannot_take_the_labs_routes_for_its_own() -> None:
    lab = design(Wishes(underlay="router"))
    routes = [*node_end(lab.settings, lab.nodes[0]).each(Route), *port(lab.settings, lab.nodes[0], NETNS).each(Route)]
    assert {route.protocol for route in routes} == {RTPROT_STATIC}
    assert RTPROT_STATIC != RTPROT_TULLE


def test_ipv6_addresses_do_not_wait_for_duplicate_detection() -> None:
    lab = design(Wishes(underlay="router", ipv6=True))
    states = (node_end(lab.settings, lab.nodes[0]), port(lab.settings, lab.nodes[0], NETNS))
    found = [address for state in states for address in state.each(Address) if address.interface.version == 6]
    assert len(found) == 2
    assert all(address.nodad for address in found)


def test_what_is_in_a_namespace_already_is_kept() -> None:
    lab = design(Wishes())
    foreign = Address(device="eth0", interface=IPv4Interface("10.0.0.1/8"))
    plan = diff(node_end(lab.settings, lab.nodes[0]), KernelState.of([foreign]), everything_kept)
    assert not any(isinstance(step, Delete) for step in plan.steps)


def test_addresses_do_not_wait_for_duplicate_detection_on_any_device_of_a_dual_stack_node() -> None:
    assert Sysctl("net/ipv6/conf/default/accept_dad", "0") in set(ground(design(Wishes(ipv6=True)).settings))
    assert not list(ground(design(Wishes()).settings).each(Sysctl))
