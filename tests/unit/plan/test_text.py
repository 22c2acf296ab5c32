"""Steps as text: what an operator would type, quoted for the shell."""

import shlex
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

import pytest

from tulle.model.change import Change, Create, Delete, Plan, Step
from tulle.model.network import MacAddress, Vni
from tulle.model.objects import (
    Address,
    BridgeKind,
    ChainAccept,
    FdbEntry,
    Link,
    Neighbor,
    NftTable,
    OtherKind,
    Route,
    Sysctl,
    VethKind,
    VxlanKind,
)
from tulle.plan.text import format_object, format_plan, format_step

MAC = MacAddress("02:00:0a:f4:02:00")
ZERO = MacAddress("00:00:00:00:00:00")
VXLAN = VxlanKind(vni=Vni(1), port=8472, local=IPv4Address("192.168.64.11"), underlay="eth0")
LINK = Link(name="flannel.1", kind=VXLAN, mtu=1450, mac=MAC)
ROUTE = Route(dst=ip_network("10.244.2.0/24"), device="flannel.1", via=IPv4Address("10.244.2.0"), onlink=True)
NEIGHBOR = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.0"), mac=MAC)
FDB = FdbEntry(device="flannel.1", mac=MAC, dst=IPv4Address("192.168.64.12"))
ACCEPT = ChainAccept(
    engine="nft", family="ip", table="filter", chain="FORWARD", networks=(ip_network("10.244.0.0/16"),)
)
VETH = Link(
    name="veth1",
    kind=VethKind(peer="eth0", peer_netns="/run/netns/pod1", peer_mtu=1450),
    mtu=1450,
    master="cbr0",
    alias="tulle:abc",
    hairpin=True,
)


