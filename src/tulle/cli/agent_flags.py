"""The agent's flags: flanneld's, all of them, and tulle's own; and what they say together, as one value."""

import argparse
import logging
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Final

from tulle.agent.options import AUDIT_PERIOD_S, RULES_PERIOD_S, AgentOptions, TcpAddress
from tulle.cli import etcd_flags
from tulle.cli.given import Given, variable
from tulle.cli.go_flags import TRUE
from tulle.errors import ConfigError
from tulle.plan.desired import Settings
from tulle.store.etcd_address import DEFAULT_PREFIX, FORM, etcd_url

log = logging.getLogger(__name__)

SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 1.0, 86_400.0
LONGEST_MARGIN_MIN: Final = 24 * 60 - 1
RENEW_MARGIN_MIN: Final = 60
RESYNC_S: Final = int(RULES_PERIOD_S)
LONGEST_RESYNC_S: Final = 86_400
EVERYWHERE: Final = IPv4Address("0.0.0.0")  # noqa: S104 - flanneld's default, which probes of existing manifests count on
HIGHEST_PORT: Final = 65_535
KUBERNETES: Final = (
    "kube-api-url",
    "kubeconfig-file",
    "kube-annotation-prefix",
    "net-config-path",
    "set-node-network-unavailable",
)
"""What flanneld takes beside ``--kube-subnet-mgr``, and ignores without it."""
IDLE: Final = {
    "vmodule": "one verbosity for all",
    "log_backtrace_at": "no such thing here",
    "logtostderr": "the log goes there anyway",
    "alsologtostderr": "the log goes there anyway",
    "stderrthreshold": "the log goes there anyway",
    "log_dir": "see --log-file",
}
"""flanneld's flags, those of older and newer ones among them, that say nothing here; and why."""
BOOLEAN: Final = frozenset(
    {
        "set-node-network-unavailable",
        "logtostderr",
        "alsologtostderr",
    }
)
ACCEPTED: Final = "accepted as flanneld's, without effect here"


def add_arguments(parser: argparse.ArgumentParser, *, store_default: str) -> None:
    """The agent's flags.  ``store_default`` says in words what is used when none of them names a store."""
    parser.add_argument("--root", metavar="DIR", help="keep every file below DIR (default: TULLE_ROOT, else /)")
    parser.add_argument("--store", metavar="URL", help=f"sqlite:///path or {FORM} (default: {store_default})")
    _add_underlay(parser)
    parser.add_argument("--subnet-file", metavar="PATH", help="where to write subnet.env")
    _add_boolean(parser, "ip-masq", "masquerade what leaves the overlay (default: false)")
    _add_boolean(parser, "iptables-forward-rules", "accept the overlay's traffic in forward chains (default: true)")
    _add_boolean(parser, "ip-masq-fully-random-disable", "masqueraded connections keep their port (default: false)")
    _add_boolean(parser, "ip-blackhole-route", "drop what is for none of this node's pods (default: false)")
    resync = "how often rules of iptables-legacy, which announces nothing, are looked at (default: 5)"
    _add(parser, "iptables-resync", "SECONDS", resync)
    _add(parser, "subnet-lease-renew-margin", "MINUTES", "renew the lease so long before its end (default: 60)")
    _add_endpoints(parser)
    etcd_flags.add_arguments(parser)
    _add_accepted(parser)
    parser.add_argument(
        "--audit-period",
        metavar="SECONDS",
        default=f"{AUDIT_PERIOD_S:g}",
        help="how often everything is compared with the kernel (default: %(default)s)",
    )
    parser.add_argument("--log-file", metavar="PATH", help="append the log to PATH instead of stderr")
    parser.add_argument("-v", "--v", "--verbose", nargs="?", const="1", metavar="LEVEL", help="log more")


def options_from(
    args: argparse.Namespace, environment: Mapping[str, str], *, store_default: str | None = None
) -> AgentOptions:
    """The command line as a value.  Raises ConfigError naming the flag and the rule."""
    given = Given(args, environment)
    _refuse_kubernetes(given)
    subnet_file = given.text("subnet_file")
    return AgentOptions(
        root=Path(args.root or environment.get("TULLE_ROOT") or "/"),
        store=etcd_flags.store_url(args, environment) or store_default,
        etcd=etcd_flags.access(args, environment),
        iface=given.texts("iface"),
        iface_regex=_expressions(given),
        iface_can_reach=given.address("iface_can_reach"),
        public_ip=given.address4("public_ip"),
        public_ip6=given.address6("public_ipv6"),
        subnet_file=Path(subnet_file) if subnet_file else None,
        settings=Settings(
            ip_masq=given.truth("ip_masq", default=False),
            forward_rules=given.truth("iptables_forward_rules", default=True),
            blackhole=given.truth("ip_blackhole_route", default=False),
            fully_random=not given.truth("ip_masq_fully_random_disable", default=False),
        ),
        renew_margin_s=60.0
        * given.whole("subnet_lease_renew_margin", default=RENEW_MARGIN_MIN, low=1, high=LONGEST_MARGIN_MIN),
        rules_period_s=float(given.whole("iptables_resync", default=RESYNC_S, low=1, high=LONGEST_RESYNC_S)),
        audit_period_s=_seconds("--audit-period", args.audit_period),
        healthz_ip=given.address("healthz_ip") or EVERYWHERE,
        healthz_port=given.whole("healthz_port", default=0, low=0, high=HIGHEST_PORT),
        metrics=_listening(args.metrics_address),
    )


