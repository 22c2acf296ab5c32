"""The rules of single pods: what one costs, what brings everything back, what two of them share."""

import asyncio
from collections.abc import Sequence

from tulle.cni.pod_rules import PodRules
from tulle.cni.records import Record
from tulle.kernel.fake import FakeKernel
from tulle.model.change import Create, Delete
from tulle.model.network import MacAddress
from tulle.model.objects import BridgeKind, Link, NftElement
from tulle.plan import guard

MAC = MacAddress("0a:58:0a:f4:01:01")
BRIDGE = Link(name="cbr0", kind=BridgeKind(), mac=MAC)
OF_BRIDGE = guard.mac_element(MAC)


def record(number: int, ifname: str = "eth0", mac: str = "") -> Record:
    return Record(
        network="net",
        container_id=f"c{number}",
        ifname=ifname,
        netns=f"/run/netns/c{number}",
        boot_id="this",
        device=f"veth{number}{ifname}",
        bridge="cbr0",
        addresses=(f"10.244.1.{number}/24",),
        mac=mac or f"0a:58:0a:f4:01:{number:02x}",
        guard=True,
    )


class Node:
    """A node's rules on a kernel in memory, which has the tables, and what the pods there asked for."""

    def __init__(self) -> None:
        self.kernel = FakeKernel([BRIDGE])
        self.records: list[Record] = []
        self.rules = PodRules(self.kernel, lambda: self.records)
        self.add(record(2))

    def add(self, *news: Record) -> Sequence[NftElement]:
        """The elements that were made."""
        self.records += news
        self.kernel.calls.clear()
        for each in news:
            asyncio.run(self.rules.admit(each, MAC))
        made = [step.obj for step in self.kernel.calls if isinstance(step, Create)]
        return [obj for obj in made if isinstance(obj, NftElement)]

    def holds(self, *elements: NftElement) -> bool:
        return self.kernel.objects.keys() >= set(elements)


def test_a_bridge_s_mac_is_not_said_again_with_every_pod() -> None:
    node = Node()
    node.add(record(3))
    assert node.holds(OF_BRIDGE)
    made = node.add(record(4))
    assert OF_BRIDGE not in made
    assert {element.set for element in made} == {"macs", "pairs", "pods4", "addresses4", "ports"}
    assert made[-1] == NftElement(guard.FAMILY, guard.TABLE, "ports", ("veth4eth0",)), "guarded when all is known"


def test_what_somebody_took_out_is_put_back_and_a_bridge_s_mac_said_again_after_that() -> None:
    node = Node()
    whole = dict(node.kernel.objects)
    node.add(record(3))
    node.kernel.meddle(Delete(OF_BRIDGE))
    asyncio.run(node.rules.repair())
    assert node.kernel.objects.keys() >= whole.keys()
    assert OF_BRIDGE in node.add(record(4))


def test_a_table_that_is_gone_is_back_with_all_that_it_held_as_soon_as_a_pod_comes() -> None:
    node = Node()
    node.add(record(3))
    held = [obj for obj in node.kernel.objects.values() if isinstance(obj, NftElement)]
    node.kernel.meddle(Delete(guard.guard_table()))
    assert not node.holds(*held)
    node.add(record(4))
    assert node.holds(*held)


def test_another_mac_of_the_bridge_is_said() -> None:
    node = Node()
    other = MacAddress("0a:58:0a:f4:01:99")
    asyncio.run(node.rules.admit(record(3), other))
    assert node.holds(guard.mac_element(other))


def test_each_interface_of_a_container_may_have_the_addresses_of_all() -> None:
    node = Node()
    node.add(record(3), record(3, "net1", mac="0a:58:0a:f4:01:77"))
    value = ("veth3eth0", "0a:58:0a:f4:01:03", "10.244.1.3")
    assert node.holds(NftElement(guard.FAMILY, guard.TABLE, "pods4", value))


def test_a_mac_that_two_pods_have_stays_as_long_as_one_of_them() -> None:
    node = Node()
    mac = "0a:58:0a:f4:01:77"
    node.add(record(3, mac=mac), record(4, mac=mac))
    shared = guard.mac_element(MacAddress(mac))
    for each, is_left in ((record(3, mac=mac), True), (record(4, mac=mac), False)):
        asyncio.run(node.rules.forget(each))
        assert node.holds(shared) is is_left
    assert node.holds(OF_BRIDGE)
