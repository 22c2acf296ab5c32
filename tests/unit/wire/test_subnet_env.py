"""subnet.env: flannel's bytes exactly, and one clear error for everything else."""

from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.errors import DecodeError
from tulle.wire.subnet_env import SubnetEnv, format_subnet_env, parse_subnet_env

FOUR = SubnetEnv.of(IPv4Network("10.20.0.0/16"), IPv4Network("10.20.76.0/24"), None, None, 1450, True)
SIX = SubnetEnv.of(None, None, IPv6Network("fd10:20::/48"), IPv6Network("fd10:20:0:9::/64"), 1430, False)
DUAL = SubnetEnv.of(FOUR.networks[0], FOUR.subnet, SIX.networks6[0], SIX.subnet6, 1450, True)

FLANNEL4 = b"FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.76.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
FLANNEL6 = (
    b"FLANNEL_IPV6_NETWORK=fd10:20::/48\nFLANNEL_IPV6_SUBNET=fd10:20:0:9::1/64\n"
    b"FLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n"
)
FLANNEL_DUAL = (
    b"FLANNEL_NETWORK=10.20.0.0/16\nFLANNEL_SUBNET=10.20.76.1/24\n"
    b"FLANNEL_IPV6_NETWORK=fd10:20::/48\nFLANNEL_IPV6_SUBNET=fd10:20:0:9::1/64\n"
    b"FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
)


@pytest.mark.parametrize(
    ("env", "content"),
    [
        pytest.param(FOUR, FLANNEL4, id="IPv4"),
        pytest.param(SIX, FLANNEL6, id="IPv6"),
        pytest.param(DUAL, FLANNEL_DUAL, id="dual stack"),
    ],
)
def test_a_value_is_written_as_flannel_writes_it_and_read_back(env: SubnetEnv, content: bytes) -> None:
    assert format_subnet_env(env) == content
    assert parse_subnet_env(content) == env


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\n# by hand\n" + FLANNEL4 + b"\n", id="blank lines and comments"),
        pytest.param(FLANNEL4.replace(b"1450", b'"1450"'), id="quotes"),
        pytest.param(FLANNEL4 + b"SOMETHING_ELSE=1\n", id="unknown name"),
        pytest.param(b"FLANNEL_MTU=9000\n" + FLANNEL4, id="the last of a name counts"),
        pytest.param(FLANNEL4.replace(b"true", b"1"), id="Go's other truths"),
        pytest.param(FLANNEL4.replace(b"\n", b"\r\n"), id="carriage returns"),
        pytest.param(FLANNEL4.rstrip(), id="no newline at the end"),
        pytest.param(b"export " + FLANNEL4, id="export"),
    ],
)
def test_what_a_shell_takes_is_taken(content: bytes) -> None:
    assert parse_subnet_env(content) == FOUR


def test_a_list_of_networks_is_kept() -> None:
    content = FLANNEL4.replace(b"10.20.0.0/16", b"10.20.0.0/16,10.30.0.0/16")
    assert parse_subnet_env(content).networks == (IPv4Network("10.20.0.0/16"), IPv4Network("10.30.0.0/16"))
    assert format_subnet_env(parse_subnet_env(content)) == content


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n", id="no family"),
        pytest.param(FLANNEL4.replace(b"FLANNEL_SUBNET=10.20.76.1/24\n", b""), id="network without subnet"),
        pytest.param(FLANNEL4.replace(b"FLANNEL_NETWORK=10.20.0.0/16\n", b""), id="subnet without network"),
        pytest.param(FLANNEL4.replace(b"FLANNEL_MTU=1450\n", b""), id="no MTU"),
        pytest.param(FLANNEL4.replace(b"1450", b"-1"), id="negative MTU"),
        pytest.param(FLANNEL4.replace(b"1450", b"9" * 9000), id="endless MTU"),
        pytest.param(FLANNEL4.replace(b"true", b"yes"), id="no truth value"),
        pytest.param(FLANNEL4.replace(b"/24", b""), id="no prefix length"),
        pytest.param(FLANNEL4.replace(b"/24", b"/33"), id="prefix length too long"),
        pytest.param(FLANNEL4.replace(b"/24", b"/255.255.255.0"), id="netmask"),
        pytest.param(FLANNEL4.replace(b"10.20.76.1", b"fd10::1"), id="the other family"),
        pytest.param(FLANNEL6.replace(b"fd10:20:0:9::1", b"fe80::1%eth0"), id="zone"),
        pytest.param(FLANNEL4.replace(b"10.20.76.1/24", b"$(reboot)"), id="shell"),
        pytest.param(FLANNEL4.replace(b"10.20.76.1/24", b"255.255.255.255/32"), id="no room for a gateway"),
        pytest.param(FLANNEL4.replace(b"10.20.76.1/24", b"10.20.76.1/24,10.20.77.1/24"), id="two subnets"),
        pytest.param(FLANNEL4 + b"no equals sign\n", id="no equals sign"),
        pytest.param(FLANNEL4 + b"\xff=1\n", id="not text"),
        pytest.param(FLANNEL4 + b"\n" * 70000, id="too large"),
    ],
)
def test_anything_else_is_one_clear_error(content: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_subnet_env(content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@given(
    st.binary()
    | st.lists(st.sampled_from([*FLANNEL_DUAL.splitlines(), b"\xff", b"A", b"FLANNEL_MTU="])).map(b"\n".join)
)
def test_any_bytes_are_a_value_or_a_decode_error(content: bytes) -> None:
    try:
        env = parse_subnet_env(content)
    except DecodeError:
        return
    assert parse_subnet_env(format_subnet_env(env)) == env
