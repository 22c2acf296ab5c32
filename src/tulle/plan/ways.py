"""Which route a packet of this host would take: longest prefix, then lowest metric, in table main.

Policy rules are not looked at: where a host has some, ``ip route get`` may answer otherwise.
"""

from collections.abc import Iterable, Sequence

from tulle.model.network import IPAddress, IPNetwork
from tulle.model.objects import RT_TABLE_MAIN, ObjectKey, Route, RouteKey


def way_to(routes: Iterable[Route], target: IPAddress) -> Route | None:
    """The route to ``target``, also one that says unreachable; None when there is none.  Linear in ``routes``."""
    fitting = (route for route in routes if route.table == RT_TABLE_MAIN and target in route.dst)
    return max(fitting, key=lambda route: (route.dst.prefixlen, -route.key.metric), default=None)


def is_direct(route: Route | None) -> bool:
    """Does the route lead to a neighbour, with no gateway between?"""
    return (
        route is not None
        and route.kind == "unicast"
        and route.via is None
        and route.device is not None
        and not route.multipath
    )


def is_about_ways(keys: Iterable[ObjectKey], overlay: Sequence[IPNetwork]) -> bool:
    """Is one of ``keys`` a route of the host's own, rather than of the overlay's?"""
    routes = (key.dst for key in keys if isinstance(key, RouteKey) and key.table == RT_TABLE_MAIN)
    return any(not any(is_inside(dst, network) for network in overlay) for dst in routes)


def is_inside(network: IPNetwork, other: IPNetwork) -> bool:
    """Is all of ``network`` in ``other``?  Of another IP version it never is."""
    return network.prefixlen >= other.prefixlen and network.overlaps(other)
