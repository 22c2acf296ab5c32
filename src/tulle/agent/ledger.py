"""The ledger on disk: written before a switch is turned, so that no crash forgets how it stood."""

import logging
from pathlib import Path
from typing import Final

from tulle.errors import DecodeError
from tulle.model.change import Plan
from tulle.seams import Files
from tulle.wire.ledger import LIMIT, Ledger, decode_ledger, encode_ledger

log = logging.getLogger(__name__)

FILE: Final = "ledger.json"


def read_ledger(files: Files, state: Path, boot_id: str) -> Ledger:
    """What was turned within this boot; nothing, where the file says nothing of it or cannot be read, which is said."""
    path = state / FILE
    try:
        content = files.read(path, LIMIT)
        ledger = decode_ledger(content) if content is not None else Ledger(boot_id)
    except (DecodeError, OSError) as error:
        log.warning("%s: not used: %s", path, error)
        return Ledger(boot_id)
    return ledger if ledger.boot_id == boot_id else Ledger(boot_id)


class Bookkeeper:
    """Writes down what plans are about to turn."""

    def __init__(self, files: Files, state: Path, boot_id: str) -> None:
        self._files, self._path = files, state / FILE
        self._ledger = read_ledger(files, state, boot_id)

    def before(self, plan: Plan) -> None:
        """``plan`` is carried out next.  A disk that refuses keeps nobody from it, and is said."""
        ledger = self._ledger.with_plan(plan)
        if ledger is self._ledger:
            return
        self._ledger = ledger
        try:
            self._files.replace(self._path, encode_ledger(ledger), mode=0o600)
        except OSError as error:
            log.warning("%s: not written: %s", self._path, error.strerror or error)
