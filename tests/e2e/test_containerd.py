"""containerd, as Debian has it, starts real containers on the plugin: two nodes, their agents, the CRI's own calls."""

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kit.agents import cluster
from tests.kit.containers import Containerd, containerd, machine, needs_runtime

pytestmark = needs_runtime("containerd", "ctr")


@pytest.fixture
def runtimes(tmp_path: Path) -> Generator[list[Containerd]]:
    """Two nodes with agents, the plugin installed, and a containerd each."""
    with cluster(tmp_path, nodes=2) as site, ExitStack() as stack:
        machines = [stack.enter_context(machine(node)) for node in site.nodes]
        for each in machines:
            each.node.start(before=each.words)
        for each in machines:
            each.node.converge(1)
            each.install_plugin()
        yield [stack.enter_context(containerd(each)) for each in machines]


def test_pods_of_two_nodes_talk_live_through_an_agents_restart_and_leave_nothing(runtimes: list[Containerd]) -> None:
    here, there = runtimes
    assert here.is_network_ready()
    one, two = here.run_pod("one"), there.run_pod("two")
    assert here.machine.ping(one, two.address)
    assert there.machine.ping(two, one.address)
    here.machine.node.stop()
    assert here.machine.ping(one, two.address)
    here.machine.node.start(before=here.machine.words)
    here.machine.node.converge(1)
    assert here.machine.ping(one, two.address)
    three = here.run_pod("three")
    assert there.machine.ping(two, three.address)
    for runtime, pod in ((here, one), (here, three), (there, two)):
        runtime.stop_pod(pod)
        runtime.stop_pod(pod)  # a kubelet does it twice: the second time the namespace is gone
        runtime.remove_pod(pod)
        assert str(pod.address) not in runtime.machine.addresses
    assert here.machine.is_clean()
    assert there.machine.is_clean()
