"""An agent's memory: what is written is read back, anything else is an error and nothing worse."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.cluster import CONFIG, OWN, lease
from tests.property.test_codecs import configs, leases, macs
from tulle.errors import DecodeError
from tulle.model.lease import HeldLease, NodeId
from tulle.model.recollection import Recollection
from tulle.wire.recollection import PIECE, decode_recollection, encode_recollection

TIMES = st.integers(0, (1 << 63) - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
SMALL = Recollection(
    taken_ns=7,
    store="sqlite:///x",
    node_id=NodeId("me"),
    config=CONFIG,
    own=OWN,
    own_sent_ns=5,
    own_ttl_s=86_400.0,
    leases={lease(2).key: lease(2)},
    held={lease(3).key: HeldLease(lease(3), 9)},
)


@st.composite
def recollections(draw: st.DrawFn) -> Recollection:
    known = {each.key: each for each in draw(st.lists(leases(), max_size=6))}
    held = draw(st.sets(st.sampled_from(sorted(known)))) if known else set[str]()
    return Recollection(
        taken_ns=draw(TIMES),
        store=draw(TEXTS),
        node_id=NodeId(draw(TEXTS)),
        config=draw(configs()),
        own=draw(leases()),
        own_sent_ns=draw(TIMES),
        own_ttl_s=float(draw(st.integers(1, 86_400))),
        cluster_id=draw(TEXTS),
        revision=draw(TIMES),
        leases={key: each for key, each in known.items() if key not in held},
        held={key: HeldLease(each, draw(TIMES)) for key, each in known.items() if key in held},
        macs=frozenset(draw(st.lists(macs, max_size=4))),
    )


def numbered(count: int) -> list[IPv4Network]:
    return [IPv4Network((int(IPv4Address("10.0.0.0")) + (number << 8), 24)) for number in range(count)]


def written(memory: Recollection) -> bytes:
    return b"".join(encode_recollection(memory))


@given(recollections())
def test_what_is_written_is_read_back(memory: Recollection) -> None:
    again = decode_recollection(written(memory))
    assert again.says_the_same_as(memory)
    assert (again.taken_ns, again.revision) == (memory.taken_ns, memory.revision)
    assert {key: entry.until_ns for key, entry in again.held.items()} == {
        key: entry.until_ns for key, entry in memory.held.items()
    }
    assert written(again) == written(memory)


@pytest.mark.parametrize("count", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_no_lease_falls_between_two_pieces(count: int) -> None:
    many = {each.key: each for each in (lease(2, subnet=subnet, key="") for subnet in numbered(count))}
    memory = replace(SMALL, leases=many, held={})
    assert decode_recollection(written(memory)).leases.keys() == many.keys()


@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda tail: written(SMALL) + tail))
def test_f43_any_bytes_are_a_memory_or_an_error(data: bytes) -> None:
    try:
        found = decode_recollection(data)
    except DecodeError:
        return
    assert written(found) == data


@given(st.integers(0, len(written(SMALL)) - 1), st.binary(min_size=1, max_size=4))
def test_f43_damage_anywhere_is_an_error_or_another_valid_memory(at: int, damage: bytes) -> None:
    data = written(SMALL)
    damaged = data[:at] + damage + data[at + len(damage) :]
    try:
        found = decode_recollection(damaged)
    except DecodeError:
        return
    assert found.config.networks
    assert found.own.subnets


def test_f43_a_file_that_is_cut_short_is_an_error() -> None:
    data = written(SMALL)
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            decode_recollection(data[:length])
