"""Words as Go's flag package reads them."""

from collections.abc import Sequence

import pytest

from tulle.cli.agent_flags import add_arguments
from tulle.cli.go_flags import respell
from tulle.cli.main import OneLineParser
from tulle.errors import ConfigError


def spelled(*words: str) -> list[str]:
    parser = OneLineParser(prog="tulled")
    add_arguments(parser, store_default="none")
    return respell(words, parser)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param((), [], id="nothing"),
        pytest.param(("-iface", "eth0"), ["--iface=eth0"], id="one dash"),
        pytest.param(("--iface", "eth0"), ["--iface=eth0"], id="two dashes"),
        pytest.param(("-iface=eth0",), ["--iface=eth0"], id="one dash and ="),
        pytest.param(("-iface", "-x"), ["--iface=-x"], id="a value that looks like a flag"),
        pytest.param(("-etcd-password", "a=b"), ["--etcd-password=a=b"], id="a value with ="),
        pytest.param(("-iface=",), ["--iface="], id="an empty value"),
        pytest.param(("-ip-masq", "-iface", "e"), ["--ip-masq=true", "--iface=e"], id="a boolean alone"),
        pytest.param(("--ip-masq=false",), ["--ip-masq=false"], id="a boolean with its value"),
        pytest.param(("--ip-masq", "true"), ["--ip-masq=true"], id="a boolean before a word that says the same"),
        pytest.param(("-v", "--ip-masq"), ["--v=1", "--ip-masq=true"], id="-v alone, as tulle has it"),
        pytest.param(("-v", "10"), ["--v=10"], id="-v and a level, as klog has it"),
        pytest.param(("-v=10",), ["--v=10"], id="-v=level"),
        pytest.param(("-h",), ["--help"], id="help"),
        pytest.param(("-iface", "a", "--"), ["--iface=a"], id="the end of flags"),
    ],
)
def test_words_are_respelled(words: Sequence[str], expected: Sequence[str]) -> None:
    assert spelled(*words) == expected


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(("-ifcae", "x"), "--ifcae: no such flag: did you mean --iface?", id="a slip"),
        pytest.param(("--ipmasq",), "--ipmasq: no such flag: did you mean --ip-masq?", id="a dash left out"),
        pytest.param(("--zzz=1",), "--zzz: no such flag: see 'tulled --help'", id="nothing near"),
        pytest.param(("-iface",), "--iface: needs a value: --iface=…", id="no value"),
        pytest.param(
            ("--ip-masq", "false"), "false: is no flag: a boolean is written --ip-masq=false", id="to Go, true"
        ),
        pytest.param(("eth0",), "eth0: is no flag: see 'tulled --help'", id="a word"),
        pytest.param(("---iface=a",), "---iface=a: is no flag: see 'tulled --help'", id="three dashes"),
        pytest.param(("--\x1b[2J",), "--\\x1b[2J: no such flag: see 'tulled --help'", id="no terminal is driven"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(words: Sequence[str], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        spelled(*words)
    assert str(refused.value) == line
