"""A lab looked at, whole: its cluster as ``tulle graph`` draws it, and every node's tables beside its leases."""

import sys
from contextlib import suppress
from typing import Final

from tulle.agent.control import ask
from tulle.agent.options import Paths
from tulle.agent.status import lease_from_json
from tulle.cli.graph import agent_state, etcd_state, look, pods_of
from tulle.cli.main import complain
from tulle.cli.places import resolve
from tulle.errors import EXIT_YES, ConfigError, StoreUnavailable, TulleError
from tulle.lab import leases
from tulle.lab.folder import LabFolder
from tulle.lab.state import LabState
from tulle.model.lease import Lease, LeaseKey
from tulle.model.network import NetworkConfig
from tulle.render.cluster import Cluster, ClusterNode, named, observed, standing, with_gaps
from tulle.render.lab_rows import Shared, lease_of, node_rows
from tulle.render.lab_view import LabView, NodeView, encode_view
from tulle.wire.network_config import decode_network_config

ASK_S: Final = 2.0
"""For an agent of this machine to answer."""


def print_view(folder: LabFolder, name: str) -> int:
    """Print the lab's view as JSON; exit code 2 with a line when it cannot be looked at."""
    try:
        view = look_at(folder, name)
    except TulleError as error:
        return complain(str(error))
    sys.stdout.buffer.write(encode_view(view))
    sys.stdout.buffer.flush()
    return EXIT_YES


def look_at(folder: LabFolder, name: str) -> LabView:
    """The lab at this moment.  Joins a rootless lab's namespaces.  Raises ConfigError: it is gone."""
    state = folder.read(name)
    if state is None:
        raise ConfigError(f"lab {name}", "no such lab")
    resolve(state.nodes[0].name, name).enter()  # before the store's thread, which would forbid it
    shared = _shared(folder, state)
    drawn: list[ClusterNode] = []
    nodes: list[NodeView] = []
    for node in state.nodes:
        kernel = look(resolve(node.name, name))
        agent = agent_state(state, node.name)
        drawn.append(observed(node.name, kernel, pods_of(state, node.name), agent))
        nodes.append(NodeView(name=node.name, lease=lease_of(node, shared), rows=node_rows(node, kernel, shared)))
    cluster = standing(state.settings, Cluster(name=name, nodes=tuple(drawn)), etcd_state(state))
    return LabView(cluster=with_gaps(named(cluster)), nodes=tuple(nodes))


def _shared(folder: LabFolder, state: LabState) -> Shared:
    config, held = _known(folder, state)
    if config is None:
        raise ConfigError(f"lab {state.name}", "its store has no network configuration")
    places = {node.address: node.name for node in state.nodes}
    owners = {str(lease.key): places.get(lease.public_ip, "") for lease in held if lease.public_ip is not None}
    return Shared(settings=state.settings, config=config, leases=held, owners=owners)


def _known(folder: LabFolder, state: LabState) -> tuple[NetworkConfig | None, tuple[Lease, ...]]:
    """What the store holds; while it is away, what the agents go on with."""
    try:
        return leases.shared(folder, state)
    except StoreUnavailable:
        config = decode_network_config(leases.network_config(state.settings))
        return config, tuple(_from_agents(folder, state).values())


def _from_agents(folder: LabFolder, state: LabState) -> dict[LeaseKey, Lease]:
    """The leases that the agents know, by key; those that are held answer nothing."""
    known: dict[LeaseKey, Lease] = {}
    for node in state.nodes:
        if agent_state(state, node.name) == "running":
            with suppress(TulleError):  # it ended at this moment, or has no lease yet
                answer = ask(Paths(folder.node_root(state.name, node.name)).socket, {"verb": "leases"}, ASK_S)
                known |= {lease.key: lease for lease in map(lease_from_json, answer["leases"])}
    return known
