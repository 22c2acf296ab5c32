"""What the control socket answers from the agent's first moment on.

An agent that waits for its store is not dead: until the node has taken its place, ``status``
says what it waits for, a pod is told to try again, and every other question is refused with the
same reason.  From then on the node's own verbs answer.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from tulle.agent.health import stuck, summary, unready
from tulle.agent.node import Node
from tulle.agent.status import JsonObject, NodeStatus, starting_json
from tulle.agent.verbs import VERBS, Verb, patience_s
from tulle.cni.attach import PodNetwork
from tulle.errors import TulleError


class NotYet(TulleError):
    """The node has no lease yet; the reason says what it waits for."""


class Desk:
    """The agent's answers.  ``open`` once the node has taken its place."""

    def __init__(self, store: str, started_ns: int, pid: int) -> None:
        self._store, self.started_ns, self._pid = store, started_ns, pid
        self._waits_for = "starting"
        self._node: Node | None = None
        self._opened = asyncio.Event()

    def waits_for(self, what: str) -> None:
        """Note what keeps the node from taking its place, in one line."""
        self._waits_for = what

    def open(self, node: Node) -> None:
        """From now on ``node`` answers."""
        self._node = node
        self._opened.set()

    def pod_network(self) -> PodNetwork | None:
        """What pods of this node need to know; None before the node has taken its place."""
        return self._node.pod_network() if self._node is not None else None

    def node_status(self) -> NodeStatus | None:
        """What is known of the node; None before it has taken its place."""
        return self._node.status() if self._node is not None else None

    def stuck(self) -> str | None:
        """Why a restart would help; None: it would not."""
        node = self._node
        return stuck(node.reconciler.busy_since_ns, node.clock.boottime_ns()) if node is not None else None

    def unready(self) -> list[str]:
        """Why the node is not ready; none: it is."""
        return unready(self._node.status()) if self._node is not None else [self._waits_for]

    def summary(self) -> str:
        """One line for whoever lists services."""
        return summary(self._node.status()) if self._node is not None else self._waits_for

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """The verbs by name, those of a node among them once it is there."""
        return {name: self._verb(name) for name in VERBS}

    def _verb(self, name: str) -> Verb:
        async def answer(request: JsonObject) -> JsonObject:
            if name == "wait":
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience_s(request)):
                        await self._opened.wait()
            if self._node is not None:
                return await VERBS[name](self._node, request)
            return self._not_yet(name)

        return answer

    def _not_yet(self, name: str) -> JsonObject:
        match name:
            case "status":
                return starting_json(self._waits_for, self._store, self.started_ns, self._pid)
            case "wait":
                return {"done": False, "peers": 0, "state": self._waits_for}
            case _:
                raise NotYet(f"agent: {self._waits_for}: ask again once it holds a lease")
