"""Debian's containerd and podman start real containers on the plugin: two nodes, their agents, one configuration."""

import json
from collections.abc import Generator
from contextlib import ExitStack
from ipaddress import ip_interface
from pathlib import Path

import pytest

from tests.kit.agents import cluster, until
from tests.kit.containers import NETWORK, Machine, containerd, machine, needs_runtime, podman
from tests.kit.peers import needs_peers, peer

TwoMachines = tuple[Machine, Machine]


@pytest.fixture
def machines(tmp_path: Path) -> Generator[TwoMachines]:
    """Two nodes with agents that know each other, and the plugin installed."""
    with cluster(tmp_path, nodes=2) as site, ExitStack() as stack:
        here, there = (stack.enter_context(machine(node)) for node in site.nodes)
        for each in (here, there):
            each.start()
        for each in (here, there):
            each.node.converge(1)
            each.install_plugin()
        yield here, there
        until(lambda: not here.leftovers | there.leftovers, "no leftovers", lambda: (here.leftovers, there.leftovers))


@needs_runtime("containerd", "ctr")
def test_containerds_pods_talk_live_through_an_agents_restart_and_leave_nothing(machines: TwoMachines) -> None:
    with containerd(machines[0]) as here, containerd(machines[1]) as there:
        assert here.is_network_ready()
        one, two = here.run_pod("one"), there.run_pod("two")
        assert here.machine.ping(one, two.address)
        assert there.machine.ping(two, one.address)
        here.machine.node.stop()
        assert here.machine.ping(one, two.address)
        here.machine.start()
        here.machine.node.converge(1)
        three = here.run_pod("three")
        assert here.machine.ping(one, two.address)
        assert there.machine.ping(two, three.address)
        for runtime, pod in ((here, one), (here, three), (there, two)):
            runtime.stop_pod(pod)
            runtime.stop_pod(pod)  # as kubelets do: now there is no namespace any more
            runtime.remove_pod(pod)


@needs_runtime("containerd", "ctr")
def test_containerd_gives_back_a_pods_address_with_nobody_there_and_its_namespace_gone(machines: TwoMachines) -> None:
    with containerd(machines[0]) as here:
        one, two = here.run_pod("one"), here.run_pod("two")
        here.machine.node.stop()
        here.stop_pod(one)
        assert here.machine.addresses == {str(two.address)}
        here.machine.run("umount", two.netns)
        here.machine.run("rm", two.netns)
        here.stop_pod(two)
        here.remove_pod(one)
        here.remove_pod(two)
        here.machine.start()


@needs_runtime("containerd", "ctr")
@needs_peers("cnitool")
def test_todays_libcni_reads_the_file_that_containerds_old_one_reads(machines: TwoMachines) -> None:
    here, _ = machines
    places = {"NETCONFPATH": str(here.conf_dir), "CNI_PATH": str(here.bin_dir)}
    words = [str(peer("cnitool")), "add", NETWORK, "/run/netns/new"]
    with containerd(here) as runtime:
        pod = runtime.run_pod("one")
        here.run("ip", "netns", "add", "new")
        told = json.loads(here.run(*words, **places))
        assert told["cniVersion"] == "1.1.0"
        assert here.ping(pod, ip_interface(told["ips"][0]["address"]).ip)
        words[1] = "del"
        here.run(*words, **places)
        here.run("ip", "netns", "del", "new")
        runtime.stop_pod(pod)
        runtime.remove_pod(pod)


@needs_runtime("podman")
def test_podmans_containers_talk_and_leave_nothing(machines: TwoMachines) -> None:
    here, there = podman(machines[0]), podman(machines[1])
    one, two = here.run_pod("one"), there.run_pod("two")
    assert here.machine.ping(one, two.address)
    here.machine.node.stop()
    assert there.machine.ping(two, one.address)
    here.machine.start()
    here.machine.node.converge(1)
    here.remove_pod(one)
    there.remove_pod(two)
