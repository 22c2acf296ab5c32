"""How a page of the guide is made anew, and that its two languages are in step."""

import re
from pathlib import Path

import pytest

from tests.kit.docs import Block, Command, blocks, commands
from tests.kit.guide import (
    GUIDE,
    PICTURES,
    Made,
    differences,
    pages,
    pictures_of,
    rewritten,
    same_picture,
    still_true,
    write,
)

PAGE = """\
# Title

```console
$ first
old
$ second \\
    --long
old
old
$ third
```

text
"""
ENGLISH = [page for page in pages() if not page.name.endswith(".zh.md")]
LINK = re.compile(r"\]\(([^)#]*)(?:#[^)]*)?\)")
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def chinese(page: Path) -> Path:
    return page.with_name(f"{page.stem}.zh.md")


def typed(page: str) -> list[Command]:
    return [command for block in blocks(page) for command in commands(block)]


def test_what_is_no_longer_true_is_replaced_and_nothing_else() -> None:
    first, second, third = typed(PAGE)
    made = rewritten(PAGE, [(first, ["old"]), (second, ["new", "", "newer  ", ""]), (third, ["unasked"])])
    assert made == PAGE.replace("old\nold", "new\n\nnewer")


def test_a_page_that_asks_for_an_output_gets_it_with_the_indentation_of_its_block() -> None:
    page = "- in a list:\n\n  ```console\n  $ command\n  ???\n  ```\n"
    (command,) = typed(page)
    assert rewritten(page, [(command, ["one", "two"])]) == page.replace("???", "one\n  two")


@pytest.mark.parametrize(
    ("shown", "printed", "true"),
    [
        (["a  b"], ["a b"], False),
        (["plain"], ["plain"], True),
        (["...", "b"], ["a", "b"], True),
        (["RTT 9.5 µs traced,", "8 µs untraced"], ["RTT 10.5 µs", "traced, 71 µs untraced"], True),
        (["RTT 9.5 µs traced"], ["RTT 9.5 µs lost"], False),
        (["slowest: …  ", "9.5 µs"], ["slowest: 3c eth0", "1.5 µs"], True),
        (["7  veth1  28.1  31.3"], ["7  veth1   ≤3.1   131.3"], True),
        (["lladdr 02:8d:36:97:e9:0b REACHABLE"], ["lladdr 02:46:ea:ea:3a:af STALE"], True),
        (["lladdr 02:8d:36:97:e9:0b PERMANENT"], ["lladdr 02:46:ea:ea:3a:af STALE"], False),
        (["lladdr 0a:58:0a:f4:01:03 STALE"], ["lladdr 0a:58:0a:f4:01:04 STALE"], False),
        (["10.244.1.2 at 7.5 ms"], ["10.244.1.3 at 7.5 ms"], False),
        (["took 1 ms"], ["took 2 ms", "  · ARP who-has 10.244.1.2 → 0a:58:0a:f4:01:02 answered on node1/cbr0"], True),
        (["took 1 ms", "  · ARP 询问 10.244.1.2 → 0a:58:0a:f4:01:02 在 node1/cbr0 上应答"], ["took 2 ms"], True),
        (["took 1 ms"], ["took 2 ms", "  · ARP who-has 10.244.2.0 on node1/flannel.1: nobody answered"], False),
        (["udp 58030→8472", "probe 262d1037"], ["udp 1234→8472", "probe 00000000"], True),
    ],
)
def test_what_varies_from_run_to_run_is_no_change(shown: list[str], printed: list[str], true: bool) -> None:
    assert still_true(shown, printed) is true


def test_a_picture_is_written_when_more_than_what_varies_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.kit.guide.PICTURES", tmp_path / "pictures")
    page = tmp_path / "page.md"
    page.write_text("![walk](pictures/walk.svg)")
    assert pictures_of(page.read_text()) == ["walk.svg"]
    picture = tmp_path / "pictures/walk.svg"
    for drawn, changed in (("took 9.5 µs", [picture]), ("took 7 µs", []), ("lost after 7 µs", [picture])):
        made = Made(text=page.read_text(), pictures={"walk.svg": drawn})
        assert list(differences(page, made)) == changed
        assert write(page, made) == changed
    assert picture.read_text() == "lost after 7 µs"
    assert same_picture("<t>9.5 µs</t>", "<t>11.5 µs</t>")
    assert same_picture('<text y="1">33 µs</text>', '<text y="1">33</text><text y="2">µs</text>')
    assert not same_picture("<t>a</t>", "<t>b</t>")


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_both_languages_have_the_same_blocks_commands_and_pictures(page: Path) -> None:
    one, other = page.read_text(), chinese(page).read_text()
    assert [shape(block) for block in blocks(one)] == [shape(block) for block in blocks(other)]
    assert pictures_of(one) == pictures_of(other)
    assert headings(one) == headings(other)


def headings(page: str) -> list[int]:
    """The levels of a page's headings."""
    return [len(marks) for marks in re.findall(r"(?m)^(#+) ", page)]


def shape(block: Block) -> tuple[str, str, list[tuple[str, bool]]]:
    """A block without its outputs; words in quotes are in the reader's language."""
    inside = [(QUOTED.sub("''", command.words), bool(command.shown)) for command in commands(block)]
    return block.kind, block.file, inside


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_every_link_and_picture_of_a_page_is_there(page: Path) -> None:
    text = page.read_text()
    assert [link for link in LINK.findall(text) if link and not (page.parent / link).exists()] == []
    assert [name for name in pictures_of(text) if not (PICTURES / name).exists()] == []
    assert "???" not in text


def test_every_picture_is_shown_and_made_by_a_command() -> None:
    texts = [page.read_text() for page in pages()]
    shown = {name for text in texts for name in pictures_of(text)}
    assert {picture.name for picture in PICTURES.glob("*")} == shown
    made = {name for text in texts for command in typed(text) for name in re.findall(r"\S+\.svg\b", command.words)}
    assert shown <= made


def test_the_map_leads_to_every_page() -> None:
    for name in ("README.md", "README.zh.md"):
        links = set(LINK.findall((GUIDE / name).read_text()))
        assert {page.name for page in pages() if page.name.endswith(".zh.md") is name.endswith(".zh.md")} <= links | {
            name
        }
