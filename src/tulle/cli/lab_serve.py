"""``tulle lab serve``: the lab as a page in the browser.  The server is in ``serve/``; here it gets its lab.

All that touches namespaces is done apart, in forked children; a page's acts are the commands
that a person types.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tulle.errors import EXIT_YES, ConfigError, ProcessFailed

if TYPE_CHECKING:
    from tulle.lab.folder import LabFolder
    from tulle.lab.state import LabState
    from tulle.render.lab_view import LabView
    from tulle.serve.apart import Done
    from tulle.serve.requests import Site

SCHEMA: Final = "tulle.serve/1"
LOOPBACK: Final = "127.0.0.1"
TOKEN_BYTES: Final = 24
OPENER: Final = "xdg-open"
WARM: Final = ("cli.trace", "cli.inside", "cli.lab_look", "trace.session", "trace.json", "kernel.linux", "render.html")
"""What children need, imported once, in their parent."""
GONE: Final = ("lab {} is gone", "实验 {} 已不存在")
REDIRECT: Final = '<!doctype html><meta http-equiv="refresh" content="0;url={}">\n'


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of ``tulle lab serve``."""
    parser.add_argument("--port", metavar="N", type=_port, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="open it in a browser (default: where there is a desktop)",
    )


def serve(args: argparse.Namespace) -> int:
    """Serve until interrupted, or until the lab is gone."""
    from tulle.cli.places import existing_lab, folder

    state = existing_lab(args.name)
    if not state.ready:
        raise ConfigError(
            f"lab {state.name}", "was not finished", f"remove it with 'tulle lab down --name {state.name}'"
        )
    for module in WARM:
        import_module(f"tulle.{module}")
    with _listening(args.port) as sock, ExitStack() as until_the_end:
        site, lab = _site(sock), ServedLab(folder=folder(), name=state.name)

        def show() -> None:
            _announce(args, state, site)
            until_the_end.enter_context(_opened(args, folder().home(state.name), site))

        asyncio.run(_until_told(lab, site, sock, show))
    if not args.json and folder().read(state.name) is None:
        print(GONE[bool(args.lang == "zh")].format(state.name))
    return EXIT_YES


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedLab:
    """The lab as ``serve.lab_port`` asks for it."""

    folder: "LabFolder"
    name: str

    def is_there(self) -> bool:
        with suppress(ConfigError):
            return self.folder.read(self.name) is not None
        return False

    async def look(self) -> "LabView":
        from tulle.cli.lab_look import print_view
        from tulle.errors import DecodeError
        from tulle.render.lab_view import decode_view

        done = await _apart(lambda: print_view(self.folder, self.name))
        if done.code:
            raise ProcessFailed(f"lab {self.name}", done.err.strip() or f"cannot be looked at: {done.code}")
        try:
            return decode_view(done.out)
        except DecodeError as error:
            raise ProcessFailed(f"lab {self.name}", str(error)) from None

    async def run(self, words: Sequence[str]) -> "Done":
        from tulle.cli.main import main  # no cycle: main imports this module when it runs it

        return await _apart(lambda: main(["--lang", "en", *words]))

    def typed(self, words: Sequence[str]) -> str:
        import shlex

        from tulle.lab.topology import DEFAULT_LAB

        chosen = ["--name", self.name]
        at = words.index("--name")
        rest = [*words[:at], *words[at + 2 :]] if self.name == DEFAULT_LAB else list(words)
        assert chosen == list(words[at : at + 2])
        return shlex.join(["tulle", *(word for word in rest if word != "--jsonl")])


async def _apart(work: Callable[[], int]) -> "Done":
    from tulle.serve.apart import apart

    return await apart(work)


async def _until_told(lab: ServedLab, site: "Site", sock: socket.socket, show: Callable[[], None]) -> None:
    """Serve until told to stop, also by a terminal that closes, or until the lab is gone.

    ``show`` tells where; it is called once we can be told to stop.
    """
    from tulle.serve.server import LabServer

    serving = asyncio.ensure_future(LabServer(lab, site).serve(sock))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, serving.cancel)
    show()
    with suppress(asyncio.CancelledError):
        await serving


@contextmanager
def _listening(port: int) -> Generator[socket.socket]:
    """A socket on the loopback.  Raises ConfigError: the port is taken, or not ours to take."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((LOOPBACK, port))
            sock.listen()
        except OSError as error:
            raise ConfigError(
                f"--port {port}", error.strerror or "cannot be taken", "leave it out for a free one"
            ) from None
        yield sock


def _site(sock: socket.socket) -> "Site":
    import secrets

    from tulle.serve.requests import Site

    return Site(port=sock.getsockname()[1], token=secrets.token_urlsafe(TOKEN_BYTES))


def _announce(args: argparse.Namespace, state: "LabState", site: "Site") -> None:
    """One line: the address, or the facts."""
    facts = {"schema": SCHEMA, "lab": state.name, "url": site.url, "port": site.port}
    print(json.dumps(facts) if args.json else site.url, flush=True)


@contextmanager
def _opened(args: argparse.Namespace, home: Path, site: "Site") -> Generator[None]:
    """Open the page, where that is wanted, by a file of ours: a command line is for all users to read."""
    desktop = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")) and sys.stdout.isatty()
    opener = shutil.which(OPENER)
    if args.open and opener is None:
        raise ConfigError("--open", f"{OPENER} is not here", "open the address by hand")
    if opener is None or not (desktop if args.open is None else args.open):
        yield
        return
    file = home / f"serve-{site.port}.html"
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as out:
            out.write(REDIRECT.format(site.url))
        subprocess.Popen(
            [opener, str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        yield
    finally:
        file.unlink(missing_ok=True)


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} must be a port, 1 to 65535, or 0 for a free one")
    return int(text)
