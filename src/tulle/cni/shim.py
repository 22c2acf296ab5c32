"""The plugin that the runtime executes, in Python: carry the call to the agent, and its answer back.

``csrc/`` is the same in C; this one is its specification and its fall-back, and one contract suite
runs on both.  It is run as a single file (``python -I -S shim.py``), so it imports nothing of the package.
Without an agent, ADD and STATUS say so at once; DEL, CHECK and GC are done by the agent's own code in
a process of its own, and a DEL that nobody can do now, or that died on the way, is left as a tombstone.
What only the binary does is to be the plugin of type ``loopback`` when it is called so.
"""

import errno
import json
import os
import select
import signal
import socket
import stat
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, cast

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
STDIN_LIMIT, ENVIRONMENT_LIMIT, ANSWER_LIMIT, DEPTH_LIMIT = 1 << 20, 128 << 10, 4 << 20, 32
STDIN_PATIENCE_S, SILENCE_S, PATIENCE_S, TOTAL_S = 10.0, 2, 10, 60
"""An agent may be silent for SILENCE_S before it says that it has read the call, and for PATIENCE_S from then on."""
BAD_ENVIRONMENT, IO_FAILURE, UNDECODABLE, TRY_AGAIN, NOT_AVAILABLE = 4, 5, 6, 11, 50

SOCKET_FOLDER, SOCKET_NAME = ("run", "tulle"), "agent.sock"
ALONE = frozenset({"DEL", "CHECK", "GC"})
STATE, COMMAND_FILE, COMMAND_LIMIT = ("var", "lib", "tulle"), "cni-offline", 4096
TOMBSTONES = (("var", "lib", "tulle", "tombstones"), ("run", "tulle", "tombstones"))


class Refused(Exception):
    """What is answered instead of a result."""

    def __init__(self, code: int, msg: str, details: str) -> None:
        super().__init__(msg)
        self.code, self.msg, self.details = code, msg, details


class Absent(Exception):
    """Nobody serves the socket, or nobody whom we trust."""


class Silent(Exception):
    """Somebody does, and gave no whole answer."""


def main(argv: list[str]) -> int:
    """The exit code of one execution."""
    command = os.environ.get("CNI_COMMAND", "")
    if argv[1:] == ["--version"]:
        print(f"tulle-cni {_own_version()}")
        return 0
    if not command:
        print(f"tulle-cni {_own_version()}: a CNI plugin, versions {VERSIONS[0]} to {VERSIONS[-1]}", file=sys.stderr)
        return 0
    version = VERSIONS[-1]
    try:
        if command not in COMMANDS:
            raise Refused(BAD_ENVIRONMENT, "CNI_COMMAND", f"must be one of {', '.join(COMMANDS)}")
        environment = _environment()
        stdin = _read_stdin()
        version = requested_version(stdin)
        code, stdout = _answer(command, version, environment, stdin)
    except Refused as refused:
        error = {"cniVersion": version, "code": refused.code, "msg": refused.msg, "details": refused.details}
        code, stdout = 1, _encoded(error)
    try:
        sys.stdout.buffer.write(stdout)
        sys.stdout.buffer.flush()
    except OSError:
        os._exit(1)  # closed: nobody reads, and nothing is to be said at exit either
    return code


def requested_version(stdin: bytes) -> str:
    """The runtime's version, where it can be told and is supported; else our newest."""
    try:
        conf: object = json.loads(stdin.decode(errors="replace"), parse_constant=_refuse, parse_int=str)
    except (ValueError, RecursionError):
        return VERSIONS[-1]
    if not isinstance(conf, dict) or _is_deep(cast("object", conf)):
        return VERSIONS[-1]
    wanted = cast("dict[str, object]", conf).get("cniVersion")
    return wanted if isinstance(wanted, str) and wanted in VERSIONS else VERSIONS[-1]


