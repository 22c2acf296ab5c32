"""What is written about an attachment, and what of it survives."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.cni.files import BESIDE, Folder
from tulle.cni.records import Record, Records, decode_record, encode_record

RECORD = Record(
    network="net",
    container_id="c1",
    ifname="eth0",
    netns="/run/netns/c1",
    boot_id="boot",
    device="veth1",
    bridge="cbr0",
    addresses=("10.244.1.2/24", "fd10::2/64"),
)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path / "net"))
    records.put(RECORD)
    assert records.get(RECORD.owner) == RECORD
    assert list(records.all()) == [RECORD]
    assert [str(ip) for ip in RECORD.ips] == ["10.244.1.2", "fd10::2"]
    assert (tmp_path / "net").stat().st_mode & 0o777 == 0o700


def test_a_removed_record_is_gone_and_may_be_removed_again(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    records.put(RECORD)
    for _ in range(2):
        records.remove(RECORD.owner)
    assert records.get(RECORD.owner) is None
    assert list(records.all()) == []


def test_what_cannot_be_read_is_swept_unless_it_is_of_somebody_known(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    records.put(RECORD)
    (mine,) = tmp_path.glob("*.json")
    mine.write_bytes(mine.read_bytes()[:9])
    (tmp_path / f"{'0' * 40}.json").write_bytes(b"{")
    (tmp_path / f"{'1' * 40}.json").write_bytes(b'{"of": "a later version"}')
    assert records.is_damaged(RECORD.owner)
    records.sweep([RECORD.owner])
    assert {path.name for path in tmp_path.glob("*.json")} == {mine.name, f"{'1' * 40}.json"}
    records.sweep([])
    assert {path.name for path in tmp_path.glob("*.json")} == {f"{'1' * 40}.json"}


def test_what_a_writer_that_died_had_begun_goes_with_the_next_change_or_look(tmp_path: Path) -> None:
    records, begun = Records(Folder(tmp_path)), tmp_path / BESIDE
    begun.write_bytes(b"{")
    records.remove(RECORD.owner)
    assert not begun.exists()
    begun.write_bytes(b"{")
    records.sweep([])
    assert not begun.exists()
    begun.write_bytes(b"{")
    os.link(begun, tmp_path / "in place")
    records.put(RECORD)
    assert not begun.exists()
    assert (tmp_path / "in place").read_bytes() == b"{"


def test_a_folder_that_was_never_made_has_no_records(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path / "nothing"))
    records.remove(RECORD.owner)
    assert records.get(RECORD.owner) is None
    assert list(records.all()) == []


def test_a_record_under_another_name_is_nobodys(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    records.put(RECORD)
    (path,) = tmp_path.glob("*.json")
    path.rename(tmp_path / "moved.json")
    assert list(records.all()) == []


@pytest.mark.parametrize("cut", range(0, len(encode_record(RECORD)) - 1, 7))
def test_a_record_that_is_cut_short_is_none(cut: int) -> None:
    assert decode_record(encode_record(RECORD)[:cut]) is None


@given(st.integers(0, len(encode_record(RECORD)) * 8 - 1))
def test_a_flipped_bit_makes_another_record_or_none(bit: int) -> None:
    content = bytearray(encode_record(RECORD))
    content[bit // 8] ^= 1 << bit % 8
    found = decode_record(bytes(content))
    assert found is None or isinstance(found.ips, tuple)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_record_or_none(content: bytes) -> None:
    assert decode_record(content) is None


def test_what_somebody_else_removed_or_damaged_is_told_once_and_what_we_removed_is_not(tmp_path: Path) -> None:
    records = Records(Folder(tmp_path))
    others = [replace(RECORD, container_id=name) for name in ("removed", "damaged", "ours", "stays")]
    for record in others:
        records.put(record)
    removed, damaged, ours, stays = others
    Records(Folder(tmp_path)).remove(removed.owner)
    for path in tmp_path.glob("*.json"):
        if b"damaged" in path.read_bytes():
            path.write_bytes(b"{")
    records.remove(ours.owner)
    assert records.take_lost() == (removed, damaged)
    assert records.take_lost() == ()
    assert [records.exists(each.owner) for each in others] == [False, False, False, True]
    assert [records.knows(each.owner) for each in others] == [False, False, False, True]
    assert Records(Folder(tmp_path)).take_lost() == ()
    assert stays in records.all()
