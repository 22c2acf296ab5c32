"""flanneld's etcd flags and variables, what they mean together, and that a password is never shown."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tulle.cli import etcd_flags
from tulle.cli.agent_flags import add_arguments, options_from
from tulle.cli.main import OneLineParser
from tulle.errors import ConfigError
from tulle.store.etcd_address import ANONYMOUS, EtcdAccess

SECRET = "canary-9173"  # noqa: S105 - to be looked for


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(prog="tulled")
    add_arguments(parser, store_default="none")
    return parser.parse_args(words)


def store(*words: str, **environment: str) -> str | None:
    return options_from(parsed(words), environment).store


def access(words: Sequence[str], environment: Mapping[str, str]) -> EtcdAccess:
    return options_from(parsed(words), environment).etcd


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param((), None, id="nothing: the embedded store"),
        pytest.param(("--etcd-endpoints=http://a:1,http://b:2",), "etcd://a:1,b:2/coreos.com/network", id="endpoints"),
        pytest.param(("--etcd-endpoints", "https://a:1"), "etcds://a:1/coreos.com/network", id="TLS"),
        pytest.param(("--etcd-prefix", "/x"), "etcd://127.0.0.1:4001,127.0.0.1:2379/x", id="flannel's endpoints"),
        pytest.param(
            ("--etcd-cafile", "/ca"), "etcd://127.0.0.1:4001,127.0.0.1:2379/coreos.com/network", id="a file alone"
        ),
        pytest.param(("--store", "etcd://c:3/y", "--etcd-cafile", "/ca"), "etcd://c:3/y", id="a URL and a file"),
    ],
)
def test_flags_name_a_store(words: Sequence[str], expected: str | None) -> None:
    assert store(*words) == expected


def test_variables_stand_in_for_flags_that_are_not_given() -> None:
    environment = {"FLANNELD_ETCD_ENDPOINTS": "http://a:1", "FLANNELD_ETCD_PREFIX": "/env"}
    assert store(**environment) == "etcd://a:1/env"
    assert store("--etcd-prefix", "/flag", **environment) == "etcd://a:1/flag"
    assert store("--store", "sqlite:///x", **environment) == "sqlite:///x"


def test_two_places_for_the_leases_are_refused() -> None:
    with pytest.raises(ConfigError, match="--etcd-endpoints"):
        store("--store", "sqlite:///x", "--etcd-endpoints", "http://a:1")


def test_how_to_be_let_in(tmp_path: Path) -> None:
    assert access((), {}) == ANONYMOUS
    words = ("--etcd-cafile=/ca", "--etcd-certfile=/c", "--etcd-keyfile=/k", "--etcd-username=u")
    files = EtcdAccess(cafile=Path("/ca"), certfile=Path("/c"), keyfile=Path("/k"), user="u", password=SECRET)
    (tmp_path / "password").write_text(f"{SECRET}\n")
    assert access((*words, "--etcd-password-file", str(tmp_path / "password")), {}) == files
    assert access(words, {"FLANNELD_ETCD_PASSWORD": SECRET}) == files
    assert access((*words, "--etcd-password", SECRET), {"FLANNELD_ETCD_PASSWORD": "other"}) == files


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing: No such file"):
        access(("--etcd-password-file", str(tmp_path / "missing")), {})


def test_f64_a_password_is_in_no_text_of_the_options(caplog: pytest.LogCaptureFixture) -> None:
    args = parsed(("--etcd-username=u", "--etcd-password", SECRET))
    options = options_from(args, {})
    with caplog.at_level(logging.DEBUG):
        etcd_flags.hide_password(args)
    assert SECRET not in repr(options) + options.store_url + caplog.text
    assert "--etcd-password-file" in caplog.text