def _answer(command: str, version: str, environment: bytes, stdin: bytes) -> tuple[int, bytes]:
    if command == "VERSION":
        return 0, _encoded({"cniVersion": version, "supportedVersions": VERSIONS})
    body = b"C" + environment + b"\0" + stdin
    try:
        root = os.open(os.environ.get("TULLE_ROOT") or "/", os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        return _without_agent(command, None, body, error.strerror or "")
    try:
        reply = _ask(root, body)
    except Absent as absent:
        if command not in ALONE or not (words := _command(root)):
            return _without_agent(command, root, body, str(absent))
        reply = _run_alone(root, words, stdin)
        if reply is None:
            return _without_agent(command, root, body, f"{absent}, and its code alone ended without an answer")
    except Silent as silent:
        return _without_agent(command, root, body, str(silent))
    return reply[0], reply[1:]


def _without_agent(command: str, root: int | None, body: bytes, reason: str) -> tuple[int, bytes]:
    """What can be done all the same, and else what to tell the runtime."""
    if command == "DEL" and root is not None and _leave_tombstone(root, body):
        return 0, b""
    folder = os.environ.get("TULLE_ROOT") or "/"
    details = f"{folder if folder != '/' else ''}/run/tulle/agent.sock: {reason}: start tulled, or see its log"
    raise Refused(NOT_AVAILABLE if command == "STATUS" else TRY_AGAIN, "the agent does not answer", details)


# -- what the runtime gives ------------------------------------------------------------


def _environment() -> bytes:
    names = [name for name in os.environ if name.startswith(("CNI_", "TULLE_"))]
    found = b"".join(os.fsencode(f"{name}={os.environ[name]}") + b"\0" for name in names)
    if len(found) > ENVIRONMENT_LIMIT:
        raise Refused(BAD_ENVIRONMENT, "the environment", "more than 128 KiB of CNI_* and TULLE_*")
    return found


def _read_stdin() -> bytes:
    found = b""
    try:
        while len(found) <= STDIN_LIMIT:
            if not select.select([0], [], [], STDIN_PATIENCE_S)[0]:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            more = os.read(0, STDIN_LIMIT + 1 - len(found))
            if not more:
                return found
            found += more
    except OSError as error:
        raise Refused(IO_FAILURE, "stdin cannot be read", error.strerror or "") from None
    raise Refused(UNDECODABLE, "stdin is not a network configuration", "more than 1 MiB")


# -- the agent -------------------------------------------------------------------------


def _ask(root: int, body: bytes) -> bytes:
    """The agent's answer: exit code, then stdout.  Raises Absent, Silent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            _set_patience(sock, option, SILENCE_S)
        try:
            _enter_folder(root)
            sock.connect(SOCKET_NAME)
        except BlockingIOError:
            raise Silent("it is silent") from None
        except OSError as error:
            raise Absent(error.strerror or str(error)) from None
        _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if not _is_trusted(uid):
            raise Absent("served by another user")
        try:
            sock.sendall(struct.pack(">I", len(body)) + body)
            return _receive_frame(sock, time.monotonic() + TOTAL_S)
        except BlockingIOError:
            raise Silent("it is silent") from None
        except OSError as error:
            raise Silent(error.strerror or str(error)) from None


def _set_patience(sock: socket.socket, option: int, seconds: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))


def _receive_frame(sock: socket.socket, end: float) -> bytes:
    """An empty frame says "read", or "still at work"."""
    (length,) = struct.unpack(">I", _exactly(sock, 4, end))
    if not length:
        _set_patience(sock, socket.SO_RCVTIMEO, PATIENCE_S)
    while not length:
        (length,) = struct.unpack(">I", _exactly(sock, 4, end))
    if length > ANSWER_LIMIT:
        raise Silent("its answer is too long")
    return _exactly(sock, length, end)


def _exactly(sock: socket.socket, size: int, end: float) -> bytes:
    parts = b""
    while len(parts) < size:
        if time.monotonic() >= end:
            raise Silent("it takes too long")
        part = sock.recv(size - len(parts))
        if not part:
            raise Silent("it closed the connection")
        parts += part
    return parts


def _enter_folder(root: int) -> None:
    """Stand in the socket's folder: no path is longer than an address holds, and none is followed."""
    folder = _walk(root, SOCKET_FOLDER)
    os.fchdir(folder)
    os.close(folder)
    status = os.lstat(SOCKET_NAME)
    if not stat.S_ISSOCK(status.st_mode) or not _is_trusted(status.st_uid):
        raise Absent("not a socket of root's")


# -- without an agent ------------------------------------------------------------------


def _command(root: int) -> list[bytes]:
    """How the agent's own code is started, as the agent left word; nothing when there is nothing to run."""
    try:
        folder = _walk(root, STATE)
        file = os.open(COMMAND_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or not _is_trusted(status.st_uid) or status.st_mode & 0o022:
            return []
        words = os.read(file, COMMAND_LIMIT)
    except OSError:
        return []
    found = words[:-1].split(b"\0") if words.startswith(b"/") and words.endswith(b"\0") else []
    return found if found and os.access(found[0], os.X_OK) else []


def _run_alone(root: int, words: list[bytes], stdin: bytes) -> bytes | None:
    """The answer of the agent's own code, as the agent would give it; None: it ended without one.

    It writes into a file without a name: what it said before it died is not the runtime's.
    """
    try:
        given, answer = os.memfd_create("cni-stdin"), os.memfd_create("cni-stdout")
        os.write(given, stdin)
        os.lseek(given, 0, os.SEEK_SET)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        parent, child = os.getpid(), os.fork()
    except OSError:
        return None
    if child == 0:
        try:
            _become(root, words, given, answer, parent)
        finally:
            os._exit(127)
    code = _wait_for(child)
    stdout = os.pread(answer, ANSWER_LIMIT, 0)
    return bytes((code,)) + stdout if code == 0 or (code > 0 and stdout) else None


def _become(root: int, words: list[bytes], given: int, answer: int, parent: int) -> None:
    """In the child: become the agent's code, which ends when the shim does.  Source: prctl(2), PR_SET_PDEATHSIG."""
    import ctypes  # most executions come without it

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() == parent:
        os.dup2(given, 0)
        os.dup2(answer, 1)
        os.fchdir(root)
        os.execv(words[0], words)  # noqa: S606  the words are the agent's own, in a file that only root writes


def _wait_for(child: int) -> int:
    """Its exit code; negative when a signal ended it, as it does after ``TOTAL_S``."""

    def end(*_: object) -> None:
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, end)
    signal.alarm(TOTAL_S)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    return os.waitstatus_to_exitcode(status)


def _leave_tombstone(root: int, body: bytes) -> bool:
    """Keep the whole request for the agent: on disk, else at least until the next boot."""
    now_ns = time.time_ns()
    name = f"{now_ns // 10**9:011d}.{now_ns % 10**9:09d}-{os.getpid()}"
    return any(_write_durably(root, place, name, body) for place in TOMBSTONES)


def _write_durably(root: int, place: tuple[str, ...], name: str, body: bytes) -> bool:
    try:
        folder = _walk(root, place, make=True)
        beside = f".{name}"
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    except OSError:
        return False
    try:
        with open(file, "wb") as opened:
            opened.write(body)
            opened.flush()
            os.fsync(file)
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    except OSError:
        with suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        return False
    return True


# -- parts -----------------------------------------------------------------------------


def _walk(root: int, parts: tuple[str, ...], *, make: bool = False) -> int:
    """The folder at ``parts`` below ``root``: no link is followed, every owner is looked at.  Raises OSError."""
    folder = os.dup(root)
    for part in parts:
        try:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=folder)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
        if not _is_trusted(os.fstat(folder).st_uid):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
    return folder


def _is_trusted(uid: int) -> bool:
    return uid in {0, os.geteuid()}


def _own_version() -> str:
    text = (Path(__file__).parent.parent / "__init__.py").read_text()
    return text.partition('__version__ = "')[2].partition('"')[0]


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [inner for outer in level for inner in _inner(outer)]
    return any(isinstance(value, dict | list) for value in level)


def _inner(outer: object) -> list[object]:
    if isinstance(outer, dict):
        return list(cast("dict[str, object]", outer).values())
    return cast("list[object]", outer) if isinstance(outer, list) else []


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _encoded(answer: object) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv))
