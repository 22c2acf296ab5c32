"""The lab's own etcd: the real program, on a host of its own on the underlay, as a cluster has it.

Its files are in the lab's folder, its process ends with the lab.  What is in it is ``leases``' business.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from tulle.errors import ProcessFailed, Unsupported
from tulle.lab.children import Order, forked
from tulle.lab.hosts import ETCD, UnderlayHost
from tulle.lab.processes import is_alive, is_held
from tulle.lab.site import Lab
from tulle.lab.state import LabState
from tulle.store.etcd_address import DEFAULT_PORT, DEFAULT_PREFIX

OLDEST: Final = (3, 4)
READY_S: Final = 30.0
ASK_S: Final = 10.0
LOG: Final = "etcd.log"
LOOPBACK: Final = "127.0.0.1"
PEER_PORT: Final = 2380
QUICK: Final = ("--heartbeat-interval=20", "--election-timeout=100")
"""A member alone needs no patience with others: it leads, and answers, almost at once."""
INSTALL: Final = "install etcd 3.4 or newer (Debian, Ubuntu: etcd-server), or leave out --store etcd"
VERSION: Final = re.compile(r"^etcd Version: (\d+)\.(\d+)", re.MULTILINE)
UNTESTED: Final = {"aarch64": "arm64", "armv7l": "arm"}
"""Machines on which etcd 3.4 starts only when told that this is meant."""


@dataclass(frozen=True, slots=True)
class Program:
    """An etcd that can be started."""

    path: str


def find_etcd() -> Program:
    """The etcd in PATH.  Raises Unsupported: there is none, or it is too old."""
    path = shutil.which("etcd")
    if path is None:
        raise Unsupported("etcd", f"it is not in PATH: {INSTALL}")
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=ASK_S, check=False).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Unsupported("etcd", f"{path} cannot be run ({error}): {INSTALL}") from None
    found = VERSION.search(said)
    if found is None:
        raise Unsupported("etcd", f"{path} does not say its version: {INSTALL}")
    if (int(found[1]), int(found[2])) < OLDEST:
        raise Unsupported("etcd", f"{path} is {found[1]}.{found[2]}: {INSTALL}")
    return Program(path)


def etcd_url(host: UnderlayHost) -> str:
    """The store's URL, for every place of the lab."""
    return f"etcd://{host.address}:{DEFAULT_PORT}{DEFAULT_PREFIX}"


def start_etcd(lab: Lab, program: Program) -> None:
    """Start it, on the data that it left; returns when it serves.

    Its namespace and its link are there.  Call it while no other thread runs.  Raises
    ProcessFailed with the last line of its log.
    """
    host = lab.state.settings.etcd
    assert host is not None, "only a lab that has an etcd starts one"
    folder = lab.folder.etcd(lab.name)
    folder.mkdir(mode=0o755, exist_ok=True)
    order = Order(
        name=ETCD,
        what="etcd",
        netns=lab.netns(ETCD),
        log=folder / LOG,
        life=partial(_become, program, command_line(program, host, folder / "data")),
    )
    with forked([order], lab.folder.home(lab.name)) as brood:
        lab.note(replace(lab.state, etcd=brood.children[ETCD].process))
        brood.begin()
        try:
            list(brood.as_they_serve(READY_S))
        except ProcessFailed as error:
            raise ProcessFailed("etcd", _last_line(order.log) or error.reason) from error


def command_line(program: Program, host: UnderlayHost, data: Path) -> list[str]:
    """One member that serves the underlay, and its own host where etcdctl looks for one."""
    addresses = [str(host.address), *([f"[{host.address6}]"] if host.address6 else [])]
    clients = [f"http://{address}:{DEFAULT_PORT}" for address in addresses]
    peer = f"http://{LOOPBACK}:{PEER_PORT}"
    return [
        program.path,
        f"--name={ETCD}",
        f"--data-dir={data}",
        f"--listen-client-urls={','.join([*clients, f'http://{LOOPBACK}:{DEFAULT_PORT}'])}",
        f"--advertise-client-urls={','.join(clients)}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={ETCD}={peer}",
        "--logger=zap",
        *QUICK,
    ]


def etcd_runs(state: LabState) -> bool:
    """Does the lab's etcd run, and is it not held?  False where the lab has none."""
    return state.etcd is not None and is_alive(state.etcd) and not is_held(state.etcd)


def _become(program: Program, words: list[str]) -> None:
    """Replace this process by the program."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # which Python ignores, and a program inherits
    os.execve(program.path, words, _environment(os.environ, os.uname().machine))  # noqa: S606 - this is the life


def _environment(ours: Mapping[str, str], machine: str) -> dict[str, str]:
    """Ours without settings for an etcd, which would contradict its command line."""
    kept = {name: value for name, value in ours.items() if not name.startswith("ETCD_")}
    return kept | ({"ETCD_UNSUPPORTED_ARCH": UNTESTED[machine]} if machine in UNTESTED else {})


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return ascii(lines[-1])[1:-1] if lines else ""
