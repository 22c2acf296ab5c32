"""A lab's facts for programs: the JSON that ``tulle lab`` prints.  Additive; addresses as text."""

from typing import Any

from tulle.lab.etcd import etcd_url
from tulle.lab.folder import LabFolder
from tulle.lab.hosts import UnderlayHost
from tulle.lab.processes import is_alive, is_held
from tulle.lab.state import SCHEMA, LabState, namespace_name

JsonObject = dict[str, Any]


def lab_json(folder: LabFolder, state: LabState) -> JsonObject:
    """One lab; ``agent_pid`` is None where no agent lives, ``agent_paused`` True where one is held."""
    settings = state.settings
    return {
        "schema": SCHEMA,
        "lab": state.name,
        "ready": state.ready,
        "rootless": state.rootless,
        "holder_pid": state.holder.pid if state.holder else None,
        "underlay": settings.underlay,
        "mtu": settings.mtu,
        "network": str(settings.network),
        "network6": str(settings.network6) if settings.ipv6 else None,
        "backend": settings.backend,
        "pod_mode": settings.pod_mode,
        "vni": settings.vni,
        "port": settings.port,
        "outside": _host(folder, state, state.settings.outsider),
        "store": store_of(folder, state),
        "etcd": _etcd(folder, state),
        "nodes": [_node(folder, state, number) for number in range(len(state.nodes))],
        "pods": [
            {
                "name": pod.name,
                "node": pod.node,
                "netns": str(folder.netns(state.name) / namespace_name(state.name, pod.name)),
                "container_id": pod.container_id,
                "addresses": list(pod.addresses),
            }
            for pod in state.pods
        ],
    }


def store_of(folder: LabFolder, state: LabState) -> str:
    """What the lab's agents share: the path of a file, or an etcd's URL."""
    host = state.settings.etcd
    return str(folder.store(state.name)) if host is None else etcd_url(host)


def _host(folder: LabFolder, state: LabState, host: UnderlayHost | None) -> JsonObject | None:
    """A host on the underlay; None: the lab has none."""
    if host is None:
        return None
    return {
        "address": str(host.address),
        "address6": str(host.address6) if host.address6 else None,
        "netns": str(folder.netns(state.name) / namespace_name(state.name, host.name)),
    }


def _etcd(folder: LabFolder, state: LabState) -> JsonObject | None:
    host, process = _host(folder, state, state.settings.etcd), state.etcd
    if host is None:
        return None
    return host | {
        "pid": process.pid if process is not None and is_alive(process) else None,
        "paused": process is not None and is_held(process),
    }


def _node(folder: LabFolder, state: LabState, number: int) -> JsonObject:
    node = state.nodes[number]
    agent = state.agents.get(node.name)
    return {
        "name": node.name,
        "address": str(node.address),
        "address6": str(node.address6) if node.address6 else None,
        "subnet": str(node.subnet),
        "subnet6": str(node.subnet6) if node.subnet6 else None,
        "netns": str(folder.netns(state.name) / namespace_name(state.name, node.name)),
        "root": str(folder.node_root(state.name, node.name)),
        "agent_pid": agent.pid if agent is not None and is_alive(agent) else None,
        "agent_paused": agent is not None and is_held(agent),
        "pods": [pod.name for pod in state.pods if pod.node == node.name],
    }
