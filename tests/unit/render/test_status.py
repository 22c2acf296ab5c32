"""What an operator reads at three in the morning: each fault in one paragraph that ends with the next step."""

from typing import Any
from unicodedata import east_asian_width

import pytest

from tests.kit.watched import HOUR_NS, STATUS
from tulle.render.status import format_leases, format_peers, format_plan_answer, format_status

HEALTHY: dict[str, Any] = {**STATUS, "repairs": 0}
CHAIN = {"engine": "nft", "family": "ip", "table": "filter", "chain": "FORWARD", "by_rule": None, "accepted": False}


def shown(lang: str = "en", **changes: Any) -> str:
    """The status as one line, however it was wrapped."""
    return " ".join(format_status({**HEALTHY, **changes}, lang).split())


def columns(line: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in line)


def test_a_healthy_node_has_seven_lines() -> None:
    assert format_status(HEALTHY) == (
        "tulle: ready\n"
        "  lease     10.244.1.0/24, good for 23 h\n"
        "  underlay  eth0 192.168.64.11 mtu 1500\n"
        "  backend   vxlan VNI 1 udp/8472\n"
        "  store     sqlite:///leases.db, revision 5\n"
        "  peers     1\n"
        "  work      4 passes, 8 steps, 0 repairs"
    )


@pytest.mark.parametrize(
    ("use", "line"),
    [
        ({"used": 3, "free": 250, "low": False}, "addresses 10.244.1.0/24: 3 in use, 250 free work"),
        ({"used": 250, "free": 3, "low": True}, "addresses 10.244.1.0/24: 250 in use, only 3 free: delete pods"),
        ({"used": 3, "free": 1 << 32, "low": False}, "addresses 10.244.1.0/24: 3 in use work"),
        ({"used": 0, "free": 253, "low": False}, "peers 1 work"),
    ],
)
def test_addresses_are_told_once_pods_have_them(use: dict[str, Any], line: str) -> None:
    assert line in shown(addresses=[{"subnet": "10.244.1.0/24", "resting": 0, **use}])


FAULTS = [
    pytest.param(
        {"store": {"url": "etcd://x", "reachable": False, "revision": 5}},
        "etcd://x is away: the data path stays, leases of others are as of revision 5; see whether it runs",
        id="the store is away",
    ),
    pytest.param(
        {"lease": {**HEALTHY["lease"], "deadline_ns": 1}},
        "past its time: no new pods until the store answers",
        id="our lease is over",
    ),
    pytest.param(
        {"conflicts": [{"wanted": "route 10.244.2.0/24", "holder": "route 10.244.2.0/24 dev eth0"}]},
        "conflict route 10.244.2.0/24 is wanted, but route 10.244.2.0/24 dev eth0 is there and not tulle's: "
        "remove it, and the agent goes on",
        id="a stranger in our place",
    ),
    pytest.param(
        {"failures": [{"step": "x", "reason": "ip link add flannel.1: Operation not permitted"}]},
        "failed ip link add flannel.1: Operation not permitted: tried again by itself, within a minute",
        id="a step that failed",
    ),
    pytest.param(
        {"refused": [{"key": "8.8.8.0-24", "rule": "subnet 8.8.8.0/24 is not a /24"}]},
        "refused lease 8.8.8.0-24: subnet 8.8.8.0/24 is not a /24: no entry is made for it; "
        "correct or delete it in the store",
        id="a lease that is not believed",
    ),
    pytest.param(
        {"undecodable": [{"key": "10.244.9.0-24", "reason": "not JSON"}]},
        "garbled lease 10.244.9.0-24: not JSON: its last good value counts",
        id="a lease that cannot be read",
    ),
    pytest.param({"held": ["10.244.9.0-24"]}, "held lease 10.244.9.0-24 vanished without a delete", id="held"),
    pytest.param(
        {"dropping_chains": [CHAIN]},
        "ip filter FORWARD drops by policy, and the overlay's packets with it: accept 10.244.0.0/16 in it",
        id="a chain that drops",
    ),
    pytest.param(
        {"dropping_chains": [{**CHAIN, "accepted": True}]},
        "ip filter FORWARD drops by policy: our accept stands in it",
        id="a chain that drops, dealt with",
    ),
    pytest.param(
        {"dropping_chains": [{**CHAIN, "by_rule": "FORWARD handle 7"}]},
        "drops the overlay's packets by its rule 'FORWARD handle 7', which is left alone: "
        "accept 10.244.0.0/16 before it",
        id="a rule that drops",
    ),
    pytest.param({"strangers": ["fdb 02:00:00:00:99:03 dev flannel.1"]}, "kept", id="a stranger on our device"),
    pytest.param({"problems": ["underlay: no address"]}, "problem underlay: no address", id="a problem"),
]


