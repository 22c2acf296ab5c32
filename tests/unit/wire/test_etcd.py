"""etcd's messages: what a real member sent, and what any bytes do.  The requests' proof is the contract suite."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.errors import DecodeError
from tulle.wire import etcd
from tulle.wire.etcd import Event, Found, Header, KeyValue, Settled, Told
from tulle.wire.protobuf import bytes_field, message_field, number_field

HEADER = message_field(1, number_field(1, -2) + number_field(2, 9) + number_field(3, 7) + number_field(4, 2))
KV = (
    bytes_field(1, b"key") + number_field(2, 3) + number_field(3, 7) + number_field(4, 2) + bytes_field(5, b"v")
) + number_field(6, 99)
READ = KeyValue(key=b"key", value=b"v", created=3, modified=7, lease=99)
WHO = Header(cluster_id=(1 << 64) - 2, revision=7)

DECODERS: tuple[Callable[[bytes], object], ...] = (
    etcd.decode_found,
    etcd.decode_settled,
    etcd.decode_granted,
    etcd.decode_time_to_live,
    etcd.decode_token,
    etcd.decode_told,
)


def test_a_range_answer_holds_its_keys_and_whether_there_are_more() -> None:
    data = HEADER + message_field(2, KV) + message_field(2, b"") + number_field(3, 1) + number_field(4, 9)
    assert etcd.decode_found(data) == Found(WHO, (READ, KeyValue()), more=True)


def test_a_transaction_answers_with_what_its_reads_found() -> None:
    put, read = message_field(2, HEADER), message_field(1, HEADER + message_field(2, KV))
    data = HEADER + number_field(2, 1) + message_field(3, put) + message_field(3, read)
    assert etcd.decode_settled(data) == Settled(WHO, True, (Found(WHO, (READ,)),))
    assert etcd.decode_settled(HEADER) == Settled(WHO, False)


def test_a_watch_tells_puts_and_deletions() -> None:
    put = message_field(11, message_field(2, KV))
    deletion = message_field(11, number_field(1, 1) + message_field(2, bytes_field(1, b"key")))
    told = etcd.decode_told(HEADER + put + deletion)
    assert told == Told(header=WHO, events=(Event(False, READ), Event(True, KeyValue(key=b"key"))))


def test_a_watch_says_that_it_stands_and_why_it_ended() -> None:
    assert etcd.decode_told(HEADER + number_field(3, 1)) == Told(header=WHO, created=True)
    ended = HEADER + number_field(4, 1) + number_field(5, 12) + bytes_field(6, b"\xffbad")
    assert etcd.decode_told(ended) == Told(header=WHO, canceled=True, compacted=12, reason="\ufffdbad")


def test_a_granted_lease_has_an_id() -> None:
    assert etcd.decode_granted(number_field(2, 77) + number_field(3, 60)) == (77, 60)
    with pytest.raises(DecodeError):
        etcd.decode_granted(number_field(3, 60))


def test_a_lease_that_is_over_has_a_negative_time_to_live() -> None:
    assert etcd.decode_time_to_live(HEADER + number_field(2, 77) + number_field(3, -1)) == -1


def test_a_login_without_a_token_is_no_login() -> None:
    assert etcd.decode_token(HEADER + bytes_field(2, b"abc.1")) == "abc.1"
    with pytest.raises(DecodeError):
        etcd.decode_token(HEADER)


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_decode_error(decode: Callable[[bytes], object], data: bytes) -> None:
    with suppress(DecodeError):
        decode(data)


@given(st.lists(st.sampled_from([HEADER, message_field(2, KV), message_field(11, message_field(2, KV))])), st.data())
def test_a_cut_answer_is_shorter_or_refused(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        told = etcd.decode_told(cut)
    except DecodeError:
        return
    assert len(told.events) <= len(etcd.decode_told(whole).events)


def test_requests_are_the_bytes_of_their_definition() -> None:
    assert etcd.range_request(b"a", b"b", limit=5, revision=9).hex() == "0a01611201621805" + "2009"
    assert etcd.put_request(b"a", b"b", lease=3, keep_lease=True).hex() == "0a0161120162" + "1803" + "3001"
    assert etcd.watch_request(b"a", b"b", 4).hex() == "0a08" + "0a0161120162" + "1804"
    assert etcd.progress_request().hex() == "1a00"
    assert etcd.absent(b"a", b"b").hex() == "1a0161" + "82040162"
    assert etcd.unchanged_since(b"a", 4).hex() == "0802" + "1002" + "1a0161" + "3005"
