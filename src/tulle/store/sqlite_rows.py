"""The embedded store's tables and what is asked of them: statements inside a transaction that is already open.

The file keeps what etcd keeps.  Every change has a revision of its own, and the last changes
stay as events, so that a watcher can go on where it was.

    fact     cluster_id, boot_id, config, revision, compacted
    lease    one row per key; no two rows claim the same subnet of a family
    event    the value after each change; NULL when the key went
    expired  keys whose lease ended by itself, for 24 h

Values are read as bytes, whatever somebody else's hand has put there.  Opening the file,
transactions and clocks are ``sqlite_file``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Final, NamedTuple

from tulle.errors import LeaseConflict, LeaseLost
from tulle.model.lease import LeaseKey

EVENTS_KEPT: Final = 10_000
EXPIRED_KEPT_NS: Final = 24 * 3_600 * 1_000_000_000
SCHEMA_VERSION: Final = 1

SCHEMA: Final = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE lease (
    key TEXT PRIMARY KEY, subnet TEXT UNIQUE, subnet6 TEXT UNIQUE, value BLOB NOT NULL, owner TEXT,
    created INTEGER NOT NULL, modified INTEGER NOT NULL, ttl_ns INTEGER, ends_ns INTEGER, ends_wall_ns INTEGER
) WITHOUT ROWID;
CREATE INDEX lease_end ON lease (ends_ns) WHERE ends_ns IS NOT NULL;
CREATE TABLE event (
    revision INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB, expired INTEGER NOT NULL DEFAULT 0,
    owner TEXT, created INTEGER, ends_ns INTEGER
);
CREATE TABLE expired (key TEXT PRIMARY KEY, wall_ns INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO fact VALUES ('revision', 0), ('compacted', 0);
"""

ROW: Final = "key, CAST(value AS BLOB), owner, created, modified, ends_ns"
EVENT: Final = "revision, key, CAST(value AS BLOB), expired, owner, created, ends_ns"


class Row(NamedTuple):
    """A lease as stored.  ``ends_ns`` (CLOCK_BOOTTIME) is None for a reservation."""

    key: str
    value: bytes
    owner: str | None
    created: int
    modified: int
    ends_ns: int | None


class Event(NamedTuple):
    """One change.  ``value`` is None when the key went; ``expired``: by itself."""

    revision: int
    key: str
    value: bytes | None
    expired: bool
    owner: str | None
    created: int | None
    ends_ns: int | None


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on the two clocks: the machine's since it booted, and the world's."""

    boot_ns: int
    wall_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a writer wants to stand under a key; ``ttl_ns`` None: without an end."""

    key: LeaseKey
    subnet: str | None
    subnet6: str | None
    value: bytes
    owner: str | None
    ttl_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything, at one revision."""

    cluster_id: str
    revision: int
    rows: Sequence[Row]
    expired: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What happened after a revision; ``contents`` instead of ``events`` when that can't be told any more."""

    revision: int
    events: Sequence[Event] = ()
    contents: Contents | None = None
    next_end_ns: int | None = None


def config(db: Connection) -> bytes | None:
    """The shared configuration as written; None while nobody has written one."""
    row: tuple[bytes] | None = db.execute("SELECT CAST(value AS BLOB) FROM fact WHERE name = 'config'").fetchone()
    return row and row[0]


def write_config(db: Connection, value: bytes) -> None:
    """Replace the shared configuration: a change with a revision, but no event."""
    db.execute("INSERT OR REPLACE INTO fact VALUES ('config', ?)", (value,))
    _next_revision(db)


def contents(db: Connection, now: Now) -> Contents:
    """All leases by key, and what expired within a day."""
    rows = db.execute(f"SELECT {ROW} FROM lease ORDER BY key")  # noqa: S608 - ROW is a constant
    expired = db.execute("SELECT key FROM expired WHERE wall_ns > ?", (now.wall_ns - EXPIRED_KEPT_NS,))
    return Contents(
        cluster_id=str(_fact(db, "cluster_id")),
        revision=_number(db, "revision"),
        rows=[Row(*row) for row in rows],
        expired=frozenset(key for (key,) in expired),
    )


def news(db: Connection, now: Now, cluster_id: str, revision: int) -> News:
    """What happened since ``revision`` of the store called ``cluster_id``."""
    (end,) = db.execute("SELECT min(ends_ns) FROM lease WHERE ends_ns IS NOT NULL").fetchone()
    last = _number(db, "revision")
    if _fact(db, "cluster_id") != cluster_id or not _number(db, "compacted") <= revision <= last:
        return News(revision=last, contents=contents(db, now), next_end_ns=end)
    statement = f"SELECT {EVENT} FROM event WHERE revision > ? ORDER BY revision"  # noqa: S608 - EVENT is a constant
    found = db.execute(statement, (revision,))
    return News(revision=last, events=[Event(*row) for row in found], next_end_ns=end)


def find(db: Connection, key: LeaseKey) -> Row | None:
    """The row of ``key``; None when nobody holds it."""
    row = db.execute(f"SELECT {ROW} FROM lease WHERE key = ?", (key,)).fetchone()  # noqa: S608 - ROW is a constant
    return row and Row(*row)