@pytest.mark.parametrize(
    ("step", "lines"),
    [
        pytest.param(
            Create(LINK),
            (
                (
                    "ip link add flannel.1 address 02:00:0a:f4:02:00 mtu 1450 up type vxlan id 1 local 192.168.64.11"
                    " dev eth0 dstport 8472 nolearning"
                ),
            ),
            id="make the VTEP",
        ),
        pytest.param(
            Create(VETH),
            (
                "ip link add veth1 mtu 1450 master cbr0 up type veth peer name eth0 mtu 1450 netns /run/netns/pod1",
                "ip link set dev veth1 alias tulle:abc",
                "bridge link set dev veth1 hairpin on",
            ),
            id="make a pod's pair",
        ),
        pytest.param(Create(Link(name="cbr0", kind=BridgeKind())), ("ip link add cbr0 up type bridge",), id="bridge"),
        pytest.param(
            Create(Link(name="cbr0", kind=BridgeKind(linklocal_learning=False))),
            ("ip link add cbr0 up type bridge no_linklocal_learn 1",),
            id="bridge that learns nothing from LLDP",
        ),
        pytest.param(
            Change(Link(name="cbr0", kind=BridgeKind()), Link(name="cbr0", kind=BridgeKind(linklocal_learning=False))),
            ("ip link set dev cbr0 type bridge no_linklocal_learn 1",),
            id="it is to learn nothing from LLDP any more",
        ),
        pytest.param(
            Create(Address(device="flannel.1", interface=ip_interface("10.244.1.0/32"))),
            ("ip address add 10.244.1.0/32 dev flannel.1",),
            id="address",
        ),
        pytest.param(
            Create(Address(device="flannel-v6.1", interface=ip_interface("fd10::/128"), nodad=True)),
            ("ip address add fd10::/128 dev flannel-v6.1 nodad",),
            id="IPv6 address without duplicate address detection",
        ),
        pytest.param(
            Create(ROUTE), ("ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink proto 116",), id="route"
        ),
        pytest.param(
            Change(ROUTE, ROUTE),
            ("ip route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink proto 116",),
            id="another route of the same key",
        ),
        pytest.param(
            Delete(Route(dst=ip_network("10.9.0.0/16"), device=None, kind="blackhole", metric=7, table=100)),
            ("ip route delete blackhole 10.9.0.0/16 proto 116 metric 7 table 100",),
            id="no more blackhole",
        ),
        pytest.param(
            Create(NEIGHBOR),
            ("ip neighbour add 10.244.2.0 lladdr 02:00:0a:f4:02:00 dev flannel.1 nud permanent",),
            id="neighbour",
        ),
        pytest.param(Delete(NEIGHBOR), ("ip neighbour delete 10.244.2.0 dev flannel.1",), id="no more neighbour"),
        pytest.param(
            Create(FDB),
            ("bridge fdb add 02:00:0a:f4:02:00 dev flannel.1 dst 192.168.64.12 self permanent",),
            id="FDB entry",
        ),
        pytest.param(
            Create(FdbEntry(device="flannel.1", mac=ZERO, dst=IPv4Address("192.168.64.12"))),
            ("bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.64.12 self permanent",),
            id="an all-zero entry stands beside others",
        ),
        pytest.param(
            Delete(FDB), ("bridge fdb delete 02:00:0a:f4:02:00 dev flannel.1 dst 192.168.64.12 self",), id="no more FDB"
        ),
        pytest.param(
            Create(Sysctl("net/ipv4/ip_forward", "1")), ("echo 1 > /proc/sys/net/ipv4/ip_forward",), id="sysctl"
        ),
        pytest.param(
            Create(NftTable(family="inet", name="tulle", digest="d", text="table inet tulle {\n}\n")),
            ("nft -f - <<'EOF'", "add table inet tulle", "delete table inet tulle", "table inet tulle {", "}", "EOF"),
            id="table",
        ),
        pytest.param(
            Create(ACCEPT),
            (
                "nft 'add rule ip filter FORWARD ip saddr 10.244.0.0/16 accept comment \"tulle forward\"'",
                "nft 'add rule ip filter FORWARD ip daddr 10.244.0.0/16 accept comment \"tulle forward\"'",
            ),
            id="accept in a foreign chain",
        ),
        pytest.param(
            Change(
                Link(name="cbr0", kind=BridgeKind(), mtu=1500, up=False), Link(name="cbr0", kind=BridgeKind(), mtu=1450)
            ),
            ("ip link set dev cbr0 mtu 1450 up",),
            id="only what differs is set",
        ),
        pytest.param(Delete(LINK), ("ip link delete flannel.1",), id="no more link"),
    ],
)
def test_a_step_reads_as_the_command_that_does_it(step: Step, lines: tuple[str, ...]) -> None:
    assert format_step(step) == lines


def test_a_plan_is_its_steps_in_order() -> None:
    text = format_plan(Plan((Create(NEIGHBOR), Create(FDB), Create(ROUTE))))
    assert [line.split()[1] for line in text.splitlines()] == ["neighbour", "fdb", "route"]


def test_an_empty_plan_is_empty_text() -> None:
    assert format_plan(Plan()) == ""


@pytest.mark.parametrize("name", ["a;reboot", "$(id)", "x y", "`id`", "a\nb", "a\x1b[31m"])
def test_a_hostile_name_stays_one_word_of_the_shell(name: str) -> None:
    line = format_object(Link(name=name, kind=OtherKind()))
    assert len(shlex.split(line)) == 3  # link, its name, up
    assert line.isprintable()


def test_ipv6_via_an_ipv4_route_is_spelled_out() -> None:
    route = Route(dst=ip_network("10.9.0.0/16"), device="eth0", via=IPv6Address("fe80::1"))
    assert "via inet6 fe80::1" in format_object(route)


def test_a_neighbour_that_nobody_has_answered_for_is_not_called_reachable() -> None:
    learned = replace(NEIGHBOR, permanent=False)
    assert format_object(learned).endswith("dev flannel.1 nud reachable")
    assert format_object(replace(learned, mac=None)) == "neighbour 10.244.2.0 dev flannel.1 nud incomplete"
