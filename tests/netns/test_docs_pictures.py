"""The pictures' pages do what they say: every command in them is run, by an ordinary user."""

from pathlib import Path

import pytest

from tests.kit.docs import run_page
from tests.kit.labs import LabCommand
from tests.kit.ordinary import MISSING, ordinary_user

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
@pytest.mark.parametrize(("page", "lang"), [("pictures.md", "en"), ("pictures.zh.md", "zh")])
def test_every_command_of_the_page_works_as_shown(page: str, lang: str) -> None:
    with ordinary_user() as user:
        somebody = user.speaking(lang)
        try:
            assert run_page(DOCS / page, somebody, user.home) > 10
        finally:
            LabCommand("none", user).run("", "--all", tulle=["lab", "down"])
