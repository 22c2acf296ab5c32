"""Can a running node go over to another network configuration?  A pure judgement, with the reason.

What needs another device, another lease or the same moment on every node is left to a restart of
the agents; everything else is applied in place.
"""

from collections.abc import Iterable
from typing import Final

from tulle.errors import ConfigError
from tulle.model.lease import Lease
from tulle.model.network import Backend, Host, IPAddress, NetworkConfig, Vxlan
from tulle.plan.addressing import fits
from tulle.plan.desired import check_public, check_room

RESTART: Final = "restart the agents for it"


def why_not(
    before: NetworkConfig, after: NetworkConfig, host: Host, own: Lease, public: Iterable[IPAddress | None]
) -> str | None:
    """Why a node that holds ``own`` stays with ``before``, in one line; None: it can go over to ``after``.

    ``public`` are the addresses that a person gave.
    """
    if after.backend.type != before.backend.type:
        return f"Backend.Type is {after.backend.type} now: {RESTART}"
    for version, one, other in ((4, before.pool4, after.pool4), (6, before.pool6, after.pool6)):
        if (one is None) != (other is None):
            return f"EnableIPv{version} is {str(other is not None).lower()} now: {RESTART}"
    if not fits(own, after):
        return f"{' '.join(str(subnet) for subnet in own.subnets)}, our own, is none of its subnets: {RESTART}"
    try:
        check_room(after, host)
        check_public(after, host, *public)
    except ConfigError as error:
        return str(error)
    return _other_wire(before.backend, after.backend)


def _other_wire(before: Backend, after: Backend) -> str | None:
    """What all nodes have to change together."""
    if not isinstance(before, Vxlan) or not isinstance(after, Vxlan):
        return None
    if after.vni != before.vni:
        return f"Backend.VNI is {after.vni} now: {RESTART}"
    return f"Backend.Port is {after.port} now: {RESTART}" if after.port != before.port else None
