"""``tulle network`` on the embedded store: what is set is shown, and what breaks a rule is never stored."""

import json
from pathlib import Path

import pytest

from tulle.cli.main import main

GOOD = {"Network": "10.1.0.0/16", "SubnetLen": 25, "Backend": {"Type": "vxlan", "VNI": 7}}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/leases.db"


def _set(url: str, tmp_path: Path, value: object) -> int:
    file = tmp_path / "net-conf.json"
    file.write_text(json.dumps(value))
    return main(["network", "set", str(file), "--store", url, "--lang", "en"])


def test_what_is_set_is_shown(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _set(url, tmp_path, GOOD) == 0
    capsys.readouterr()
    assert main(["network", "show", "--store", url]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["Network"], shown["SubnetLen"], shown["Backend"]["VNI"]) == ("10.1.0.0/16", 25, 7)


def test_a_configuration_that_breaks_a_rule_is_named_and_not_stored(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _set(url, tmp_path, GOOD)
    assert _set(url, tmp_path, {"Network": "10.1.0.0/16", "Backend": {"Type": "ipsec"}}) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Backend.Type" in error
    assert main(["network", "show", "--store", url]) == 0
    assert json.loads(capsys.readouterr().out)["Backend"]["VNI"] == 7


def test_a_store_that_is_not_there_is_not_made_by_looking(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["network", "show", "--store", url]) == 2
    assert "is not there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