def find_own(db: Connection, key: LeaseKey, owner: str | None, revision: int) -> Row:
    """Our row as we last saw it, at ``revision``.  Raises LeaseLost."""
    row = find(db, key)
    if row is None:
        raise LeaseLost(key, "is gone from the store")
    if row.owner != owner:
        raise LeaseLost(key, "is another node's now")
    if row.modified > revision:
        raise LeaseLost(key, "was rewritten by somebody else")
    return row


def insert(db: Connection, claim: Claim, now: Now) -> Row:
    """A new row.  Raises LeaseConflict: the key, or one of its subnets, is taken."""
    holder = db.execute(
        "SELECT key FROM lease WHERE key = ? OR subnet = ? OR subnet6 = ?", (claim.key, claim.subnet, claim.subnet6)
    ).fetchone()
    if holder is not None:
        raise LeaseConflict(claim.key, f"{holder[0]} is taken")
    return _write(db, claim, _next_revision(db), None, _ends(claim, now))


def update(db: Connection, claim: Claim, row: Row, now: Now) -> Row:
    """``row`` with the claim's value and end."""
    return _write(db, claim, _next_revision(db), row.created, _ends(claim, now))


def republish(db: Connection, claim: Claim, row: Row) -> None:
    """``row`` with the claim's value; its end stays."""
    revision = _next_revision(db)
    statement = "UPDATE lease SET value = ?, owner = ?, modified = ? WHERE key = ?"
    db.execute(statement, (claim.value, claim.owner, revision, claim.key))
    _record(db, Event(revision, claim.key, claim.value, False, claim.owner, row.created, row.ends_ns))


def remove(db: Connection, key: str, expired: bool = False) -> None:
    """Delete the row of ``key`` and tell the watchers; ``expired``: it ended by itself."""
    db.execute("DELETE FROM lease WHERE key = ?", (key,))
    _record(db, Event(_next_revision(db), key, None, expired, None, None, None))


def anything_due(db: Connection, now: Now) -> bool:
    return db.execute("SELECT 1 FROM lease WHERE ends_ns <= ? LIMIT 1", (now.boot_ns,)).fetchone() is not None


def expire(db: Connection, now: Now) -> None:
    """Let what is over be over, in the order in which it ended."""
    due = db.execute("SELECT key FROM lease WHERE ends_ns <= ? ORDER BY ends_ns, key", (now.boot_ns,)).fetchall()
    for (key,) in due:
        remove(db, key, expired=True)
        db.execute("INSERT OR REPLACE INTO expired VALUES (?, ?)", (key, now.wall_ns))
    if due:
        db.execute("DELETE FROM expired WHERE wall_ns <= ?", (now.wall_ns - EXPIRED_KEPT_NS,))


def booted(db: Connection) -> object:
    """The boot whose clock the ends are on."""
    return _fact(db, "boot_id")


def rebase(db: Connection, boot_id: str, now: Now) -> None:
    """Move every end to the clock of this boot, by the wall clock and never further away than it was granted."""
    db.execute(
        "UPDATE lease SET ends_ns = ? + min(ttl_ns, max(0, ends_wall_ns - ?)) WHERE ends_ns IS NOT NULL",
        (now.boot_ns, now.wall_ns),
    )
    db.execute("INSERT OR REPLACE INTO fact VALUES ('boot_id', ?)", (boot_id,))


def found(db: Connection, cluster_id: str) -> None:
    """Make the tables in an empty file; nothing happens when they are there."""
    if db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,):
        return
    for statement in SCHEMA.split(";\n"):
        db.execute(statement)
    db.execute("INSERT INTO fact VALUES ('cluster_id', ?)", (cluster_id,))
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _write(db: Connection, claim: Claim, revision: int, created: int | None, end: Now | None) -> Row:
    ends_ns = end.boot_ns if end is not None else None
    row = Row(claim.key, claim.value, claim.owner, created or revision, revision, ends_ns)
    db.execute(
        "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(claim.key, claim.subnet, claim.subnet6, claim.value, claim.owner),
            *(row.created, revision, claim.ttl_ns, ends_ns, end.wall_ns if end is not None else None),
        ),
    )
    db.execute("DELETE FROM expired WHERE key = ?", (claim.key,))
    _record(db, Event(revision, claim.key, claim.value, False, claim.owner, row.created, ends_ns))
    return row


def _ends(claim: Claim, now: Now) -> Now | None:
    return None if claim.ttl_ns is None else Now(now.boot_ns + claim.ttl_ns, now.wall_ns + claim.ttl_ns)


def _record(db: Connection, event: Event) -> None:
    """Keep the event; now and then forget the oldest."""
    db.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)", event)
    oldest = event.revision - EVENTS_KEPT
    if event.revision % (EVENTS_KEPT // 10) == 0 and oldest > 0:
        db.execute("DELETE FROM event WHERE revision <= ?", (oldest,))
        db.execute("UPDATE fact SET value = ? WHERE name = 'compacted'", (oldest,))


def _next_revision(db: Connection) -> int:
    db.execute("UPDATE fact SET value = value + 1 WHERE name = 'revision'")
    return _number(db, "revision")


def _number(db: Connection, name: str) -> int:
    value = _fact(db, name)
    return value if isinstance(value, int) else 0


def _fact(db: Connection, name: str) -> object:
    row = db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
    return row[0] if row is not None else None
