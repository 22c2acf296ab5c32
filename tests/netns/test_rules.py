"""The node's rules in each engine: written, found again, repaired, and put in the place of flannel's."""

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.agents import QUIET_AUDIT, Cluster, Node, cluster, until
from tests.kit.kernels import NEEDS_ROOT

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(not shutil.which("iptables-legacy"), reason="iptables-legacy is not installed"),
]

ENGINES = ("iptables-nft", "iptables-legacy")
FLAGS = ("--ip-masq", *QUIET_AUDIT)
FOREIGN = (
    ("-N", "KUBE-POSTROUTING", "-t", "nat"),
    ("-A", "POSTROUTING", "-t", "nat", "-j", "KUBE-POSTROUTING"),
    ("-A", "POSTROUTING", "-t", "nat", "-s", "172.17.0.0/16", "-j", "MASQUERADE"),
    ("-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT"),
)
FLANNELS = """*filter
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
"""
FLANNELS_NFT = """
table ip flannel-ipv4 {
  chain postrtg { type nat hook postrouting priority srcnat; policy accept;
    ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random; }
  chain forward { type filter hook forward priority filter; policy accept; ip saddr 10.244.0.0/16 accept; }
}
table ip6 flannel-ipv6 {
}
"""
"""As in a network without IPv6, whose table stays empty."""


@contextmanager
def one_node(folder: Path, *, nftables: bool | None, ipv6: bool = False) -> Generator[tuple[Cluster, Node]]:
    config: dict[str, object] = {} if nftables is None else {"EnableNFTables": nftables}
    with cluster(folder, nodes=1, ipv6=ipv6, config=config) as site:
        yield site, site.node(1)


def saved(node: Node, engine: str) -> list[str]:
    """The rules of both IP versions, without counters."""
    tools = (f"{engine}-save", f"{engine.replace('iptables', 'ip6tables')}-save")
    return [line for tool in tools for line in node.sh(tool).splitlines() if line.startswith("-A")]


def plant(node: Node, engine: str, text: str) -> None:
    path = node.root / "rules"
    path.write_text(text)
    node.sh("sh", "-c", f"{engine}-restore --noflush < {path}")


def tulles(lines: list[str]) -> list[str]:
    return [line for line in lines if "tulle:" in line]


@pytest.mark.parametrize("engine", ENGINES)
def test_flannels_iptables_rules_are_replaced_in_place_and_foreign_rules_stay(tmp_path: Path, engine: str) -> None:
    with one_node(tmp_path, nftables=False, ipv6=True) as (site, node):
        for rule in FOREIGN:
            node.sh(engine, *rule)
        before = saved(node, engine)
        plant(node, engine, FLANNELS)
        site.start(*FLAGS)
        after = saved(node, engine)
        assert len(tulles(after)) == 20, "ten for each IP version"
        assert [line for line in after if "tulle:" not in line] == before
        assert "FLANNEL" not in node.sh(f"{engine}-save")
        other = next(each for each in ENGINES if each != engine)
        assert tulles(saved(node, other)) == []
        steps = node.status()["steps"]
        node.stop()
        node.start()
        node.converge(0)
        assert node.status()["steps"] == 0 < steps, "what stands is found right"


def test_without_the_key_the_older_iptables_is_used_where_it_holds_rules(tmp_path: Path) -> None:
    with one_node(tmp_path, nftables=None) as (site, node):
        node.sh("iptables-legacy", "-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT")
        node.sh("nft", "add", "table", "inet", "tulle")
        node.sh("nft", "add", "chain", "inet", "tulle", "forward", "{ type filter hook forward priority 0; }")
        site.start(*FLAGS)
        assert len(tulles(saved(node, "iptables-legacy"))) == 10
        assert "tulle" not in node.sh("nft", "list", "ruleset"), "one engine at a time"


