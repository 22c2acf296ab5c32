"""Where things are in etcd, and how a lease is read together with tulle's record of it."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.stores import key, lease
from tulle.errors import DecodeError
from tulle.model.lease import LeaseKey, NodeId, Undecodable
from tulle.store.etcd_layout import (
    EXPIRED_KEPT_NS,
    FOREIGN_TTL_NS,
    End,
    Judge,
    Layout,
    Lent,
    Record,
    after,
    decode_record,
    expired_lately,
)
from tulle.wire.etcd import KeyValue
from tulle.wire.leases import encode_lease

LAYOUT = Layout("/coreos.com/network")
NOW = 1_000_000_000_000
NAME = b"/coreos.com/network/tulle/subnets/10.244.1.0-24"


def stored(number: int, *, revision: int = 5, ttl_lease: int = 77) -> KeyValue:
    value = encode_lease(lease(number))
    return KeyValue(key=LAYOUT.lease(key(number)), value=value, created=2, modified=revision, lease=ttl_lease)


def record(number: int, *, revision: int = 5, owner: str | None = "a", ends_ns: int | None = NOW + 9) -> KeyValue:
    value = Record(key(number), None if owner is None else NodeId(owner), ends_ns).value
    return KeyValue(key=LAYOUT.records_of(key(number))[0], value=value, created=2, modified=revision)


def test_keys_are_flannels_and_tulles_own_lie_beside_them() -> None:
    dual = lease(1, six=9)
    assert LAYOUT.config == b"/coreos.com/network/config"
    assert LAYOUT.lease(dual.key) == b"/coreos.com/network/subnets/10.244.1.0-24&fd10:244:0:9::-64"
    assert LAYOUT.records_of(dual.key) == [NAME, b"/coreos.com/network/tulle/subnets/fd10:244:0:9::-64"]
    assert LAYOUT.node(NodeId("abc")) == b"/coreos.com/network/tulle/nodes/abc"


def test_the_claims_of_an_ipv4_subnet_are_its_key_and_every_pairing_and_no_other() -> None:
    (alone, nothing), (start, end) = LAYOUT.claims_of(lease(1, six=9))
    assert (alone, nothing) == (LAYOUT.lease(lease(1).key), b"")
    paired = [LAYOUT.lease(lease(1, six=six).key) for six in (1, 9)]
    others = [LAYOUT.lease(lease(number).key) for number in (0, 10, 100, 2)]
    rubbish = [alone + tail for tail in (b"0", b"\n", b" ", b"%", b"'")]
    assert all(start <= each < end for each in paired)
    assert not any(start <= each < end for each in (*others, *rubbish))


@given(st.binary(min_size=1, max_size=8).filter(lambda prefix: prefix[-1] < 0xFF), st.binary(max_size=4))
def test_a_prefix_ends_after_everything_that_begins_with_it(prefix: bytes, tail: bytes) -> None:
    assert prefix <= prefix + tail < after(prefix)


def test_a_key_below_subnets_is_named_by_its_tail_printable_whatever_it_is() -> None:
    assert LAYOUT.lease_key(LAYOUT.subnets + b"hello\xff") == "hello\\xff"
    assert LAYOUT.lease_key(NAME) is None


def test_a_lease_whose_record_is_of_the_same_revision_has_its_owner_and_end() -> None:
    kv = record(1)
    read = Judge(LAYOUT).lease(stored(1), {kv.key: kv}, NOW)
    assert (read.owner, read.expires_at_ns, read.created) == ("a", NOW + 9, 2)


@pytest.mark.parametrize(
    "kv",
    [
        pytest.param(record(1, revision=4), id="the lease was rewritten without it"),
        pytest.param(record(1, revision=6), id="it was rewritten without the lease"),
        pytest.param(KeyValue(key=NAME, value=b"poison", modified=5), id="it is no record"),
        pytest.param(KeyValue(key=NAME, value=record(2).value, modified=5), id="it speaks of another lease"),
        pytest.param(record(2), id="it is another subnet's"),
    ],
)
def test_a_record_that_does_not_belong_to_the_lease_leaves_it_ownerless(kv: KeyValue) -> None:
    judge = Judge(LAYOUT)
    read = judge.lease(stored(1), {kv.key: kv}, NOW)
    assert (read.owner, read.expires_at_ns) == (None, NOW + FOREIGN_TTL_NS)
    assert judge.lease(stored(1), {}, NOW + 1).expires_at_ns == NOW + FOREIGN_TTL_NS, "until it is renewed"
    for forget in (lambda: judge.forget_all_but([]), lambda: judge.forget(77)):
        forget()
        assert judge.lease(stored(1), {}, NOW + 1).expires_at_ns == NOW + 1 + FOREIGN_TTL_NS


def test_a_key_without_a_ttl_has_no_end_whatever_its_record_says() -> None:
    kv = record(1)
    assert Judge(LAYOUT).lease(stored(1, ttl_lease=0), {kv.key: kv}, NOW).expires_at_ns is None
    assert Judge(LAYOUT).lease(stored(1, ttl_lease=0), {}, NOW).expires_at_ns is None


@pytest.mark.parametrize(
    ("ttl_lease", "kvs", "expected"),
    [
        pytest.param(77, [record(1)], NOW + 9, id="tulle's, by its record"),
        pytest.param(77, [record(1, ends_ns=None)], Lent(77), id="a record that does not say when"),
        pytest.param(77, [], Lent(77), id="without a record"),
        pytest.param(0, [record(1)], None, id="without a TTL"),
    ],
)
def test_a_lease_ends_when_its_record_says_else_with_its_etcd_lease(
    ttl_lease: int, kvs: list[KeyValue], expected: End
) -> None:
    judge, kv = Judge(LAYOUT), stored(1, ttl_lease=ttl_lease)
    read = judge.lease(kv, {each.key: each for each in kvs}, NOW)
    assert judge.end(read, kv) == expected
    assert judge.end(Undecodable(key(1), "poison"), kv) == (Lent(77) if ttl_lease else None)


def test_records_without_their_lease_tell_what_expired_within_a_day() -> None:
    over = [
        record(1, ends_ns=NOW),
        record(2, ends_ns=NOW - EXPIRED_KEPT_NS),
        record(3, ends_ns=None),
        KeyValue(key=NAME, value=b"poison"),
    ]
    assert expired_lately(over, NOW) == {key(1)}


@given(st.binary(max_size=100))
def test_any_bytes_are_a_record_or_a_decode_error(data: bytes) -> None:
    with suppress(DecodeError):
        decode_record(data)


@pytest.mark.parametrize("fields", [{"lease": 1}, {"lease": "x", "node": 2}, {"lease": "x", "ends_ns": "y"}, {}])
def test_a_record_with_fields_of_another_type_is_none(fields: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        decode_record(json.dumps(fields).encode())


def test_a_record_comes_back_as_it_was() -> None:
    for each in (Record(LeaseKey("k"), NodeId("n"), 5), Record(LeaseKey("k"), None, None)):
        assert decode_record(each.value) == each
