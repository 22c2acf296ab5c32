"""News are told once, to the log and to the list alike; a steady state makes none."""

import logging

import pytest

from tests.kit import virtual_time
from tests.kit.cluster import OWN, intent, lease, snapshot
from tests.kit.passes import CONFLICT, DONE, FAILED, STRANGER, a_pass
from tests.kit.virtual_time import VirtualClock
from tulle.agent.history import KEPT, LINES, History, News, news_of_intent, news_of_pass
from tulle.agent.report import PassReport, after_pass
from tulle.model.change import Plan
from tulle.model.lease import Put


def test_each_thing_is_news_once() -> None:
    done = a_pass(FAILED, plan=Plan(conflicts=(CONFLICT,), strangers=(STRANGER,)))
    first = after_pass(PassReport(), done)
    assert [item.kind for item in news_of_pass(PassReport(), first, done)] == ["conflict", "foreign", "failed"]
    assert news_of_pass(first, after_pass(first, done), done) == ()


def test_a_repair_says_how_long_the_drift_lasted() -> None:
    done = a_pass(DONE)
    (told,) = news_of_pass(PassReport(), after_pass(PassReport(), done), done)
    assert (told.kind, told.took_ns) == ("repaired", 10)
    assert told.text.startswith("ip route add 10.244.2.0/24")


def test_of_many_repairs_the_number_says_more() -> None:
    done = a_pass(*[DONE] * 100)
    told = news_of_pass(PassReport(), after_pass(PassReport(), done), done)
    assert len(told) == LINES + 1
    assert told[-1].text == "80 more"


def test_a_lease_that_is_refused_or_held_is_news_when_it_becomes_so() -> None:
    calm = intent(snapshot(OWN, lease(2)))
    poisoned, _ = calm.after(snapshot(OWN, lease(2), lease(3, vni=9), revision=2), 0)
    (told,) = news_of_intent(calm, poisoned)
    assert (told.kind, told.text) == ("refused", f"{lease(3).key}: VNI 9 is not 1")
    wiped, _ = poisoned.after(snapshot(OWN, lease(3, vni=9), cluster_id="another"), 0)
    (told,) = news_of_intent(poisoned, wiped)
    assert (told.kind, told.text) == ("held", f"{lease(2).key} vanished without a delete")
    assert news_of_intent(wiped, wiped) == ()


def test_what_a_snapshot_refuses_is_news_also_when_it_was_digested_in_pieces() -> None:
    calm = intent(snapshot(OWN))
    hostile = snapshot(OWN, lease(3, vni=9), lease(4, vni=9), lease(5), revision=2)
    *_, (poisoned, _) = calm.unfold(hostile, 0, 1)
    assert [told.text for told in news_of_intent(calm, poisoned)] == [f"{lease(n).key}: VNI 9 is not 1" for n in (3, 4)]
    renewed, _ = poisoned.after(Put(lease(3, vni=9, expires_at_ns=7), 3), 0)
    assert news_of_intent(poisoned, renewed) == ()


def test_what_is_told_is_logged_and_kept_with_its_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def story() -> History:
        history = History(VirtualClock())
        history.tell(News(kind="repaired", text="ip link set flannel.1 up"), News(kind="store", text="answers again"))
        return history

    history = virtual_time.run(story())
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "repaired: ip link set flannel.1 up"),
        ("WARNING", "store: answers again"),
    ]
    assert [(entry.number, entry.news.kind) for entry in history.after(0)] == [(1, "repaired"), (2, "store")]
    assert [entry.number for entry in history.after(1)] == [2]
    assert (history.after(2), history.last) == ((), 2)


def test_only_the_latest_are_kept() -> None:
    async def story() -> History:
        history = History(VirtualClock())
        history.tell(*[News(kind="over", text="x")] * (KEPT + 5))
        return history

    history = virtual_time.run(story())
    assert (len(history.after(0)), history.after(0)[0].number, history.last) == (KEPT, 6, KEPT + 5)
