"""The guard of routed pods: fixed rules, and elements of which the one that closes the port comes last."""

from ipaddress import ip_address

from tulle.model.network import MacAddress
from tulle.plan.guard import Port
from tulle.plan.routed_guard import KEY, routed_guard_elements, routed_guard_table

PORT = Port(
    device="veth1",
    mac=MacAddress("0a:58:0a:f4:01:02"),
    addresses=frozenset(map(ip_address, ("10.244.1.2", "fd10::2"))),
)


def test_a_port_is_guarded_after_its_addresses_are_known() -> None:
    elements = routed_guard_elements([PORT])
    assert [(element.set, element.value) for element in elements] == [
        ("addresses4", ("veth1", "10.244.1.2")),
        ("addresses6", ("veth1", "fd10::2")),
        ("ports", ("veth1",)),
    ]
    assert {(element.family, element.table) for element in elements} == {(KEY.family, KEY.name)}


def test_the_table_ends_with_a_drop_and_carries_its_digest() -> None:
    table = routed_guard_table()
    assert table.key == KEY
    assert table.text is not None
    rules = [line.strip() for line in table.text.splitlines() if "comment" in line]
    assert rules[0].startswith("iifname != @ports accept")
    assert rules[-1].startswith("drop")
    assert all(str(table.digest) in rule for rule in rules)
