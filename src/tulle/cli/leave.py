"""``tulle leave``: give this node back to flannel's daemon, or clean it of tulle.

It works without the agent, which has to be stopped first: a running one would repair what is
taken away.
"""

import argparse
import asyncio
import json
import os
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final

from tulle.agent import ledger, memory
from tulle.agent.identity import node_identity
from tulle.agent.ledger import read_ledger
from tulle.agent.memory import recollect
from tulle.agent.options import AgentOptions
from tulle.cli import etcd_flags
from tulle.cli.grammar import Subparsers
from tulle.errors import EXIT_NO, EXIT_YES, ConfigError, StoreUnavailable
from tulle.kernel.linux import LinuxKernel
from tulle.kernel.system import SystemClock, SystemFiles, SystemRandom, boot_id, check_privileges
from tulle.model.change import Plan
from tulle.model.lease import NodeId
from tulle.model.network import NetworkConfig
from tulle.model.objects import SysctlKey
from tulle.model.state import KernelState, Scope
from tulle.plan.desired import node_ownership
from tulle.plan.firewall import FILTER_KEYS, NodeFirewall, choose_engine
from tulle.plan.leaving import attached_pods, clean, hand_back
from tulle.plan.text import format_plan
from tulle.store.open import open_store
from tulle.store.ports import Grant, Store
from tulle.wire.ledger import SWITCHES
from tulle.wire.subnet_env import SubnetEnv, parse_subnet_env

WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "nothing": ("nothing is left to do", "没有需要做的事"),
    "handed": ("handed back: start flannel's daemon", "已交还：请启动 flannel 守护进程"),
    "cleaned": (
        "cleaned: nothing of tulle is left but its state folder",
        "已清理：除状态目录外，tulle 没有留下任何东西",
    ),
    "kept": (
        "the lease stays until it expires, or until it is deleted from the store: {why}",
        "租约会保留到过期，或直到从存储中删除：{why}",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """How to leave."""

    options: AgentOptions
    clean: bool
    keep_lease: bool
    force: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Done:
    """What was, or would be, done: steps that were refused, and why the lease could not be given back, if so."""

    plan: Plan
    refused: list[str] = field(default_factory=list[str])
    lease_kept: str | None = None


def add_parser(subparsers: Subparsers) -> None:
    text = "give this node back to flannel's daemon, or clean it of tulle"
    parser = subparsers.add_parser("leave", help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--clean", action="store_true", help="remove devices, routes, rules and the lease")
    parser.add_argument("--keep-lease", action="store_true", help="with --clean: the lease stays until it expires")
    parser.add_argument("--force", action="store_true", help="with --clean: also while pods are attached")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done as commands, and do nothing")
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    parser.add_argument("--root", metavar="DIR", help="the agent's root (default: TULLE_ROOT, else /)")
    parser.add_argument("--store", metavar="URL", help="the store (default: the embedded one in the state folder)")
    parser.add_argument("--subnet-file", metavar="PATH", help="where subnet.env is")
    etcd_flags.add_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit 0: done, or nothing to do; 1: a step was refused, or (dry run) something would change."""
    etcd_flags.hide_password(args)
    options = AgentOptions(
        root=Path(args.root or os.environ.get("TULLE_ROOT") or "/"),
        store=etcd_flags.store_url(args, os.environ),
        etcd=etcd_flags.access(args, os.environ),
        subnet_file=Path(args.subnet_file) if args.subnet_file else None,
    )
    departure = Departure(
        options=options, clean=args.clean, keep_lease=args.keep_lease, force=args.force, dry_run=args.dry_run
    )
    _check_stopped(options.paths.socket)
    check_privileges()
    done = asyncio.run(_leave(departure))
    _report(args, done)
    return EXIT_NO if done.refused or (args.dry_run and done.plan) else EXIT_YES


def _report(args: argparse.Namespace, done: Done) -> None:
    plan, refused = done.plan, done.refused
    if args.json:
        answer = {"schema": "tulle.leave/1", "steps": len(plan.steps), "text": format_plan(plan), "refused": refused}
        print(json.dumps(answer | {"lease_kept": done.lease_kept}, indent=2))
        return
    if done.lease_kept is not None:
        english, chinese = WORDS["kept"]
        print((chinese if args.lang == "zh" else english).format(why=done.lease_kept))
    if args.dry_run:
        print(format_plan(plan), end="")
    for line in refused:
        print(line)
    if not refused and not (args.dry_run and plan):
        word = "nothing" if args.dry_run else "cleaned" if args.clean else "handed"
        english, chinese = WORDS[word]
        print(chinese if args.lang == "zh" else english)


def _check_stopped(path: Path) -> None:
    """Raises ConfigError: an agent listens there, whether or not it answers now."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(2)
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except OSError as error:
            raise ConfigError("agent", f"{path}: {error.strerror or error}", "run as root") from None
    raise ConfigError("agent", "is running, and would repair what is taken away", "stop it first")


async def _leave(departure: Departure) -> Done:
    """What was, or would be, changed in the kernel, and what was not done."""
    options, clock = departure.options, SystemClock()
    files, state = SystemFiles(), departure.options.paths.state
    async with AsyncExitStack() as stack:
        store = open_store(options.store_url, clock, options.etcd)
        stack.push_async_callback(store.close)
        kernel = LinuxKernel.open()
        stack.callback(kernel.close)
        config = await _config(store, options)
        observed = await kernel.observe(Scope.all((*FILTER_KEYS, *map(SysctlKey, SWITCHES))))
        env = _subnet_env(options.subnet_env)
        if departure.clean and not departure.force:
            _check_empty(observed, env)
        engine = choose_engine(config.enable_nftables, await kernel.packet_filters())
        turned = read_ledger(files, state, boot_id()).turned
        plan = _plan(departure, config, observed, env, engine, turned)
        if departure.dry_run:
            return Done(plan)
        outcomes = await kernel.apply(plan)
        kept = await _forget(departure, store) if departure.clean else None
        return Done(plan, [str(outcome.error) for outcome in outcomes if outcome.error is not None], kept)


async def _config(store: Store, options: AgentOptions) -> NetworkConfig:
    """The network's configuration; as the agent last knew it, when the store is away.  Raises ConfigError."""
    try:
        config = await store.network_config()
    except StoreUnavailable as error:
        files, state = SystemFiles(), options.paths.state
        past = recollect(files, state, options.store_url, node_identity(files, state, SystemRandom()))
        if past is None:
            raise ConfigError("store", f"{error}, and this node remembers nothing of it", "see --store") from error
        return past.head.config
    if config is None:
        raise ConfigError("store", "has no network configuration", "name the agent's store with --store")
    return config


def _plan(
    departure: Departure,
    config: NetworkConfig,
    observed: KernelState,
    env: SubnetEnv | None,
    engine: str,
    turned: Mapping[str, tuple[str, str]],
) -> Plan:
    judge = node_ownership(config, ())
    if departure.clean:
        return clean(observed, judge, turned)
    if env is None:
        raise ConfigError(str(departure.options.subnet_env), "is not there", "was tulle ever on this node?")
    networks = config.networks
    firewall = NodeFirewall(
        network4=next((net for net in networks if isinstance(net, IPv4Network)), None),
        network6=next((net for net in networks if isinstance(net, IPv6Network)), None),
        subnet4=env.subnet,
        subnet6=env.subnet6,
        masquerade=env.ip_masq,
        forward=True,
    )
    return hand_back(observed, firewall, engine, judge)


def _check_empty(observed: KernelState, env: SubnetEnv | None) -> None:
    subnets = tuple(net for net in (env.subnet, env.subnet6) if net is not None) if env is not None else ()
    pods = attached_pods(observed, subnets)
    if pods:
        raise ConfigError("pods", f"are still attached by {' '.join(pods[:5])}", "remove them, or give --force")


async def _forget(departure: Departure, store: Store) -> str | None:
    """The lease is given back, and what tells others about this node goes.  Why the lease stays; None: it does not."""
    options, files = departure.options, SystemFiles()
    kept: str | None = None
    if not departure.keep_lease:
        try:
            await _release(store, node_identity(files, options.paths.state, SystemRandom()).node_id)
        except StoreUnavailable as error:
            kept = str(error)
    for path in (options.subnet_env, *(options.paths.state / name for name in (memory.FILE, ledger.FILE))):
        files.remove(path)
    return kept


async def _release(store: Store, node_id: NodeId) -> None:
    snapshot = await store.snapshot()
    for lease in snapshot.leases:
        if lease.owner == node_id:
            await store.release(Grant(lease=lease, revision=snapshot.revision, sent_at_ns=0, ttl_s=0.0))


def _subnet_env(path: Path) -> SubnetEnv | None:
    content = SystemFiles().read(path)
    return parse_subnet_env(content) if content else None
