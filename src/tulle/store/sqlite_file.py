"""The embedded store's file: opened at first use, by one thread, and read and written in transactions.

Leases end on CLOCK_BOOTTIME, which all processes of a machine share.  The first transaction that
notices an end records it, and the write lock makes sure that it is recorded once.  After a reboot
that clock begins anew: whoever opens the file first moves the ends.

The file is made with mode 0600, in a folder of mode 0700 when that is missing too.  It is made
once: if it goes while we have it open, it is somebody else's turn to bring it back.
"""

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import Final

from tulle.errors import StoreUnavailable
from tulle.seams import Clock
from tulle.store import sqlite_rows as rows

BUSY_LIMIT_S: Final = 5.0
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")

FileIdentity = tuple[int, int]


class SqliteFile:
    """One process's connection to the file."""

    def __init__(self, path: Path, clock: Clock, boot_id: str | None = None) -> None:
        self.path = path
        self._clock = clock
        self._boot_id = boot_id
        self._open: tuple[sqlite3.Connection, FileIdentity] | None = None
        self._existed = False

    def now(self) -> rows.Now:
        return rows.Now(self._clock.boottime_ns(), self._clock.wall_ns())

    def close(self) -> None:
        """Close the connection; the next transaction opens another."""
        if self._open is not None:
            self._open[0].close()
            self._open = None

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """One consistent view, in which nothing is over that is still there.  Raises StoreUnavailable."""
        with self._explained():
            db = self._connected()
            if rows.anything_due(db, self.now()):
                with _transaction(db, "IMMEDIATE"):
                    rows.expire(db, self.now())
                self._announce()
            with _transaction(db, "DEFERRED"):
                yield db

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """All or nothing, one writer at a time.  Raises StoreUnavailable."""
        with self._explained():
            db = self._connected()
            with _transaction(db, "IMMEDIATE"):
                rows.expire(db, self.now())
                yield db
            self._announce()

    def _announce(self) -> None:
        """Wake the watchers once more: the log is written before the change shows, and its index is mapped memory."""
        os.utime(self.path)

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreUnavailable(f"{self.path}: {getattr(error, 'strerror', None) or error}") from error

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that the path leads to now."""
        identity = _identity(self.path)
        if self._open is not None and self._open[1] == identity:
            return self._open[0]
        self.close()
        if identity is None and self._existed:
            raise StoreUnavailable(f"{self.path}: is gone: restore it, or restart to begin an empty store")
        db = self._opened(create=identity is None)
        identity = _identity(self.path)
        if identity is None:
            db.close()
            raise StoreUnavailable(f"{self.path}: went while it was opened")
        self._open, self._existed = (db, identity), True
        return db

    def _opened(self, create: bool) -> sqlite3.Connection:
        if create:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        boot_id = self._boot_id or BOOT_ID.read_text().strip()
        with _alone(self.path.parent):  # or two processes would turn an empty file into a store at once
            if create:
                _touch(self.path)
            db = sqlite3.connect(self.path, timeout=BUSY_LIMIT_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(db, boot_id)
            except BaseException:
                db.close()
                raise
        return db

    def _prepare(self, db: sqlite3.Connection, boot_id: str) -> None:
        # In WAL mode NORMAL survives a killed process; of a power cut no lease survives anyway.
        db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
        if db.execute("PRAGMA user_version").fetchone() == (rows.SCHEMA_VERSION,) and rows.booted(db) == boot_id:
            return
        with _transaction(db, "IMMEDIATE"):
            rows.found(db, secrets.token_hex(8))
            if rows.booted(db) != boot_id:
                rows.rebase(db, boot_id, self.now())


@contextmanager
def _transaction(db: sqlite3.Connection, kind: str) -> Generator[None]:
    db.execute(f"BEGIN {kind}")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """No other process opens a store in this folder meanwhile.  The kernel lifts the lock of whoever dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _identity(path: Path) -> FileIdentity | None:
    """Which file the path leads to; None when there is none.  Raises StoreUnavailable: not a plain file."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not S_ISREG(status.st_mode):
        raise StoreUnavailable(f"{path}: is not a plain file: give the store's own path")
    return status.st_dev, status.st_ino


def _touch(path: Path) -> None:
    """An empty file that only we may read.  One that is there is not opened: closing it would drop SQLite's locks."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
