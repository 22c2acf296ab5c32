"""Bring nodes to life: start their agents, wait until these know each other, attach the pods.

Waiting is the agents' own ``wait`` verb, answered by the pass that converged; nothing is polled.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from tulle.agent.control import ask
from tulle.agent.options import AgentOptions
from tulle.errors import ProcessFailed, TulleError
from tulle.kernel.netns import inside
from tulle.lab.children import Forked, Order, forked
from tulle.lab.leases import store_url
from tulle.lab.pods import Attachment, attach, find_plugin
from tulle.lab.processes import is_alive, is_held
from tulle.lab.site import Lab
from tulle.lab.state import PodRecord
from tulle.lab.topology import LabNode
from tulle.lab.underlay import NODE_DEVICE
from tulle.plan.desired import Settings

READY_S: Final = 60
LAST_WORDS_S: Final = 3.0
"""For an agent that no longer answers to say why; its socket closes before it ends."""
LOG_FILE: Final = "var/log/tulled.log"
Serve: TypeAlias = Callable[[AgentOptions], None]
"""Be an agent with these options, log to stderr, return when told to end."""
THREADS: Final = 8
"""At once: more do not help, since the work is the agents' own."""


def inhabit(lab: Lab, nodes: Sequence[LabNode], serve: Serve) -> None:
    """Start the agents of ``nodes`` and attach their pods; returns when the whole lab has converged.

    Raises ProcessFailed with the words of the agent or plugin that failed.
    """
    for node in nodes:
        lab.node_root(node).mkdir(mode=0o755)
    with forked([_order(lab, node, serve) for node in nodes], lab.folder.home(lab.name)) as brood:
        processes = {node: agent.process for node, agent in brood.children.items()}
        lab.note(replace(lab.state, agents=lab.state.agents | processes))
        brood.begin()
        with _pool() as pool:
            settling = {name: pool.submit(_settle, lab, name, brood.children) for name in brood.as_they_serve(READY_S)}
            others = len(lab.state.nodes) - 1
            knowing = [pool.submit(_converged, lab, node, brood.children, others) for node in _tended(lab)]
            _finish([*settling.values(), *knowing])
    pods = [pod for node in nodes for pod in settling[node.name].result()]
    lab.note(replace(lab.state, ready=True, pods=(*lab.state.pods, *pods)))


def _tended(lab: Lab) -> list[LabNode]:
    """The nodes whose agents can learn something: those that were ended or paused are not waited for."""
    agents = lab.state.agents
    return [
        node
        for node in lab.state.nodes
        if (agent := agents.get(node.name)) is not None and is_alive(agent) and not is_held(agent)
    ]


def _order(lab: Lab, node: LabNode, serve: Serve) -> Order:
    options = AgentOptions(
        root=lab.node_root(node),
        store=store_url(lab.folder, lab.state),
        iface=(NODE_DEVICE,),
        settings=Settings(ip_masq=True),
    )
    return Order(
        name=node.name,
        what=f"agent of {node.name}",
        netns=lab.netns(node.name),
        log=_log_file(options.root),
        life=partial(serve, options),
    )


def _log_file(root: Path) -> Path:
    """Where the agent of the node with this root writes its log."""
    return root / LOG_FILE


def _settle(lab: Lab, name: str, agents: Mapping[str, Forked]) -> list[PodRecord]:
    """Attach a node's pods, one after another, once its agent has taken its place."""
    node, plugin = lab.state.node(name), find_plugin()
    _converged(lab, node, agents, peers=0)
    with inside(lab.netns(node.name)):
        return [attach(plugin, _attachment(lab, node, pod)) for pod in node.pods]


def _converged(lab: Lab, node: LabNode, agents: Mapping[str, Forked], peers: int) -> None:
    """Wait until a node's kernel is as it should be, with at least ``peers`` others in it."""
    socket = AgentOptions(root=lab.node_root(node)).paths.socket
    try:
        answer = ask(socket, {"verb": "wait", "peers": peers, "timeout_s": READY_S}, timeout_s=READY_S + 5)
    except (TulleError, OSError) as error:
        raise ProcessFailed(f"agent of {node.name}", _reason(lab, node, agents) or str(error)) from error
    if not answer["done"]:
        reason = f"not ready after {READY_S} s: {answer['state']}, {answer['peers']} of {peers} peers"
        raise ProcessFailed(f"agent of {node.name}", reason)


def _reason(lab: Lab, node: LabNode, agents: Mapping[str, Forked]) -> str:
    """Why an agent ended: its last words, else the last line of its log."""
    agent = agents.get(node.name)
    if agent is not None and (words := agent.reason(LAST_WORDS_S)):
        return words
    try:
        lines = _log_file(lab.node_root(node)).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _attachment(lab: Lab, node: LabNode, pod: str) -> Attachment:
    return Attachment(
        pod=pod,
        node=node.name,
        container_id=f"{lab.name}-{pod}",
        netns=lab.netns(pod),
        root=lab.node_root(node),
        mode=lab.state.settings.pod_mode,
    )


@contextmanager
def _pool() -> Generator[ThreadPoolExecutor]:
    """Threads whose unfinished work does not hold up an error or an interrupt."""
    pool = ThreadPoolExecutor(THREADS)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _finish(futures: Sequence[Future[Any]]) -> None:
    """Return when all are done; the first failure surfaces at once."""
    for future in as_completed(futures):
        future.result()
