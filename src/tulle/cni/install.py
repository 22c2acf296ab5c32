"""Putting the plugin where runtimes look for it, and taking away exactly what was put there.

What was written is recorded with its hash below the state folder.  A file that is not as it was
written is somebody's work: it is kept, and said.  Binaries come before the configuration that names
them, and go after it, so that a runtime finds a whole plugin at every moment.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from tulle.cni.placing import Folder, Found, NoPlainFile, digest_of, folder
from tulle.errors import ConfigError
from tulle.seams import Files
from tulle.wire.cni_conflist import (
    FLANNEL,
    PORTMAP,
    TYPE,
    conflist,
    from_flannel,
    is_read_by_runtimes,
    types_in,
)

BINARIES: Final = ("tulle-cni", TYPE)
"""The plugin's own name, and the one that runtimes look for: its type."""
LOOPBACK: Final = "loopback"
CONFLIST: Final = "10-tulle.conflist"
ASIDE: Final = ".before-tulle"
"""What a configuration that ours takes the place of is called meanwhile: no runtime reads it."""
RECORD: Final = "cni-installed.json"
DEFAULT_NAME: Final = "cbr0"
"""flannel's, so that its pods' addresses are found."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was written: path → hash; what was set aside: its path now → its path before; and what was asked for."""

    written: dict[str, str] = field(default_factory=dict[str, str])
    aside: dict[str, str] = field(default_factory=dict[str, str])
    name: str = DEFAULT_NAME
    flannels: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for.  ``source`` is the plugin's binary.

    ``name`` is the network's, ``flannels`` a file of ``conf_dir`` to take over; None: as the last time.
    """

    bin_dir: Path
    conf_dir: Path
    record: Path
    name: str | None = None
    flannels: str | None = None
    source: Path = Path()
    loopback: bool = False
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """What became of one path: ``wrote``, ``kept``, ``removed``, ``moved`` or ``left``, and why."""

    what: str
    path: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that somebody should know: ``no-portmap``, ``sorts-first`` or ``flannels``, about this path."""

    what: str
    path: Path


@dataclass(slots=True)
class Report:
    """What was done, or would be, in order; then what somebody should know."""

    acts: list[Act] = field(default_factory=list[Act])
    notes: list[Note] = field(default_factory=list[Note])

    @property
    def complete(self) -> bool:
        """Was nothing left that should have gone?"""
        return not any(act.what == "left" for act in self.acts)


def install(wish: Wish, files: Files) -> Report:
    """Write binaries and configuration.  Idempotent; after a crash, run it again.

    Raises ConfigError: no binary, a folder that others can write, a link or folder in a file's place; OSError.
    """
    report, record = Report(), _asked(wish, read_record(wish.record, files))
    plugin = _plugin(wish.source)
    with folder(wish.bin_dir, make=not wish.dry_run) as bin_dir, folder(wish.conf_dir, make=not wish.dry_run) as confs:
        placer = _Placer(wish, files, record, report)
        wanted = _configuration(record, bin_dir, confs, report)
        for name in BINARIES:
            placer.place(bin_dir, name, plugin, 0o755, always=True)
        if wish.loopback or _is_missing_or_ours(bin_dir, LOOPBACK, record):
            placer.place(bin_dir, LOOPBACK, plugin, 0o755, always=wish.loopback)
        placer.place(confs, CONFLIST, wanted, 0o644, always=wish.force)
        if record.flannels is not None:
            placer.set_aside(confs, record.flannels)
        report.notes += _notes(confs)
    return report


def uninstall(wish: Wish, files: Files) -> Report:
    """Remove what ``install`` wrote and nothing else, and put back what it set aside.  Raises ConfigError, OSError."""
    report, record = Report(), read_record(wish.record, files)
    for now, before in record.aside.items():
        _put_back(Path(now), Path(before), wish, report)
    for path in reversed(record.written):  # the configuration first
        _take_away(Path(path), record.written[path], wish, report)
    if not wish.dry_run and record != Record():
        files.remove(wish.record)
    return report


def read_record(path: Path, files: Files) -> Record:
    """What the last installation wrote; nothing when there was none.  Raises ConfigError: it cannot be read."""
    content = files.read(path)
    try:
        return msgspec.json.decode(content, type=Record) if content else Record()
    except msgspec.MsgspecError as error:
        raise ConfigError(str(path), f"is no record of an installation ({error})", "remove it by hand") from None


