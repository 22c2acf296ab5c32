"""What a lab shall prove: sentences, and the places that they name."""

import pytest

from tulle.errors import ConfigError
from tulle.lab.checks import Check, parse_check, ring
from tulle.lab.labfile import parse_lab_file
from tulle.lab.state import decode_state, encode_state, planned
from tulle.lab.topology import Wishes, design


@pytest.mark.parametrize(
    ("text", "check"),
    [
        pytest.param("pod1 reaches pod4", Check(source="pod1", target="pod4"), id="plain"),
        pytest.param("pod1  reaches\tpod4 ", Check(source="pod1", target="pod4"), id="any spaces"),
        pytest.param("pod1 does not reach 10.9.9.9", Check(source="pod1", target="10.9.9.9", reaches=False), id="not"),
        pytest.param(
            "pod1 reaches pod4 over ipv6 with mtu 1430",
            Check(source="pod1", target="pod4", version=6, mtu=1430),
            id="all of it",
        ),
        pytest.param("reaches reaches reaches", Check(source="reaches", target="reaches"), id="a pod called so"),
    ],
)
def test_a_sentence_is_a_check(text: str, check: Check) -> None:
    assert parse_check(text) == check
    assert parse_check(str(check)) == check


@pytest.mark.parametrize(
    "text",
    ["", "pod1", "pod1 pings pod4", "pod1 reaches", "pod1 reaches pod4 with mtu big", "a reaches b c", "\x1b[2J"],
)
def test_another_sentence_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"must read like .pod1 reaches node2") as error:
        parse_check(text)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("mtu", [0, 67, 65536, 99999])
def test_a_packet_size_that_does_not_exist_is_refused(mtu: int) -> None:
    with pytest.raises(ConfigError, match="the mtu must be 68 to 65535"):
        parse_check(f"pod1 reaches pod4 with mtu {mtu}")


def test_without_a_word_each_pod_reaches_the_next() -> None:
    assert [str(check) for check in ring(["a", "b", "c"], [4])] == ["a reaches b", "b reaches c", "c reaches a"]
    assert [str(check) for check in ring(["a", "b"], [6])] == ["a reaches b over ipv6", "b reaches a over ipv6"]
    assert ring(["a"], [4]) == ()


def test_a_labs_checks_survive_its_state() -> None:
    lab = design(Wishes(), parse_lab_file('checks = ["pod1 reaches node2 with mtu 1450"]', "lab.toml"))
    kept = decode_state(encode_state(planned(lab, "boot", rootless=False)))
    assert kept.settings.checks == (Check(source="pod1", target="node2", mtu=1450),)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("pod9 reaches pod1", "pod9 is no node or pod of lab lab", id="unknown source"),
        pytest.param("pod1 reaches pod9", "pod9 is no node or pod of lab lab", id="unknown target"),
        pytest.param("10.0.0.1 reaches pod1", "10.0.0.1 is no node or pod", id="an address cannot send"),
        pytest.param("pod1 reaches pod4 over ipv6", "lab lab has no IPv6: make it with --ipv6", id="no such family"),
    ],
)
def test_a_check_of_what_the_lab_does_not_have_is_refused_before_anything_is_made(text: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        design(Wishes(), parse_lab_file(f'checks = ["{text}"]', "lab.toml"))
