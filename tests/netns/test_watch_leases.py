"""The live view at a real terminal over a store with hostile leases, and over one with ten thousand peers."""

import asyncio
import sys
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from tests.kit.agents import Cluster, Node, cluster, until
from tests.kit.enter import enter
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.labs import environment
from tests.kit.terminals import Terminal, terminal
from tulle.agent.control import AgentAnswer, ask
from tulle.kernel.system import SystemClock
from tulle.model.lease import Lease
from tulle.model.network import MacAddress, Vni
from tulle.store.open import open_store
from tulle.wire.leases import lease_key

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))
MANY = 10_000
LONG_S = 60
"""For so many peers on a machine that has something else to do."""
ESCAPES = b'{"PublicIP":"192.168.64.77","BackendType":"\\u001b[2J\\u001b[31m","BackendData":{"VNI":1,"VtepMAC":"?"}}'
"""A value that would clear the screen of whoever printed it."""

PEER = b'{"PublicIP":"192.168.64.19","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:09"}}'
OUR_ADDRESS = (
    b'{"PublicIP":"192.168.64.11","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:40"}}'
)


@contextmanager
def watching(site: Cluster, columns: int = 80) -> Generator[Terminal]:
    """``tulle watch`` on the first node."""
    node = site.node(1)
    words = [*enter(site.net.full(node.name)), sys.executable, "-m", "tulle", "watch", "--root", str(node.root)]
    with terminal([*words, "--interval", "0.5"], environment(), columns, 24) as seen:
        seen.shows("tulle watch")
        yield seen


def answers(node: Node) -> bool:
    try:
        return bool(node.status())
    except AgentAnswer:
        return False


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_refused_leases_are_shown_with_their_reason_and_cannot_paint_the_screen(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        site.start()
        with watching(site) as seen:
            site.plant("10.244.40.0-24", OUR_ADDRESS)
            site.plant("10.244.7.0-24", ESCAPES)
            text = seen.shows("tulle watch", "refused", "10.244.40.0-24", "is our own", "garbled", "10.244.7.0-24")
            assert widest(text) <= 80
            assert "what happened" in text  # the value's words are shown, not obeyed
            seen.type(b"q")
            assert seen.end() == 0


def test_a_peer_whose_lease_vanished_without_a_delete_is_shown_as_held(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        site.start()
        with watching(site) as seen:
            site.plant("10.244.9.0-24", PEER)
            seen.shows("10.244.9.0/24", "  ok")
            site.lose("10.244.9.0-24")
            text = seen.shows("held", "10.244.9.0-24 vanished without a delete")
            assert [line.split()[-1] for line in text.splitlines() if line.startswith(" 10.244.9.0/24")] == ["held"]
            seen.type(b"q")
            assert seen.end() == 0


@pytest.mark.timeout(300)
def test_ten_thousand_peers_fit_on_eighty_columns_and_keys_still_answer(tmp_path: Path) -> None:
    config: dict[str, object] = {"Network": "10.0.0.0/8"}
    with cluster(tmp_path, nodes=1, config=config) as site:
        asyncio.run(_reserve(site.store))
        node = site.node(1)
        node.start()
        until(lambda: answers(node), "an agent that answers", lambda: node.log)
        assert ask(node.socket, {"verb": "wait", "peers": MANY, "timeout_s": LONG_S}, timeout_s=LONG_S)["done"]
        with watching(site) as seen:
            text = seen.shows(f" {MANY} ", " more")
            assert widest(text) <= 80
            told = sum(line.endswith("  ok") and line.startswith(" 10.") for line in text.splitlines())
            assert f"{MANY - told} more" in text
            seen.type(b"?")
            seen.shows("any key goes back")
            seen.type(b" ")
            seen.until(lambda text: "any key goes back" not in text)
            site.plant("10.200.200.0-24", ESCAPES)
            seen.shows("garbled", "10.200.200.0-24")
            seen.type(b"q")
            assert seen.end() == 0


async def _reserve(path: Path) -> None:
    store = open_store(f"sqlite://{path}", SystemClock())
    try:
        await store.reserve([_peer(number) for number in range(1, MANY + 1)])
    finally:
        await store.close()


def _peer(number: int) -> Lease:
    subnet = IPv4Network(f"10.{number >> 8}.{number & 255}.0/24")
    return Lease(
        key=lease_key(subnet, None),
        subnet=subnet,
        public_ip=IPv4Address("172.16.0.0") + number,
        backend_type="vxlan",
        vni=Vni(1),
        vtep_mac=MacAddress(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"),
    )
