"""Traces of networks that tulle did not build: the command's own session, on namespaces made with plain ``ip``."""

from collections.abc import Sequence
from ipaddress import ip_address

from tests.kit.topology import Net
from tulle.trace.journey import Direction, Finding, Hop, Journey
from tulle.trace.places import Role
from tulle.trace.probe_packet import Protocol
from tulle.trace.session import Order, trace
from tulle.trace.spaces import Spaces, netns_id

TIMEOUT_S = 0.5
"""For a probe that will not come back; one that does takes a fraction of it, also on a busy machine."""
REQUEST = ["1", "", "2", "3b", "3c", "4", "5", "6a", "6b", "6c", "7", "8"]
"""The steps of a whole walk through a tunnel; "" is the pod's veth on its node."""


def traces(
    net: Net,
    source: str,
    target: str,
    *,
    protocol: Protocol = "icmp",
    port: int = 0,
    size: int | None = None,
    family: int = 4,
    count: int = 1,
    timeout_s: float = 5.0,
    roles: Sequence[tuple[str, Role]] = (),
) -> tuple[Journey, ...]:
    """``target`` may be an address."""
    address = None if target in net.names else ip_address(target)
    with Spaces(net.candidates()) as spaces:
        return trace(
            Order(
                source=netns_id(net.path(source)),
                target=netns_id(net.path(target)) if address is None else None,
                target_address=address,
                protocol=protocol,
                port=port,
                size=size,
                family=family if address is None else address.version,
                count=count,
                timeout_s=timeout_s,
                roles={netns_id(net.path(name)): role for name, role in roles},
            ),
            spaces,
        )


def traced(net: Net, source: str, target: str, **settings: object) -> Journey:
    """One probe."""
    return traces(net, source, target, **settings)[0]  # pyright: ignore[reportArgumentType]  # passed on as they are


def broken(net: Net, source: str = "pod1", target: str = "pod4", **settings: object) -> Journey:
    """One probe that is not expected back."""
    return traced(net, source, target, **({"timeout_s": TIMEOUT_S} | settings))


def steps(journey: Journey, direction: Direction = "request") -> list[str]:
    """The steps of the sightings, in their order."""
    return [hop.step for hop in journey.sightings(direction)]


def devices(journey: Journey, direction: Direction = "request") -> list[str]:
    """Where the sightings were: ``namespace/device``, a node's own namespace by the node's name."""
    return [f"{hop.node if hop.netns == 'root' else hop.netns}/{hop.dev}" for hop in journey.sightings(direction)]


def hop_at(journey: Journey, step: str, direction: Direction = "request") -> Hop:
    """The hop of this step."""
    return next(hop for hop in journey.walk(direction) if hop.step == step)


def finding_of(journey: Journey) -> Finding:
    """The diagnosis; there must be one."""
    assert journey.verdict.finding is not None, (journey.verdict, devices(journey))
    return journey.verdict.finding