@dataclass(slots=True)
class _Placer:
    """Writes files one by one, each into the record as soon as it is there; the next run repairs."""

    wish: Wish
    files: Files
    record: Record
    report: Report

    def place(self, where: Folder, name: str, content: bytes, mode: int, *, always: bool) -> None:
        """``always``: also over a file that somebody else wrote, or changed."""
        path, digest = str(where.path / name), digest_of(content)
        match where.look(name):
            case NoPlainFile(kind=kind) if not self.wish.force:
                raise ConfigError(path, f"is {kind}", "remove it, or --force replaces the link itself")
            case Found(digest=found) as file if found == digest and file.mode == mode:
                self._note(path, digest)
                self.report.acts.append(Act("kept", path, "as it should be"))
            case Found(digest=found) if found != digest and not always and found != self.record.written.get(path):
                self.report.acts.append(Act("kept", path, "somebody changed it: --force replaces it"))
            case _:
                self.report.acts.append(Act("wrote", path))
                if not self.wish.dry_run:
                    where.write(name, content, mode)
                self._note(path, digest)

    def set_aside(self, where: Folder, name: str) -> None:
        """Another configuration no longer counts; ours is in place already."""
        aside = name + ASIDE
        if where.look(name) is None or not is_read_by_runtimes(name):
            return
        self.report.acts.append(Act("moved", str(where.path / name), f"to {aside}"))
        moved = {**self.record.aside, str(where.path / aside): str(where.path / name)}
        self._remember(replace(self.record, aside=moved))
        if not self.wish.dry_run:
            where.rename(name, aside)

    def _note(self, path: str, digest: str) -> None:
        self._remember(replace(self.record, written={**self.record.written, path: digest}))

    def _remember(self, record: Record) -> None:
        self.record = record
        if not self.wish.dry_run:
            self.files.replace(self.wish.record, msgspec.json.format(msgspec.json.encode(record)) + b"\n", 0o600)


def _asked(wish: Wish, last: Record) -> Record:
    """The record with what is asked for now, where that is said."""
    name = last.name if wish.name is None else wish.name
    return replace(last, name=name, flannels=wish.flannels if wish.name or wish.flannels else last.flannels)


def _plugin(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"plugin {source}", error.strerror or "cannot be read", "install gcc and libc6-dev, and tulle again"
        ) from None


def _is_missing_or_ours(where: Folder, name: str, record: Record) -> bool:
    return where.look(name) is None or str(where.path / name) in record.written


def _configuration(asked: Record, bin_dir: Folder, confs: Folder, report: Report) -> bytes:
    """Ours, or flannel's with another type."""
    if asked.flannels is not None:
        return from_flannel(str(confs.path / asked.flannels), _flannels(asked.flannels, confs))
    host_ports = bin_dir.look(PORTMAP) is not None
    if not host_ports:
        report.notes.append(Note("no-portmap", bin_dir.path))
    return conflist(asked.name, host_ports=host_ports)


def _flannels(name: str, confs: Folder) -> bytes:
    """The file to take over, also when an earlier run has set it aside.  Raises ConfigError."""
    for candidate in (name, name + ASIDE):
        with suppress(FileNotFoundError):
            return confs.read(candidate)
    raise ConfigError(str(confs.path / name), "no such file")


def _notes(confs: Folder) -> Iterator[Note]:
    """Which file a runtime takes that takes the first, and flannel's when it is still there."""
    others = [name for name in confs.names() if is_read_by_runtimes(name) and name != CONFLIST]
    first = next((name for name in others if name < CONFLIST), None)
    if first is not None:
        yield Note("sorts-first", confs.path / first)
    for name in others:
        if isinstance(confs.look(name), Found) and FLANNEL in types_in(confs.read(name)):
            yield Note("flannels", confs.path / name)


def _put_back(now: Path, before: Path, wish: Wish, report: Report) -> None:
    with folder(now.parent) as where:
        if where.look(now.name) is None:
            return
        if where.look(before.name) is not None:
            report.acts.append(Act("left", str(now), f"{before.name} is there again"))
            return
        report.acts.append(Act("moved", str(now), f"to {before.name}"))
        if not wish.dry_run:
            where.rename(now.name, before.name)


def _take_away(path: Path, digest: str, wish: Wish, report: Report) -> None:
    with folder(path.parent) as where:
        match where.look(path.name):
            case None:
                return
            case Found(digest=found) if found == digest:
                report.acts.append(Act("removed", str(path)))
                if not wish.dry_run:
                    where.remove(path.name)
            case _:
                report.acts.append(Act("left", str(path), "not as it was installed"))
