"""The underlay, put into the kernel: observe, diff, apply, one batch per namespace."""

from collections.abc import Sequence
from pathlib import Path

from tulle.kernel.linux import LinuxKernel
from tulle.lab import underlay
from tulle.lab.hosts import UnderlayHost
from tulle.lab.site import Lab
from tulle.lab.topology import LabNode
from tulle.model.change import Delete, Plan
from tulle.model.objects import Link, VethKind
from tulle.model.state import KernelState, Scope
from tulle.plan.diff import diff


async def lay(lab: Lab) -> None:
    """The underlay's own namespace and every node's link.  Raises KernelError."""
    settings, middle = lab.state.settings, lab.netns(lab.state.settings.underlay)
    await _apply(middle, underlay.ground(settings))
    await _apply(middle, underlay.middle(settings))
    await connect(lab, [*lab.state.nodes, *settings.hosts])


async def connect(lab: Lab, nodes: Sequence[LabNode | UnderlayHost]) -> None:
    """Give each of ``nodes`` its link to the underlay.  Raises KernelError."""
    settings = lab.state.settings
    for node in nodes:
        await _apply(lab.netns(node.name), underlay.ground(settings))
    ports = [obj for node in nodes for obj in underlay.port(settings, node, str(lab.netns(node.name)))]
    await _apply(lab.netns(settings.underlay), KernelState.of(ports))
    for node in nodes:
        await _apply(lab.netns(node.name), underlay.node_end(settings, node))


async def disconnect(lab: Lab, node: LabNode) -> None:
    """Remove the underlay's end of a node's link.  That it is gone already is success."""
    link = Link(name=node.port, kind=VethKind())
    kernel = LinuxKernel.open(lab.netns(lab.state.settings.underlay))
    try:
        await kernel.apply(Plan((Delete(link),)))
    finally:
        kernel.close()


async def _apply(netns: Path, wanted: KernelState) -> None:
    kernel = LinuxKernel.open(netns)
    try:
        observed = await kernel.observe(Scope.of(wanted.objects))
        for outcome in await kernel.apply(diff(wanted, observed, underlay.everything_kept)):
            if outcome.error is not None:
                raise outcome.error
    finally:
        kernel.close()
