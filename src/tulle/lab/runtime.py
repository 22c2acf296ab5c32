"""A lab's life: up, a node more, a node less, an agent held and let go, down.

The lab makes namespaces and the underlay, and starts what a node has anyway: its agent, and a
runtime that executes the plugin.  Everything in a node's kernel beyond ``eth0`` is theirs.
Each thing is in the state before it is made; ``down`` removes what the state lists, by name.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from errno import EPERM
from typing import Final

from tulle.errors import ConfigError, KernelError, StoreUnavailable, Unsupported
from tulle.kernel import netns
from tulle.lab import leases, wires
from tulle.lab.etcd import Program, etcd_runs, find_etcd, start_etcd
from tulle.lab.folder import LabFolder
from tulle.lab.hosts import ETCD
from tulle.lab.inhabit import Serve, inhabit
from tulle.lab.processes import boot_id, end_all, hold, is_alive, let_go
from tulle.lab.rootless import start_holder
from tulle.lab.site import Lab
from tulle.lab.state import LabState, Process, namespace_name, planned
from tulle.lab.topology import LabNode, Topology

GRACE_S: Final = 3.0
"""How long an agent has to end by itself."""
POWERLESS: Final = "this root lacks CAP_SYS_ADMIN or CAP_NET_ADMIN here: run it as an ordinary user, or as full root"


def up(folder: LabFolder, topology: Topology, serve: Serve) -> LabState:
    """Make the lab; it is ready when every agent knows every peer and every pod is attached.

    Leaves nothing behind when it fails or is interrupted.  Raises ConfigError (the name is in
    use), Unsupported, KernelError, ProcessFailed.
    """
    with folder.lock(topology.name):
        _check_free(folder, topology)
        program = find_etcd() if topology.settings.etcd else None
        lab = Lab(folder, planned(topology, boot_id(), folder.rootless))
        lab.note(lab.state)
        try:
            _build(lab, serve, program)
        except BaseException as error:
            tear_down(lab)
            if isinstance(error, KernelError) and error.errno == EPERM:
                raise Unsupported(f"a lab ({error})", POWERLESS) from error
            raise
        return lab.state


def down(folder: LabFolder, name: str) -> bool:
    """Remove the lab, also a half-made one; False: there was none.  Idempotent."""
    with folder.lock(name):
        state = folder.read(name)
        if state is not None:
            tear_down(Lab(folder, state))
        return state is not None


def add_node(folder: LabFolder, name: str, grow: Callable[[Topology], LabNode], serve: Serve) -> LabNode:
    """Add the node that ``grow`` designs to a running lab; on failure only this node goes again."""
    with folder.lock(name):
        lab = _running(folder, name)
        _check_store(lab)
        node = grow(lab.state.topology)
        _check_namespaces_free(lab, [node.name, *node.pods])
        lab.note(lab.state.planning(node))
        try:
            lab.enter()
            lab.make_namespaces([node.name, *node.pods])
            asyncio.run(wires.connect(lab, [node]))
            leases.reserve(lab, [node])
            inhabit(lab, [node], serve)
        except BaseException:
            with suppress(StoreUnavailable):  # what failed is said, and a reservation that stays harms nobody
                _withdraw(lab, node)
            _remove(lab, node)
            raise
        return node


def remove_node(folder: LabFolder, name: str, node_name: str) -> LabNode:
    """Take a node out: its agent ends, its lease is deleted, its namespaces and files go."""
    with folder.lock(name):
        lab = _running(folder, name)
        node = lab.state.node(node_name)
        if len(lab.state.nodes) == 1:
            raise ConfigError(f"node {node_name}", "is the last one of the lab", "use 'tulle lab down'")
        _check_store(lab)
        lab.enter()
        _withdraw(lab, node)
        _remove(lab, node)
        return node


def pause(folder: LabFolder, name: str, place: str) -> bool:
    """Hold a node's agent, or the lab's etcd, where it is; False: it was held already.

    The kernels stay as they are, and what is held repairs and answers nothing.  Raises ConfigError: no such
    place, or nothing lives there.
    """
    state = _running(folder, name).state
    process = _process(state, place)
    if process is None or not is_alive(process):
        raise ConfigError(_called(state, place), "does not run", _revival(state, place))
    return hold(process)


def resume(folder: LabFolder, name: str, place: str) -> bool:
    """Let go on what ``pause`` held, and start an etcd that has ended on the data that it left; False: it ran.

    Raises ConfigError as ``pause`` does, but for an etcd; then Unsupported, ProcessFailed.
    """
    with folder.lock(name):
        lab = _running(folder, name)
        process = _process(lab.state, place)
        if process is not None and is_alive(process):
            return let_go(process)
        if not _is_etcd(lab.state, place):
            raise ConfigError(_called(lab.state, place), "does not run", _revival(lab.state, place))
        lab.enter()
        start_etcd(lab, find_etcd())
        return True


def tear_down(lab: Lab) -> None:
    """Remove everything that the state lists; the state itself last."""
    state = lab.state
    if state.boot_id == boot_id():  # of another boot nothing but files is left
        end_all([*state.agents.values(), *([state.etcd] if state.etcd is not None else [])], GRACE_S)
        if not state.rootless:
            lab.delete_namespaces(state.namespaces)
        if state.holder is not None:
            end_all([state.holder], GRACE_S)  # the namespaces whose names only it shows go with it
    if state.rootless:
        netns.remove_folder(lab.folder.netns(state.name))
    lab.folder.remove(state.name)


def _build(lab: Lab, serve: Serve, program: Program | None) -> None:
    state = lab.state
    lab.folder.make_home(state.name)
    if state.rootless:
        start_holder(lambda holder: lab.note(replace(lab.state, holder=holder)))
        lab.enter()
    lab.make_namespaces(state.topology.places)
    asyncio.run(wires.lay(lab))
    if program is not None:
        start_etcd(lab, program)
    leases.prepare(lab)
    inhabit(lab, state.nodes, serve)


def _remove(lab: Lab, node: LabNode) -> None:
    """Undo one node, as far as it got."""
    agent = lab.state.agents.get(node.name)
    end_all([agent] if agent is not None else [], GRACE_S)
    asyncio.run(wires.disconnect(lab, node))
    names = [namespace_name(lab.name, name) for name in (node.name, *node.pods)]
    lab.delete_namespaces([name for name in names if name in lab.state.namespaces])
    lab.folder.remove_node_root(lab.name, node.name)
    lab.note(lab.state.without(node))


def _withdraw(lab: Lab, node: LabNode) -> None:
    """End a node's agent and delete its lease, so that its peers let go of it.  Raises StoreUnavailable."""
    agent = lab.state.agents.get(node.name)
    end_all([agent] if agent is not None else [], GRACE_S)
    leases.forget(lab, node)


