"""What is watched of a node, from one look to the next.  Pure: samples in, views out.

A sample is one look: what the agent answers, and what the node's kernel counts.  A view is all
that is known after it: the rates since the look before, and what happened since watching began.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from tulle.render.watch_links import Rates, WatchedLink, rates, total
from tulle.wire.proc_net import IpCounters

JsonObject: TypeAlias = dict[str, Any]

KEPT: Final = 200
"""So many events of a node are remembered."""

OwnKind: TypeAlias = Literal["silent", "answers", "restarted", "joined", "left"]
"""What the watcher finds by itself; all other kinds are the agent's own (``tulle.agent.history``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """Something that happened on ``node``.  ``at_ns`` is wall clock; ``took_ns`` None: has no length."""

    at_ns: int
    node: str
    kind: str
    text: str
    took_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSample:
    """One look at a node.

    ``status`` is ``tulle.status/1``, None when the agent did not answer, for the reason ``silence``.
    ``at_ns`` dates the counters (CLOCK_BOOTTIME), ``wall_ns`` is for people.  ``unseen`` says why
    the kernel could not be asked.
    """

    name: str
    wall_ns: int
    at_ns: int
    status: JsonObject | None = None
    silence: str = ""
    peers: tuple[JsonObject, ...] = ()
    news: tuple[JsonObject, ...] = ()
    links: tuple[WatchedLink, ...] = ()
    ip: IpCounters | None = None
    unseen: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node as far as it is known.  ``rates`` are by device; ``fresh`` are the latest look's events."""

    sample: NodeSample
    rates: Mapping[str, Rates]
    events: tuple[WatchEvent, ...]
    fresh: tuple[WatchEvent, ...]
    dropped: int
    """Packets that were dropped since watching began."""
    dropping: bool
    """Were any since the last look?"""

    @property
    def name(self) -> str:
        return self.sample.name

    def passing(self, *roles: str) -> Rates | None:
        """What passes all devices of these roles; None: there is no such device, or no second look yet."""
        return total(self.rates.get(link.name) for link in self.sample.links if link.role in roles)


def followed(before: NodeView | None, sample: NodeSample) -> NodeView:
    """The view after one more look."""
    known = before.sample if before is not None else None
    old = {link.name: link for link in known.links} if known is not None else {}
    elapsed_ns = sample.at_ns - known.at_ns if known is not None else 0
    found = {link.name: rates(old.get(link.name), link, elapsed_ns) for link in sample.links}
    fresh = tuple(_events(known, sample))
    dropped = _dropped(known, sample)
    return NodeView(
        sample=sample,
        rates={name: rate for name, rate in found.items() if rate is not None},
        events=(*(before.events if before is not None else ()), *fresh)[-KEPT:],
        fresh=fresh,
        dropped=dropped + (before.dropped if before is not None else 0),
        dropping=dropped > 0,
    )


def merged_events(views: Iterable[NodeView]) -> tuple[WatchEvent, ...]:
    """Those of all nodes, the latest first."""
    return tuple(sorted((event for view in views for event in view.events), key=lambda e: e.at_ns, reverse=True))


def _dropped(before: NodeSample | None, after: NodeSample) -> int:
    """Between two looks: by devices other than pods', and by the IP layer.  Counters that began anew say nothing."""
    if before is None:
        return 0
    old = {(link.name, link.index): link.dropped for link in before.links if link.role != "pod"}
    grown = [link.dropped - old.get((link.name, link.index), link.dropped) for link in after.links]
    if before.ip is not None and after.ip is not None:
        grown += [after.ip.no_route - before.ip.no_route, after.ip.discarded - before.ip.discarded]
    return sum(max(0, more) for more in grown)


def _events(before: NodeSample | None, after: NodeSample) -> Iterable[WatchEvent]:
    """What the agent tells, and what its answers show beside that."""
    told = (
        WatchEvent(
            at_ns=int(news["at_ns"]),
            node=after.name,
            kind=str(news["kind"]),
            text=str(news["text"]),
            took_ns=cast("int | None", news.get("took_ns")),
        )
        for news in after.news
    )
    yield from told
    if before is not None:
        for kind, text in _noticed(before, after):
            yield WatchEvent(at_ns=after.wall_ns, node=after.name, kind=kind, text=text)


def _noticed(before: NodeSample, after: NodeSample) -> Iterable[tuple[OwnKind, str]]:
    if after.status is None:
        if before.status is not None:
            yield "silent", after.silence
        return
    if before.status is None:
        yield "answers", f"pid {after.status.get('pid')}"
        return
    if before.status.get("pid") != after.status.get("pid"):
        yield "restarted", f"pid {after.status.get('pid')}"
        return
    if len(before.peers) == before.status.get("peers") and len(after.peers) == after.status.get("peers"):
        old, new = _by_key(before.peers), _by_key(after.peers)
        for key in sorted(new.keys() - old.keys()):
            yield "joined", new[key]
        for key in sorted(old.keys() - new.keys()):
            yield "left", old[key]


def _by_key(peers: Iterable[JsonObject]) -> dict[str, str]:
    return {
        str(peer["key"]): " ".join(str(peer[name]) for name in ("subnet", "subnet6") if peer[name]) for peer in peers
    }
