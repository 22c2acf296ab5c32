"""The plugin without an agent: DEL, CHECK and GC by the same code, in a process that the shim becomes.

What an ADD needs, a lease that is being kept, only the agent has.  What CHECK compares with is what
the agent said last, in ``subnet.env``.
"""

import asyncio
import os
import sys
from pathlib import Path

from tulle.cni.attach import PodNetwork
from tulle.cni.service import node_server
from tulle.errors import DecodeError
from tulle.wire.subnet_env import parse_subnet_env


def main() -> int:
    """One execution: exit code; the answer goes to stdout."""
    root = Path(os.environ.get("TULLE_ROOT") or "/")
    stdin = sys.stdin.buffer.read()
    code, answer = asyncio.run(_answer(root, stdin))
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    return code


async def _answer(root: Path, stdin: bytes) -> tuple[int, bytes]:
    server = node_server(root, lambda: last_known_network(root / "run/flannel/subnet.env"))
    try:
        return await server.handle(os.environ, stdin)
    finally:
        await server.site.removal.close()
        server.site.kernel.close()


def last_known_network(path: Path) -> PodNetwork | None:
    """What the agent said last about this node; None when nothing can be read there."""
    try:
        env = parse_subnet_env(path.read_bytes())
    except (OSError, DecodeError):
        return None
    networks = (*env.networks, *env.networks6)
    return PodNetwork(subnet=env.subnet, subnet6=env.subnet6, mtu=env.mtu, networks=networks)


if __name__ == "__main__":
    sys.exit(main())
