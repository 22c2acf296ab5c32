"""The plugin without an agent: DEL, CHECK and GC by the same code, in a process that the shim becomes.

What an ADD needs, a lease that is being kept, only the agent has.  What CHECK compares with is what
the agent said last, in ``subnet.env``.
"""

import asyncio
import os
import sys
from pathlib import Path

from tulle.cni.service import last_known_network, node_server


def main() -> int:
    """One execution: exit code; the answer goes to stdout."""
    root = Path(os.environ.get("TULLE_ROOT") or "/")
    stdin = sys.stdin.buffer.read()
    code, answer = asyncio.run(_answer(root, stdin))
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    return code


async def _answer(root: Path, stdin: bytes) -> tuple[int, bytes]:
    server = node_server(root, lambda: last_known_network(root))
    try:
        return await server.handle(os.environ, stdin)
    finally:
        await server.site.removal.close()
        server.site.kernel.close()


if __name__ == "__main__":
    sys.exit(main())
