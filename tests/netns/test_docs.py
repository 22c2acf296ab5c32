"""The pages do what they say: every command in them is run, by an ordinary user."""

from pathlib import Path

import pytest

from tests.kit.docs import run_page
from tests.kit.etcd import NEEDS_ETCD
from tests.kit.labs import LabCommand
from tests.kit.ordinary import MISSING, ordinary_user

HOUSE = Path(__file__).parents[2]


@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
@pytest.mark.parametrize(
    ("page", "lang", "commands"),
    [
        ("README.md", "en", 4),
        ("README.zh.md", "zh", 4),
        ("docs/agent.md", "en", 8),
        ("docs/agent.zh.md", "zh", 8),
        pytest.param("docs/lab.md", "en", 35, marks=NEEDS_ETCD),
        pytest.param("docs/lab.zh.md", "zh", 35, marks=NEEDS_ETCD),
        ("docs/pictures.md", "en", 10),
        ("docs/pictures.zh.md", "zh", 10),
        ("docs/serve.md", "en", 9),
        ("docs/serve.zh.md", "zh", 9),
        ("docs/trace.md", "en", 12),
        ("docs/trace.zh.md", "zh", 12),
        ("docs/watch.md", "en", 3),
        ("docs/watch.zh.md", "zh", 3),
    ],
)
def test_every_command_of_the_page_works_as_shown(page: str, lang: str, commands: int) -> None:
    with ordinary_user() as user:
        somebody = user.speaking(lang)
        try:
            assert run_page(HOUSE / page, somebody, user.home) >= commands
        finally:
            LabCommand("none", user).run("", "--all", tulle=["lab", "down"])
