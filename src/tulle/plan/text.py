"""A plan as the commands that an operator could type: ``ip``, ``bridge``, ``nft`` and ``echo``.

This is the dry run, the golden form of the scenarios and the log's wording.  Executing the text
in a shell gives the same state as ``apply``; a test holds the two together.  Names come from the
kernel and the store, so every word is quoted for the shell.
"""

import shlex
from typing import Final, assert_never

from tulle.model.change import Change, Create, Delete, Plan, Step
from tulle.model.objects import (
    RT_TABLE_MAIN,
    Address,
    BridgeKind,
    ChainAccept,
    FdbEntry,
    FilterObject,
    IptablesRules,
    KernelObject,
    Link,
    LinkKind,
    Neighbor,
    NftElement,
    NftTable,
    OtherKind,
    Route,
    Sysctl,
    VethKind,
    VxlanKind,
)
from tulle.plan import rules_text
from tulle.plan.rules_text import shell_words

SCOPES: Final = {0: "global", 200: "site", 253: "link", 254: "host"}
"""Address scopes by number.  Source: include/uapi/linux/rtnetlink.h."""


def format_plan(plan: Plan) -> str:
    """The steps in order, one command a line (an nft transaction is a here-document); "" when there is none."""
    return "".join(f"{line}\n" for step in plan.steps for line in format_step(step))


def format_step(step: Step) -> tuple[str, ...]:
    """The commands of one step."""
    match step:
        case Create(obj=obj):
            return _create(obj, "add")
        case Change(before=before, after=after):
            return _change(before, after)
        case Delete(obj=obj):
            return _delete(obj)
        case _:
            assert_never(step)


def format_step_briefly(step: Step) -> str:
    """The commands of one step in one line, for a log; a table's rules are left out."""
    obj = step.after if isinstance(step, Change) else step.obj
    if isinstance(obj, IptablesRules) or (isinstance(obj, NftTable) and not isinstance(step, Delete)):
        return f"{rules_text.tool(obj)} # {'remove ' if isinstance(step, Delete) else ''}{format_object(obj)}"
    return "; ".join(format_step(step))


def format_object(obj: KernelObject) -> str:
    """One object in one line, in the words of the tool that shows it."""
    match obj:
        case Link():
            alias = ("alias", obj.alias) if obj.alias else ()
            return shell_words("link", obj.name, *_settings(obj), *alias, *_kind(obj.kind))
        case Address():
            return shell_words("address", *_address(obj))
        case Route():
            return shell_words("route", *_route(obj))
        case Neighbor():
            return shell_words("neighbour", *_neighbor(obj))
        case FdbEntry():
            return shell_words("fdb", *_fdb_entry(obj))
        case Sysctl():
            return shell_words("sysctl", f"{obj.path}={obj.value}")
        case NftTable() | IptablesRules() | ChainAccept() | NftElement():
            return rules_text.format_rules(obj)
        case _:
            assert_never(obj)


def _create(obj: KernelObject, verb: str) -> tuple[str, ...]:
    """``verb`` is ``add``, or ``replace`` where the tool has it."""
    match obj:
        case Link():
            made = shell_words("ip", "link", "add", obj.name, *_settings(obj), *_kind(obj.kind))
            return (made, *_alias(obj), *_hairpin(obj), *_promiscuous(obj))
        case Address():
            return (shell_words("ip", "address", verb, *_address(obj)),)
        case Route():
            return (shell_words("ip", "route", verb, *_route(obj)),)
        case Neighbor():
            return (shell_words("ip", "neighbour", verb, *_neighbor(obj)),)
        case FdbEntry():
            several = verb == "add" and not obj.is_unicast
            return (shell_words("bridge", "fdb", "append" if several else verb, *_fdb_entry(obj)),)
        case Sysctl():
            return (f"echo {shlex.quote(obj.value or '')} > {shlex.quote(f'/proc/sys/{obj.path}')}",)
        case NftTable() | IptablesRules() | ChainAccept() | NftElement():
            return rules_text.create(obj)
        case _:
            assert_never(obj)


def _change(before: KernelObject, after: KernelObject) -> tuple[str, ...]:
    if isinstance(before, Link) and isinstance(after, Link):
        return _link_changes(before, after)
    if isinstance(before, FilterObject) and isinstance(after, FilterObject):
        return rules_text.change(before, after)
    return _create(after, "replace")


def _link_changes(before: Link, after: Link) -> tuple[str, ...]:
    """One ``ip link set`` with what differs; the order is the kernel's own: down first, up last."""
    words: list[str] = []
    if after.mtu not in {None, before.mtu}:
        words += ("mtu", str(after.mtu))
    if after.mac is not None and after.mac != before.mac:
        words += ("address", after.mac)
    if after.alias is not None and after.alias != before.alias:
        words += ("alias", after.alias)
    if after.master is not None and after.master != before.master:
        words += ("master", after.master) if after.master else ("nomaster",)
    if after.promiscuous is not None and after.promiscuous != before.promiscuous:
        words += ("promisc", "on" if after.promiscuous else "off")
    if after.up is not None and after.up != before.up:
        words.append("up" if after.up else "down")
    lines = [shell_words("ip", "link", "set", "dev", after.name, *words)] if words else []
    is_set_apart = isinstance(after.kind, VxlanKind) or after.kind == BridgeKind(linklocal_learning=False)
    if after.kind != before.kind and is_set_apart:
        lines.append(shell_words("ip", "link", "set", "dev", after.name, *_kind(after.kind)))
    if after.hairpin is not None and after.hairpin != before.hairpin:
        lines.append(_bridge_port(after))
    return tuple(lines)


