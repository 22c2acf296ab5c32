"""Looking at nodes: their agents are asked, their kernels' counters read.  What it means is ``render.watch_view``'s.

One question a look in calm times: peers and news are asked for only when the status says that
there are others.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

from tulle.agent.control import ask_meanwhile
from tulle.errors import TulleError
from tulle.kernel.counters import read_counters
from tulle.render.watch_board import Board
from tulle.render.watch_links import watched_links
from tulle.render.watch_view import NodeSample, NodeView, followed

JsonObject: TypeAlias = dict[str, Any]

PATIENCE_S: Final = 1.0
"""For an agent's answer; one that is stopped answers nobody."""
MOST_PEERS: Final = 64
"""So many of a node's peers are shown, those that are not well first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A node to look at.  ``netns`` None: where this process is; ``pods`` are names by container id."""

    name: str
    socket: Path
    netns: Path | None = None
    pods: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What there is to look at now.  ``nobody`` says why there is nothing."""

    title: str
    every: tuple[Target, ...] = ()
    nobody: str = ""


class Watcher:
    """Looks again and again, and remembers.  ``find`` says anew at each look which nodes there are."""

    def __init__(self, find: Callable[[], Targets], interval_s: float) -> None:
        self._find, self._interval_s = find, interval_s
        self._targets = Targets(title="")
        self._nodes: dict[str, _Node] = {}

    async def look(self) -> Board:
        """One look at every node, all at the same time."""
        try:
            targets = self._targets = self._find()
        except TulleError as error:  # a lab that is being made or unmade
            targets = replace(self._targets, every=(), nobody=str(error))
        self._nodes = {target.name: self._nodes.get(target.name) or _Node() for target in targets.every}
        pairs = zip(self._nodes.values(), targets.every, strict=True)
        views = await asyncio.gather(*(node.look(target) for node, target in pairs))
        return Board(
            title=targets.title,
            views=tuple(views),
            wall_ns=time.time_ns(),
            interval_s=self._interval_s,
            nobody=targets.nobody,
        )


class _Node:
    """What is remembered of one node between two looks."""

    def __init__(self) -> None:
        self._view: NodeView | None = None
        self._pid: object = None
        self._told = 0  # the number of the last news
        self._peers: tuple[JsonObject, ...] = ()
        self._peers_as_of: object = None

    async def look(self, target: Target) -> NodeView:
        now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        sample = NodeSample(name=target.name, wall_ns=time.time_ns(), at_ns=now_ns)
        try:
            sample = replace(sample, **await self._answers(target.socket))
        except TulleError as error:
            sample = replace(sample, silence=str(error))
        sample = self._with_counters(sample, target)
        self._view = followed(self._view, sample)
        return self._view

    async def _answers(self, socket: Path) -> JsonObject:
        """What the agent says, as fields of a sample."""
        status = await ask_meanwhile(socket, {"verb": "status"}, PATIENCE_S)
        if status.get("pid") != self._pid:
            self._pid, self._told, self._peers_as_of = status.get("pid"), 0, None
        news: Sequence[JsonObject] = ()
        if status.get("news", 0) > self._told:
            answer = await ask_meanwhile(socket, {"verb": "history", "after": self._told}, PATIENCE_S)
            news, self._told = answer["entries"], answer["last"]
        if "lease" in status and (as_of := _peers_as_of(status)) != self._peers_as_of:
            answer = await ask_meanwhile(socket, {"verb": "peers", "most": MOST_PEERS}, PATIENCE_S)
            self._peers, self._peers_as_of = tuple(answer["peers"]), as_of
        return {"status": status, "news": tuple(news), "peers": self._peers}

    def _with_counters(self, sample: NodeSample, target: Target) -> NodeSample:
        try:
            counters = read_counters(target.netns)
        except (TulleError, OSError) as error:
            return replace(sample, unseen=str(error))
        links = watched_links(counters.links, self._underlay(sample), target.pods)
        return replace(sample, at_ns=counters.at_ns, links=links, ip=counters.ip)

    def _underlay(self, sample: NodeSample) -> str | None:
        """The device that the agent names, or last named."""
        known = self._view.sample if self._view is not None else None
        if sample.status is not None and "underlay" in sample.status:
            return str(sample.status["underlay"]["device"])
        return next((link.name for link in known.links if link.role == "underlay"), None) if known else None


def _peers_as_of(status: JsonObject) -> object:
    """Equal when nothing can have changed about the peers."""
    return (
        status["store"]["revision"],
        status["peers"],
        status["passes"],
        len(status["failures"]),
        len(status["conflicts"]),
        len(status["held"]),
    )
