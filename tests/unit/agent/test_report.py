"""What passes leave behind, and that a steady state is silent."""

import logging
from dataclasses import replace
from errno import ENOMEM
from ipaddress import IPv4Address, IPv4Network

import pytest

from tulle.agent.report import LINES, Pass, PassReport, after_pass, announce
from tulle.errors import KernelError
from tulle.model.change import Conflict, Create, Outcome, Plan
from tulle.model.network import MacAddress
from tulle.model.objects import Neighbor, Route
from tulle.model.state import Scope

ROUTE = Route(dst=IPv4Network("10.244.2.0/24"), device="flannel.1", via=IPv4Address("10.244.2.0"), onlink=True)
OTHER = replace(ROUTE, dst=IPv4Network("10.244.3.0/24"))
DONE, FAILED = Outcome(Create(ROUTE)), Outcome(Create(OTHER), KernelError(ENOMEM, Create(OTHER)))
CONFLICT = Conflict(ROUTE, replace(ROUTE, device="eth0", protocol=4))
STRANGER = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.7"), mac=MacAddress("02:00:00:00:00:77"))


def a_pass(
    *outcomes: Outcome, plan: Plan | None = None, looked_at: Scope | None = None, intended: Scope | None = None
) -> Pass:
    return Pass.of(
        looked_at=looked_at or Scope.all(),
        intended=intended or Scope(),
        plan=Plan() if plan is None else plan,
        outcomes=outcomes,
        elapsed_ns=5,
    )


def test_what_the_intent_named_is_work_and_the_rest_is_repair() -> None:
    done = a_pass(DONE, Outcome(Create(OTHER)), intended=Scope.of([ROUTE.key]))
    assert [outcome.step.key for outcome in done.repairs] == [OTHER.key]
    assert a_pass(DONE, intended=Scope.all()).repairs == ()


def test_a_failure_is_no_repair() -> None:
    done = a_pass(DONE, FAILED)
    assert (done.repairs, done.failures) == ((DONE,), (FAILED,))


def test_counters_run_and_the_last_state_stays() -> None:
    report = after_pass(after_pass(PassReport(), a_pass(DONE, FAILED)), a_pass(DONE))
    assert (report.passes, report.steps, report.repairs, report.last_pass_ns) == (2, 3, 2, 5)
    assert report.failures == ()


@pytest.mark.parametrize(
    ("looked_at", "left"),
    [
        pytest.param(Scope.all(), False, id="everything"),
        pytest.param(Scope.of([ROUTE.key, OTHER.key, STRANGER.key]), False, id="just these"),
        pytest.param(Scope.of([Neighbor(device="a", ip=IPv4Address("1.1.1.1"), mac=None).key]), True, id="another key"),
    ],
)
def test_what_was_not_looked_at_stays_as_it_was(looked_at: Scope, left: bool) -> None:
    before = PassReport(conflicts=(CONFLICT,), strangers=(STRANGER,), failures=(FAILED,))
    after = after_pass(before, a_pass(looked_at=looked_at))
    assert (bool(after.conflicts), bool(after.strangers), bool(after.failures)) == (left, left, left)


def test_each_thing_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    done = a_pass(FAILED, plan=Plan(conflicts=(CONFLICT,), strangers=(STRANGER,)))
    first = after_pass(PassReport(), done)
    announce(PassReport(), first, done)
    said = [record.message.split(":")[0] for record in caplog.records]
    assert said == ["conflict", "foreign object on a link of ours, kept", "failed, will be tried again"]
    caplog.clear()
    announce(first, after_pass(first, done), done)
    assert caplog.records == []


def test_of_many_repairs_the_number_says_more(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    done = a_pass(*[DONE] * 100)
    announce(PassReport(), after_pass(PassReport(), done), done)
    assert len(caplog.records) == LINES + 1
    assert caplog.records[-1].message == "repaired: 80 more"
