"""flanneld's command line and environment, as the agent takes them."""

import argparse
import logging
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from tulle.agent.options import AgentOptions, TcpAddress
from tulle.cli.agent_flags import add_arguments, explain_ignored, flannels_etcd, options_from
from tulle.cli.go_flags import respell
from tulle.cli.main import OneLineParser, tulled_main
from tulle.errors import ConfigError
from tulle.plan.desired import Settings

UNIT_FILE = (
    "-etcd-endpoints=http://10.0.0.1:2379 -etcd-prefix=/flannel/network -iface=eth1 -iface=10.0.0.9 -iface-regex ^en "
    "-public-ip 192.0.2.7 -subnet-file=/run/other.env -ip-masq -healthz-port=8081 -healthz-ip 127.0.0.2 "
    "-iptables-resync=10 -iptables-forward-rules=false -subnet-lease-renew-margin 30 -v=4 --logtostderr"
)
"""What a unit file out in the world says."""


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(prog="tulled")
    add_arguments(parser, store_default="none")
    return parser.parse_args(respell(words, parser))


def options(line: str = "", environment: Mapping[str, str] | None = None) -> AgentOptions:
    return options_from(parsed(line.split()), environment or {}, store_default=flannels_etcd())


def test_a_unit_file_of_flanneld_means_the_same() -> None:
    taken = options(UNIT_FILE)
    assert taken.store_url == "etcd://10.0.0.1:2379/flannel/network"
    assert (taken.iface, taken.iface_regex) == (("eth1", "10.0.0.9"), ("^en",))
    assert (taken.public_ip, taken.subnet_env) == (IPv4Address("192.0.2.7"), Path("/run/other.env"))
    assert taken.settings == Settings(ip_masq=True, forward_rules=False)
    assert (str(taken.healthz_ip), taken.healthz_port, taken.renew_margin_s) == ("127.0.0.2", 8081, 1800)


def test_nothing_said_means_what_it_means_to_flanneld() -> None:
    taken = options()
    assert taken.store_url == "etcd://127.0.0.1:4001,127.0.0.1:2379/coreos.com/network"
    assert taken.settings == Settings(ip_masq=False, forward_rules=True)
    assert (str(taken.healthz_ip), taken.healthz_port, taken.renew_margin_s) == ("0.0.0.0", 0, 3600)


def test_variables_stand_in_for_flags_and_flags_win() -> None:
    environment = {
        "FLANNELD_IFACE": "eth7",
        "FLANNELD_IP_MASQ": "true",
        "FLANNELD_PUBLIC_IPV6": "fd64::9",
        "FLANNELD_IFACE_CAN_REACH": "10.9.9.9",
        "FLANNELD_HEALTHZ_PORT": "",
        "FLANNELD_SUBNET_FILE": "/run/env.env",
    }
    taken = options("", environment)
    assert (taken.iface, taken.settings.ip_masq, taken.public_ip6) == (("eth7",), True, IPv6Address("fd64::9"))
    assert (taken.iface_can_reach, taken.healthz_port) == (IPv4Address("10.9.9.9"), 0)
    assert taken.subnet_env == Path("/run/env.env")
    taken = options("-iface eth1 -ip-masq=false", environment)
    assert (taken.iface, taken.settings.ip_masq) == (("eth1",), False)


@pytest.mark.parametrize(
    ("line", "environment", "said"),
    [
        pytest.param("-ip-masq=yes", {}, "--ip-masq yes: must be true or false", id="boolean"),
        pytest.param("", {"FLANNELD_IP_MASQ": "on"}, "FLANNELD_IP_MASQ on: must be true or false", id="variable"),
        pytest.param("-healthz-port=http", {}, "--healthz-port http: must be a whole number from 0 to", id="number"),
        pytest.param("-healthz-port=65536", {}, "from 0 to 65535", id="port"),
        pytest.param("-subnet-lease-renew-margin=1440", {}, "from 1 to 1439", id="margin"),
        pytest.param("-subnet-lease-renew-margin=0", {}, "from 1 to 1439", id="no margin"),
        pytest.param("-public-ip=eth0", {}, "--public-ip eth0: must be an IPv4 address", id="address"),
        pytest.param("-iface-regex=[", {}, r"--iface-regex \[: is no regular expression", id="expression"),
        pytest.param("--metrics-address=9808", {}, "must be IP:PORT or a path", id="no address"),
        pytest.param("--metrics-address=127.0.0.1:0", {}, "must be IP:PORT or a path", id="no port"),
        pytest.param("-kube-subnet-mgr", {}, "--kube-subnet-mgr: this build has no Kubernetes store", id="store"),
        pytest.param("", {"FLANNELD_KUBE_SUBNET_MGR": "true"}, "FLANNELD_KUBE_SUBNET_MGR: this build", id="store, env"),
    ],
)
def test_what_breaks_a_rule_is_named(line: str, environment: Mapping[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        options(line, environment)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9808", TcpAddress(IPv4Address("127.0.0.1"), 9808)),
        ("[::1]:9808", TcpAddress(IPv6Address("::1"), 9808)),
        ("/run/x.sock", Path("/run/x.sock")),
    ],
)
def test_metrics_are_served_where_a_flag_says(text: str, expected: object) -> None:
    assert options(f"--metrics-address {text}").metrics == expected


def test_what_has_no_effect_is_said_once_to_who_asks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        explain_ignored(parsed(["-logtostderr=true", "-kube-api-url=x"]), {"FLANNELD_VMODULE": "a=1"})
    names = [record.getMessage().split(":")[0] for record in caplog.records]
    assert sorted(names) == ["--kube-api-url", "--logtostderr", "--vmodule"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(["-ip-maskq"], "tulle: --ip-maskq: no such flag: did you mean --ip-masq?\n", id="unknown flag"),
        pytest.param(
            ["-kube-subnet-mgr"],
            "tulle: --kube-subnet-mgr: this build has no Kubernetes store: leave it out, and give --etcd-endpoints\n",
            id="a store that is not there",
        ),
    ],
)
def test_exit_code_2_and_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tulled_main(words) == 2
    assert capsys.readouterr().err == line