def _check_store(lab: Lab) -> None:
    """Raises ConfigError: the lab's etcd does not answer, and nodes cannot come or go without it."""
    if lab.state.settings.etcd is not None and not etcd_runs(lab.state):
        raise ConfigError(f"etcd of lab {lab.name}", "does not answer", f"'tulle lab resume {ETCD}' lets it go on")


def _is_etcd(state: LabState, place: str) -> bool:
    return place == ETCD and state.settings.etcd is not None


def _process(state: LabState, place: str) -> Process | None:
    """The agent of a node, or the etcd; None: it was never started.  Raises ConfigError: there is no such place."""
    return state.etcd if _is_etcd(state, place) else state.agents.get(state.node(place).name)


def _called(state: LabState, place: str) -> str:
    return f"etcd of lab {state.name}" if _is_etcd(state, place) else f"agent of {place}"


def _revival(state: LabState, place: str) -> str:
    if _is_etcd(state, place):
        return f"'tulle lab resume {ETCD}' starts it again"
    return "'tulle lab down' and 'tulle lab up' start another"


def _running(folder: LabFolder, name: str) -> Lab:
    state = folder.read(name)
    if state is None:
        raise ConfigError(f"lab {name}", "no such lab", "make one with 'tulle lab up'")
    if not state.ready:
        raise ConfigError(f"lab {name}", "was not finished", f"remove it with 'tulle lab down --name {name}'")
    return Lab(folder, state)


def _check_free(folder: LabFolder, topology: Topology) -> None:
    """Refuse before anything is listed, so that nothing of somebody else's is ever ours to remove."""
    if folder.read(topology.name) is not None:
        advice = f"'tulle lab down --name {topology.name}' removes it, --name makes another"
        raise ConfigError(f"lab {topology.name}", "is already there", advice)
    home = folder.home(topology.name)
    if home.exists() or home.is_symlink():
        raise ConfigError(str(home), "is already there and belongs to no lab", "remove it, or choose another --name")
    lab = Lab(folder, planned(topology, "", folder.rootless))
    _check_namespaces_free(lab, topology.places)


def _check_namespaces_free(lab: Lab, names: Sequence[str]) -> None:
    """Each namespace that these names stand for is nobody's; what another lab lists it may be about to make."""
    listed = {full: other for other in lab.folder.names() if other != lab.name for full in _listed(lab.folder, other)}
    for name in names:
        full = namespace_name(lab.name, name)
        if full in listed:
            raise ConfigError(f"namespace {full}", f"belongs to lab {listed[full]}", "choose another name")
        if lab.netns(name).exists():
            raise ConfigError(f"namespace {full}", "is already there and belongs to no lab", "choose another name")


def _listed(folder: LabFolder, name: str) -> tuple[str, ...]:
    """The namespaces of another lab; none where its state cannot be read, which is said to whoever names it."""
    try:
        state = folder.read(name)
    except ConfigError:
        return ()
    return state.namespaces if state is not None and not state.rootless else ()
