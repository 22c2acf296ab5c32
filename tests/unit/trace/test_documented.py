"""The JSON form is documented field by field, and every step and finding is on the page: in both languages."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from tests.unit.trace.test_diagnose import CASES
from tulle.trace import journey
from tulle.trace.journey import Direction, HopKind, ReasonKind, Status

DOCS = Path(__file__).parents[3] / "docs"
PAGES = {name: (DOCS / name).read_text() for name in ("trace.md", "trace.zh.md")}
VALUES = (
    *(journey.Journey, journey.End, journey.Overlay, journey.ClockFact, journey.ClockDomain, journey.PacketFact),
    *(journey.Hop, journey.Outer, journey.Inner, journey.Reason, journey.Side, journey.Drop, journey.Finding),
    *(journey.Verdict, journey.Overhead),
)
RENAMED = {"source": "from", "target": "to"}


def words(page: str) -> set[str]:
    """Whatever stands in backticks, whole and in its words."""
    prose = re.sub(r"(?ms)^```.*?^```$", "", page)
    return {word for quoted in re.findall(r"`([^`\n]+)`", prose) for word in (quoted, *quoted.split())}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.__name__)
def test_every_field_is_documented(page: str, value: type) -> None:
    names = {field.name for field in fields(value)}  # pyright: ignore[reportArgumentType]  # all are dataclasses
    if value is journey.Journey:
        names = {RENAMED.get(name, name) for name in names} | {"schema"}
    assert names - words(PAGES[page]) == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_value_of_a_closed_choice_is_documented(page: str) -> None:
    choices = {word for choice in (Direction, HopKind, ReasonKind, Status) for word in get_args(choice)}
    assert choices - words(PAGES[page]) == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_fault_that_the_trace_finds_is_named(page: str) -> None:
    faults = {case.fault for cases in CASES.values() for case in cases if case.fault}
    assert {fault for fault in faults if fault not in PAGES[page]} == set()
