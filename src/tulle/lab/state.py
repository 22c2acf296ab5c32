"""What a lab has made or is about to make, as one value and its JSON.

The state is written before each thing is made, so that ``down`` after a killed ``up`` finds all
of it.  Where the file lives is ``folder``'s business; no process or namespace is touched here.
"""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

import msgspec

from tulle.errors import ConfigError, DecodeError
from tulle.lab.topology import LabNode, LabSettings, Topology, check_name

SCHEMA: Final = "tulle.lab/1"
ADDRESS_TYPES: Final = (IPv4Address, IPv6Address, IPv4Network, IPv6Network)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process told apart from a later one of the same number: ``started`` is field 22 of ``/proc/PID/stat``."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    """An attached pod.  ``addresses`` are what the plugin answered, with the prefix length."""

    name: str
    node: str
    container_id: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabState:
    """One lab.  ``namespaces`` are full names; ``holder`` keeps a rootless lab's user namespace alive.

    ``etcd`` is the lab's own one: None where the lab has none, or where it was not started yet.

    ``ready`` is False while ``up`` is at work, and stays so when it was killed.
    """

    schema: str = SCHEMA
    settings: LabSettings
    ready: bool = False
    rootless: bool = False
    boot_id: str
    holder: Process | None = None
    namespaces: tuple[str, ...] = ()
    nodes: tuple[LabNode, ...] = ()
    agents: dict[str, Process]
    etcd: Process | None = None
    pods: tuple[PodRecord, ...] = ()

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def topology(self) -> Topology:
        return Topology(settings=self.settings, nodes=self.nodes)

    @property
    def middle(self) -> str:
        """The underlay's own namespace."""
        return namespace_name(self.name, self.settings.underlay)

    def node(self, name: str) -> LabNode:
        """The node called ``name``.  Raises ConfigError listing those that there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        there = ", ".join(node.name for node in self.nodes) or "none"
        raise ConfigError(f"node {name}", f"lab {self.name} has no such node", f"it has {there}")

    def pod(self, name: str) -> PodRecord | None:
        """The attached pod called ``name``."""
        return next((pod for pod in self.pods if pod.name == name), None)

    def planning(self, node: LabNode) -> "LabState":
        """This state with ``node`` and the namespaces that it will need."""
        names = tuple(namespace_name(self.name, name) for name in (node.name, *node.pods))
        return replace(self, nodes=(*self.nodes, node), namespaces=(*self.namespaces, *names))

    def without(self, node: LabNode) -> "LabState":
        """This state once ``node`` and all that belongs to it is gone."""
        names = {namespace_name(self.name, name) for name in (node.name, *node.pods)}
        return replace(
            self,
            nodes=tuple(other for other in self.nodes if other.name != node.name),
            namespaces=tuple(name for name in self.namespaces if name not in names),
            agents={name: agent for name, agent in self.agents.items() if name != node.name},
            pods=tuple(pod for pod in self.pods if pod.node != node.name),
        )


def planned(topology: Topology, boot_id: str, rootless: bool) -> LabState:
    """The state of a lab of which nothing is made yet, with the namespaces that it will make."""
    return LabState(
        settings=topology.settings,
        rootless=rootless,
        boot_id=boot_id,
        namespaces=tuple(namespace_name(topology.name, name) for name in topology.places),
        nodes=topology.nodes,
        agents={},
    )


def namespace_name(lab: str, name: str) -> str:
    """The name of the namespace of a node, a pod or the underlay."""
    return f"tulle-{lab}-{name}"


def encode_state(state: LabState) -> bytes:
    """As JSON, for a person as well: one field a line."""
    return msgspec.json.format(msgspec.json.encode(state, enc_hook=str), indent=2) + b"\n"


def decode_state(content: bytes) -> LabState:
    """Raises DecodeError: not a state of this schema."""
    try:
        state = msgspec.json.decode(content, type=LabState, dec_hook=_address)
    except (msgspec.MsgspecError, ValueError, UnicodeDecodeError) as error:
        raise DecodeError("lab state", reason=str(error)) from None
    if state.schema != SCHEMA:
        raise DecodeError("lab state", schema=state.schema)
    try:
        _check_every_name(state)
    except ConfigError as error:
        raise DecodeError("lab state", reason=str(error)) from None
    return state


def _check_every_name(state: LabState) -> None:
    """Each becomes a path that ``down`` removes.  Raises ConfigError: one is not of this lab, or not a name."""
    check_name("lab", state.name)
    for node in state.nodes:
        check_name("node", node.name)
    own = namespace_name(state.name, "")
    for full in state.namespaces:
        if not full.startswith(own):
            raise ConfigError(f"namespace {full!r}", f"must begin with {own}")
        check_name("namespace", full.removeprefix(own))


def _address(kind: type, value: object) -> object:
    if kind not in ADDRESS_TYPES:
        raise NotImplementedError(kind)
    return kind(value)
