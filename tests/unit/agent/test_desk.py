"""The desk before and after the node has taken its place."""

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from tulle.agent.desk import Desk, NotYet

if TYPE_CHECKING:
    from tulle.agent.node import Node


class Placed:
    """A node whose status is enough to see who answered."""

    def pod_network(self) -> str:
        return "pods"


def desk() -> Desk:
    return Desk("sqlite:///x", started_ns=1, pid=42)


def ask(opened: Desk, verb: str, **request: Any) -> dict[str, Any]:
    async def asked() -> dict[str, Any]:
        return await opened.verbs[verb]({"verb": verb, **request})

    return asyncio.run(asked())


def test_an_agent_that_waits_says_for_what() -> None:
    waiting = desk()
    waiting.waits_for("waiting for the store: away")
    answer = ask(waiting, "status")
    assert (answer["schema"], answer["state"], answer["pid"]) == ("tulle.status/1", "starting", 42)
    assert answer["problems"] == ["waiting for the store: away"]


@pytest.mark.parametrize("verb", ["peers", "leases", "history", "plan"])
def test_what_only_a_node_knows_is_refused_with_the_reason(verb: str) -> None:
    waiting = desk()
    waiting.waits_for("waiting for the store: away")
    with pytest.raises(NotYet, match="waiting for the store: away"):
        ask(waiting, verb)


def test_a_question_that_waits_gives_up_in_its_time() -> None:
    assert ask(desk(), "wait", timeout_s=0) == {"done": False, "peers": 0, "state": "starting"}


def test_pods_find_no_network_until_the_node_is_there() -> None:
    opening = desk()
    assert opening.pod_network() is None
    opening.open(cast("Node", Placed()))
    assert opening.pod_network() == "pods"
