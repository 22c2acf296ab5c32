"""``tulle.watch/1``: one object for each look, with what happened since the one before."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from tulle.render.watch_view import NodeView

JsonObject = dict[str, Any]

WATCH_SCHEMA: Final = "tulle.watch/1"


def watch_json(views: Sequence[NodeView], wall_ns: int, interval_ns: int) -> JsonObject:
    """All nodes at one look.  ``wall_ns`` dates it; rates are since the look before, null at the first."""
    return {
        "schema": WATCH_SCHEMA,
        "at_ns": wall_ns,
        "interval_ns": interval_ns,
        "nodes": [_node(view) for view in views],
    }


def _node(view: NodeView) -> JsonObject:
    sample = view.sample
    return {
        "name": sample.name,
        "silence": sample.silence or None,
        "status": sample.status,
        "peers": list(sample.peers),
        "unseen": sample.unseen or None,
        "links": [{**asdict(link), "rates": _rates(view, link.name)} for link in sample.links],
        "ip": asdict(sample.ip) if sample.ip is not None else None,
        "dropped": view.dropped,
        "events": [asdict(event) for event in view.fresh],
    }


def _rates(view: NodeView, name: str) -> JsonObject | None:
    """Rounded: what is counted in whole packets has no ninth digit."""
    found = view.rates.get(name)
    return {field: round(value, 3) for field, value in asdict(found).items()} if found is not None else None
