"""What is between one node and the store: delays, and what cuts it off."""

import asyncio
from enum import Enum
from random import Random
from typing import Final

from tests.simulation.life import Life
from tulle.errors import StoreUnavailable
from tulle.store.etcd_client import Unanswered

ANSWER_S: Final = 4.0
"""How long the real client waits for an answer."""
SLOWEST_S: Final = 0.2
QUICK_S: Final = 0.004


class Cut(Enum):
    """How a node is cut off."""

    REFUSED = "refused"
    """Every connection is refused at once."""
    SILENT = "silent"
    """Nothing arrives, and nobody says so."""
    DEAF = "deaf"
    """Requests arrive and are carried out; their answers are lost."""


class SimWire:
    """``etcd_memory.Wire`` of one node."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.cut: Cut | None = None
        self.slow = False
        self.cuts = 0
        """How often it was cut; a stream of before has lost its connection."""

    def sever(self, how: Cut) -> None:
        self.cut, self.cuts = how, self.cuts + 1

    def heal(self) -> None:
        self.cut, self.slow = None, False

    async def pause(self) -> None:
        """A message on its way."""
        await asyncio.sleep(self._random.uniform(0.0005, SLOWEST_S * 10 if self.slow else QUICK_S))


class NodeWire:
    """The wire as one life of a node uses it: nothing passes once that is over, or while it is suspended."""

    def __init__(self, wire: SimWire, life: Life) -> None:
        self._wire, self._life = wire, life
        self._since = wire.cuts

    async def there(self) -> None:
        await self._life.passes()
        await self._wire.pause()
        match self._wire.cut:
            case Cut.REFUSED:
                raise StoreUnavailable("memory: refused")
            case Cut.SILENT:
                await asyncio.sleep(ANSWER_S)
                raise Unanswered("memory: no answer")
            case _:
                await self._life.passes()
                self._since = self._wire.cuts

    async def back(self) -> None:
        await self._wire.pause()
        if self._wire.cut is not None:
            await asyncio.sleep(ANSWER_S)
            raise Unanswered("memory: no answer")
        await self._life.passes()

    async def told(self) -> bool:
        since = self._since
        await self._wire.pause()
        await self._life.passes()
        return self._wire.cut is None and since == self._wire.cuts
