"""A store that lies: nothing of it reaches the kernel, each lie is named, and the others are not disturbed."""

import json
from collections.abc import Iterator

import pytest

from tests.kit.agents import QUIET_AUDIT, Cluster, cluster, until
from tests.kit.damage import picture
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.stream import stream

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))


def value(ip: str = "192.168.64.99", mac: str = "02:00:00:00:99:99", vni: int = 1, kind: str = "vxlan") -> bytes:
    """A lease's value as flannel writes it."""
    data = {"VNI": vni, "VtepMAC": mac}
    return json.dumps({"PublicIP": ip, "PublicIPv6": None, "BackendType": kind, "BackendData": data}).encode()


REFUSED = {
    "128.0.0.0-1": (value(), "is not a /24"),
    "8.8.8.0-24": (value(), "is not between"),
    "192.168.64.0-24": (value(), "is not between"),
    "10.96.0.0-12": (value(), "is not a /24"),
    "10.244.0.0-16": (value(), "is not a /24"),
    "10.244.1.128-25": (value(), "is not a /24"),
    "10.244.2.0-25": (value(), "is not a /24"),
    "10.244.40.0-24": (value(ip="192.168.64.11"), "is our own"),
    "10.244.41.0-24": (value(ip="127.0.0.1"), "is not a host's"),
    "10.244.42.0-24": (value(ip="224.0.0.1"), "is not a host's"),
    "10.244.43.0-24": (value(ip="0.0.0.0"), "is not a host's"),
    "10.244.44.0-24": (value(ip="255.255.255.255"), "is not a host's"),
    "10.244.45.0-24": (value(ip="10.244.2.2"), "inside the overlay"),
    "10.244.46.0-24": (value(mac="01:00:5e:00:00:01"), "is a group's"),
    "10.244.47.0-24": (value(mac="ff:ff:ff:ff:ff:ff"), "is a group's"),
    "10.244.48.0-24": (value(mac="00:00:00:00:00:00"), "is zero"),
    "10.244.49.0-24": (value(vni=2), "VNI 2 is not 1"),
    "10.244.50.0-24": (value(kind="host-gw"), "is not vxlan"),
}
UNREADABLE = {
    "hello\x1b[31mred": value(),
    "0.0.0.0-0": value(),
    "10.244.60.0-24": b"not JSON",
    "10.244.61.0-24": b'{"PublicIP": null}',
    "10.244.62.0-24": b"[" * 100_000,
    "10.244.63.0-24": b'{"PublicIP":"1.2.3.4","PublicIP":"5.6.7.8"}',
    "10.244.64.0-24": b'{"PublicIP":"1.2.3.4","X":NaN}',
    "10.244.65.0-24": b"\xff\xfe\x00",
    "10.244.66.0-24": b'{"PublicIP":"1.2.3.4","X":"' + b"x" * 70_000 + b'"}',
    "../../etc/passwd": value(),
    "10.244.67.0-99": value(),
    "": value(),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("hostile"), pods=True) as made:
        made.start(*QUIET_AUDIT)
        yield made


def test_f49_to_f54_lies_are_refused_by_name_and_a_peer_among_them_is_served(site: Cluster) -> None:
    node = site.node(1)
    whole = picture(node)
    with stream(site.net.path("pod1"), site.net.path("pod2"), "10.244.2.2") as flow:
        until(lambda: len(flow.received) > 20, "the datagrams arrive")
        began = flow.sent[-1]
        for key, (lie, _) in REFUSED.items():
            site.plant(key, lie)
        for key, lie in UNREADABLE.items():
            site.plant(key, lie)
        site.plant("10.244.9.0-24", value(ip="192.168.64.19", mac="02:00:00:00:00:09"))
        until(lambda: node.status()["peers"] == 2, "the good one among them is a peer", lambda: node.log)
        assert flow.lost_since(began) == 0
    answer = node.status()
    refused = {entry["key"]: entry["rule"] for entry in answer["refused"]}
    assert refused.keys() == REFUSED.keys()
    for key, (_, rule) in REFUSED.items():
        assert rule in refused[key]
    assert {entry["key"] for entry in answer["undecodable"]} == UNREADABLE.keys()
    site.delete("10.244.9.0-24")
    node.converge(1)
    assert picture(node) == whole


def test_f52_of_two_claims_to_one_subnet_or_mac_the_older_stays(site: Cluster) -> None:
    node = site.node(1)
    (peer,) = node.ask("peers")["peers"]
    site.plant("10.244.2.0-24&fd10::-64", value())
    site.plant("10.244.70.0-24", value(mac=peer["vtep_mac"]))
    until(lambda: len(node.status()["refused"]) == len(REFUSED) + 2, "both are refused", lambda: node.log)
    refused = {entry["key"]: entry["rule"] for entry in node.status()["refused"]}
    assert "10.244.2.0-24's" in refused["10.244.2.0-24&fd10::-64"]
    assert "10.244.2.0-24's" in refused["10.244.70.0-24"]
    assert [found["key"] for found in node.ask("peers")["peers"]] == ["10.244.2.0-24"]


def test_f54_what_a_lie_says_never_drives_a_terminal(site: Cluster) -> None:
    shown = site.node(1).tulle("status").stdout
    assert "\x1b" not in shown
    assert "\\x1b[31mred" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_node_that_starts_beside_the_lies_is_not_misled(site: Cluster) -> None:
    node = site.node(1)
    whole = picture(node)
    node.stop()
    node.start()
    node.converge(1)
    assert picture(node) == whole
    assert node.status()["lease"]["subnet"] == "10.244.1.0/24"