def _delete(obj: KernelObject) -> tuple[str, ...]:
    match obj:
        case Link():
            return (shell_words("ip", "link", "delete", obj.name),)
        case Address():
            return (shell_words("ip", "address", "delete", str(obj.interface), "dev", obj.device),)
        case Route():
            return (shell_words("ip", "route", "delete", *_route(obj)),)
        case Neighbor():
            return (
                shell_words(
                    "ip", "neighbour", "delete", *(("proxy",) if obj.proxy else ()), str(obj.ip), "dev", obj.device
                ),
            )
        case FdbEntry():
            target = ("dst", str(obj.dst)) if obj.dst is not None else ()
            return (shell_words("bridge", "fdb", "delete", obj.mac, "dev", obj.device, *target, "self"),)
        case Sysctl():
            return ()  # a sysctl has no absence
        case NftTable() | IptablesRules() | ChainAccept() | NftElement():
            return rules_text.delete(obj)
        case _:
            assert_never(obj)


def _settings(link: Link) -> tuple[str, ...]:
    words: list[str] = []
    if link.mac is not None:
        words += ("address", link.mac)
    if link.mtu is not None:
        words += ("mtu", str(link.mtu))
    if link.master:
        words += ("master", link.master)
    if link.up is not None:
        words.append("up" if link.up else "down")
    return tuple(words)


def _kind(kind: LinkKind) -> tuple[str, ...]:
    match kind:
        case VxlanKind():
            return (
                *("type", "vxlan", "id", str(kind.vni)),
                *(("local", str(kind.local)) if kind.local is not None else ()),
                *(("dev", kind.underlay) if kind.underlay is not None else ()),
                *("dstport", str(kind.port), "learning" if kind.learning else "nolearning"),
                *(("gbp",) if kind.gbp else ()),
            )
        case BridgeKind():
            return ("type", "bridge", *(() if kind.linklocal_learning else ("no_linklocal_learn", "1")))
        case VethKind():
            return ("type", "veth", *_peer(kind))
        case OtherKind():
            return ("type", kind.kind) if kind.kind else ()
        case _:
            assert_never(kind)


def _peer(kind: VethKind) -> tuple[str, ...]:
    if kind.peer is None:
        return ()
    words = ["peer", "name", kind.peer]
    if kind.peer_mac is not None:
        words += ("address", kind.peer_mac)
    if kind.peer_mtu is not None:
        words += ("mtu", str(kind.peer_mtu))
    if kind.peer_netns is not None:
        words += ("netns", kind.peer_netns)
    return tuple(words)


def _alias(link: Link) -> tuple[str, ...]:
    """A command of its own: the kernel passes over an alias when it makes a device."""
    return (shell_words("ip", "link", "set", "dev", link.name, "alias", link.alias),) if link.alias else ()


def _hairpin(link: Link) -> tuple[str, ...]:
    return (_bridge_port(link),) if link.hairpin else ()


def _promiscuous(link: Link) -> tuple[str, ...]:
    return (shell_words("ip", "link", "set", "dev", link.name, "promisc", "on"),) if link.promiscuous else ()


def _bridge_port(link: Link) -> str:
    return shell_words("bridge", "link", "set", "dev", link.name, "hairpin", "on" if link.hairpin else "off")


def _address(address: Address) -> tuple[str, ...]:
    words = [str(address.interface), "dev", address.device]
    if address.scope:
        words += ("scope", SCOPES.get(address.scope, str(address.scope)))
    if address.nodad:
        words.append("nodad")
    return tuple(words)


def _route(route: Route) -> tuple[str, ...]:
    words = [*((route.kind,) if route.kind != "unicast" else ()), str(route.dst)]
    if route.via is not None:
        words += ("via", *(("inet6",) if route.via.version != route.dst.version else ()), str(route.via))
    if route.device is not None:
        words += ("dev", route.device)
    if route.onlink:
        words.append("onlink")
    words += ("proto", str(route.protocol))
    if route.source is not None:
        words += ("src", str(route.source))
    if route.metric:
        words += ("metric", str(route.metric))
    if route.table != RT_TABLE_MAIN:
        words += ("table", str(route.table))
    if route.mtu is not None:
        words += ("mtu", str(route.mtu))
    return tuple(words)


def _neighbor(neighbor: Neighbor) -> tuple[str, ...]:
    if neighbor.proxy:
        return ("proxy", str(neighbor.ip), "dev", neighbor.device)
    mac = ("lladdr", neighbor.mac) if neighbor.mac is not None else ()
    state = "permanent" if neighbor.permanent else "reachable" if mac else "incomplete"  # or failed: nobody answers
    return (str(neighbor.ip), *mac, "dev", neighbor.device, "nud", state)


def _fdb_entry(entry: FdbEntry) -> tuple[str, ...]:
    words = [entry.mac, "dev", entry.device]
    if entry.dst is not None:
        words += ("dst", str(entry.dst))
    if entry.port is not None:
        words += ("port", str(entry.port))
    if entry.vni is not None:
        words += ("vni", str(entry.vni))
    return (*words, "self", "permanent" if entry.permanent else "dynamic")
