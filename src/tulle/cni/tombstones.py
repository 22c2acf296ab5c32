"""DELs that could not be done: left by the shim when no agent answered, by the agent when the disk refused.

A tombstone is the whole request as it comes by the socket.  They are looked for at start, then
now and again, and before every ADD, so that a late DEL never takes a new attachment away.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tulle.cni.files import Folder, is_kept
from tulle.cni.listing import Listing
from tulle.errors import DecodeError
from tulle.wire.cni_error import BAD_CONFIG, BAD_ENVIRONMENT, INCOMPATIBLE, UNDECODABLE, UNSUPPORTED_FIELD
from tulle.wire.control import LENGTH, REQUEST_LIMIT, CniRequest, decode_request, encode_cni

log = logging.getLogger(__name__)

HOPELESS: Final = frozenset({INCOMPATIBLE, UNSUPPORTED_FIELD, BAD_ENVIRONMENT, UNDECODABLE, BAD_CONFIG})
"""What is wrong with the request itself stays wrong."""

BEGUN_S: Final = 60.0
"""A shim writes its request in milliseconds; a file that it began so long ago is nobody's."""

Handler = Callable[[Mapping[str, str], bytes], Awaitable[tuple[int, bytes]]]


@dataclass(slots=True)
class Tombstones:
    """The requests in some folders, oldest first; a new one goes into the first that takes it."""

    places: tuple[Path, ...]
    _noted: set[Path] = field(default_factory=set[Path])
    _done: set[Path] = field(default_factory=set[Path])
    _burying: asyncio.Lock = field(default_factory=asyncio.Lock)
    _listings: tuple[Listing, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._listings = tuple(Listing(str(place), is_kept) for place in self.places)

    def any(self) -> bool:
        """Is there one?  Where nothing can be read, there is none to be done."""
        return any(map(_has_any, self._listings))

    def leave(self, environment: Mapping[str, str], stdin: bytes) -> None:
        """Keep a request.  Raises OSError: no folder takes it."""
        body = encode_cni(CniRequest(environment, stdin))[LENGTH.size :]
        trouble: OSError | None = None
        for place in self.places:
            try:
                with Folder(place).locked(0o700) as files:
                    files.replace(f"{time.time():021.9f}-{os.getpid()}", body)
            except OSError as error:
                trouble = error
            else:
                return
        assert trouble is not None, "there are places"
        raise trouble

    async def bury(self, handle: Handler) -> None:
        """Do what they ask, each once, and remove those that are done or mean nothing; the others stay."""
        async with self._burying:
            for place in self.places:
                folder = Folder(place)
                folder.remove_abandoned(BEGUN_S)
                for name in sorted(folder.names()):
                    await self._bury_one(place / name, folder.read(name, REQUEST_LIMIT) or b"", handle)

    async def _bury_one(self, path: Path, body: bytes, handle: Handler) -> None:
        if path not in self._done and not await self._is_done(path, body, handle):
            return
        self._noted.discard(path)
        self._done.add(path)  # a disk may keep it: once is enough
        try:
            Folder(path.parent).remove(path.name)
        except OSError as error:
            log.warning("%s: done, but it cannot be removed: %s", path, error)
        else:
            self._done.discard(path)

    async def _is_done(self, path: Path, body: bytes, handle: Handler) -> bool:
        request = _deletion(body)
        if request is None:
            log.warning("%s: is no DEL that was left", path)
            return True
        code, answer = await handle(request.environment, request.stdin)
        if not code or json.loads(answer)["code"] in HOPELESS:
            return True
        if path not in self._noted:
            log.warning("a DEL that was left failed, it will be tried again: %s", answer.decode().strip())
        self._noted.add(path)
        return False


def _has_any(listing: Listing) -> bool:
    try:
        return bool(listing.names())
    except OSError:
        return False


def _deletion(body: bytes) -> CniRequest | None:
    """A DEL; None for anything else."""
    try:
        request = decode_request(body)
    except DecodeError:
        return None
    if not isinstance(request, CniRequest) or request.environment.get("CNI_COMMAND") != "DEL":
        return None
    return request
