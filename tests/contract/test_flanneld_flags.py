"""Every flag that the real flanneld lists is taken by ours, as a flag and as a variable."""

import re
import subprocess

from tests.kit.flanneld import BINARY, NEEDS_FLANNELD
from tulle.cli.agent_flags import add_arguments, options_from
from tulle.cli.go_flags import respell
from tulle.cli.main import OneLineParser

pytestmark = NEEDS_FLANNELD

VALUES = {"int": "7", "value": "1", "string": "192.0.2.1", "": "false"}
"""A value for each of Go's kinds of flags, by the word that its help shows."""
OTHERS = {"public-ipv6": "fd64::9", "kube-subnet-mgr": "false"}


def listed() -> dict[str, str]:
    """flanneld's flags with the kind of their value."""
    assert BINARY is not None
    done = subprocess.run([BINARY, "-help"], capture_output=True, text=True, check=False, timeout=20)
    return dict(re.findall(r"^  -(\S+)(?: (\S+))?", done.stderr + done.stdout, re.MULTILINE))


def value_of(name: str, kind: str) -> str:
    return OTHERS.get(name) or VALUES[kind]


def test_every_flag_of_flanneld_is_taken() -> None:
    flags = listed()
    assert {"iface", "ip-masq", "healthz-port", "v"} <= flags.keys(), "its help is understood"
    parser = OneLineParser(prog="tulled")
    parser.add_argument("--version", action="version", version="x")
    add_arguments(parser, store_default="none")
    words = [f"-{name}={value_of(name, kind)}" for name, kind in flags.items() if name != "version"]
    options = options_from(parser.parse_args(respell(words, parser)), {})
    assert (options.healthz_port, options.iface, options.subnet_file is not None) == (7, ("1",), True)
    assert respell(["-version"], parser) == ["--version"]


def test_every_variable_of_flanneld_is_taken() -> None:
    parser = OneLineParser(prog="tulled")
    add_arguments(parser, store_default="none")
    environment = {
        f"FLANNELD_{name.upper().replace('-', '_')}": value_of(name, kind) for name, kind in listed().items()
    }
    options = options_from(parser.parse_args([]), environment)
    assert (options.healthz_port, options.iface, options.renew_margin_s) == (7, ("1",), 420)
    assert options.etcd.user == "192.0.2.1"
