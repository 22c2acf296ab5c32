"""Which changes of the network's configuration a running node takes, and why not the others."""

import json
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.kit.cluster import DUAL_HOST, HOST, OWN, OWN_DUAL, intent, lease, snapshot
from tulle.model.network import NetworkConfig
from tulle.model.objects import Link
from tulle.model.state import Scope
from tulle.plan.reconfigure import why_not
from tulle.wire.network_config import decode_network_config


def config(backend: dict[str, Any] | None = None, **changes: Any) -> NetworkConfig:
    shared = {"Network": "10.244.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan", **(backend or {})}}
    return decode_network_config(json.dumps(shared | changes).encode())


NOW = config()


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(config({"MTU": 1400}), id="MTU"),
        pytest.param(config({"Learning": True}), id="Learning"),
        pytest.param(config({"GBP": True}), id="GBP"),
        pytest.param(config({"DirectRouting": True}), id="DirectRouting"),
        pytest.param(config(EnableNFTables=True), id="EnableNFTables"),
        pytest.param(config(Network="10.240.0.0/12"), id="a larger network"),
        pytest.param(config(SubnetMax="10.244.9.0"), id="a narrower range with our subnet in it"),
    ],
)
def test_what_is_applied_in_place(after: NetworkConfig) -> None:
    assert why_not(NOW, after, HOST, OWN, ()) is None


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        pytest.param(config({"Type": "host-gw"}), "Backend.Type is host-gw now: restart", id="another backend"),
        pytest.param(config({"VNI": 7}), "Backend.VNI is 7 now: restart", id="another VNI"),
        pytest.param(config({"Port": 4789}), "Backend.Port is 4789 now: restart", id="another port"),
        pytest.param(
            config(EnableIPv6=True, IPv6Network="fd10:244::/48"),
            "EnableIPv6 is true now: restart",
            id="one family more",
        ),
        pytest.param(config(Network="10.9.0.0/16"), "10.244.1.0/24, our own, is none of its", id="another network"),
        pytest.param(config(SubnetLen=25), "10.244.1.0/24, our own, is none of its", id="another length"),
        pytest.param(config(SubnetMin="10.244.2.0"), "10.244.1.0/24, our own, is none of its", id="another range"),
        pytest.param(config({"MTU": 600}), "Backend.MTU: MTU 600 leaves pods 550 bytes", id="no room"),
    ],
)
def test_what_needs_a_restart_is_refused_with_its_reason(after: NetworkConfig, reason: str) -> None:
    assert reason in (why_not(NOW, after, HOST, OWN, ()) or "")


def test_a_family_less_is_refused() -> None:
    dual = config(EnableIPv6=True, IPv6Network="fd10:244::/48")
    assert why_not(dual, NOW, DUAL_HOST, OWN_DUAL, ()) == "EnableIPv6 is false now: restart the agents for it"


def test_host_gw_asks_again_for_the_public_address() -> None:
    plain = config({"Type": "host-gw"})
    assert "is not an address of eth0" in (why_not(plain, plain, HOST, OWN, (IPv4Address("192.0.2.1"),)) or "")


def test_a_change_makes_everything_dirty_and_keeps_the_peers() -> None:
    before = intent(snapshot(OWN, lease(2)))
    after, scope = before.after_config(config({"MTU": 1400}))
    assert (scope, after.admission.peers) == (Scope.all(), before.admission.peers)
    (device,) = after.desired.state.each(Link)
    assert device.mtu == 1350
