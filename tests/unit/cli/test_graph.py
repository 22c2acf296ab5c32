"""``tulle graph FILE``: a lab's picture before there is a lab."""

import json
from pathlib import Path

import pytest

from tulle.cli.main import main

LAB = """
name = "shop"
underlay = "router"
[nodes]
left = ["web", "db"]
right = ["cache"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.toml"
    path.write_text(LAB)
    return path


def test_a_topology_is_drawn_without_a_lab(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(file), "--svg", str(tmp_path / "lab.svg")]) == 0
    assert capsys.readouterr().out == ""
    drawn = (tmp_path / "lab.svg").read_text()
    assert all(f">{word}<" in drawn for word in ("shop", "left", "right", "web", "db", "cache"))


def test_its_tree_and_its_facts_say_the_same(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(file), "--lang", "en"]) == 0
    tree = capsys.readouterr().out
    assert main(["graph", str(file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["schema"] == "tulle.graph/1"
    assert facts["underlay"] == "router"
    for node in facts["nodes"]:
        assert f"{node['name']}  eth0 {node['addresses'][0]}  {node['subnets'][0]}" in tree
        assert all(pod["name"] in tree for pod in node["pods"])


def test_a_broken_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("nodes = -1")
    assert main(["graph", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_the_sources_exclude_one_another(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", str(file), "--here"]) == 2
    assert "--here" in capsys.readouterr().err
