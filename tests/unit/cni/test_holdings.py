"""Which address comes next, and how much is looked at to know it; the rule itself is a property (test_next_address)."""

from collections.abc import Iterator
from ipaddress import IPv4Network, ip_address

import pytest

from tulle.cni.holdings import Holdings
from tulle.cni.pools import Pool, whole
from tulle.model.network import IPAddress

POOL = whole(IPv4Network("10.244.1.0/24"))
NAMES = [f"10.244.1.{number}" for number in range(2, 255)]
NOWHERE = frozenset[str]()


def worn() -> Holdings:
    """Every address was given back once, and the process knows."""
    holdings = Holdings()
    holdings.set_released(NAMES)
    assert holdings.longest_free(POOL, None, NOWHERE) == ip_address(NAMES[0])
    return holdings


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Pool]:
    """The pools that are searched from now on."""
    found: list[Pool] = []
    in_turn = Pool.in_turn

    def seen(pool: Pool, last: IPAddress | None) -> Iterator[IPAddress]:
        found.append(pool)
        return in_turn(pool, last)

    monkeypatch.setattr(Pool, "in_turn", seen)
    return found


def test_on_a_worn_node_nothing_is_searched(searched: list[Pool]) -> None:
    holdings = worn()
    searched.clear()
    for turn, name in enumerate([*NAMES, *NAMES]):
        found = holdings.longest_free(POOL, ip_address(name), NOWHERE)
        assert found == ip_address(name)
        holdings.hold(name, (f"c{turn}", "eth0"))
        if turn >= 100:
            holdings.give_back(NAMES[(turn - 100) % len(NAMES)])
    assert searched == []


def test_what_others_stop_using_is_searched_for_if_it_is_new_here(searched: list[Pool]) -> None:
    holdings = Holdings()
    holdings.set_released(NAMES[1:])
    others = frozenset({NAMES[0], NAMES[1], "10.9.9.9"})
    assert holdings.longest_free(POOL, None, others) == ip_address(NAMES[2])
    searched.clear()
    assert holdings.longest_free(POOL, None, others - {"10.9.9.9", NAMES[1]}) == ip_address(NAMES[1])
    assert searched == []
    assert holdings.longest_free(POOL, None, NOWHERE) == ip_address(NAMES[0])
    assert searched == [POOL]


def test_one_that_is_lost_and_was_never_given_back_is_new_again() -> None:
    holdings = Holdings()
    holdings.set_released(NAMES[1:])
    holdings.hold(NAMES[0], ("c1", "eth0"))
    assert holdings.longest_free(POOL, None, NOWHERE) == ip_address(NAMES[1])
    assert holdings.lose([NAMES[0]]) == {NAMES[0]: ("c1", "eth0")}
    assert holdings.longest_free(POOL, None, NOWHERE) == ip_address(NAMES[0])


def test_none_is_left() -> None:
    holdings = worn()
    for name in NAMES[:-1]:
        holdings.hold(name, ("c1", "eth0"))
    assert holdings.longest_free(POOL, None, frozenset({NAMES[-1]})) is None
