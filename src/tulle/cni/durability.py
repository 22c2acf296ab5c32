"""Syncing what was written, after the answer: one thread, in groups.

An address belongs to its boot: whoever has it is gone after a power loss, and a file that the loss
took with it freed an address that is free.  So no pod waits for the disk; what the disk then refuses is
said in the log, and STATUS tells the runtime until a sync succeeds again.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tulle.cni.files import settle_now

log = logging.getLogger(__name__)

GATHER_S: Final = 0.25
"""Pods come in crowds: a disk takes one sync for many, and the thread does not hold up who is still served."""


@dataclass(slots=True)
class Durability:
    """Hands folders and files to a thread that syncs them.

    ``trouble`` is why the last sync failed, "" when it did not.
    """

    sync: Callable[[Path, Iterable[str]], None] = settle_now
    trouble: str = ""
    _waiting: dict[Path, dict[str, None]] = field(default_factory=dict[Path, dict[str, None]])
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _work: "asyncio.Task[None] | None" = None

    def settle(self, folder: Path, names: Iterable[str]) -> None:
        """Sync these soon.  Called on the loop."""
        self._waiting.setdefault(folder, {}).update(dict.fromkeys(names))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._sync_all(), name="sync addresses")

    async def close(self) -> None:
        """Sync what waits, at once."""
        self._hurry.set()
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)

    async def _sync_all(self) -> None:
        while self._waiting:
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._hurry.wait()
            batch, self._waiting = self._waiting, {}
            try:
                for folder, names in batch.items():
                    await asyncio.to_thread(self.sync, folder, tuple(names))
            except OSError as error:
                self._note(error.strerror or str(error))
            else:
                self._note("")

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("addresses on disk: %s", trouble or "written again")
        self.trouble = trouble
