"""The live view's rows: what is on the screen, that it fits, and what a key does to it."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.watched import PEER, STATUS, a_board, a_sample, after, news, the_links
from tulle.render.walk_text import painted, width
from tulle.render.watch import watch_rows
from tulle.render.watch_board import Board, Look
from tulle.render.watch_keys import decode_keys, pressed
from tulle.render.watch_view import NodeView
from tulle.render.watch_words import HELP, WORDS, per_second, took

REPAIRED = news("repaired", "ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1", 5, took_ns=1_320_000)


def node(name: str = "node1", **changes: Any) -> NodeView:
    """A node looked at twice, with 100 packets of 100 bytes between the looks."""
    look = {"links": the_links(100), "news": (REPAIRED,), **changes}
    return after(a_sample(0, name), a_sample(1, name, **look))


TWO = a_board(node(), node("node2"))


def shown(board: Board, columns: int = 80, rows: int | None = None, **look: Any) -> list[str]:
    return [painted(row) for row in watch_rows(board, Look(columns=columns, rows=rows, **look))]


def line_with(text: str, lines: list[str]) -> str:
    return next(line for line in lines if text in line)


@pytest.mark.parametrize("low", [True, False])
def test_addresses_take_a_row_only_where_they_are_short(low: bool) -> None:
    use = {"subnet": "10.244.1.0/28", "used": 12, "free": 1, "resting": 0, "low": low}
    lines = shown(a_board(node(status=STATUS | {"addresses": [use]})), rows=30)
    assert any("12 in use, only 1 free" in line for line in lines) is low
    assert any(line.startswith(" addresses") for line in lines) is low


def test_eighty_columns_have_the_nodes_the_devices_the_peers_and_what_happened() -> None:
    assert shown(TWO, 80, 26) == [
        "tulle watch · lab lab · 2 nodes · every 1 s                             20:31:00",
        "  NODE   STATE      PEERS  LEASE  OVERLAY RX         TX  DROPS  REPAIRS  STORE",
        "▶ node1  ready          1   23 h   10.0 kB/s  10.0 kB/s      0        3  ok",
        "  node2  ready          1   23 h   10.0 kB/s  10.0 kB/s      0        3  ok",
        "  all                              20.0 kB/s  20.0 kB/s      0        6",
        "── node1 ───────────────────────────────────────────────────────────────────────",
        " lease     10.244.1.0/24, good for 23 h",
        " pass      7.5 ms, 3 s ago; audit 4 s ago",
        " underlay  eth0 192.168.64.11 mtu 1500",
        " backend   vxlan VNI 1 udp/8472",
        " store     sqlite:///leases.db, revision 5",
        " work      4 passes, 8 steps, 3 repairs",
        " dropped   0 since you watch: 0 for want of a route, 0 discarded, since boot",
        " LINK          IS               RX       RX         TX       TX  DROPPED  ERRORS",
        " eth0          underlay  10.0 kB/s  100 p/s  10.0 kB/s  100 p/s        0       0",
        " flannel.1     tunnel    10.0 kB/s  100 p/s  10.0 kB/s  100 p/s        0       0",
        " cbr0          bridge    10.0 kB/s  100 p/s  10.0 kB/s  100 p/s        0       0",
        " veth909be12a  pod1      10.0 kB/s  100 p/s  10.0 kB/s  100 p/s        0       0",
        " SUBNET         NODE           VTEP MAC           STATE",
        " 10.244.2.0/24  192.168.64.12  02:00:0a:f4:02:00  ok",
        "── what happened ───────────────────────────────────────────────────────────────",
        " 00:00:05 node1 repaired  (1.32 ms) ip route add 10.244.2.0/24 via 10.244.2.0 d…",
        " 00:00:05 node2 repaired  (1.32 ms) ip route add 10.244.2.0/24 via 10.244.2.0 d…",
        "",
        "",
        "q quit   ? help   ↑ ↓ Tab node   p pause",
    ]


def test_two_hundred_columns_have_two_panes_and_more_columns() -> None:
    lines = shown(TWO, 200, 40)
    assert "UNDERLAY RX" in lines[1]
    assert "│ ── what happened" in line_with("── node1", lines)
    assert "ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1" in "\n".join(lines)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("help_page", [False, True])
@given(columns=st.integers(1, 260), rows=st.integers(1, 70), nodes=st.integers(0, 30), chosen=st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_nothing_is_wider_or_higher_than_the_screen(
    lang: str, help_page: bool, columns: int, rows: int, nodes: int, chosen: int
) -> None:
    wrong = {
        **STATUS,
        "refused": [{"key": "8.8.8.0-24", "rule": "\x1b is not 豆腐 a /24" * 5}] * 9,
        "state": "degraded",
    }
    views = tuple(node(f"node{n}", status=wrong if n % 2 else STATUS) for n in range(nodes))
    board = replace(a_board(*views), nobody="" if nodes else "lab lab is gone; 'tulle lab up' brings it back")
    look = Look(columns=columns, rows=rows, lang=lang, help=help_page, chosen=f"node{chosen}", paused=True)
    found = watch_rows(board, look)
    assert len(found) == rows
    assert max(width("".join(part.text for part in row)) for row in found) <= columns
    assert "\x1b" not in "".join(painted(row) for row in found)


def test_the_chosen_node_is_among_those_that_are_shown() -> None:
    many = a_board(*(node(f"node{n}") for n in range(50)))
    for chosen in ("node0", "node25", "node49"):
        lines = shown(many, 80, 24, chosen=chosen)
        assert line_with("▶", lines).split()[1] == chosen
        assert any(f"── {chosen} " in line for line in lines)
        assert any("more" in line for line in lines)


def test_columns_go_by_rank_and_the_name_stays() -> None:
    assert "LEASE" not in shown(TWO, 60)[1]
    assert shown(TWO, 24)[1].split() == ["NODE", "STATE"]


def test_an_agent_that_is_silent_keeps_its_counters_and_says_why() -> None:
    silent = node(status=None, silence="agent: not running (nothing answers on x): start it with tulled")
    lines = shown(a_board(silent))
    assert line_with("no answer", lines).split()[:7] == ["node1", "no", "answer", "–", "–", "10.0", "kB/s"]
    assert "start it with tulled" in "\n".join(lines)
    assert any(line.startswith(" flannel.1") for line in lines)


def test_an_agent_that_starts_says_what_it_waits_for() -> None:
    starting = {"state": "starting", "pid": 1, "problems": ["waiting for the store: no route to host"]}
    lines = shown(a_board(node(status=starting, peers=())))
    assert line_with("starting", lines)
    assert "waiting for the store: no route to host" in line_with("problem", lines)


WRONGS = [
    pytest.param(
        {"refused": [{"key": "8.8.8.0-24", "rule": "is not a /24"}]}, "lease 8.8.8.0-24: is not a /24", id="refused"
    ),
    pytest.param({"held": ["10.244.9.0-24"]}, "10.244.9.0-24 vanished without a delete", id="held"),
    pytest.param({"conflicts": [{"wanted": "route a", "holder": "route b"}]}, "route b is there", id="conflict"),
]


@pytest.mark.parametrize(("changes", "said"), WRONGS)
def test_what_is_wrong_comes_before_the_rest(changes: dict[str, Any], said: str) -> None:
    lines = shown(a_board(node(status={**STATUS, **changes})))
    assert lines[3].startswith("── what is wrong: node1 ")
    assert said in " ".join(lines[4:6])


@pytest.mark.parametrize(("deadline_ns", "said"), [(None, "–"), (1, "over")], ids=["nobody knows", "past its time"])
def test_the_lease_column_when_there_is_no_time_left_or_none_known(deadline_ns: int | None, said: str) -> None:
    status = {**STATUS, "lease": {**STATUS["lease"], "deadline_ns": deadline_ns}}
    assert shown(a_board(node(status=status)))[2].split()[3] == said


def test_peers_that_are_not_shown_are_counted() -> None:
    lines = shown(a_board(node(status={**STATUS, "peers": 10_000}, peers=({**PEER, "state": "broken"},))))
    assert "broken" in line_with("10.244.2.0/24 ", [line for line in lines if line.startswith(" 10.")])
    assert line_with("9999 more", lines)


def test_peers_that_neither_came_nor_found_room_are_counted_together() -> None:
    many = node(status={**STATUS, "peers": 10_000}, peers=(PEER,) * 64)
    lines = shown(a_board(many), rows=24)
    told = [line for line in lines if line.startswith(" 10.")]
    assert 0 < len(told) < 64
    assert line_with(f"{10_000 - len(told)} more", lines)


def test_a_device_that_is_down_says_so() -> None:
    links = tuple(replace(link, up=link.name != "flannel.1", carrier=link.name != "eth0") for link in the_links())
    lines = shown(a_board(after(a_sample(0, links=links))))
    assert line_with(" flannel.1", lines).split()[1] == "down"
    assert "no carrier" in line_with(" eth0 ", lines[12:])


def test_without_nodes_the_reason_is_on_the_screen() -> None:
    lines = shown(Board(title="lab x", views=(), wall_ns=0, interval_s=1, nobody="lab x is gone"), 80, 10)
    assert "no node to be seen: lab x is gone" in lines[1]


def test_on_paper_every_node_is_told_in_full_and_there_are_no_keys() -> None:
    text = "\n".join(shown(TWO, 200))
    assert "── node1 " in text
    assert "── node2 " in text
    assert "▶" not in text
    assert "quit" not in text
    assert "quit" in shown(TWO, 80, 24)[-1]


def test_both_languages_have_every_word() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    assert all(isinstance(text, str) for lang in HELP.values() for text in lang)


# -- numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (0, "0 B/s"),
        (5, "5 B/s"),
        (59.72, "59.7 B/s"),
        (999.4, "999 B/s"),
        (999.6, "1.00 kB/s"),
        (12_345, "12.3 kB/s"),
        (1_250_000_000, "1.25 GB/s"),
        (9e17, "900000 TB/s"),
    ],
)
def test_a_rate_has_three_digits(value: float | None, said: str) -> None:
    assert per_second(value, "B") == said


@pytest.mark.parametrize(
    ("length_ns", "said"), [(900, "0.9 µs"), (1_320_000, "1.32 ms"), (91_100_000, "91.1 ms"), (2_500_000_000, "2.5 s")]
)
def test_a_length_of_time_has_three_digits(length_ns: int, said: str) -> None:
    assert took(length_ns) == said


# -- keys -----------------------------------------------------------------------------------


def test_keys_are_told_apart_however_they_are_sent() -> None:
    assert list(decode_keys(b"q\x03?h p\t\x1b[A\x1bOB\x1b[Z\x1b[1;5Cx\x1b")) == [
        *("quit", "quit", "help", "help", "pause", "pause", "next", "back", "next", "back", "other", "other", "other")
    ]
    assert list(decode_keys(b"")) == []


def test_a_key_chooses_the_next_node_round_and_round() -> None:
    look, names = Look(columns=80), ["a", "b", "c"]
    chosen = [look.chosen]
    for key in ("next", "next", "next", "back", "back"):
        look = pressed(look, key, names)  # pyright: ignore[reportArgumentType]  # a literal in a loop
        chosen.append(look.chosen)
    assert chosen == ["", "b", "c", "a", "c", "b"]
    assert pressed(look, "next", []) == look


def test_help_stands_until_any_key() -> None:
    look = pressed(Look(columns=80), "help", [])
    assert look.help
    assert "hold the picture still" in "\n".join(shown(TWO, 80, 24, help=True))
    for key in ("other", "next", "help"):
        assert not pressed(look, key, ["a"]).help  # pyright: ignore[reportArgumentType]  # a literal in a loop


def test_a_pause_is_seen_and_ends_by_the_same_key() -> None:
    look = pressed(Look(columns=80), "pause", [])
    assert look.paused
    assert not pressed(look, "pause", []).paused
    assert "PAUSED" in shown(TWO, 80, 24, paused=True)[0]


def test_every_kind_of_event_has_a_word_in_each_language() -> None:
    kinds = ("repaired", "conflict", "foreign", "failed", "problem", "over", "store", "lease", "refused", "held")
    own = ("silent", "answers", "restarted", "joined", "left")
    for kind, lang in product((*kinds, *own), ("en", "zh")):
        label = shown(a_board(node(news=(news(kind, "x"),))), lang=lang)[-1].split()[1]
        assert label.isascii() == (lang == "en")
