"""Addresses in files: order, exhaustion, host-local's format, and what a failure or a death at any step leaves."""

import os
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.processes import in_a_child
from tulle.cni import ipam
from tulle.cni.files import Folder
from tulle.cni.host_local import NOBODY, format_owner, parse_owner
from tulle.cni.ipam import Addresses
from tulle.wire.cni_error import ADDRESS_OUTSIDE, ADDRESS_TAKEN, ALREADY_ATTACHED, EXHAUSTED, CniError

SMALL = IPv4Network("10.244.1.0/29")  # five pods: .2 to .6
WIDE = IPv4Network("10.244.1.0/24")
SIX = IPv6Network("fd10:244:0:1::/64")


def unsynced(_: Path, __: Iterable[str]) -> None:
    pass


def addresses(path: Path, before: Callable[[str], None] = lambda _: None) -> Addresses:
    """As a process sees them that has just been started; nothing waits for the disk."""
    return Addresses(Folder(path, settle=unsynced, before=before))


def owner(name: object) -> tuple[str, str]:
    return str(name), "eth0"


def give(found: Addresses, name: object, *subnets: IPv4Network | IPv6Network) -> str:
    return str(found.allocate(owner(name), subnets or (SMALL,))[0].ip)


# -- order -------------------------------------------------------------------------------


def test_an_address_has_host_locals_file(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    interfaces = found.allocate(owner("c1"), (WIDE, SIX))
    found.note_last()
    assert [str(interface) for interface in interfaces] == ["10.244.1.2/24", "fd10:244:0:1::2/64"]
    for name in ("10.244.1.2", "fd10:244:0:1::2"):
        assert (tmp_path / name).read_bytes() == b"c1\r\neth0"
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "last_reserved_ip.0").read_text() == "10.244.1.2"
    assert (tmp_path / "last_reserved_ip.1").read_text() == "fd10:244:0:1::2"


def test_addresses_are_given_in_turn_after_host_locals_last_one(tmp_path: Path) -> None:
    (tmp_path / "last_reserved_ip.0").write_text("10.244.1.5")
    found = addresses(tmp_path)
    assert [give(found, n) for n in range(3)] == ["10.244.1.6", "10.244.1.2", "10.244.1.3"]


def test_what_host_local_gave_is_not_given_again(tmp_path: Path) -> None:
    (tmp_path / "10.244.1.2").write_text("old\r\neth0")
    (tmp_path / "10.244.1.3").write_text("very-old-without-an-interface")
    (tmp_path / "10.244.1.4").write_text("")
    found = addresses(tmp_path)
    assert give(found, "new") == "10.244.1.5"
    assert found.owners()[NOBODY] == (ip_address("10.244.1.4"),)


@pytest.mark.parametrize(
    "content", [b"", b"c", b"c1", b"c1\r\n", b"c1\r\net", b"\0\0\0", b"\xff\xfe", b"c1\r\neth0c1\r\neth0"]
)
def test_a_damaged_file_is_written_again_for_who_lives_and_freed_for_who_goes(tmp_path: Path, content: bytes) -> None:
    found = addresses(tmp_path)
    ip = found.allocate(owner("c1"), (WIDE,))[0].ip
    (tmp_path / str(ip)).write_bytes(content)
    assert addresses(tmp_path).restore(owner("c1"), (ip,)) == ()
    assert (tmp_path / str(ip)).read_bytes() == b"c1\r\neth0"
    (tmp_path / str(ip)).write_bytes(content)
    assert addresses(tmp_path).release(owner("c1"), (ip,)) == (ip,)
    assert not (tmp_path / str(ip)).exists()


def test_anothers_whole_file_is_neither_written_again_nor_freed(tmp_path: Path) -> None:
    (tmp_path / "10.244.1.2").write_bytes(format_owner(owner("c10")))
    ip = ip_address("10.244.1.2")
    assert addresses(tmp_path).restore(owner("c1"), (ip,)) == (ip,)
    assert addresses(tmp_path).release(owner("c1"), (ip,)) == ()
    assert (tmp_path / "10.244.1.2").read_bytes() == b"c10\r\neth0"


