"""The agent's memory on disk: read once at the start, written a moment after what it says has changed.

A store that is away at boot then costs nothing: the node goes on by what was last true, until the
store's first snapshot.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from tulle.agent.identity import Identity
from tulle.errors import DecodeError
from tulle.kernel.turn import Precedence, Turn
from tulle.model.lease import HeldLease
from tulle.model.recollection import NS, Recollection
from tulle.plan.addressing import fits
from tulle.plan.intent import Intent
from tulle.seams import Clock, Files
from tulle.store.ports import Grant
from tulle.wire.recollection import FILE_LIMIT, decode_head, encode_recollection, unfold_recollection
from tulle.wire.subnet_env import SubnetEnv

log = logging.getLogger(__name__)

FILE: Final = "memory.jsonl"
PAUSE_S: Final = 5.0
"""The shortest time from one writing to the next."""
BYTES_A_SECOND: Final = 100_000
"""What a disk is asked to bear in the long run: ten thousand leases are written every half a minute at most."""

Aside: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs what waits for a disk where nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Past:
    """What the last run wrote down: ``head`` without peers at once, the ``whole`` when it is asked for.

    Ten thousand leases take a quarter of a second to read, and a store that answers knows better.
    """

    head: Recollection
    files: Files
    path: Path
    content: bytes

    async def whole(self) -> Recollection:
        """Everything; the head alone when the rest cannot be believed, which is said, and the file set aside."""
        turn, memory = Turn(), self.head
        try:
            for memory in unfold_recollection(self.content):  # noqa: B007 - the last one is whole
                await turn.rest()
        except DecodeError as error:
            _set_aside(self.files, self.path, self.content, error)
            return self.head
        return memory


def recollect(files: Files, state: Path, store: str, identity: Identity, place: SubnetEnv | None = None) -> Past | None:
    """What the last run wrote down, when this is still the same node of the same store; None: there is nothing.

    ``place`` is what the daemon wrote that ran last.  One that names other subnets was flannel's, and the
    memory is older than its time.  A file that cannot be believed is set aside as ``memory.jsonl.broken``
    and said once.
    """
    path = state / FILE
    try:
        content = files.read(path, FILE_LIMIT)
    except OSError as error:
        log.warning("%s: not used: %s", path, error.strerror or error)
        return None
    if content is None:
        return None
    try:
        head = decode_head(content)
    except DecodeError as error:
        _set_aside(files, path, content, error)
        return None
    ours = (head.node_id, head.store) == (identity.node_id, store) and fits(head.own, head.config)
    last = place is None or (place.subnet, place.subnet6) == (head.own.subnet, head.own.subnet6)
    return Past(head, files, path, content) if ours and last else None


def _set_aside(files: Files, path: Path, content: bytes, why: DecodeError) -> None:
    log.warning("%s: not used, and set aside: %s", path, why)
    try:
        files.replace(path.with_name(f"{path.name}.broken"), content, mode=0o600)
        files.remove(path)
    except OSError as error:
        log.warning("%s: %s", path, error.strerror or error)


@dataclass(slots=True, kw_only=True)
class Memory:
    """Writes down what passes have acted on.  ``note`` after each, ``run`` for as long as the node lives."""

    files: Files
    path: Path
    store: str
    identity: Identity
    clock: Clock
    aside: Aside
    precedence: Precedence | None = None
    trouble: str | None = None
    """Why the last writing failed; None when it did not."""
    _noted: tuple[Intent, Grant] | None = None
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _written: Recollection | None = None
    _sent: tuple[Grant, int] | None = None

    def note(self, intent: Intent, grant: Grant | None) -> None:
        """A pass has acted on ``intent``.  What was only recalled is not written down again."""
        if grant is None or not intent.book.synced:
            return
        if self._noted is None or self._noted[0] is not intent or self._noted[1] is not grant or self.trouble:
            self._noted = (intent, grant)
            self._wake.set()

    async def run(self) -> None:
        """Write whatever is new, a moment after it was noted.  A disk that refuses is asked again after a pass."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            assert self._noted is not None
            memory = self._recollection(*self._noted)
            if self._written is None or not memory.says_the_same_as(self._written):
                size = await self.write(memory)
                await self.clock.sleep(max(PAUSE_S, size / BYTES_A_SECOND))

    async def write(self, memory: Recollection) -> int:
        """Write it now; the bytes that it took."""
        pieces, turn = list[bytes](), Turn(self.precedence)
        for piece in encode_recollection(memory):
            pieces.append(piece)
            await turn.rest()
        content = b"".join(pieces)
        try:
            await self.aside(lambda: self.files.replace(self.path, content, mode=0o600))
        except OSError as error:
            self._note_trouble(f"{self.path}: {error.strerror or error}")
        else:
            self._note_trouble(None)
            self._written = memory
        return len(content)

    def _note_trouble(self, trouble: str | None) -> None:
        if trouble != self.trouble:
            log.warning("memory: %s", trouble or "written again")
        self.trouble = trouble

    def _recollection(self, intent: Intent, grant: Grant) -> Recollection:
        book, peers = intent.book, intent.admission.peers
        return Recollection(
            taken_ns=self.clock.wall_ns(),
            store=self.store,
            node_id=self.identity.node_id,
            config=intent.desired.inputs.config,
            own=grant.lease,
            own_sent_ns=self._sent_wall_ns(grant),
            own_ttl_s=grant.ttl_s,
            cluster_id=book.cluster_id,
            revision=book.revision,
            leases={key: lease for key, lease in peers.items() if key not in book.held} if book.held else peers,
            held={key: self._on_the_wall(held) for key, held in book.held.items() if key in peers},
            macs=frozenset(intent.seen_macs),
        )

    def _sent_wall_ns(self, grant: Grant) -> int:
        """Worked out once for each grant: the two clocks drift against each other."""
        if self._sent is None or self._sent[0] is not grant:
            self._sent = (grant, max(0, grant.sent_at_ns + self._wall_ahead_ns()))
        return self._sent[1]

    def _on_the_wall(self, held: HeldLease) -> HeldLease:
        return HeldLease(held.lease, max(0, held.until_ns + self._wall_ahead_ns()))

    def _wall_ahead_ns(self) -> int:
        return self.clock.wall_ns() - self.clock.boottime_ns()


def grant_of(memory: Recollection, clock: Clock) -> Grant:
    """Our own lease as the last run held it, with its time as far as this clock can be believed.

    A clock that stands before the last renewal says nothing: the lease counts as past its deadline.
    """
    age_ns = clock.wall_ns() - memory.own_sent_ns
    ttl_ns = int(memory.own_ttl_s * NS)
    sent_at_ns = clock.boottime_ns() - (age_ns if age_ns >= 0 else ttl_ns)
    return Grant(lease=memory.own, revision=0, sent_at_ns=sent_at_ns, ttl_s=memory.own_ttl_s)
