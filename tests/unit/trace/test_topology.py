"""Devices and how namespaces are joined: who is on the way, how high a device stands."""

from ipaddress import ip_address

import pytest

from tests.kit.machines import CBR0, NODE1, NODE2, POD1, POD2, POD4, SWITCH, two_nodes
from tulle.trace.topology import Device, DeviceKey, Namespace, NetnsId, Topology, on_the_way


def joined(*pairs: tuple[int, int], alone: int | None = None) -> Topology:
    """Namespaces by number, one veth pair for each of ``pairs``."""
    devices: dict[int, list[Device]] = {} if alone is None else {alone: []}
    for at, (left, right) in enumerate(pairs):
        for here, there in ((left, right), (right, left)):
            index = 10 + at
            peer = DeviceKey(NetnsId(there), index)
            device = Device(netns=NetnsId(here), ifindex=index, name=f"v{at}", kind="veth", peer=peer)
            devices.setdefault(here, []).append(device)
    return Topology(
        {
            NetnsId(number): Namespace(id=NetnsId(number), name=str(number), devices=tuple(found))
            for number, found in devices.items()
        }
    )


@pytest.mark.parametrize(
    ("topology", "ends", "way"),
    [
        pytest.param(joined((1, 2), (2, 3)), (1, 3), (1, 2, 3), id="a chain"),
        pytest.param(joined((1, 2), (2, 3), (2, 9)), (1, 3), (1, 2, 3), id="another pod is not on the way"),
        pytest.param(joined((1, 2), (2, 3), (2, 8), (8, 9)), (1, 3), (1, 2, 3), id="a chain of dead ends is not"),
        pytest.param(joined((1, 2), (2, 5), (1, 3), (3, 5)), (1, 5), (1, 2, 3, 5), id="both ways round a ring are"),
        pytest.param(joined((1, 2)), (1, 1), (1,), id="from a namespace to itself"),
        pytest.param(joined((1, 2), (3, 4)), (1, 3), (1, 2, 3, 4), id="not joined: all that each end reaches"),
        pytest.param(joined((1, 2), alone=3), (1, 3), (1, 2, 3), id="an end without a cable"),
    ],
)
def test_on_the_way(topology: Topology, ends: tuple[int, int], way: tuple[int, ...]) -> None:
    assert on_the_way(topology, NetnsId(ends[0]), NetnsId(ends[1])) == way


def test_a_peer_in_a_namespace_that_was_not_found_leads_nowhere() -> None:
    machine = two_nodes().without(SWITCH)
    nic = machine.device(NODE1, "eth0")
    assert nic.peer is not None
    assert machine.topology.peer(nic) is None
    assert machine.topology.device(nic.peer) is None
    assert set(on_the_way(machine.topology, POD1, POD4)) == {POD1, POD2, POD4, NODE1, NODE2}


def test_a_pair_knows_its_other_end_and_a_port_its_bridge() -> None:
    machine = two_nodes()
    veth = machine.device(NODE1, "vethp1")
    assert machine.topology.peer(veth) == machine.device(POD1, "eth0")
    assert machine.topology.master(veth) == machine.device(NODE1, "cbr0")
    assert machine.topology.master(machine.device(NODE1, "cbr0")) is None
    assert machine.topology.named(NetnsId(999), "eth0") is None


def test_ports_of_all_tunnels_are_known_so_that_taps_can_filter_for_them() -> None:
    assert two_nodes(port=4789).topology.vxlan_ports() == {4789}
    assert two_nodes(overlay=False).topology.vxlan_ports() == frozenset()


def test_a_received_frame_climbs_from_its_port_to_the_bridge_and_from_the_nic_to_the_tunnel() -> None:
    machine = two_nodes()
    heights = {name: machine.topology.height(machine.device(NODE1, name)) for name in ("eth0", "vethp1", "cbr0")}
    assert heights == {"eth0": 0, "vethp1": 0, "cbr0": 1}
    assert machine.topology.height(machine.device(NODE1, "flannel.1")) == 1


def test_a_tunnel_over_a_bridge_stands_above_it() -> None:
    machine = two_nodes().with_device(NODE1, "flannel.1", lower=CBR0)
    assert machine.topology.height(machine.device(NODE1, "flannel.1")) == 2


def test_devices_stacked_in_a_circle_have_a_height_all_the_same() -> None:
    own = NetnsId(1)
    ring = tuple(Device(netns=own, ifindex=at, name=f"v{at}", kind="vlan", lower=at % 3 + 1) for at in (1, 2, 3))
    topology = Topology({own: Namespace(id=own, name="ring", devices=ring)})
    assert topology.height(ring[0]) > 0


def test_addresses_come_with_the_device() -> None:
    assert two_nodes().device(POD1, "eth0").addresses == (ip_address("10.244.1.2"),)
