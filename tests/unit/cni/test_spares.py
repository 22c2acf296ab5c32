"""Spare files: what is removed becomes what is made next, and nothing that is in place is ever written to."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from errno import ENOSPC
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.processes import in_a_child
from tulle.cni.files import BESIDE, Folder
from tulle.cni.spares import CUT, LIMIT, SPARE, STOCK, choose_spares

LONG, SHORT = b"a longer content", b"short"


def unsynced(_: Path, __: Iterable[str]) -> None:
    pass


def opened(path: Path, before: Callable[[str], None] = lambda _: None) -> Folder:
    """As a process sees it that has just been started; nothing waits for the disk."""
    return Folder(path, settle=unsynced, before=before)


def create(folder: Folder, name: str, content: bytes) -> bool:
    with folder.locked() as files:
        return files.create(name, content)


def replace(folder: Folder, name: str, content: bytes) -> None:
    with folder.locked() as files:
        files.replace(name, content)


def remove(folder: Folder, *names: str) -> None:
    with folder.locked() as files:
        for name in names:
            files.remove(name)


def contents(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in Folder(path).names()}


def spares(path: Path) -> set[str]:
    return set(os.listdir(path / SPARE))


# -- what they are for -------------------------------------------------------------------


@pytest.mark.parametrize("content", [LONG, SHORT, b""], ids=["longer", "shorter", "empty"])
@pytest.mark.parametrize("make", [create, replace])
def test_what_is_made_takes_the_file_of_what_was_removed(
    tmp_path: Path, make: Callable[[Folder, str, bytes], object], content: bytes
) -> None:
    folder = opened(tmp_path)
    create(folder, "a", b"gone")
    inode = (tmp_path / "a").stat().st_ino
    remove(folder, "a")
    assert not (tmp_path / "a").exists()
    assert [path.stat().st_size for path in (tmp_path / SPARE).iterdir()] == [CUT]
    make(folder, "b", content)
    assert contents(tmp_path) == {"b": content}
    assert (tmp_path / "b").stat().st_ino == inode
    assert not spares(tmp_path)


def test_the_next_process_finds_them(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    create(folder, "a", LONG)
    remove(folder, "a")
    create(opened(tmp_path), "b", SHORT)
    assert not spares(tmp_path)
    remove(opened(tmp_path), "b")
    create(folder, "c", LONG)
    remove(folder, "c")
    assert contents(tmp_path) == {}


def test_a_file_that_a_dead_process_had_put_aside_whole_is_written_over(tmp_path: Path) -> None:
    create(opened(tmp_path), "a", LONG)
    remove(opened(tmp_path), "a")
    (left,) = (tmp_path / SPARE).iterdir()
    left.write_bytes(LONG)
    create(opened(tmp_path), "b", SHORT)
    assert contents(tmp_path) == {"b": SHORT}


def test_there_are_no_more_than_a_node_has_pods(tmp_path: Path) -> None:
    folder, names = opened(tmp_path), [str(number) for number in range(LIMIT + 9)]
    for name in names:
        create(folder, name, SHORT)
    remove(folder, *names)
    assert len(spares(tmp_path)) == LIMIT
    assert contents(tmp_path) == {}
    create(opened(tmp_path), "again", SHORT)
    assert len(spares(tmp_path)) == LIMIT - 1


def test_some_are_laid_in_before_anything_was_removed(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    assert folder.lay_in(STOCK - 1)
    assert folder.lay_in(5)
    assert not folder.lay_in(5), "there are enough"
    assert len(spares(tmp_path)) == STOCK
    assert {path.stat().st_size for path in (tmp_path / SPARE).iterdir()} == {CUT}
    create(folder, "a", LONG)
    assert contents(tmp_path) == {"a": LONG}
    assert len(spares(tmp_path)) == STOCK - 1
    assert folder.lay_in(5)
    assert len(spares(tmp_path)) == STOCK


def test_none_are_laid_in_where_there_is_no_place_for_them(tmp_path: Path) -> None:
    assert not opened(tmp_path / "none").lay_in(5)
    assert not (tmp_path / "none").exists()
    (tmp_path / SPARE).write_bytes(b"somebody else's")
    assert not opened(tmp_path).lay_in(5)
    assert (tmp_path / SPARE).read_bytes() == b"somebody else's"


def test_a_disk_that_takes_none_is_told_and_leaves_what_there_is(tmp_path: Path) -> None:
    def full(step: str) -> None:
        if step == "open" and len(spares(tmp_path)) == 3:
            raise OSError(ENOSPC, os.strerror(ENOSPC))

    folder = opened(tmp_path, full)
    with pytest.raises(OSError, match="No space"):
        folder.lay_in(5)
    assert len(spares(tmp_path)) == 3
    create(folder, "a", LONG)
    assert contents(tmp_path) == {"a": LONG}


def test_a_hint_leaves_them_to_others(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    create(folder, "a", LONG)
    remove(folder, "a")
    with folder.locked() as files:
        files.replace("hint", SHORT, hint=True)
    assert len(spares(tmp_path)) == 1


def test_what_could_not_take_its_place_is_no_file_of_anybody(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    create(folder, "a", LONG)
    remove(folder, "a")
    (tmp_path / "b").write_bytes(b"faster")
    assert not create(folder, "b", SHORT)
    assert contents(tmp_path) == {"b": b"faster"}
    assert create(folder, "c", SHORT)


# -- others' hands -----------------------------------------------------------------------


def taken(spare: Path, _: Path) -> None:
    spare.unlink()


def all_taken(spare: Path, _: Path) -> None:
    spare.unlink()
    spare.parent.rmdir()


def second_name(spare: Path, precious: Path) -> None:
    precious.unlink()
    os.link(spare, precious)
    precious.write_text("precious")


def link(spare: Path, precious: Path) -> None:
    spare.unlink()
    spare.symlink_to(precious)


def dangling(spare: Path, _: Path) -> None:
    spare.unlink()
    spare.symlink_to("nowhere")


def pipe(spare: Path, _: Path) -> None:
    spare.unlink()
    os.mkfifo(spare, 0o600)


def directory(spare: Path, _: Path) -> None:
    spare.unlink()
    spare.mkdir()


def readable(spare: Path, _: Path) -> None:
    spare.chmod(0o644)


def anothers(spare: Path, _: Path) -> None:
    os.chown(spare, 65534, 65534)


MISCHIEF = [taken, all_taken, second_name, link, dangling, pipe, directory, readable, anothers]


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "found"])
@pytest.mark.parametrize("mischief", MISCHIEF, ids=[each.__name__ for each in MISCHIEF])
def test_what_is_no_spare_any_more_is_passed_over(
    tmp_path: Path, mischief: Callable[[Path, Path], None], *, is_known: bool
) -> None:
    if mischief is anothers and os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    path, precious = tmp_path / "files", tmp_path / "precious"
    precious.write_text("precious")
    folder = opened(path)
    create(folder, "a", LONG)
    remove(folder, "a")
    (spare,) = (path / SPARE).iterdir()
    mischief(spare, precious)
    create(folder if is_known else opened(path), "b", SHORT)
    assert contents(path) == {"b": SHORT}
    assert (path / "b").stat().st_mode & 0o777 == 0o600
    assert (path / "b").stat().st_nlink == 1
    assert precious.read_text() == "precious"


def test_a_file_with_another_name_is_deleted_and_not_cut(tmp_path: Path) -> None:
    folder, precious = opened(tmp_path / "files"), tmp_path / "precious"
    create(folder, "a", LONG)
    os.link(tmp_path / "files/a", precious)
    remove(folder, "a")
    assert contents(tmp_path / "files") == {}
    assert precious.read_bytes() == LONG


def test_what_is_no_file_is_deleted_where_it_is(tmp_path: Path) -> None:
    folder, precious = opened(tmp_path / "files"), tmp_path / "precious"
    precious.write_text("precious")
    create(folder, "a", LONG)
    (tmp_path / "files/link").symlink_to(precious)
    os.mkfifo(tmp_path / "files/pipe")
    (tmp_path / "files/folder").mkdir()
    remove(folder, "link", "pipe")
    with pytest.raises(IsADirectoryError):
        remove(folder, "folder")
    assert set(folder.names()) == {"a", "folder"}
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("how", ["link", "file", "everybody's", "somebody's"])
def test_a_place_for_them_that_is_not_ours_is_left_alone(tmp_path: Path, how: str) -> None:
    path, outside = tmp_path / "files", tmp_path / "outside"
    outside.mkdir()
    (outside / "1").write_bytes(b"precious")
    (outside / "1").chmod(0o600)
    path.mkdir()
    match how:
        case "link":
            (path / SPARE).symlink_to(outside)
        case "file":
            (path / SPARE).write_bytes(b"precious")
        case "everybody's":
            outside.rename(path / SPARE)
            outside = path / SPARE
            outside.chmod(0o777)
        case _:
            if os.geteuid() != 0:
                pytest.skip("giving a folder away needs root")
            outside.rename(path / SPARE)
            outside = path / SPARE
            os.chown(outside, 65534, 65534)
    folder = opened(path)
    create(folder, "a", LONG)
    replace(folder, "b", LONG)
    remove(folder, "a")
    assert contents(path) == {"b": LONG}
    assert {each.name: each.read_bytes() for each in outside.iterdir()} == {"1": b"precious"}


@pytest.mark.parametrize(
    ("inodes", "others", "found", "last"),
    [
        pytest.param({}, [7], [], 0, id="none"),
        pytest.param({"10": 1, "9": 2}, [7], ["9", "10"], 10, id="the oldest first"),
        pytest.param({"1": 7, "2": 8}, [7], ["2"], 2, id="one is a file in place, too"),
        pytest.param({"1": 7, "2": 7, "3": 8}, [], ["3"], 3, id="two are one"),
        pytest.param({"01": 1, "x": 2, ".3": 3, "²": 4, "٣": 5, "-6": 6}, [], [], 1, id="strangers"),
    ],
)
def test_a_spare_has_a_number_for_a_name_and_a_file_to_itself(
    inodes: Mapping[str, int], others: list[int], found: list[str], last: int
) -> None:
    assert choose_spares(inodes, others) == (deque(found), last)


# -- failures and deaths -----------------------------------------------------------------


class At:
    """Does something at one of the operations."""

    def __init__(self, number: int, act: Callable[[], None]) -> None:
        self.number, self.act = number, act

    def __call__(self, _: str) -> None:
        self.number -= 1
        if self.number == 0:
            self.act()


def refuse() -> None:
    raise OSError(28, os.strerror(28))


def die() -> None:
    os._exit(9)


Move = tuple[str, str, bytes]
moves = st.lists(
    st.tuples(
        st.sampled_from(["create", "replace", "remove"]), st.sampled_from("abc"), st.sampled_from([LONG, SHORT, b"x"])
    ),
    max_size=12,
)


def move(folder: Folder, how: str, name: str, content: bytes) -> None:
    match how:
        case "create":
            create(folder, name, content)
        case "replace":
            replace(folder, name, content)
        case _:
            remove(folder, name)


def moved(state: Mapping[str, bytes], how: str, name: str, content: bytes) -> dict[str, bytes]:
    match how:
        case "create":
            return {name: content, **state}
        case "replace":
            return {**state, name: content}
        case _:
            return {each: kept for each, kept in state.items() if each != name}


@given(moves, st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_a_step_that_fails_is_done_or_not_and_the_others_are_done(
    tmp_path_factory: pytest.TempPathFactory, story: list[Move], number: int
) -> None:
    path = tmp_path_factory.mktemp("failing")
    folder, state = opened(path, At(number, refuse)), dict[str, bytes]()
    for each in story:
        try:
            move(folder, *each)
        except OSError:
            assert contents(path) in (state, moved(state, *each))
            state = contents(path)
        else:
            state = moved(state, *each)
            assert contents(path) == state


@given(moves, st.integers(1, 40))
@settings(max_examples=50, deadline=None)
def test_after_a_death_at_any_step_every_file_is_whole_and_those_that_follow_are_themselves(
    tmp_path_factory: pytest.TempPathFactory, story: list[Move], number: int
) -> None:
    path, states = tmp_path_factory.mktemp("dying"), [dict[str, bytes]()]
    for each in story:
        states.append(moved(states[-1], *each))

    def live() -> None:
        folder = opened(path, At(number, die))
        for each in story:
            move(folder, *each)

    assert in_a_child(live) in {0, 9}
    assert contents(path) in states
    left, folder = contents(path), opened(path)
    fresh = {f"next{turn}": f"of turn {turn}".encode() for turn in range(len(story))}
    for name, content in fresh.items():
        create(folder, name, content)
    assert contents(path) == {**left, **fresh}
    assert not (path / BESIDE).exists() or not fresh
