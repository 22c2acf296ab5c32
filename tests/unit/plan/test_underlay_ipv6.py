"""A kernel without IPv6 has no router advertisements to refuse."""

from dataclasses import replace

from tests.kit.cluster import CONFIG, HOST, OWN, bare_host
from tulle.model.network import PacketFilters
from tulle.model.objects import Sysctl
from tulle.model.state import KernelState
from tulle.plan.desired import Inputs, Settings, node_objects
from tulle.plan.underlay import HOST_SYSCTLS, UnderlayWish, host_facts

WISH = UnderlayWish(iface=("eth0",))


def test_a_kernel_without_ipv6_is_known_by_its_missing_sysctl() -> None:
    seen = KernelState.of(bare_host())
    without = seen.merged(KernelState.of(Sysctl(key.path, None) for key in HOST_SYSCTLS))
    assert host_facts(seen, WISH, frozenset(), (), (), PacketFilters()).ipv6
    assert not host_facts(without, WISH, frozenset(), (), (), PacketFilters()).ipv6


def test_such_a_kernel_is_not_asked_for_settings_of_ipv6() -> None:
    for ipv6 in (True, False):
        inputs = Inputs(config=CONFIG, host=replace(HOST, ipv6=ipv6), own=OWN, settings=Settings())
        paths = {obj.path for obj in node_objects(inputs) if isinstance(obj, Sysctl)}
        assert any("ipv6" in path for path in paths) is ipv6
