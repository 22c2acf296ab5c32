"""A lease that has run out while the store is away: no new pod, and nothing else changes."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import NETWORK, plugin_node
from tulle.wire.cni_error import NOT_AVAILABLE, TRY_AGAIN

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))


def test_f07_past_the_deadline_add_stops_and_pods_that_run_are_served(tmp_path: Path) -> None:
    with plugin_node(tmp_path) as node:
        node.start()
        running, late = node.new_pod(), node.new_pod()
        result = node.add(running)
        node.network = replace(NETWORK, lapsed=True)
        node.restart()
        refused = node.run("ADD", late)
        assert refused.code != 0
        assert (refused.answer["code"], refused.answer["msg"]) == (TRY_AGAIN, "the lease has run out")
        assert node.run("STATUS").answer["code"] == NOT_AVAILABLE
        assert node.run("CHECK", running, prevResult=result).code == 0
        assert "10.244.1.2/24" in node.ip("address show eth0", running)
        assert node.run("DEL", running).code == 0
        node.network = NETWORK
        node.restart()
        node.add(late)
