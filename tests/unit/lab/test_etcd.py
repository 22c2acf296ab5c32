"""The lab's etcd before there is one: its command line, its environment, where it stands."""

from pathlib import Path

from tulle.lab.etcd import Program, command_line, etcd_url
from tulle.lab.hosts import etcd_host
from tulle.lab.topology import Wishes, design

PROGRAM = Program("/usr/bin/etcd")


def test_it_serves_the_underlay_and_on_its_own_host_where_etcdctl_looks() -> None:
    words = command_line(PROGRAM, etcd_host(ipv6=True), Path("/data"))
    assert words[0] == "/usr/bin/etcd"
    listening = "http://192.168.64.3:2379,http://[fd64::3]:2379,http://127.0.0.1:2379"
    assert f"--listen-client-urls={listening}" in words
    assert "--advertise-client-urls=http://192.168.64.3:2379,http://[fd64::3]:2379" in words
    assert "--data-dir=/data" in words


def test_its_members_speak_on_its_own_loopback_alone() -> None:
    words = command_line(PROGRAM, etcd_host(ipv6=False), Path("/data"))
    assert {word.partition("=")[2] for word in words if "peer-urls" in word} == {"http://127.0.0.1:2380"}


def test_a_lab_has_the_host_when_its_store_is_an_etcd() -> None:
    assert design(Wishes()).settings.etcd is None
    lab = design(Wishes(store="etcd", outside=True))
    assert lab.settings.etcd is not None
    assert lab.places[:3] == ("switch", "outside", "etcd")
    assert etcd_url(lab.settings.etcd) == "etcd://192.168.64.3:2379/coreos.com/network"
