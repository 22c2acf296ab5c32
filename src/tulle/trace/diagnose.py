"""Why a packet stopped: from the place of its last sighting and the kernel's answers there, one finding.

Pure.  The rules stand in the order in which a packet meets them; the first whose evidence is
complete wins, and without complete evidence there is no finding.  Ids are those of the fault
catalogue.  A finding names its sentence by ``rule``; the words are the rendering's.
"""

from collections.abc import Sequence
from typing import Final

from tulle.trace.journey import Finding
from tulle.trace.rules_devices import (
    first_device_down,
    not_in_the_bridge,
    port_down,
    routes_down,
    target_down,
    veth_down,
)
from tulle.trace.rules_filters import (
    filtered,
    filtered_at_source,
    filtered_in_pod,
    maybe_filtered,
    tunnel_filtered,
    tunnel_filtered_in,
)
from tulle.trace.rules_routes import (
    next_hop_silent,
    no_forwarding,
    no_route,
    no_route_at_source,
    not_for_this_pod,
    reverse_path,
    target_silent,
)
from tulle.trace.rules_size import narrow_link, too_big, too_big_at_source
from tulle.trace.rules_tunnel import (
    cut,
    no_fdb_entry,
    no_neighbour,
    no_underlay_route,
    underlay_silent,
    wrong_inner_mac,
    wrong_node,
    wrong_port,
    wrong_vni,
)
from tulle.trace.scene import Rule, Scene


def diagnose(scene: Scene) -> Finding | None:
    """The first rule whose evidence is complete."""
    return next((finding for rule in _rules(scene) if (finding := rule(scene)) is not None), None)


def _rules(scene: Scene) -> Sequence[Rule]:
    if not scene.walk:
        return _AT_THE_START
    match scene.cast.region(scene.netns):
        case "source pod":
            return _AT_THE_START
        case "source node":
            return _ON_THE_UNDERLAY if scene.walk[-1].step == "3c" else _ON_THE_SOURCE_NODE
        case "underlay":
            return _ON_THE_UNDERLAY
        case "target node":
            return _ON_THE_TARGET_NODE
        case "target pod":
            return (not_for_this_pod, filtered_in_pod)


_AT_THE_START: Final[Sequence[Rule]] = (
    no_route_at_source,
    too_big_at_source,
    filtered_at_source,
    first_device_down,
    next_hop_silent,
    veth_down,
    narrow_link,
)
_ON_THE_UNDERLAY: Final[Sequence[Rule]] = (wrong_node, port_down, narrow_link, underlay_silent, cut)
_ON_THE_SOURCE_NODE: Final[Sequence[Rule]] = (
    tunnel_filtered,
    filtered,
    not_in_the_bridge,
    no_forwarding,
    routes_down,
    no_route,
    too_big,
    no_neighbour,
    no_fdb_entry,
    no_underlay_route,
    wrong_node,
    underlay_silent,
    target_down,
    target_silent,
    maybe_filtered,
)
_ON_THE_TARGET_NODE: Final[Sequence[Rule]] = (
    tunnel_filtered_in,
    wrong_inner_mac,
    wrong_port,
    wrong_vni,
    filtered,
    reverse_path,
    no_forwarding,
    routes_down,
    no_route,
    too_big,
    target_down,
    target_silent,
    maybe_filtered,
)
