"""From a store's URL to the store, and what is refused without a password on the screen."""

from pathlib import Path

import pytest

from tests.kit.virtual_time import VirtualClock
from tulle.errors import ConfigError
from tulle.store.open import open_store
from tulle.store.sqlite import SqliteStore


def test_a_sqlite_url_names_a_file_and_nothing_is_touched_yet(tmp_path: Path) -> None:
    path = tmp_path / "not/there/leases.db"
    assert isinstance(open_store(f"sqlite://{path}", VirtualClock()), SqliteStore)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        pytest.param("", "no such kind of store", id="empty"),
        pytest.param("/var/lib/leases.db", "no such kind of store", id="a path"),
        pytest.param("redis://host", "no such kind of store", id="another scheme"),
        pytest.param("SQLITE:///x", "no such kind of store", id="upper case"),
        pytest.param("sqlite://leases.db", "absolute path", id="a relative path"),
        pytest.param("sqlite://", "absolute path", id="no path"),
        pytest.param("sqlite:///var/lib/", "absolute path", id="a folder"),
        pytest.param("sqlite:///a\0b", "absolute path", id="a NUL"),
    ],
)
def test_any_other_url_is_refused_with_the_rule(url: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        open_store(url, VirtualClock())


def test_f64_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("mysql://root:hunter2@host/db", VirtualClock())
    assert "hunter2" not in str(caught.value)