def test_a_host_that_begins_to_use_the_older_iptables_gets_our_rules_there(tmp_path: Path) -> None:
    with one_node(tmp_path, nftables=None) as (site, node):
        site.start(*FLAGS, "--audit-period", "1")
        assert "table inet tulle" in node.sh("nft", "list", "ruleset")
        node.sh("iptables-legacy", "-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT")
        until(lambda: len(tulles(saved(node, "iptables-legacy"))) == 10, "ours are there too", lambda: node.log)
        until(lambda: "tulle" not in node.sh("nft", "list", "ruleset"), "one engine at a time", lambda: node.log)
        node.sh("iptables-legacy", "-D", "FORWARD", "-i", "docker0", "-j", "ACCEPT")
        node.converge(0)
        assert len(tulles(saved(node, "iptables-legacy"))) == 10, "and it does not go back and forth"


def test_flannels_nftables_rules_are_replaced_and_what_its_other_engine_left_goes_too(tmp_path: Path) -> None:
    with one_node(tmp_path, nftables=True) as (site, node):
        path = node.root / "rules.nft"
        path.write_text(FLANNELS_NFT)
        node.sh("nft", "-f", str(path))
        plant(node, "iptables-nft", FLANNELS)
        plant(node, "iptables-legacy", FLANNELS)
        node.sh("iptables-legacy", "-t", "nat", "-A", "POSTROUTING", "-s", "172.17.0.0/16", "-j", "MASQUERADE")
        site.start(*FLAGS)
        ruleset = node.sh("nft", "list", "ruleset")
        assert "table inet tulle" in ruleset
        assert "flannel" not in ruleset.lower()
        assert saved(node, "iptables-legacy") == ["-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "flush",
    [
        pytest.param(("-F",), id="F"),
        pytest.param(("-t", "nat", "-F"), id="nat F"),
        pytest.param(("-D", "TULLE-FWD", "1"), id="one rule"),
        pytest.param(("-F", "FORWARD"), id="the jump"),
    ],
)
def test_f22_flushed_iptables_rules_come_back(tmp_path: Path, engine: str, flush: tuple[str, ...]) -> None:
    with one_node(tmp_path, nftables=False) as (site, node):
        node.sh(engine, "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")  # which makes the older engine the one in use
        site.start(*FLAGS)
        whole = tulles(saved(node, engine))
        assert len(whole) == 10
        node.sh(engine, *flush)
        until(lambda: tulles(saved(node, engine)) == whole, "the rules are back", lambda: node.log)


@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_the_older_iptables_forward_that_drops_gets_our_accept_in_each_family(tmp_path: Path, family: str) -> None:
    tool = "iptables-legacy" if family == "ip" else "ip6tables-legacy"
    with one_node(tmp_path, nftables=True, ipv6=True) as (site, node):
        node.sh(tool, "-P", "FORWARD", "DROP")
        site.start(*FLAGS)
        assert node.sh(tool, "-S", "FORWARD").count("tulle forward") == 2
        assert [chain["accepted"] for chain in node.status()["dropping_chains"]] == [True]
        node.stop()
        node.sh(tool, "-P", "FORWARD", "ACCEPT")
        node.start()
        node.converge(0)
        assert "tulle forward" not in node.sh(tool, "-S", "FORWARD"), "it goes with its cause, also after a restart"


def test_in_its_own_engine_a_forward_that_drops_needs_no_second_accept(tmp_path: Path) -> None:
    with one_node(tmp_path, nftables=False) as (site, node):
        node.sh("iptables-nft", "-P", "FORWARD", "DROP")
        site.start(*FLAGS)
        rules = node.sh("iptables-nft", "-S", "FORWARD")
        assert "TULLE-FWD" in rules
        assert "tulle forward" not in rules


def test_the_plan_is_what_an_operator_could_type(tmp_path: Path) -> None:
    with one_node(tmp_path, nftables=False) as (site, node):
        site.start(*FLAGS)
        whole = tulles(saved(node, "iptables-nft"))
        text = node.ask("plan", from_scratch=True)["text"]
        node.stop()
        node.sh("iptables-nft", "-F")
        node.sh("iptables-nft", "-t", "nat", "-F")
        (script,) = [part for part in text.split("iptables-nft-restore") if part.startswith(" --noflush")]
        node.sh("sh", "-c", f"iptables-nft-restore{script.split('EOF' + chr(10))[0]}EOF")
        assert tulles(saved(node, "iptables-nft")) == whole
