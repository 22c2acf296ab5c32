"""When does an observed object already satisfy a desired one, and can the difference be set in place?

A desired field that is None is not ours to decide and satisfied by anything.
"""

from enum import Enum

from tulle.model.objects import (
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
    Route,
    Sysctl,
    VethKind,
    VxlanKind,
)


class Gap(Enum):
    """How an observed object differs from the desired one of the same key."""

    NONE = "none"
    SETTABLE = "settable"
    """One request turns the one into the other."""
    REBUILD = "rebuild"
    """Only deleting and making it again does."""


def gap(desired: KernelObject, observed: KernelObject) -> Gap:
    """How far ``observed`` is from ``desired``; both have one key."""
    match desired, observed:
        case (Neighbor(), Neighbor()) | (FdbEntry(), FdbEntry()) | (Sysctl(), Sysctl()):
            return Gap.NONE if desired == observed else Gap.SETTABLE
        case Route(), Route():
            return Gap.NONE if _same_route(desired, observed) else Gap.SETTABLE
        case Link(), Link():
            return _link_gap(desired, observed)
        case Address(), Address():
            same = desired.scope == observed.scope and desired.permanent == observed.permanent
            return Gap.NONE if same else Gap.REBUILD
        case NftElement(), _:
            return Gap.NONE  # all of it is its key
        case ((NftTable() | ChainAccept() | IptablesRules()), _):
            return _rules_gap(desired, observed)
        case _:
            return Gap.REBUILD


def _rules_gap(desired: FilterObject, observed: KernelObject) -> Gap:
    match desired, observed:
        case (NftTable(digest=wanted), NftTable(digest=found)) | (
            IptablesRules(digest=wanted),
            IptablesRules(digest=found),
        ):
            return Gap.NONE if wanted == found else Gap.SETTABLE
        case ChainAccept(), ChainAccept():
            return Gap.NONE if desired.networks == observed.networks else Gap.SETTABLE
        case _:
            return Gap.REBUILD


def _same_route(desired: Route, observed: Route) -> bool:
    """Everything but the protocol: a route that is right stays as it is, whoever wrote it."""
    return not observed.multipath and (
        (desired.device, desired.via, desired.onlink, desired.kind, desired.mtu)
        == (observed.device, observed.via, observed.onlink, observed.kind, observed.mtu)
        and (desired.source is None or desired.source == observed.source)
    )


def _link_gap(desired: Link, observed: Link) -> Gap:
    kind_gap = _kind_gap(desired.kind, observed.kind)
    if kind_gap is not Gap.NONE:
        return kind_gap
    is_as_wanted = (
        (desired.mtu is None or desired.mtu == observed.mtu)
        and (desired.mac is None or desired.mac == observed.mac)
        and (desired.up is None or desired.up == observed.up)
        and (desired.master is None or desired.master == observed.master)
        and (desired.alias is None or desired.alias == observed.alias)
        and (desired.hairpin is None or desired.hairpin == observed.hairpin)
        and (desired.promiscuous is None or desired.promiscuous == observed.promiscuous)
    )
    return Gap.NONE if is_as_wanted else Gap.SETTABLE


def _kind_gap(desired: LinkKind, observed: LinkKind) -> Gap:
    match desired, observed:
        case VxlanKind(), VxlanKind():
            if desired == observed:
                return Gap.NONE
            fixed = (desired.vni, desired.port, desired.gbp) == (observed.vni, observed.port, observed.gbp)
            return Gap.SETTABLE if fixed else Gap.REBUILD
        case BridgeKind(), BridgeKind():
            is_as_wanted = desired.linklocal_learning or not observed.linklocal_learning
            return Gap.NONE if is_as_wanted else Gap.SETTABLE
        case VethKind(), VethKind():
            return Gap.NONE  # an observed pair does not say how it was made
        case _:
            return Gap.NONE if desired == observed else Gap.REBUILD
