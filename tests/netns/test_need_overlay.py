"""``tulle need-overlay`` on a fabric that carries plain packets, on one that drops them, and on one that is cut."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agents import Node, cluster
from tests.kit.enter import enter
from tests.kit.kernels import NEEDS_ROOT

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))


def asked(node: Node) -> tuple[int, str, dict[str, Any]]:
    """Exit code, overall verdict and the one peer's row."""
    command = [*enter(node.net.full(node.name)), sys.executable, "-m", "tulle", "need-overlay", "--json"]
    done = subprocess.run(
        [*command, "--root", str(node.root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    (peer,) = answer["peers"]
    return done.returncode, answer["verdict"], peer


def test_the_fabric_itself_is_asked(tmp_path: Path) -> None:
    with cluster(tmp_path) as site:
        for node in site.nodes:
            site.net.sysctl(node.name, "net/ipv4/conf/all/rp_filter", "1")
        site.start()
        node = site.node(1)
        before = node.sh("ip", "-4", "route") + node.sh("ip", "-d", "link", "show", "flannel.1")
        code, verdict, peer = asked(node)
        assert (code, verdict, peer["subnet"]) == (1, "plain", "10.244.2.0/24")
        assert "10.244.2.0 answered without the tunnel" in peer["evidence"]
        assert node.sh("ip", "-4", "route") + node.sh("ip", "-d", "link", "show", "flannel.1") == before

        drop = "table bridge fabric { chain c { type filter hook forward priority 0; ip daddr 10.244.0.0/16 drop; }; }"
        site.net.run("switch", "nft", drop)
        code, verdict, peer = asked(node)
        assert (code, verdict) == (0, "refused")
        assert "192.168.64.12 answers, and 10.244.2.0 and 10.244.2.1 past the tunnel do not" in peer["evidence"]

        site.net.ip("switch", "link set port2 down")
        code, verdict, peer = asked(node)
        assert (code, verdict) == (2, "unknown")