def flannels_etcd() -> str:
    """Where flanneld looks for its store when nobody says."""
    return etcd_url(etcd_flags.DEFAULT_ENDPOINTS, DEFAULT_PREFIX)


def verbosity(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """klog's level.  Raises ConfigError."""
    return Given(args, environment).whole("v", default=0, low=0, high=1000)


def explain_ignored(args: argparse.Namespace, environment: Mapping[str, str]) -> None:
    """Say once, to whoever asked for more, what was given and does nothing here."""
    given = Given(args, environment)
    reasons = {**dict.fromkeys(KUBERNETES, "only for --kube-subnet-mgr"), **IDLE}
    for name, reason in reasons.items():
        if given.text(name.replace("-", "_")) is not None:
            log.debug("--%s: accepted, and without effect: %s", name, reason)


def _add_underlay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--iface",
        metavar="NAME|IP",
        action="append",
        help="underlay device; of several the first that fits (default: that of the default route)",
    )
    parser.add_argument(
        "--iface-regex",
        metavar="REGEX",
        action="append",
        help="the first device whose address or name matches, after --iface",
    )
    _add(parser, "iface-can-reach", "IP", "the device that the route to IP takes, after both")
    _add(parser, "public-ip", "IP", "IPv4 address that other nodes send to")
    _add(parser, "public-ipv6", "IP", "IPv6 address that other nodes send to")


def _add_endpoints(parser: argparse.ArgumentParser) -> None:
    _add(parser, "healthz-ip", "IP", "where /healthz and /readyz are served (default: 0.0.0.0)")
    _add(parser, "healthz-port", "PORT", "their port (default: 0, not served)")
    _add(parser, "metrics-address", "IP:PORT|PATH", "/metrics too, there (default: /run/tulle/http.sock)")


def _add_accepted(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("accepted")
    _add_boolean(group, "kube-subnet-mgr", "refused: there is no Kubernetes store yet")
    for name in (*KUBERNETES, *IDLE):
        if name in BOOLEAN:
            _add_boolean(group, name, ACCEPTED)
        else:
            _add(group, name, "TEXT", ACCEPTED)


def _add(parser: argparse._ActionsContainer, name: str, metavar: str, text: str) -> None:  # pyright: ignore[reportPrivateUsage]  # what parsers and groups share has no other name
    parser.add_argument(f"--{name}", metavar=metavar, help=text)


def _add_boolean(parser: argparse._ActionsContainer, name: str, text: str) -> None:  # pyright: ignore[reportPrivateUsage]  # as above
    """A Go-style boolean flag: ``--x`` is true, ``--x=false`` is false."""
    parser.add_argument(f"--{name}", nargs="?", const=TRUE, metavar="true|false", help=text)


def _refuse_kubernetes(given: Given) -> None:
    """Raises ConfigError: before anything is read or taken."""
    if given.truth("kube_subnet_mgr", default=False):
        named = "--kube-subnet-mgr" if given.args.kube_subnet_mgr else variable("kube_subnet_mgr")
        raise ConfigError(named, "this build has no Kubernetes store", "leave it out, and give --etcd-endpoints")


def _expressions(given: Given) -> tuple[str, ...]:
    found = given.texts("iface_regex")
    for text in found:
        try:
            re.compile(text)
        except re.error as error:
            raise ConfigError(f"--iface-regex {ascii(text)[1:-1]}", f"is no regular expression: {error}") from None
    return found


def _listening(text: str | None) -> TcpAddress | Path | None:
    """An address to listen on, or a socket's path."""
    if not text:
        return None
    if text.startswith("/"):
        return Path(text)
    host, _, port = text.rpartition(":")
    try:
        if not (port.isascii() and port.isdecimal() and 0 < int(port) <= HIGHEST_PORT):
            raise ValueError
        return TcpAddress(ip_address(host.removeprefix("[").removesuffix("]")), int(port))
    except ValueError:
        advice = "like 127.0.0.1:9808, [::1]:9808 or /run/x.sock"
        raise ConfigError(f"--metrics-address {ascii(text)[1:-1]}", "must be IP:PORT or a path", advice) from None


def _seconds(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not SHORTEST_PERIOD_S <= value <= LONGEST_PERIOD_S:
        raise ConfigError(
            f"{flag} {text}", f"must be a number of seconds from {SHORTEST_PERIOD_S:g} to {LONGEST_PERIOD_S:g}"
        )
    return value
