"""An ADD that is cancelled, as by an agent that ends, leaves nothing, wherever it was."""

import asyncio
import json
import os
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

import pytest

from tulle.cni.attach import PodNetwork
from tulle.cni.service import serving
from tulle.kernel import netns

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")

NETWORK: Final = PodNetwork(subnet=IPv4Network("10.9.1.0/24"), subnet6=None, mtu=1450)
CONF: Final = json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "tulle", "bridge": "cbr0"}).encode()
STEPS: Final = 16
"""More turns of the loop than an ADD takes without waiting for the kernel."""


@pytest.fixture
def names() -> Iterator[list[str]]:
    """A node's namespace and a pod's."""
    made: list[str] = []
    try:
        made.extend(netns.create(f"tullet-{secrets.token_hex(4)}").name for _ in range(2))
        yield made
    finally:
        for name in made:
            netns.delete(name)


SLOW_S: Final = 0.01
"""So long the kernel takes for a pair here, longer than what undoes an ADD: it may not be faster."""


def test_nothing_is_left_at_any_step(names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send = socket.send_fds

    def slowly(*job: Any) -> None:
        threading.Timer(SLOW_S, send, job).start()

    monkeypatch.setattr(socket, "send_fds", slowly)
    node, pod = names
    folder = tmp_path / "var/lib/cni/networks/net"

    def add(container: str) -> dict[str, str]:
        words = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0"}
        return {**words, "CNI_NETNS": f"/run/netns/{pod}"}

    def pairs() -> str:
        command = ["ip", "-n", node, "-br", "link", "show", "type", "veth"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    async def story() -> None:
        async with serving(tmp_path, lambda: NETWORK, Path("/run/netns") / node) as server:
            for number in range(4):  # the bridge is there, and stands
                assert (await server.handle(add(f"first{number}"), CONF))[0] == 0
                await server.handle({**add(f"first{number}"), "CNI_COMMAND": "DEL"}, CONF)
            for steps in range(STEPS):
                adding = asyncio.create_task(server.handle(add(f"c{steps}"), CONF))
                for _ in range(steps):
                    await asyncio.sleep(0)
                adding.cancel()
                with suppress(asyncio.CancelledError):
                    await adding
                if adding.cancelled():
                    await asyncio.sleep(3 * SLOW_S)  # whatever is still on its way arrives
                    assert pairs() == "", f"cancelled at step {steps}"
                    assert not [name for name in os.listdir(folder) if name[0].isdigit()]
                else:
                    await server.handle({**add(f"c{steps}"), "CNI_COMMAND": "DEL"}, CONF)

    asyncio.run(story())
