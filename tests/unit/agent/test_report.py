"""What passes leave behind."""

from ipaddress import IPv4Address

import pytest

from tests.kit.passes import CONFLICT, DONE, FAILED, OTHER, ROUTE, STRANGER, a_pass
from tulle.agent.report import PassReport, after_pass
from tulle.model.change import Create, Outcome
from tulle.model.objects import Neighbor
from tulle.model.state import Scope

ELSEWHERE = Scope.of([Neighbor(device="a", ip=IPv4Address("1.1.1.1"), mac=None).key])


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


def test_only_a_pass_over_everything_is_an_audit() -> None:
    audited = after_pass(PassReport(), a_pass())
    assert (audited.last_pass_at_ns, audited.last_audit_at_ns) == (20, 20)
    looked = after_pass(PassReport(), a_pass(looked_at=ELSEWHERE))
    assert (looked.last_pass_at_ns, looked.last_audit_at_ns) == (20, None)


@pytest.mark.parametrize(
    ("looked_at", "left"),
    [
        pytest.param(Scope.all(), False, id="everything"),
        pytest.param(Scope.of([ROUTE.key, OTHER.key, STRANGER.key]), False, id="just these"),
        pytest.param(ELSEWHERE, True, id="another key"),
    ],
)
def test_what_was_not_looked_at_stays_as_it_was(looked_at: Scope, left: bool) -> None:
    before = PassReport(conflicts=(CONFLICT,), strangers=(STRANGER,), failures=(FAILED,))
    after = after_pass(before, a_pass(looked_at=looked_at))
    assert (bool(after.conflicts), bool(after.strangers), bool(after.failures)) == (left, left, left)
