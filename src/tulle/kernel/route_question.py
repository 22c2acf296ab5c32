"""One route among thousands, without reading them all: the kernel's own look-up, asked for the table's entry.

A look-up finds the longest prefix with the lowest metric, so what it finds for the first address of
a subnet nearly always says whether the subnet's own route is there.  Where it does not (a longer
prefix lies inside, a policy rule leads to another table), the table has to be read.
"""

from errno import ENETUNREACH

from tulle.errors import KernelError
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.model.objects import RT_TABLE_MAIN, RouteKey
from tulle.wire.rtnetlink.routes import RouteMessage, decode_route, get_route


def ask_route(sock: NetlinkSocket, key: RouteKey) -> tuple[RouteMessage | None, bool]:
    """The route of ``key``, None when there is none; and whether that is certain.  Raises DecodeError, Overflow.

    A route that look-ups pass over, as one whose device has lost its carrier may be, counts as
    none: to make another of its key is then refused, and the next reading of the whole table finds it.
    """
    if key.table != RT_TABLE_MAIN:
        return None, False  # a look-up need not come by it
    try:
        found = decode_route(sock.ask(get_route(key.dst.network_address, fib_match=True)))
    except KernelError as error:
        return None, error.errno == ENETUNREACH  # else a route that refuses, or a kernel before 5.5 (EINVAL)
    there = holds(found, key)
    return (found if there else None), there is not None


def holds(found: RouteMessage, key: RouteKey) -> bool | None:
    """Has the entry that a look-up of ``key``'s first address found that key?  None: another one may have, unseen."""
    if found.table != key.table or found.cloned:
        return None
    if found.dst != key.dst:
        return False if found.dst.prefixlen < key.dst.prefixlen else None
    if found.priority == key.metric:
        return True
    return False if found.priority > key.metric else None
