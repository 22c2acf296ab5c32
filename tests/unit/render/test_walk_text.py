"""Text in columns: the widths of a terminal, breaking lines, escaping what could drive it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.render.walk_text import NO_BREAK, Line, clean, fit, flow, printed, right, width, wrap

texts = st.text(max_size=60) | st.text(alphabet="aé网桥 ，。\x1b\u0301\u202e\u00a0-→│", max_size=60)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("flannel.1", 9),
        ("网桥", 4),
        ("cbr0 的端口", 11),
        ("e\u0301", 1),
        ("─│→≤", 4),
        ("\x1b", 4),
        ("\u202e", 6),
        (f"7{NO_BREAK}µs", 4),
    ],
)
def test_width(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        pytest.param("eth0", 6, "eth0  ", id="padded"),
        pytest.param("vethccf2f232", 8, "vethccf…", id="cut, and seen to be cut"),
        pytest.param("网桥网桥", 6, "网桥… ", id="a wide character is never cut in two"),
        pytest.param("eth0", 0, "", id="no room at all"),
    ],
)
def test_fit(text: str, columns: int, expected: str) -> None:
    assert fit(text, columns) == expected


@pytest.mark.parametrize(
    ("text", "columns", "lines"),
    [
        pytest.param("one two three", 7, ["one two", "three"], id="at spaces"),
        pytest.param("网桥转发表", 6, ["网桥转", "发表"], id="between CJK characters"),
        pytest.param("网桥，转发表", 5, ["网", "桥，", "转发", "表"], id="never before a comma"),
        pytest.param("abcdefgh", 3, ["abc", "def", "gh"], id="inside a word that is too long"),
        pytest.param(f"took 7.1{NO_BREAK}µs", 9, ["took", f"7.1{NO_BREAK}µs"], id="never between number and unit"),
        pytest.param("", 5, [""], id="nothing is one empty line"),
    ],
)
def test_wrap(text: str, columns: int, lines: list[str]) -> None:
    assert wrap(text, columns) == lines


def test_flow_breaks_only_between_its_pieces() -> None:
    assert flow(["3c eth0 → ", "4 port1 → ", "5 port2"], 20) == ["3c eth0 → 4 port1 →", "5 port2"]


def test_right_does_not_cut() -> None:
    assert (right("1.9", 6), right("123456", 3)) == ("   1.9", "123456")


@given(texts)
def test_what_is_cleaned_is_printable_and_keeps_its_width(text: str) -> None:
    assert clean(text).isprintable()
    assert width(clean(text)) == width(text)
    assert clean(clean(text)) == clean(text)


@given(texts, st.integers(1, 40))
def test_fit_fills_its_columns_exactly(text: str, columns: int) -> None:
    assert width(fit(text, columns)) == columns


@given(texts, st.integers(12, 40))
def test_wrapped_lines_fit_and_lose_nothing_but_spaces(text: str, columns: int) -> None:
    lines = wrap(text, columns)
    assert all(width(line) <= columns for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(texts)
def test_a_printed_line_is_one_line_without_controls(text: str) -> None:
    out = printed([Line(text, "bad")])
    assert out.count("\n") == 1
    assert not any(unicodedata.category(char) in ("Cc", "Cf") for char in out[:-1])


def test_colour_wraps_the_line_and_an_empty_line_stays_empty() -> None:
    assert printed([Line("lost", "bad")], color=True) == "\x1b[31mlost\x1b[0m\n"
    assert printed([Line("", "bad")], color=True) == "\n"
    assert printed([Line("plain")], color=True) == "plain\n"


def test_ascii_replaces_one_character_by_one() -> None:
    drawn = "┌─┐│└┘╔═╗║╚╝┊▶→←⇒↔≤✔✘✎µΣΔ·…−–≈×"
    plain = printed([Line(drawn)], ascii_only=True)[:-1]
    assert plain.isascii()
    assert len(plain) == len(drawn)