def test_the_address_that_was_free_for_longest_comes_first(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    for n in range(5):
        give(found, n)
    for n in (3, 1, 4):
        found.release(owner(n))
    assert [give(found, f"again{n}") for n in range(3)] == ["10.244.1.5", "10.244.1.3", "10.244.1.6"]


def test_a_fresh_address_comes_before_one_that_was_given_back(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    give(found, "a")
    found.release(owner("a"))
    assert give(found, "b") == "10.244.1.3"


def test_the_order_outlives_the_process(tmp_path: Path) -> None:
    first = addresses(tmp_path)
    for n in range(5):
        give(first, n)
    for n in (2, 0):
        first.release(owner(n))
    assert give(addresses(tmp_path), "again") == "10.244.1.4"


def test_a_long_list_of_what_was_given_back_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "released").write_text("10.244.1.6\n10.244.1.5\n" * 1500)
    found = addresses(tmp_path)
    give(found, "a")
    found.release(owner("a"))
    assert (tmp_path / "released").read_text() == "10.244.1.6\n10.244.1.5\n10.244.1.2\n"


# -- refusals ----------------------------------------------------------------------------


def test_a_full_subnet_is_said_and_one_release_makes_room(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    given_out = {give(found, n) for n in range(5)}
    assert given_out == {f"10.244.1.{n}" for n in range(2, 7)}
    with pytest.raises(CniError) as caught:
        give(found, "one too many")
    assert caught.value.code == EXHAUSTED
    found.release(owner(3))
    assert give(found, "fits") == "10.244.1.5"


def test_a_family_that_is_full_gives_nothing_of_the_other(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    for n in range(5):
        give(found, n)
    with pytest.raises(CniError):
        found.allocate(owner("dual"), (SIX, SMALL))
    assert found.of(owner("dual")) == ()


def test_an_owner_has_one_set_of_addresses(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    give(found, "a")
    with pytest.raises(CniError) as caught:
        give(found, "a")
    assert caught.value.code == ALREADY_ATTACHED
    assert found.of(owner("a")) == (ip_address("10.244.1.2"),)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ("10.244.1.2", ADDRESS_TAKEN),
        ("10.244.1.0", ADDRESS_OUTSIDE),
        ("10.244.1.1", ADDRESS_OUTSIDE),
        ("10.244.1.7", ADDRESS_OUTSIDE),
        ("10.244.2.2", ADDRESS_OUTSIDE),
        ("fd10::2", ADDRESS_OUTSIDE),
    ],
)
def test_a_wanted_address_must_be_free_and_a_pods(tmp_path: Path, wanted: str, code: int) -> None:
    found = addresses(tmp_path)
    give(found, "a")
    with pytest.raises(CniError) as caught:
        found.allocate(owner("b"), (SMALL,), (ip_address(wanted),))
    assert caught.value.code == code


def test_a_wanted_address_is_given_and_the_other_family_chosen(tmp_path: Path) -> None:
    interfaces = addresses(tmp_path).allocate(owner("a"), (WIDE, SIX), (ip_address("10.244.1.77"),))
    assert [str(interface.ip) for interface in interfaces] == ["10.244.1.77", "fd10:244:0:1::2"]


def test_what_another_network_of_the_node_uses_is_not_given(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "net", settle=unsynced)
    found = Addresses(folder, elsewhere=lambda: frozenset({"10.244.1.2", "10.244.1.4"}))
    assert [give(found, n) for n in range(3)] == ["10.244.1.3", "10.244.1.5", "10.244.1.6"]
    with pytest.raises(CniError):
        give(found, "full")


# -- others' hands -----------------------------------------------------------------------


def test_what_another_process_changed_is_seen(tmp_path: Path) -> None:
    first, second = addresses(tmp_path), addresses(tmp_path)
    assert [give(first, "a"), give(second, "b"), give(first, "c")] == ["10.244.1.2", "10.244.1.3", "10.244.1.4"]
    second.release(owner("a"))
    assert first.of(owner("a")) == ()
    assert second.of(owner("c")) == (ip_address("10.244.1.4"),)


def test_releasing_what_is_not_there_is_success(tmp_path: Path) -> None:
    assert addresses(tmp_path / "nothing").release(owner("a")) == ()
    found = addresses(tmp_path)
    give(found, "a")
    assert found.release(owner("b")) == ()
    assert len(found.release(owner("a"))) == 1
    assert found.release(owner("a")) == ()


def test_only_ones_own_address_is_released(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    found.allocate(("a", "eth0"), (SMALL,))
    found.allocate(("a", "net1"), (SMALL,))
    found.release(("a", "eth0"))
    assert found.of(("a", "net1")) == (ip_address("10.244.1.3"),)


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    folder, outside = tmp_path / "net", tmp_path / "outside"
    folder.mkdir()
    outside.write_text("precious")
    (folder / "10.244.1.2").symlink_to(outside)
    (folder / ".new").symlink_to(outside)
    found = addresses(folder)
    assert give(found, "a") == "10.244.1.3"
    assert outside.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a folder away needs root")
def test_a_folder_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(PermissionError):
        give(addresses(tmp_path), "a")


def test_after_a_look_what_came_since_is_met_when_it_is_claimed(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    assert found.take_lost() == {}
    (tmp_path / "10.244.1.2").write_text("faster\r\neth0")
    given = found.allocate(owner("a"), (WIDE,), looked=True)
    assert [str(each.ip) for each in given] == ["10.244.1.3"]
    assert found.of(("faster", "eth0")) == (ip_address("10.244.1.2"),)


# -- a folder is not listed while its time stands still ----------------------------------


def ask(found: Addresses, name: object, *wanted: str) -> str:
    """An address for ``name``, as ADD takes it."""
    found.take_lost()
    asked = tuple(map(ip_address, wanted))
    return str(found.allocate(owner(name), (SMALL,), asked, looked=True)[0].ip)


def in_the_same_tick(folder: Path, change: Callable[[], object]) -> None:
    """Somebody else changes the folder, whose time does not tell."""
    status = folder.stat()
    change()
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_crowd_lists_the_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[int] = []
    scandir = os.scandir

    def counted(folder: int) -> Iterable[os.DirEntry[str]]:
        listed.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counted)
    found = addresses(tmp_path)
    ask(found, "first")
    ask(found, "second")
    listed.clear()
    assert [ask(found, number) for number in range(3)] == ["10.244.1.4", "10.244.1.5", "10.244.1.6"]
    assert listed == []


def test_what_others_remove_is_noticed_by_the_folders_time(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    ask(found, "a")
    (tmp_path / "10.244.1.2").unlink()
    assert found.take_lost() == {owner("a"): (ip_address("10.244.1.2"),)}


def test_what_others_remove_within_a_tick_is_noticed_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = addresses(tmp_path)
    ask(found, "a")
    ask(found, "b")
    in_the_same_tick(tmp_path, (tmp_path / "10.244.1.2").unlink)
    assert found.take_lost() == {}
    assert ask(found, "c") == "10.244.1.4", "it stays the living one's"
    monkeypatch.setattr(ipam, "LISTED_S", 0.0)
    assert found.take_lost() == {owner("a"): (ip_address("10.244.1.2"),)}


def test_nobody_is_refused_for_what_others_removed_within_a_tick(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    for number in range(5):
        ask(found, number)
    in_the_same_tick(tmp_path, (tmp_path / "10.244.1.4").unlink)
    assert ask(found, "full") == "10.244.1.4"
    in_the_same_tick(tmp_path, (tmp_path / "10.244.1.5").unlink)
    assert ask(found, "wanted", "10.244.1.5") == "10.244.1.5"
    in_the_same_tick(tmp_path, (tmp_path / "10.244.1.2").unlink)
    assert ask(found, 0) == "10.244.1.2", "the owner had it before"


def test_what_others_claim_within_a_tick_is_theirs(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    ask(found, "a")
    ask(found, "b")
    in_the_same_tick(tmp_path, lambda: (tmp_path / "10.244.1.4").write_text("faster\r\neth0"))
    assert ask(found, "c") == "10.244.1.5"
    assert found.of(("faster", "eth0")) == (ip_address("10.244.1.4"),)


def test_a_file_made_again_is_read_again(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    give(found, "a")
    assert found.of(owner("a")) == (ip_address("10.244.1.2"),)
    (tmp_path / "beside").write_text("b\r\neth0")
    (tmp_path / "beside").rename(tmp_path / "10.244.1.2")
    assert found.owners() == {("b", "eth0"): (ip_address("10.244.1.2"),)}


def test_lost_files_of_the_living_are_claimed_again(tmp_path: Path) -> None:
    found = addresses(tmp_path)
    give(found, "other")
    (tmp_path / "10.244.1.3").write_text("")
    wanted = [ip_address(f"10.244.1.{n}") for n in (2, 3, 4)]
    assert found.restore(owner("alive"), wanted) == (ip_address("10.244.1.2"),)
    assert addresses(tmp_path).of(owner("alive")) == (ip_address("10.244.1.3"), ip_address("10.244.1.4"))


# -- crashes -----------------------------------------------------------------------------


class Counter:
    """Counts the operations, and does something at one of them."""

    def __init__(self, at: int, act: Callable[[str], None]) -> None:
        self.at, self.act, self.seen = at, act, 0

    def __call__(self, operation: str) -> None:
        self.seen += 1
        if self.seen == self.at:
            self.act(operation)


def story(found: Addresses) -> None:
    """Two pods come, one goes, and another takes over its files."""
    found.allocate(owner("a"), (SMALL, SIX))
    found.allocate(owner("b"), (SMALL, SIX))
    found.note_last()
    found.release(owner("a"))
    found.allocate(owner("c"), (SMALL, SIX))


def length_of_the_story(tmp_path: Path) -> int:
    counter = Counter(0, lambda _: None)
    story(addresses(tmp_path / "whole", counter))
    return counter.seen


def check_nothing_is_lost(path: Path) -> None:
    """Every address has an owner or can be given; nobody has another's; a DEL makes all free."""
    found = addresses(path)
    before = found.owners()
    assert NOBODY not in before
    give(found, "next", WIDE)
    found.release(owner("next"))
    assert addresses(path).owners() == before
    for name in ("a", "b", "c"):
        found.release(owner(name))
    assert found.owners() == {}
    assert {give(found, n) for n in range(5)} == {f"10.244.1.{n}" for n in range(2, 7)}


def test_a_process_killed_at_any_step_loses_no_address(tmp_path: Path) -> None:
    for at in range(1, length_of_the_story(tmp_path) + 1):
        path = tmp_path / f"killed-{at}"
        died = in_a_child(lambda path=path, at=at: story(addresses(path, Counter(at, lambda _: os._exit(9)))))
        assert died == 9
        check_nothing_is_lost(path)


@pytest.mark.parametrize("errno", [28, 5, 30, 24], ids=["ENOSPC", "EIO", "EROFS", "EMFILE"])
def test_a_step_that_fails_leaves_no_half_of_anything(tmp_path: Path, errno: int) -> None:
    def refuse(operation: str) -> None:
        raise OSError(errno, os.strerror(errno), operation)

    for at in range(1, length_of_the_story(tmp_path) + 1):
        path = tmp_path / f"refused-{at}"
        found = addresses(path, Counter(at, refuse))
        for name in ("a", "b"):
            try:
                found.allocate(owner(name), (SMALL, SIX))
            except OSError:
                assert len(found.of(owner(name))) in {0, 2}
        check_nothing_is_lost(path)


@given(cut=st.integers(0, 20), flipped=st.integers(0, 20 * 8))
@settings(max_examples=60)
def test_any_file_is_an_owner_or_nobody(cut: int, flipped: int) -> None:
    content = bytearray(format_owner(("container-1", "eth0")))
    content[flipped // 8 % len(content)] ^= 1 << flipped % 8
    container_id, ifname = parse_owner(bytes(content[:cut]))
    assert isinstance(container_id, str)
    assert isinstance(ifname, str)
    assert parse_owner(None) == NOBODY


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_two_owners_ever_share_an_address(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[bool, int]]
) -> None:
    found = addresses(tmp_path_factory.mktemp("moves"))
    model: dict[int, str] = {}
    for come, name in moves:
        if come and name not in model and len(model) < 5:
            model[name] = give(found, name)
        elif not come:
            found.release(owner(name))
            model.pop(name, None)
        assert len(set(model.values())) == len(model)
        held = {int(holder[0]): str(ips[0]) for holder, ips in found.owners().items()}
        assert held == model


@pytest.mark.parametrize("name", [b"10.244.1.2\xff", b"10.244.1.2 ", b"\n10.244.1.2", b"10.244.1.02", b"::ffff:0a00:1"])
def test_a_file_that_is_called_almost_like_an_address_is_nobodys(tmp_path: Path, name: bytes) -> None:
    (tmp_path / os.fsdecode(name)).touch()
    found = addresses(tmp_path)
    assert give(found, "a") == "10.244.1.2"
    assert found.owners() == {owner("a"): (ip_address("10.244.1.2"),)}
    assert found.release(owner("a")) == (ip_address("10.244.1.2"),)
    assert give(found, "b") == "10.244.1.3"
