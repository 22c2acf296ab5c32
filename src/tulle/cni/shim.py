"""The plugin that the runtime executes, in Python: carry the call to the agent, and its answer back.

``csrc/tulle_cni.c`` is the same in C; this one is its specification and its fall-back.  It is run
as a single file (``python -I -S shim.py``), so it imports nothing of the package.
"""

import json
import os
import socket
import struct
import sys

SILENCE_S = 2.0
STDIN_LIMIT = 1 << 20
VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
TRY_AGAIN, NOT_AVAILABLE = 11, 50


def main() -> int:
    """The exit code of one execution."""
    command = os.environ.get("CNI_COMMAND", "")
    if not command:
        print(f"tulle-cni: a CNI plugin, versions {', '.join(VERSIONS)}", file=sys.stderr)
        return 0
    stdin = sys.stdin.buffer.read(STDIN_LIMIT + 1)
    path = os.path.join(os.environ.get("TULLE_ROOT") or "/", "run/tulle/agent.sock")
    try:
        code, stdout = _ask(path, stdin)
    except OSError as error:
        code, stdout = _without_agent(command, stdin, path, error)
    sys.stdout.buffer.write(stdout)
    return code


def _ask(path: str, stdin: bytes) -> tuple[int, bytes]:
    names = [name for name in os.environ if name.startswith(("CNI_", "TULLE_"))]
    strings = b"".join(os.fsencode(f"{name}={os.environ[name]}") + b"\0" for name in names)
    body = b"C" + strings + b"\0" + stdin
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(SILENCE_S)
        sock.connect(path)
        sock.sendall(struct.pack(">I", len(body)) + body)
        (length,) = struct.unpack(">I", _exactly(sock, 4))
        answer = _exactly(sock, length)
    return answer[0], answer[1:]


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        if not part:
            raise OSError("the agent closed the connection")
        parts += part
    return parts


def _without_agent(command: str, stdin: bytes, path: str, error: OSError) -> tuple[int, bytes]:
    """What can be answered alone."""
    if command == "VERSION":
        return 0, _encoded({"cniVersion": _version(stdin), "supportedVersions": VERSIONS})
    code = NOT_AVAILABLE if command == "STATUS" else TRY_AGAIN
    details = f"nothing answers on {path}: {error.strerror or error}: start tulled"
    answer = {"cniVersion": _version(stdin), "code": code, "msg": "the agent does not answer", "details": details}
    return 1, _encoded(answer)


def _version(stdin: bytes) -> str:
    try:
        wanted = json.loads(stdin or b"{}").get("cniVersion")
    except (ValueError, AttributeError, RecursionError):
        wanted = None
    return wanted if wanted in VERSIONS else VERSIONS[-1]


def _encoded(answer: object) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