@pytest.mark.parametrize(("changes", "said"), FAULTS)
def test_a_fault_is_said_with_the_next_step(changes: dict[str, Any], said: str) -> None:
    assert said in shown(**changes)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(("changes", "_"), FAULTS)
def test_no_line_is_wider_than_a_terminal(changes: dict[str, Any], _: str, lang: str) -> None:
    lines = format_status({**HEALTHY, **changes}, lang).splitlines()
    assert max(map(columns, lines)) <= 80
    assert len(lines) >= 7


def test_of_many_faults_of_one_kind_the_first_are_told_and_the_rest_counted() -> None:
    failures = [{"step": "x", "reason": f"ip route add {n}"} for n in range(10_000)]
    text = shown(failures=failures, strangers=[f"fdb {n}" for n in range(10)])
    assert "ip route add 7: " in text
    assert "ip route add 8: " not in text
    assert "and 9992 more: see --json" in text
    assert "and 2 more: see --json" in text


@pytest.mark.parametrize(
    ("left_s", "said"), [(7200, "2 h"), (7199, "119 min"), (120, "2 min"), (119, "119 s"), (0, "past its time")]
)
def test_the_time_that_a_lease_has_left_is_in_the_unit_that_fits(left_s: int, said: str) -> None:
    lease = {**HEALTHY["lease"], "deadline_ns": HOUR_NS + left_s * 1_000_000_000}
    assert said in shown(lease=lease)


def test_an_agent_that_waits_says_for_what() -> None:
    answer = {"state": "starting", "problems": ["waiting for the store: no route to host"]}
    assert format_status(answer) == "tulle: starting\n  problem   waiting for the store: no route to host"


def test_what_somebody_else_wrote_never_drives_the_terminal() -> None:
    text = shown(refused=[{"key": "\x1b[31mred", "rule": "\x07"}])
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_plan_is_a_script_whose_conflicts_are_comments() -> None:
    conflict = {"wanted": "route a", "holder": "route b"}
    empty: dict[str, Any] = {"empty": True, "text": "", "conflicts": []}
    assert format_plan_answer(empty) == "# nothing to change"
    assert format_plan_answer({"empty": False, "text": "ip route add x\n", "conflicts": [conflict]}) == (
        "# conflict: route a is wanted, but route b is there and not tulle's: remove it, and the agent goes on\n"
        "ip route add x"
    )


def test_no_peers_and_a_lease_without_a_mac() -> None:
    assert format_peers({"peers": []}) == "no peers"
    row = {"subnet": "10.244.9.0/24", "subnet6": None, "public_ip": "1.2.3.4", "public_ip6": None}
    table = format_leases({"leases": [{**row, "vtep_mac": None, "vtep_mac6": None, "state": "refused"}]})
    assert table.splitlines()[1].split() == ["10.244.9.0/24", "1.2.3.4", "-", "refused"]


def test_both_families_of_a_lease_have_a_row_each_and_fit_on_eighty_columns() -> None:
    lease = {
        "subnet": "10.244.2.0/24",
        "subnet6": "fd10:244:0:2::/64",
        "public_ip": "192.168.64.12",
        "public_ip6": "fd64::c",
        "vtep_mac": "02:00:00:00:00:02",
        "vtep_mac6": "02:00:00:00:00:06",
    }
    _, four, six = format_leases({"leases": [{**lease, "state": "ok"}]}).splitlines()
    assert four.split() == ["10.244.2.0/24", "192.168.64.12", "02:00:00:00:00:02", "ok"]
    assert six.split() == ["fd10:244:0:2::/64", "fd64::c", "02:00:00:00:00:06"]
    assert max(len(four), len(six)) <= 80
    assert format_leases({"leases": [{**lease, "state": "held"}]}, "zh").splitlines()[1].endswith("  保留")
    peer = format_peers({"peers": [{**lease, "state": "ok", "objects": ["route"]}]})
    assert peer.splitlines()[1:] == ["fd10:244:0:2::/64  fd64::c  02:00:00:00:00:06", "    route"]
