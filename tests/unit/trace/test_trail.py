"""Tracepoint events are the whole host's: which of them are about this one packet (facts 1, 4 and 6)."""

from dataclasses import replace

import pytest

from tests.kit.journeys import PORTS, START_NS, Story, freed, story
from tulle.trace.journey import Drop
from tulle.trace.sightings import Sighting, recognise
from tulle.trace.trail import Events, LookupEvent, SkbEvent, drop_in, lookups_between, receipt, trail_along, trail_of

OURS, THEIRS = 0xFFFF8881, 0xFFFF9992


def sightings(told: Story) -> tuple[Sighting, ...]:
    return recognise(told.captures, told.probe, PORTS).sightings


def event(t_ns: int, kind: str, skb: int = OURS, **more: object) -> SkbEvent:
    return SkbEvent(t_ns=START_NS + t_ns, kind=kind, skb=skb, **more)  # pyright: ignore[reportArgumentType]  # real fields


START = event(80, "xmit", device="eth0", length=98)


def trail(*events: SkbEvent) -> list[str]:
    walk = sightings(story().leaves_pod().wraps())
    return [f"{found.kind} {found.device}".strip() for found in trail_of(walk, "eth0", Events(skbs=events))]


def test_the_trail_begins_where_the_tap_saw_the_probe_leave_and_ends_when_its_skb_is_freed() -> None:
    way = (START, event(200, "netif_rx", device="vethp1"), event(300, "receive", device="vethp1"))
    rest = (event(900, "consume"), event(950, "xmit", device="eth0", length=98))
    assert trail(*way, *rest) == ["xmit eth0", "netif_rx vethp1", "receive vethp1", "consume"]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(replace(START, t_ns=START_NS - 10), id="it left before the tap's stamp"),
        pytest.param(replace(START, t_ns=START_NS + 900_000), id="it left long after"),
        pytest.param(replace(START, device="eth1"), id="it left by another device"),
        pytest.param(replace(START, length=60), id="it has another length"),
        pytest.param(replace(START, kind="receive"), id="it did not leave, it came"),
    ],
)
def test_another_packets_skb_is_not_taken_for_the_probes(first: SkbEvent) -> None:
    assert trail(first, event(500, "free", reason="NETFILTER_DROP")) == []


def test_a_drop_of_somebody_elses_packet_at_the_same_moment_is_not_ours() -> None:
    events = Events(
        skbs=(START, event(400, "free", THEIRS, reason="NO_SOCKET", place="udp_rcv"), event(500, "receive"))
    )
    found = trail_of(sightings(story().leaves_pod()), "eth0", events)
    assert drop_in(found, START_NS) is None


def test_an_address_that_is_used_again_after_the_free_is_another_packet() -> None:
    events = Events(skbs=(START, event(400, "consume"), event(450, "free", reason="NO_SOCKET")))
    assert drop_in(trail_of(sightings(story().leaves_pod()), "eth0", events), START_NS) is None


def test_our_own_drop_has_the_kernels_reason_and_place_and_its_time_since_the_start() -> None:
    told = story().leaves_pod().wraps()
    found = trail_of(sightings(told), "eth0", freed(told, "VXLAN_NO_REMOTE", "vxlan_xmit"))
    last = told.captures[-1].t_ns - START_NS + 300
    assert drop_in(found, START_NS) == Drop(reason="VXLAN_NO_REMOTE", place="vxlan_xmit", t_ns=last)


def test_without_events_there_is_no_drop_and_no_trail() -> None:
    assert drop_in((), START_NS) is None
    assert trail_of(sightings(story().leaves_pod()), "eth0", Events()) == ()
    assert trail_of((), "eth0", Events(skbs=(START,))) == ()


def test_a_walk_that_no_tap_saw_leaving_has_no_trail() -> None:
    arriving = sightings(story().leaves_pod())[1:]
    assert trail_of(arriving, "eth0", Events(skbs=(START,))) == ()


@pytest.mark.parametrize(
    ("after", "before", "found"),
    [
        pytest.param(100, 500, 300, id="between the two stamps"),
        pytest.param(300, 500, None, id="not at the first stamp itself: that would be the tie again"),
        pytest.param(100, 300, None, id="not at the second either"),
        pytest.param(100, None, 300, id="nothing later is known"),
    ],
)
def test_a_receipt_tells_a_tie_apart_only_strictly_between_its_neighbours(
    after: int, before: int | None, found: int | None
) -> None:
    events = (event(300, "receive", device="cbr0"), event(310, "receive", device="vethp4"))
    when = receipt(events, "cbr0", START_NS + after, START_NS + before if before else None)
    assert when == (START_NS + found if found else None)


def test_look_ups_are_the_probes_by_target_and_time() -> None:
    told = story()
    lookup = LookupEvent(
        t_ns=START_NS + 200,
        source=told.probe.source,
        target=told.probe.target,
        table=254,
        device="flannel.1",
        gateway="10.244.2.0",
        error=0,
        text="table 254 … ==> dev flannel.1",
        raw=b"",
    )
    other = replace(lookup, target=told.probe.source)
    events = Events(lookups=(other, lookup))
    assert lookups_between(events, told.probe.target, START_NS, START_NS + 500) == (lookup,)
    assert lookups_between(events, told.probe.target, START_NS, None) == (lookup,)
    assert lookups_between(events, told.probe.target, START_NS + 201, START_NS + 500) == ()
    assert lookups_between(events, told.probe.target, START_NS, START_NS + 100) == ()


def along(*events: SkbEvent) -> list[str]:
    walk = sightings(story().leaves_pod().wraps().goes_out())
    names = ["eth0", "vethp1", "cbr0", "flannel.1", "eth0"]
    return [f"{found.kind} {found.device}".strip() for found in trail_along(walk, names, Events(skbs=events))]


WRAPPED = sightings(story().leaves_pod().wraps())[-1]
COPY = SkbEvent(t_ns=WRAPPED.t_ns + 90, kind="xmit", skb=THEIRS, device="flannel.1", length=WRAPPED.capture.length)


def test_a_copy_that_goes_on_for_a_consumed_skb_is_the_same_packet() -> None:
    freed_later = replace(COPY, t_ns=COPY.t_ns + 5_000, kind="free", device="")
    assert along(START, event(900, "consume"), COPY, freed_later) == ["xmit eth0", "consume", "xmit flannel.1", "free"]


def test_while_the_skb_lives_or_was_dropped_no_other_is_taken_for_it() -> None:
    assert along(START, COPY) == ["xmit eth0"]
    assert along(START, event(900, "free", reason="NETFILTER_DROP"), COPY) == ["xmit eth0", "free"]
