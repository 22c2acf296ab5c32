"""Where labs keep their files: one state file and one folder of node roots per lab, and its lock.

As root that is ``/run/tulle/lab``; as an ordinary user ``$XDG_RUNTIME_DIR/tulle/lab``, else a
private folder below ``/tmp``.  What the state says is ``state``'s business.
"""

import fcntl
import os
import re
import shutil
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOENT, ENOTEMPTY
from pathlib import Path
from typing import Final

from tulle.errors import ConfigError, DecodeError
from tulle.kernel.system import SystemFiles
from tulle.lab.hosts import ETCD
from tulle.lab.state import LabState, decode_state, encode_state
from tulle.lab.topology import NAME, check_name

ROOT_FOLDER: Final = Path("/run/tulle/lab")
NETNS_FOLDER: Final = Path("/run/netns")
PRIVATE: Final = "must be a folder of your own with mode 0700"
SAFE: Final = "must be a folder of your own that nobody else can write to"
DAMAGED: Final = "put the file right, or remove by hand what the lab left, the file last"
REMOVALS: Final = 10
"""So often a folder is removed in which files still come and go."""
LONGEST: Final = 60
"""Bytes that leave room for ``/<lab>/<node>/run/tulle/agent.sock`` in a socket's 108.  Source: unix(7)."""


@dataclass(frozen=True, slots=True)
class LabFolder:
    """All labs of one user.  ``rootless``: their namespaces are in a user namespace of that user's."""

    path: Path
    rootless: bool

    def home(self, lab: str) -> Path:
        """The lab's own folder: node roots, the store, a rootless lab's namespaces."""
        return self.path / check_name("lab", lab)

    def node_root(self, lab: str, node: str) -> Path:
        return self.home(lab) / node

    def store(self, lab: str) -> Path:
        """The SQLite file that the lab's agents share."""
        return self.home(lab) / "leases.db"

    def etcd(self, lab: str) -> Path:
        """The folder of the lab's etcd: its data, its log."""
        return self.home(lab) / ETCD

    def netns(self, lab: str) -> Path:
        """The folder in which the lab's namespaces have their names."""
        return self.home(lab) / ".netns" if self.rootless else NETNS_FOLDER

    def names(self) -> tuple[str, ...]:
        """The labs that there are, sorted."""
        found = (path.stem for path in self.path.glob("*.json"))
        return tuple(sorted(name for name in found if NAME.fullmatch(name)))

    def read(self, lab: str) -> LabState | None:
        """The lab's state; None: there is no such lab.  Raises ConfigError: the file is not its state."""
        file = self._state_file(lab)
        try:
            content = SystemFiles().read(file)
            if content is None:
                return None
            state = decode_state(content)
            if state.name != lab:
                raise DecodeError("lab state", lab=state.name)
        except (DecodeError, OSError) as error:
            reason = error if isinstance(error, DecodeError) else error.strerror or error
            raise ConfigError(f"lab {lab}", f"{file} is not its state: {reason}", DAMAGED) from None
        return state

    def write(self, state: LabState) -> None:
        """Whole or not at all."""
        SystemFiles().replace(self._state_file(state.name), encode_state(state))

    def make_home(self, lab: str) -> None:
        """Raises FileExistsError: it is there already."""
        self.home(lab).mkdir(mode=0o755)

    def remove(self, lab: str) -> None:
        """Remove the lab's files, the state last.  That they are not there is success."""
        home = self.home(lab)
        _remove_tree(home)
        self._sweep(lab)
        SystemFiles().remove(self._state_file(lab))

    def remove_node_root(self, lab: str, node: str) -> None:
        """Remove one node's files.  That they are not there is success."""
        _remove_tree(self.node_root(lab, check_name("node", node)))

    @contextmanager
    def lock(self, lab: str) -> Generator[None]:
        """Keep other ``tulle lab`` commands off this lab.  Raises ConfigError: one is at work.

        A POSIX lock: it ends with this process, and the agents forked meanwhile do not hold it.
        """
        path = self.path / f".{check_name('lab', lab)}.lock"
        fd = self._locked(path, lab)
        try:
            self._sweep(lab)
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(fd)
            for empty in (self.path, self.path.parent):
                with suppress(OSError):
                    empty.rmdir()  # the last lab leaves no folder

    def _sweep(self, lab: str) -> None:
        """Remove what a writer of the state that was killed left beside it; under the lock nobody else writes."""
        unfinished = re.compile(rf"\.{re.escape(self._state_file(lab).name)}\.[0-9]+\.new")
        for entry in os.scandir(self.path):
            if unfinished.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                os.unlink(entry)

    def _locked(self, path: Path, lab: str) -> int:
        """A locked descriptor of the file that is at ``path`` now: its last holder may have removed what we opened."""
        while True:
            self._make()
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # the last lab went at this moment, and the folder with it
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_same(fd, path):
                    return fd
            except BlockingIOError:
                os.close(fd)
                raise ConfigError(f"lab {lab}", "another tulle command is at work on it", "wait for it") from None
            os.close(fd)

    def _make(self) -> None:
        """Make the folder, and judge it and its parent, since somebody may have been there first."""
        for path, private in ((self.path.parent, self.rootless), (self.path, False)):
            with suppress(FileExistsError, FileNotFoundError):
                path.mkdir(mode=0o700 if private else 0o755)
            _check_own(path, os.getuid(), PRIVATE if private else SAFE)

    def _state_file(self, lab: str) -> Path:
        return self.path / f"{check_name('lab', lab)}.json"


def _remove_tree(path: Path) -> None:
    """Remove a folder and all in it, also while somebody still opens and closes files there: a page that is served.

    A link is left alone; that there is nothing is success.  Raises OSError.
    """
    for attempt in range(REMOVALS):
        if path.is_symlink() or not path.is_dir():
            return
        try:
            shutil.rmtree(path)
        except OSError as error:
            if error.errno not in {ENOENT, ENOTEMPTY} or attempt + 1 == REMOVALS:
                raise


def lab_folder(environment: Mapping[str, str], uid: int) -> LabFolder:
    """The folder of user ``uid``'s labs.  Raises ConfigError: somebody else's is in its place."""
    if uid == 0:
        for path in (ROOT_FOLDER.parent, ROOT_FOLDER):
            _check_own(path, uid, SAFE)
        return LabFolder(ROOT_FOLDER, rootless=False)
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and len(runtime) <= LONGEST and _is_own(Path(runtime), uid, PRIVATE):
        return LabFolder(Path(runtime) / "tulle/lab", rootless=True)
    private = Path(f"/tmp/tulle-{uid}")  # noqa: S108  # judged before it is used
    _check_own(private, uid, PRIVATE)
    return LabFolder(private / "lab", rootless=True)


def _check_own(path: Path, uid: int, rule: str) -> None:
    """That it is not there yet is fine.  Raises ConfigError naming the ``rule`` that it breaks."""
    if os.path.lexists(path) and not _is_own(path, uid, rule):
        raise ConfigError(str(path), rule, "move it away")


def _is_own(path: Path, uid: int, rule: str) -> bool:
    """Is it a folder (no link to one) of ``uid``'s that others cannot write to, or with ``PRIVATE`` not even read?"""
    try:
        found = path.lstat()
    except OSError:
        return False
    others = 0o077 if rule == PRIVATE else 0o022
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & others


def _is_same(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False
