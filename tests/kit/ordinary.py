"""An ordinary user for tests: whoever runs them, or nobody, or somebody in a user namespace of their own.

As real root the commands are run as user 65534.  Where that one cannot be (root of a user
namespace with one user in it, an interpreter in a folder that only root can read), a user
namespace in which the tests' user is an ordinary one does as well: no power, the same rules.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.labs import LabCommand, User, a_lab

NOBODY = 65534
PYTHONS = (sys.executable, "/usr/bin/python3")
PATHS = os.pathsep.join(path for path in sys.path if path)
FORBID = (
    "echo 0 > /proc/sys/user/max_user_namespaces && "
    'exec setpriv --inh-caps=-all --ambient-caps=-all --bounding-set=-all "$@"'
)
"""Run in a user namespace with all its powers; what follows has none, and may make no further namespace."""


def _missing() -> str | None:
    for tool in ("setpriv", "unshare", "nsenter"):
        if not shutil.which(tool):
            return f"{tool}: not installed"
    done = subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else "no user namespaces here: in a plain chroot the kernel refuses them"


MISSING = _missing()
"""Why there is no ordinary user here; None when there is one."""


@contextmanager
def ordinary_user() -> Generator[User]:
    """Somebody without power, whose labs are in a folder of their own; it has to be empty afterwards."""
    with tempfile.TemporaryDirectory(prefix="tulle") as short:  # sockets below it have 108 bytes for their path
        home = Path(short)
        with _identity(home) as (prefix, python):
            environment = {"HOME": short, "XDG_RUNTIME_DIR": short, "PYTHONPATH": PATHS, "PYTHONDONTWRITEBYTECODE": "1"}
            yield User(prefix=prefix, python=python, environment=environment, folder=home / "tulle/lab", home=home)


def forbidden_user(home: Path) -> User:
    """Somebody who may not make user namespaces: in one whose limit of further ones is 0."""
    words = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--keep-caps", "sh", "-c", FORBID, "sh")
    environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PYTHONPATH": PATHS}
    return User(prefix=words, environment=environment, folder=home / "tulle/lab")


@contextmanager
def _identity(home: Path) -> Generator[tuple[tuple[str, ...], str]]:
    """The words that make a command that user's, and an interpreter that the user can run."""
    if os.geteuid() != 0:
        yield (), sys.executable
        return
    nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    for python in PYTHONS:
        if _can_run(nobody, python):
            os.chown(home, NOBODY, NOBODY)
            yield nobody, python
            return
    with _user_namespace() as words:
        yield words, sys.executable


def _can_run(prefix: tuple[str, ...], python: str) -> bool:
    command = [*prefix, "sh", "-c", 'exec "$0" -c "import tulle.lab.state"', python]  # a command of that user's own
    environment = {**os.environ, "PYTHONPATH": PATHS, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(command, capture_output=True, env=environment, check=False).returncode == 0
    except OSError:
        return False


@contextmanager
def _user_namespace() -> Generator[tuple[str, ...]]:
    """One user namespace for all commands, held by a process: they have to be one user to each other."""
    words = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "sh", "-c", "echo; exec sleep 1000"]
    holder = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        yield ("nsenter", "--target", str(holder.pid), "--user", "--preserve-credentials")
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@contextmanager
def lab_of(who: str) -> Generator[LabCommand]:
    """A lab of ``root``'s, or of an ``ordinary`` user's, where the test is skipped when there can be none."""
    if who == "root":
        with a_lab() as command:
            yield command
    elif MISSING:
        pytest.skip(MISSING)
    else:
        with ordinary_user() as user, a_lab(user) as command:
            yield command
