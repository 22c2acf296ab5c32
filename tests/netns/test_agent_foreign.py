"""What is not ours: it survives whatever the agent does, and what stands in the way is named."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.agents import QUIET_AUDIT, Cluster, Node, cluster, until
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.stream import stream

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

RULES = """
table ip filter {
  chain DOCKER { }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    iifname "docker0" accept
  }
}
table inet guard {
  chain through {
    type filter hook forward priority 10; policy drop;
    ip saddr 192.0.2.0/24 accept
  }
}
table inet stranger {
  set s { type ipv4_addr; elements = { 192.0.2.1 } }
  chain out { type filter hook output priority 0; policy accept; ip daddr 192.0.2.9 drop; }
}
"""
ELSEWHERE = (
    "link add br9 type bridge",
    "link set br9 up",
    "addr add 172.20.0.1/24 dev br9",
    "link add vxlan7 type vxlan id 7 dstport 4789 local 192.168.64.11 dev eth0 nolearning",
    "link set vxlan7 up",
    "neigh add 172.20.0.9 lladdr 02:00:00:00:99:01 dev br9 nud permanent",
    "route add 10.244.77.0/24 via 192.168.64.12 dev eth0",
    "route add 10.244.2.128/25 via 192.168.64.12 dev eth0 proto static",
    "route add 10.244.2.0/24 via 192.168.64.12 dev eth0 metric 50",
)
"""Beside our devices, though two of the routes lead into our subnets: not a word about them."""
ON_OURS = (
    "addr add 10.99.0.1/24 dev flannel.1",
    "neigh add 10.99.0.7 lladdr 02:00:00:00:99:02 dev flannel.1 nud permanent",
    "route add 10.98.0.0/16 dev flannel.1 proto static",
)
FDB = (
    "fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.64.99 self permanent",
    "fdb append 02:00:00:00:99:03 dev flannel.1 dst 192.168.64.98 self permanent",
)
STRANGERS = {
    "address 10.99.0.1/24 dev flannel.1",
    "neighbour 10.99.0.7 lladdr 02:00:00:00:99:02 dev flannel.1 nud permanent",
    "route 10.98.0.0/16 dev flannel.1 proto 4",
    "fdb 00:00:00:00:00:00 dev flannel.1 dst 192.168.64.99 self permanent",
    "fdb 02:00:00:00:99:03 dev flannel.1 dst 192.168.64.98 self permanent",
}


def plant_rules(node: Node, text: str = RULES) -> None:
    path = node.root / "rules.nft"
    path.write_text(text)
    node.sh("nft", "-f", str(path))


def foreign(node: Node) -> str:
    """What the plants look like now."""
    links = [node.sh("ip", "-o", "addr", "show", "dev", name) for name in ("br9", "vxlan7")]
    kept = ("10.244.77.0", "10.244.2.128", "metric 50", "10.98.", "172.20.0.", "10.99.0.", "99:0", "00:00:00:00:00:00 ")
    shown = [node.sh("ip", "route"), node.sh("ip", "neigh", "show", "nud", "permanent"), node.sh("bridge", "fdb")]
    lines = sorted(line for text in shown for line in text.splitlines() if any(word in line for word in kept))
    tables = [
        node.sh("nft", "list", "table", *name) for name in (("inet", "stranger"), ("ip", "filter"), ("inet", "guard"))
    ]
    rules = [line for table in tables for line in table.splitlines() if "tulle forward" not in line]
    return "\n".join([*links, *lines, *rules])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, str]]:
    """A node full of strangers, before its agent starts and while it runs; and how they looked at first."""
    with cluster(tmp_path_factory.mktemp("foreign"), pods=True) as site:
        node = site.node(1)
        plant_rules(node)
        node.ip(*ELSEWHERE)
        node.ip("link add flannel.1 type vxlan id 1 dstport 8472 local 192.168.64.11 dev eth0 nolearning")
        node.ip("link set flannel.1 up mtu 1450", *ON_OURS)
        node.net.bridge(node.name, *FDB)
        before = foreign(node)
        site.start(*QUIET_AUDIT)
        yield site, before


def test_strangers_survive_the_start(planted: tuple[Cluster, str]) -> None:
    site, before = planted
    assert foreign(site.node(1)) == before


def test_strangers_survive_repairs_peers_that_go_and_a_restart(planted: tuple[Cluster, str]) -> None:
    site, before = planted
    node = site.node(1)
    repairs = node.status()["repairs"]
    node.sh("nft", "delete", "table", "inet", "tulle")
    node.ip("route del 10.244.2.0/24 dev flannel.1 metric 0")
    until(lambda: node.status()["repairs"] >= repairs + 2, "the repairs", lambda: node.log)
    node.stop()
    node.start()
    node.converge(1)
    assert foreign(node) == before


def test_who_sits_on_our_device_is_in_the_status_and_nobody_else(planted: tuple[Cluster, str]) -> None:
    site, _ = planted
    answer = site.node(1).status()
    assert set(answer["strangers"]) == STRANGERS
    assert answer["conflicts"] == []
    assert answer["state"] == "ready"
    shown = site.node(1).tulle("status").stdout
    assert "02:00:00:00:99:03" in shown
    assert "br9" not in shown
    assert "10.244.77.0" not in shown


def test_a_stranger_on_our_device_is_seen_when_it_comes_and_when_it_goes(planted: tuple[Cluster, str]) -> None:
    node = planted[0].node(1)
    stranger = "fdb 02:00:00:00:99:04 dev flannel.1 dst 192.168.64.97 self permanent"
    node.net.bridge(node.name, "fdb append 02:00:00:00:99:04 dev flannel.1 dst 192.168.64.97 self permanent")
    until(lambda: stranger in node.status()["strangers"], "it is seen")
    node.net.bridge(node.name, "fdb del 02:00:00:00:99:04 dev flannel.1 dst 192.168.64.97 self")
    until(lambda: stranger not in node.status()["strangers"], "it is gone")


def test_pods_reach_each_other_through_chains_that_drop_by_policy(planted: tuple[Cluster, str]) -> None:
    site, _ = planted
    with stream(site.net.path("pod1"), site.net.path("pod2"), "10.244.2.2") as flow:
        until(lambda: len(flow.received) > 20, "the datagrams arrive")
    for name in (("ip", "filter", "FORWARD"), ("inet", "guard", "through")):
        rules = [line.strip() for line in site.node(1).sh("nft", "list", "chain", *name).splitlines()]
        marked = [line for line in rules if line.endswith('comment "tulle forward"')]
        assert marked == [
            'ip saddr 10.244.0.0/16 accept comment "tulle forward"',
            'ip daddr 10.244.0.0/16 accept comment "tulle forward"',
        ]
        assert rules[-3 - len(marked) : -3 + 1][-1] != "", "and they come last"
        assert rules.index(marked[0]) > rules.index(
            next(line for line in rules if "accept" in line and "tulle" not in line)
        )


def test_an_accept_of_ours_that_somebody_deletes_comes_back(planted: tuple[Cluster, str]) -> None:
    node = planted[0].node(1)
    node.sh("nft", "flush", "chain", "ip", "filter", "FORWARD")
    node.sh("nft", "add", "rule", "ip", "filter", "FORWARD", "iifname", "docker0", "accept")
    until(
        lambda: node.sh("nft", "list", "chain", "ip", "filter", "FORWARD").count("tulle forward") == 2, "both are back"
    )


def test_a_chain_that_begins_to_drop_gets_our_accept_and_loses_it_when_it_ends(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        site.start(*QUIET_AUDIT)
        node = site.node(1)
        plant_rules(node)
        chain = ("nft", "list", "chain", "ip", "filter", "FORWARD")
        until(lambda: node.sh(*chain).count("tulle forward") == 2, "our accepts", lambda: node.log)
        node.sh("nft", "chain", "ip", "filter", "FORWARD", "{ policy accept; }")
        until(lambda: "tulle forward" not in node.sh(*chain), "our accepts go", lambda: node.log)
        node.sh("nft", "delete", "table", "ip", "filter")
        until(lambda: node.status()["state"] == "ready", "the agent is content", lambda: node.log)


def test_with_forward_rules_off_a_dropping_chain_is_only_reported(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        node = site.node(1)
        plant_rules(node)
        before = node.sh("nft", "list", "ruleset")
        site.start("--iptables-forward-rules=false", "--ip-masq")
        assert node.sh("nft", "list", "ruleset").startswith(before.rstrip("\n"))
        assert "hook forward" not in node.sh("nft", "list", "table", "inet", "tulle")
        assert [chain["accepted"] for chain in node.status()["dropping_chains"]] == [False, False]
        assert "ip filter FORWARD drops by policy" in node.tulle("status").stdout


def test_a_chain_that_drops_by_a_rule_is_only_reported(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        node = site.node(1)
        plant_rules(
            node,
            """
            table inet fw {
              chain pods { ip daddr 10.0.0.0/8 reject; }
              chain through { type filter hook forward priority 0; policy accept; tcp dport 22 accept; jump pods; }
            }
            """,
        )
        before = node.sh("nft", "list", "table", "inet", "fw")
        site.start()
        (chain,) = node.status()["dropping_chains"]
        assert (chain["table"], chain["chain"], chain["accepted"]) == ("fw", "through", False)
        assert chain["by_rule"].startswith("pods handle ")
        assert node.sh("nft", "list", "table", "inet", "fw") == before
        assert "drops the overlay's packets by its rule 'pods handle" in " ".join(node.tulle("status").stdout.split())


@pytest.mark.parametrize("engine", ["iptables-nft", "iptables-legacy"])
def test_a_forward_chain_of_iptables_that_drops_gets_our_accept_in_its_language(tmp_path: Path, engine: str) -> None:
    if shutil.which(engine) is None:
        pytest.skip(f"{engine} is not installed")
    with cluster(tmp_path, pods=True) as site:
        node = site.node(1)
        node.sh(engine, "-P", "FORWARD", "DROP")
        site.start()
        assert node.sh(engine, "-S", "FORWARD").count("tulle forward") == 2
        with stream(site.net.path("pod1"), site.net.path("pod2"), "10.244.2.2") as flow:
            until(lambda: len(flow.received) > 20, "the datagrams arrive")


def test_a_route_that_holds_our_key_is_a_conflict_until_it_goes(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=3) as site:
        node = site.node(1)
        node.ip("route add 10.244.2.0/24 via 192.168.64.12 dev eth0 proto static")
        for each in site.nodes:
            each.start(*QUIET_AUDIT)
        until(node.socket.exists, "the agent answers")
        node.converge(2)
        answer = node.status()
        (conflict,) = answer["conflicts"]
        assert conflict["wanted"].startswith("route 10.244.2.0/24 via 10.244.2.0 dev flannel.1")
        assert conflict["holder"] == "route 10.244.2.0/24 via 192.168.64.12 dev eth0 proto 4"
        assert answer["state"] == "degraded"
        assert {peer["key"]: peer["state"] for peer in node.ask("peers")["peers"]} == {
            "10.244.2.0-24": "broken",
            "10.244.3.0-24": "ok",
        }
        shown = node.tulle("status")
        assert shown.returncode == 1
        assert "remove it, and the agent goes on" in " ".join(shown.stdout.split())
        assert (node.root / "run/flannel/subnet.env").exists(), "one peer's trouble is not the node's"
        node.ip("route del 10.244.2.0/24 via 192.168.64.12 dev eth0")
        until(lambda: node.status()["state"] == "ready", "the agent goes on", lambda: node.log)
        assert "via 10.244.2.0 dev flannel.1" in node.sh("ip", "route", "show", "10.244.2.0/24")


def test_f34_a_device_of_another_kind_with_our_name_is_refused_by_name_and_left_alone(tmp_path: Path) -> None:
    with cluster(tmp_path) as site:
        node = site.node(1)
        node.ip("link add flannel.1 type bridge", "link set flannel.1 up")
        until(lambda: "tentative" not in node.sh("ip", "addr", "show", "flannel.1", "scope", "link"), "at rest")
        before = node.sh("ip", "-o", "addr", "show", "flannel.1"), node.sh("ip", "route")
        site.node(2).start()
        node.start(*QUIET_AUDIT)
        until(lambda: _conflicts(node), "the agent says so", lambda: node.log)
        (conflict,) = _conflicts(node)
        assert conflict["wanted"].startswith("link flannel.1")
        assert "type bridge" in conflict["holder"]
        time.sleep(0.3)
        assert (node.sh("ip", "-o", "addr", "show", "flannel.1"), node.sh("ip", "route")) == before
        assert not (node.root / "run/flannel/subnet.env").exists(), "no pod may start here yet"
        node.ip("link del flannel.1")
        node.converge(1)
        until(lambda: node.status()["state"] == "ready", "what it made itself was announced", lambda: node.log)
        assert (node.root / "run/flannel/subnet.env").exists()


@pytest.mark.parametrize(
    ("made", "same_device"),
    [
        pytest.param("id 2 dstport 8472", False, id="another VNI"),
        pytest.param("id 1 dstport 4789", False, id="another port"),
        pytest.param("id 1 dstport 8472 gbp", False, id="GBP, which cannot be switched off"),
        pytest.param("id 1 dstport 8472 learning", True, id="learning"),
    ],
)
def test_f34_a_device_with_other_settings_is_set_right_with_its_mac(
    tmp_path: Path, made: str, same_device: bool
) -> None:
    with cluster(tmp_path, nodes=1) as site:
        node = site.node(1)
        node.ip(f"link add flannel.1 mtu 1300 type vxlan {made} local 192.168.64.11 dev eth0", "link set flannel.1 up")
        (before,) = node.json("ip", "-j", "link", "show", "flannel.1")
        site.start()
        (after,) = node.json("ip", "-d", "-j", "link", "show", "flannel.1")
        data = after["linkinfo"]["info_data"]
        assert (data["id"], data["port"], data["learning"], after["mtu"]) == (1, 8472, False, 1450)
        assert after["address"] == before["address"]
        assert (after["ifindex"] == before["ifindex"]) is same_device


def _conflicts(node: Node) -> list[dict[str, str]]:
    return node.status().get("conflicts", []) if node.socket.exists() else []
