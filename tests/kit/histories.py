"""Random histories of a small cluster: what a store may say, in any order, wanted or hostile.

Six keys, few MACs, few addresses: clashes are common.  Node 1 is this node.
"""

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import strategies as st

from tests.kit.cluster import OWN, by_key, dual_lease, lease, mac
from tulle.model.lease import Departure, Garbled, Gone, Lease, LeaseEvent, LeaseKey, Put, Snapshot, Undecodable

PEERS = range(2, 7)
KEYS = tuple(each.key for n in PEERS for each in (lease(n), dual_lease(n)))
HOSTILE_IPS = tuple(map(IPv4Address, ("127.0.0.1", "224.0.0.1", "192.168.64.11", "10.244.9.9", "255.255.255.255")))


@st.composite
def claims(draw: st.DrawFn) -> Lease:
    """A peer's claim, decent more often than not; two claims often want one subnet or one MAC."""
    number = draw(st.sampled_from(PEERS))
    made = draw(st.sampled_from([lease, lease, dual_lease]))(number, created=draw(st.integers(1, 9)))
    match draw(st.integers(0, 11)):
        case 0 | 1:
            return replace(made, vtep_mac=mac(draw(st.sampled_from(PEERS))))
        case 2 | 3:
            return replace(made, vtep_mac=mac(64 + number), public_ip=IPv4Address(f"192.168.64.{90 + number}"))
        case 4:
            return replace(made, public_ip=draw(st.sampled_from(HOSTILE_IPS)))
        case 5:
            return replace(made, vtep_mac=draw(st.sampled_from([None, OWN.vtep_mac, mac(1)])))
        case 6:
            return replace(made, backend_type="host-gw", vni=None, vtep_mac=None)
        case 7:
            return replace(made, backend_type="", vni=None, vtep_mac=None, expires_at_ns=None)
        case _:
            return made


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Everything in a store, with our own lease more often than not; sometimes another store."""
    found = by_key(draw(st.lists(claims(), max_size=6)))
    own = [OWN] if draw(st.integers(0, 4)) else []
    return Snapshot(
        cluster_id=draw(st.sampled_from(["a", "a", "a", "b"])),
        revision=draw(st.integers(0, 30)),
        leases=(*own, *found.values()),
        undecodable=tuple(
            Undecodable(key, "not JSON") for key in draw(st.sets(st.sampled_from(KEYS), max_size=2)) if key not in found
        ),
    )


@st.composite
def events(draw: st.DrawFn) -> LeaseEvent:
    """One thing that a watch may yield."""
    revision = draw(st.integers(1, 30))
    match draw(st.integers(0, 9)):
        case 0:
            return draw(snapshots())
        case 1 | 2 | 3:
            key = draw(st.sampled_from(KEYS))
            return Gone(key, revision, draw(st.sampled_from(Departure)))
        case 4:
            return Garbled(Undecodable(draw(st.sampled_from(KEYS)), "not JSON"), revision)
        case _:
            return Put(draw(claims()), revision)


def histories(length: int = 12) -> st.SearchStrategy[Sequence[LeaseEvent]]:
    """A watch from its first snapshot on."""
    return st.tuples(snapshots(), st.lists(events(), max_size=length)).map(lambda found: [found[0], *found[1]])


def final_contents(history: Sequence[LeaseEvent]) -> dict[LeaseKey, Lease]:
    """What the store holds in the end, kept the slow and obvious way."""
    contents: dict[LeaseKey, Lease] = {}
    for event in history:
        match event:
            case Snapshot(leases=leases):
                contents = dict(by_key(leases))
            case Put(made):
                contents[made.key] = made
            case Gone(key):
                contents.pop(key, None)
            case Garbled(_):
                pass
    return contents
