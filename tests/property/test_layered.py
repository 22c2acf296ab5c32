"""Laws of layered mappings: they are dicts, whatever became of them, and an older version stays what it was."""

from collections.abc import Iterator, Mapping
from itertools import accumulate
from types import MappingProxyType
from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.model import layered
from tulle.model.layered import Layered, LayeredSet, copied, updated

KEYS = st.integers(0, 12)
VALUES = st.one_of(st.none(), st.integers(0, 3))
DICTS = st.dictionaries(KEYS, VALUES)


class Step(NamedTuple):
    """What a next version lacks and has, and whether somebody looks at the whole of it."""

    gone: list[int]
    made: dict[int, int | None]
    looked_at: bool


STEPS = st.lists(st.builds(Step, st.lists(KEYS, max_size=4), st.dictionaries(KEYS, VALUES, max_size=4), st.booleans()))


@pytest.fixture(params=[(0, 64), (3, 64), (64, 64), (64, 2)], autouse=True, scope="module")
def _sizes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Layers that are too thick at once, soon, and never within these tests; and many changes that copy everything."""
    thin, many = request.param
    with patch.multiple(layered, THIN=thin, MANY=many, SHARE=4):
        yield


def plain(before: dict[int, int | None], step: Step) -> dict[int, int | None]:
    """The slow and obvious next version."""
    return {key: value for key, value in before.items() if key not in step.gone} | step.made


def next_version(before: Mapping[int, int | None], step: Step) -> Mapping[int, int | None]:
    after = updated(before, step.gone, step.made)
    if step.looked_at:
        list(after)
    return after


def assert_same(found: Mapping[int, int | None], expected: dict[int, int | None]) -> None:
    """Every way to ask; those that look at the whole, which may change how it is kept, come last."""
    unknown = object()
    for _ in range(2):
        assert len(found) == len(expected)
        for key in range(-1, 14):
            assert (key in found) == (key in expected)
            assert found.get(key, unknown) is expected.get(key, unknown)
            assert found.get(key) == expected.get(key)
            if key in expected:
                assert found[key] == expected[key]
            else:
                with pytest.raises(KeyError):
                    found[key]
        assert found == expected
        assert expected == found
        assert sorted(found) == sorted(found.keys()) == sorted(expected)
        assert dict(found.items()) == expected
        assert sorted(map(str, found.values())) == sorted(map(str, expected.values()))
        assert copied(found) == expected


@given(DICTS, STEPS)
def test_every_version_is_the_dict_that_it_stands_for_also_after_later_ones_were_made(
    begin: dict[int, int | None], steps: list[Step]
) -> None:
    versions = list(accumulate(steps, next_version, initial=MappingProxyType(dict(begin))))
    for found, expected in zip(versions, accumulate(steps, plain, initial=begin), strict=True):
        assert_same(found, expected)


@given(DICTS, STEPS, STEPS)
def test_two_versions_of_one_know_nothing_of_each_other(
    begin: dict[int, int | None], one: list[Step], other: list[Step]
) -> None:
    root = Layered(begin)
    *_, left = accumulate(one, next_version, initial=root)
    *_, right = accumulate(other, next_version, initial=root)
    *_, expected_left = accumulate(one, plain, initial=begin)
    *_, expected_right = accumulate(other, plain, initial=begin)
    assert_same(left, expected_left)
    assert_same(right, expected_right)
    assert_same(root, begin)


@given(DICTS, STEPS)
def test_who_goes_through_a_version_is_not_disturbed_by_the_next(
    begin: dict[int, int | None], steps: list[Step]
) -> None:
    *_, found = accumulate(steps, next_version, initial=Layered(begin))
    expected = dict(found)
    seen = dict[int, int | None]()
    for key, value in found.items():
        found = updated(found, list(expected), {key + 100: None})
        seen[key] = value
    assert seen == expected


@given(st.frozensets(KEYS), st.lists(st.frozensets(KEYS, max_size=4)))
def test_every_union_is_the_set_that_it_stands_for(begin: frozenset[int], more: list[frozenset[int]]) -> None:
    found = list(accumulate(more, LayeredSet[int].__or__, initial=LayeredSet(begin)))
    for one, expected in zip(found, accumulate(more, frozenset[int].__or__, initial=begin), strict=True):
        assert len(one) == len(expected)
        assert [key in one for key in range(14)] == [key in expected for key in range(14)]
        assert one == expected
        assert expected == one
        assert expected <= one
        assert frozenset({99}) | one == expected | {99}


def test_a_union_with_nothing_new_is_the_set_itself() -> None:
    found = LayeredSet([1, 2])
    assert found | {2} is found


def test_a_next_version_copies_the_layer_and_not_the_base() -> None:
    """Counted, not timed: how often a key of the whole is looked at."""
    base = _Counting(dict.fromkeys(range(10000)))
    found: Mapping[int, int | None] = Layered(base)
    for key in range(60):
        found = updated(found, [key], {key + 20_000: key})
    assert len(found) == 10_000
    assert base.whole == 0


class _Counting(dict[int, int | None]):
    """A dict that knows how often somebody took all of it."""

    whole = 0

    def __iter__(self) -> Iterator[int]:
        self.whole += 1
        return super().__iter__()

    def keys(self):
        self.whole += 1
        return super().keys()

    def copy(self) -> dict[int, int | None]:
        self.whole += 1
        return super().copy()
