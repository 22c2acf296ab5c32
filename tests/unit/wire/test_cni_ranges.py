"""Ranges of addresses: what host-local's users write, and what is refused by the field's name."""

from ipaddress import ip_address

import pytest

from tulle.wire.cni_error import BAD_CONFIG, UNSUPPORTED_FIELD, CniError
from tulle.wire.cni_ranges import AddressRange, parse_ranges
from tulle.wire.strict_json import JsonValue


def shown(ranges: tuple[AddressRange, ...]) -> list[str]:
    return [f"{each.field} {each.first}-{each.last}" for each in ranges]


def test_each_family_has_its_ranges() -> None:
    four: JsonValue = [
        {"subnet": "10.244.1.0/24", "rangestart": "10.244.1.10", "rangeend": "10.244.1.20"},
        {"subnet": "10.244.1.128/25"},
    ]
    six: JsonValue = [{"subnet": "fd10::/64", "rangestart": "fd10::100", "gateway": "fd10::1"}]
    found = parse_ranges({"ranges": [four, six, []]}, {})
    assert shown(found) == [
        "ipam.ranges[0][0] 10.244.1.10-10.244.1.20",
        "ipam.ranges[0][1] 10.244.1.128-10.244.1.255",
        "ipam.ranges[1][0] fd10::100-fd10::ffff:ffff:ffff:ffff",
    ]
    assert found[2].gateway == ip_address("fd10::1")


def test_one_range_may_stand_alone_and_the_runtimes_win_over_it_in_their_family() -> None:
    ipam: dict[str, JsonValue] = {"subnet": "10.244.1.0/24", "rangestart": "10.244.1.9"}
    assert shown(parse_ranges(ipam, {})) == ["ipam 10.244.1.9-10.244.1.255"]
    runtime: dict[str, JsonValue] = {"ipranges": [[{"subnet": "10.244.1.64/26"}]]}
    assert shown(parse_ranges(ipam, runtime)) == ["ipRanges[0][0] 10.244.1.64-10.244.1.127"]
    runtime = {"ipranges": [[{"subnet": "fd10::/64"}]]}
    assert len(parse_ranges(ipam, runtime)) == 2
    assert parse_ranges({}, {}) == ()


NOTHING: dict[str, JsonValue] = {}


@pytest.mark.parametrize(
    ("ranges", "code", "field"),
    [
        pytest.param(NOTHING, BAD_CONFIG, "ipam.ranges", id="no list"),
        pytest.param([NOTHING], BAD_CONFIG, "ipam.ranges[0]", id="no list of lists"),
        pytest.param([["10.0.0.0/8"]], BAD_CONFIG, "ipam.ranges[0][0]", id="no object"),
        pytest.param([[NOTHING]], BAD_CONFIG, "ipam.ranges[0][0].subnet", id="no subnet"),
        pytest.param([[{"subnet": "10.244.1.1/24"}]], BAD_CONFIG, "ipam.ranges[0][0].subnet", id="host bits"),
        pytest.param([[{"subnet": "10.244.1.0"}]], BAD_CONFIG, "ipam.ranges[0][0].subnet", id="no length"),
        pytest.param([[{"subnet": 7}]], BAD_CONFIG, "ipam.ranges[0][0].subnet", id="a number"),
        pytest.param(
            [[{"subnet": "10.244.1.0/24", "rangestart": "10.244.2.1"}]],
            BAD_CONFIG,
            "ipam.ranges[0][0].rangeStart",
            id="a start outside its subnet",
        ),
        pytest.param(
            [[{"subnet": "10.244.1.0/24", "rangestart": "10.244.1.9", "rangeend": "10.244.1.8"}]],
            BAD_CONFIG,
            "ipam.ranges[0][0].rangeStart",
            id="the wrong way round",
        ),
        pytest.param(
            [[{"subnet": "10.244.1.0/24", "gateway": "fd10::1"}]],
            BAD_CONFIG,
            "ipam.ranges[0][0].gateway",
            id="a gateway of the other family",
        ),
        pytest.param(
            [[{"subnet": "10.244.1.0/24"}, {"subnet": "fd10::/64"}]], BAD_CONFIG, "ipam.ranges[0][0]", id="mixed"
        ),
        pytest.param(
            [[{"subnet": "10.244.1.0/25"}], [{"subnet": "10.244.1.128/25"}]],
            UNSUPPORTED_FIELD,
            "ipam.ranges[1][0]",
            id="two addresses of one family",
        ),
    ],
)
def test_what_breaks_a_rule_is_named(ranges: JsonValue, code: int, field: str) -> None:
    with pytest.raises(CniError) as refused:
        parse_ranges({"ranges": ranges}, {})
    assert refused.value.code == code
    assert str(refused.value).split(maxsplit=1)[0].rstrip(":") == field
