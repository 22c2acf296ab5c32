"""From a name that a person types to a network namespace: a lab's node or pod, ``/run/netns``, a path, a pid.

The one place where commands learn about labs, so that ``trace/`` need not.  A rootless lab lives
in a user namespace of its own, which ``Place.enter`` joins first.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_interface
from pathlib import Path
from typing import Final

from tulle.errors import ConfigError, Unsupported
from tulle.lab.folder import NETNS_FOLDER, LabFolder, lab_folder
from tulle.lab.state import LabState, namespace_name
from tulle.lab.topology import DEFAULT_LAB, check_name
from tulle.model.network import IPAddress

SHOWN: Final = 12
"""How many names an error lists before it says how many more there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A network namespace that a person can name.

    ``netns`` can be opened once ``enter`` was called.  ``kind`` is ``node``, ``pod``, ``underlay``, ``host``
    (on the underlay, and no node) or ``other``; ``node`` the lab's node that it is or is on ("" outside a lab);
    ``holder`` the process whose user and mount namespaces a rootless lab is in.
    """

    name: str
    netns: Path
    kind: str = "other"
    node: str = ""
    lab: str = ""
    addresses: tuple[IPAddress, ...] = ()
    """What it can be reached at, IPv4 first; empty when unknown."""
    holder: int | None = None

    def enter(self) -> None:
        """Make ``netns`` reachable for this process: joins a rootless lab's namespaces, otherwise nothing.

        Cannot be undone; call it before any thread is started.  Idempotent.
        """
        if self.holder is not None:
            from tulle.lab.rootless import enter_holder  # only rootless labs need it

            enter_holder(self.holder)


@cache
def folder() -> LabFolder:
    """Where this user's labs are; judged once, since joining a rootless lab's user namespace makes us root there.

    Raises Unsupported: this is no Linux; ConfigError: somebody else's folder is in its place.
    """
    if sys.platform != "linux":
        raise Unsupported("network namespaces", "they are Linux's: run the lab on a Linux machine")
    return lab_folder(os.environ, os.getuid())


def resolve(name: str, lab: str | None = None) -> Place:
    """The place called ``name``.  Raises ConfigError with what there is instead."""
    if "/" in name:
        return _existing(name, Path(name))
    for place in candidates(lab):
        if place.name == name:
            return place
    if name.isdecimal():
        return _existing(name, Path(f"/proc/{int(name)}/ns/net"))
    raise ConfigError(
        name, "no such node, pod, namespace or process", _listing(place.name for place in candidates(lab))
    )


def candidates(lab: str | None = None) -> tuple[Place, ...]:
    """What ``resolve`` knows by name: the chosen lab's nodes and pods, then the namespaces of ``/run/netns``."""
    state = chosen_lab(lab)
    places = list(_lab_places(folder(), state)) if state is not None else []
    names = sorted(path.name for path in NETNS_FOLDER.glob("*")) if NETNS_FOLDER.is_dir() else []
    return (*places, *(Place(name=name, netns=NETNS_FOLDER / name) for name in names))


def node_root(node: str, lab: str | None = None) -> Path:
    """The root folder of a lab's node, where its agent's socket is.  Raises ConfigError: no such node or lab."""
    state = existing_lab(lab)
    return folder().node_root(state.name, state.node(node).name)


def existing_lab(lab: str | None = None) -> LabState:
    """The chosen lab.  Raises ConfigError with the labs that there are."""
    state = chosen_lab(lab)
    if state is None:
        wanted = f"lab {lab or os.environ.get('TULLE_LAB') or DEFAULT_LAB}"
        names = folder().names()
        advice = f"choose with --name: {_listing(names)}" if names else "make one with 'tulle lab up'"
        raise ConfigError(wanted, "no such lab", advice)
    return state


def chosen_lab(lab: str | None = None) -> LabState | None:
    """``lab``, else TULLE_LAB, else ``lab``, else the only one that there is; None: there is none.

    Raises ConfigError: a lab that was named does not exist, or its state cannot be read.
    """
    labs = folder()
    named = lab or os.environ.get("TULLE_LAB")
    if named:
        state = labs.read(check_name("lab", named))
        if state is None:
            raise ConfigError(
                f"lab {named}",
                "no such lab",
                f"there is {_listing(labs.names())}" if labs.names() else "make one with 'tulle lab up'",
            )
        return state
    names = labs.names()
    if DEFAULT_LAB in names or len(names) == 1:
        return labs.read(DEFAULT_LAB if DEFAULT_LAB in names else names[0])
    return None


def _lab_places(labs: LabFolder, state: LabState) -> Iterator[Place]:
    netns, holder = labs.netns(state.name), state.holder.pid if state.holder else None

    def place(name: str, kind: str, node: str, addresses: Iterable[IPAddress | None]) -> Place:
        path = netns / namespace_name(state.name, name)
        known = tuple(address for address in addresses if address is not None)
        return Place(name=name, netns=path, kind=kind, node=node, lab=state.name, addresses=known, holder=holder)

    for node in state.nodes:
        yield place(node.name, "node", node.name, (node.address, node.address6))
    for pod in state.pods:
        yield place(pod.name, "pod", pod.node, (ip_interface(address).ip for address in pod.addresses))
    yield place(state.settings.underlay, "underlay", "", ())
    for host in state.settings.hosts:
        yield place(host.name, "host", "", (host.address, host.address6))


def _existing(name: str, netns: Path) -> Place:
    if not netns.exists():
        raise ConfigError(name, "no such namespace or process")
    return Place(name=name, netns=netns)


def _listing(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more if every else "none"
