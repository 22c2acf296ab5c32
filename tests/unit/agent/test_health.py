"""Alive, ready, and why not; and the same as metrics."""

from dataclasses import replace

import pytest

from tests.kit.cluster import OWN, intent, lease, snapshot
from tests.unit.agent.test_status import FAILED, SYNCED, TAKEN, status
from tulle.agent.health import stuck, summary, unready
from tulle.agent.metrics import agent_metrics
from tulle.agent.report import Durations
from tulle.agent.status import NodeStatus
from tulle.cni.fill import COUNTLESS, AddressUse
from tulle.wire.net_dev import DeviceTraffic, Traffic
from tulle.wire.prometheus import encode_metrics

NS = 1_000_000_000
IDLE = Traffic(octets=0, packets=0, errors=0, drops=0)


def well(*, passes: int = 4, **report: object) -> NodeStatus:
    """A node to which nothing is wrong, with an hour left of its lease, but for ``report``."""
    found = status()
    worked = replace(found.report, passes=passes, **report)
    return replace(found, report=worked, lease_deadline_ns=3600 * NS, now_ns=0)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        pytest.param(well(), [], id="all is well"),
        pytest.param(well(passes=0), ["kernel: no pass yet"], id="nothing done yet"),
        pytest.param(well(failures=(FAILED,)), ["kernel: 1 failed step: see 'tulle status'"], id="a step failed"),
        pytest.param(well(conflicts=(TAKEN,)), ["kernel: 1 conflict: see 'tulle status'"], id="a conflict"),
        pytest.param(well(problems=("underlay: gone",)), ["underlay: gone"], id="no underlay"),
        pytest.param(
            replace(well(), now_ns=3600 * NS), ["own lease: past its deadline, no new pods"], id="the lease is over"
        ),
        pytest.param(
            replace(well(), lease_deadline_ns=None), ["own lease: past its deadline, no new pods"], id="no lease"
        ),
        pytest.param(
            replace(well(), store_reachable=False), ["store: away, last seen at revision 1"], id="the store is away"
        ),
        pytest.param(replace(well(), intent=intent()), ["store: not read yet"], id="no snapshot yet"),
    ],
)
def test_a_node_is_ready_or_says_why_not(found: NodeStatus, why: list[str]) -> None:
    assert unready(found) == why
    assert f"tulle_ready {int(not why)}\n" in encode_metrics(agent_metrics(0, found, {})).decode()


def test_a_pass_that_does_not_end_is_what_a_restart_helps_against() -> None:
    assert stuck(None, 99 * NS) is None
    assert stuck(10 * NS, 39 * NS) is None
    assert stuck(10 * NS, 40 * NS) == "reconciler: in one pass for 30 s"


def test_the_node_in_one_line() -> None:
    assert summary(well()) == "10.244.1.0/24, 2 peers"
    alone = replace(well(), intent=intent(snapshot(OWN, lease(2))), store_reachable=False)
    assert summary(alone) == "10.244.1.0/24, 1 peer; store: away, last seen at revision 1"


def test_metrics_of_a_node() -> None:
    durations = Durations().with_one(2_000_000).with_one(60 * NS)
    found = well(repaired={"route": 3}, durations=durations, repairs=3, steps=9)
    full = AddressUse(subnet="10.244.1.0/24", used=250, free=3, resting=2, low=True)
    six = AddressUse(subnet="fd10::/64", used=250, free=COUNTLESS, resting=0)
    found = replace(found, addresses=(full, six))
    traffic = {"flannel.1": DeviceTraffic(IDLE, replace(IDLE, octets=77)), "eth0": DeviceTraffic(IDLE, IDLE)}
    lines = encode_metrics(agent_metrics(5 * NS, found, traffic)).decode().splitlines()
    for line in (
        "tulle_start_time_seconds 5",
        "tulle_peers 2",
        'tulle_leases{state="refused"} 0',
        "tulle_lease_expiry_seconds 3600",
        "tulle_store_up 1",
        'tulle_pod_addresses{subnet="10.244.1.0/24",state="free"} 3',
        'tulle_pod_addresses{subnet="fd10::/64",state="used"} 250',
        'tulle_pod_addresses_low{subnet="10.244.1.0/24"} 1',
        'tulle_pod_addresses_low{subnet="fd10::/64"} 0',
        'tulle_repairs_total{kind="route"} 3',
        'tulle_repairs_total{kind="fdb"} 0',
        'tulle_pass_duration_seconds_bucket{le="0.0025"} 1',
        'tulle_pass_duration_seconds_bucket{le="10"} 1',
        'tulle_pass_duration_seconds_bucket{le="+Inf"} 2',
        "tulle_pass_duration_seconds_sum 60.002",
        'tulle_device_transmit_bytes_total{device="flannel.1"} 77',
    ):
        assert line in lines
    assert not any("eth0" in line for line in lines)
    assert not any(line.startswith('tulle_pod_addresses{subnet="fd10::/64",state="free"}') for line in lines)


def test_metrics_before_there_is_a_node() -> None:
    text = encode_metrics(agent_metrics(0, None, {})).decode()
    assert "tulle_ready 0\n" in text
    assert "tulle_peers" not in text


def test_every_metric_has_its_base_unit_and_its_kind() -> None:
    for metric in agent_metrics(0, replace(well(), intent=SYNCED), {}):
        assert metric.name.startswith("tulle_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".")
