"""``tulle graph``: the cluster as a picture, from a running lab, a node's own kernel, or a file before there is one."""

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tulle.cli.pictures import write_picture
from tulle.errors import EXIT_YES, ConfigError

if TYPE_CHECKING:
    from tulle.cli.places import Place
    from tulle.lab.state import LabState, Process
    from tulle.model.state import KernelState
    from tulle.render.cluster import AgentState, Cluster, ClusterPod

    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # argparse's name

DESCRIPTION: Final = (
    "Draw the cluster: nodes, pods, bridges, tunnels, and how each node reaches the others, as the kernels hold it."
)
EPILOG: Final = (
    "Without FILE: the running lab, else this machine's own kernel. With FILE: the lab that it describes, which need "
    "not run."
)
SCHEMA: Final = "tulle.graph/1"


def add_parser(subparsers: "Parsers") -> None:
    parser = subparsers.add_parser("graph", help="the cluster as a picture", description=DESCRIPTION, epilog=EPILOG)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("file", metavar="FILE", nargs="?", help="a topology (lab.toml); nothing has to run")
    where.add_argument("--node", metavar="NODE", help="only what this node's kernel knows")
    where.add_argument("--here", action="store_true", help="this machine's own kernel, also when a lab runs")
    parser.add_argument("--name", metavar="LAB", help="which lab (default: TULLE_LAB, else lab)")
    parser.add_argument("--svg", metavar="FILE", help="write the picture there ('-': stdout)")
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    parser.add_argument("--ascii", action="store_true", help="draw with plain characters")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit 0: drawn, whatever the state of the cluster."""
    cluster = _cluster(args)
    if args.svg:
        from tulle.render.graph import graph_svg

        write_picture(args.svg, graph_svg(cluster).encode())
    elif args.json:
        print(json.dumps(_facts(cluster), indent=2, ensure_ascii=False))
    else:
        from tulle.render.graph_text import graph_lines
        from tulle.render.walk_text import printed

        color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        lines = graph_lines(cluster, args.lang, shutil.get_terminal_size((120, 24)).columns)
        sys.stdout.write(printed(lines, color=color, ascii_only=args.ascii))
    return EXIT_YES


def _facts(cluster: "Cluster") -> Mapping[str, object]:
    import msgspec

    return {"schema": SCHEMA, **msgspec.to_builtins(cluster)}


def _cluster(args: argparse.Namespace) -> "Cluster":
    if args.file:
        return _from_file(args.file)
    from tulle.cli.places import chosen_lab

    if args.node:
        return _from_node(args.node, args.name)
    state = None if args.here else chosen_lab(args.name)
    return _from_lab(state) if state is not None else _from_here()


def _from_file(name: str) -> "Cluster":
    from tulle.lab.labfile import parse_lab_file
    from tulle.lab.topology import Wishes, design
    from tulle.render.cluster import planned

    try:
        text = Path(name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(name, "not UTF-8 text") from None
    return planned(design(Wishes(), parse_lab_file(text, name)))


def _from_lab(state: "LabState") -> "Cluster":
    """Every node as its own kernel holds it; who is behind a port is the lab's word."""
    from tulle.cli.places import resolve
    from tulle.render.cluster import Cluster, named, observed, standing, with_gaps

    nodes = [
        observed(
            node.name,
            look(resolve(node.name, state.name)),
            pods_of(state, node.name),
            agent_state(state, node.name),
        )
        for node in state.nodes
    ]
    cluster = standing(state.settings, Cluster(name=state.name, nodes=tuple(nodes)), etcd_state(state))
    return with_gaps(named(cluster))


def _from_node(name: str, lab: str | None) -> "Cluster":
    from tulle.cli.places import chosen_lab, resolve
    from tulle.render.cluster import Cluster, observed, with_peers

    place = resolve(name, lab)
    state = chosen_lab(lab) if place.lab else None
    pods = pods_of(state, name) if state is not None else None
    return with_peers(Cluster(name=name, nodes=(observed(name, look(place), pods),)))


def _from_here() -> "Cluster":
    from tulle.render.cluster import Cluster, observed, with_peers

    name = os.uname().nodename
    return with_peers(Cluster(name=name, nodes=(observed(name, look(None)),)))


def agent_state(state: "LabState", node: str) -> "AgentState":
    """How the agent of a lab's node is."""
    return _process_state(state.agents.get(node))


def etcd_state(state: "LabState") -> "AgentState":
    """How a lab's etcd is; "" when it has none."""
    return _process_state(state.etcd) if state.settings.etcd is not None else ""


def _process_state(process: "Process | None") -> "AgentState":
    from tulle.lab.processes import is_alive, is_held

    if process is None or not is_alive(process):
        return "gone"
    return "paused" if is_held(process) else "running"


def pods_of(state: "LabState", node: str) -> tuple["ClusterPod", ...]:
    """The pods that a lab has put on a node."""
    from tulle.render.cluster import ClusterPod

    return tuple(
        ClusterPod(name=pod.name, address=pod.addresses[0].partition("/")[0] if pod.addresses else "")
        for pod in state.pods
        if pod.node == node
    )


def look(place: "Place | None") -> "KernelState":
    """What the kernel holds in a namespace; None: in our own."""
    from tulle.kernel.linux import LinuxKernel
    from tulle.model.state import Scope

    if place is not None:
        place.enter()
    kernel = LinuxKernel.open(place.netns if place is not None else None)
    try:
        return asyncio.run(kernel.observe(Scope.all()))
    finally:
        kernel.close()
