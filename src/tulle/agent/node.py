"""One running node: the parts that the daemon's tasks share, and what they report together."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tulle.agent.history import News
from tulle.agent.identity import Identity
from tulle.agent.keeper import LeaseKeeper
from tulle.agent.memory import Memory
from tulle.agent.options import AgentOptions
from tulle.agent.reconciler import Reconciler
from tulle.agent.status import NodeStatus
from tulle.cni.attach import PodNetwork
from tulle.cni.fill import AddressUse
from tulle.errors import ConfigError
from tulle.kernel.port import Kernel
from tulle.model.network import NetworkConfig
from tulle.plan.desired import pod_mtu
from tulle.plan.intent import Intent
from tulle.plan.reconfigure import why_not
from tulle.seams import Clock, Files, Random
from tulle.store.ports import Directory
from tulle.wire.subnet_env import SubnetEnv, format_subnet_env

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Node:
    """The agent's parts.  The only mutable state here is how the store and the disk are."""

    options: AgentOptions
    clock: Clock
    random: Random
    files: Files
    kernel: Kernel
    directory: Directory
    keeper: LeaseKeeper
    reconciler: Reconciler
    identity: Identity
    memory: Memory
    started_ns: int
    pid: int
    address_uses: Callable[[], tuple[AddressUse, ...]] = tuple
    store_reachable: bool = True
    file_problem: str | None = None
    """Why ``subnet.env`` could not be written; None when it could."""
    config_problem: str | None = None
    """Why the network configuration in force is not the store's; None when it is."""

    def store_answers(self, reachable: bool, reason: str = "") -> None:
        """Note whether the store answers; say so when that changes."""
        if reachable != self.store_reachable:
            text = "answers again" if reachable else f"away, the data path stays: {reason}"
            self.reconciler.history.tell(News(kind="store", text=text))
        self.store_reachable = reachable

    def config_seen(self, seen: NetworkConfig | ConfigError | None) -> bool:
        """What the store's network configuration is now: applied (True), known already, or refused with its reason."""
        inputs, options = self.reconciler.intent.desired.inputs, self.options
        match seen:
            case None:
                why = "network configuration: gone from the store"
            case ConfigError():
                why = str(seen)
            case NetworkConfig():
                public = (options.public_ip, options.public_ip6)
                reason = why_not(inputs.config, seen, inputs.host, inputs.own, public)
                why = f"network configuration: {reason}" if reason is not None else None
        before, self.config_problem = self.config_problem, f"{why}; the last one stays" if why is not None else None
        if self.config_problem not in {None, before}:
            self.reconciler.history.tell(News(kind="problem", text=self.config_problem or ""))
        if not isinstance(seen, NetworkConfig) or why is not None or seen == inputs.config:
            return False
        log.info("network configuration: a change is applied")
        self.reconciler.configure(seen)
        self.keeper.configure(seen)
        return True

    def status(self) -> NodeStatus:
        """Everything, now."""
        reconciler = self.reconciler
        report = reconciler.report
        problems = [problem for problem in (self.config_problem, self.file_problem) if problem is not None]
        if problems:
            report = replace(report, problems=(*report.problems, *problems))
        return NodeStatus(
            intent=reconciler.intent,
            report=report,
            converged=reconciler.converged,
            node_id=self.identity.node_id,
            store=self.options.store_url,
            store_reachable=self.store_reachable,
            lease_deadline_ns=self.keeper.deadline_ns,
            started_ns=self.started_ns,
            pid=self.pid,
            now_ns=self.clock.boottime_ns(),
            news=reconciler.history.last,
            addresses=self.address_uses(),
        )

    def pod_network(self) -> PodNetwork | None:
        """What pods of this node need to know; None before the node has taken its place."""
        if not self.reconciler.in_place:
            return None
        inputs = self.reconciler.intent.desired.inputs
        own, networks = inputs.own, inputs.config.networks
        return PodNetwork(
            subnet=own.subnet,
            subnet6=own.subnet6,
            mtu=pod_mtu(inputs),
            networks=networks,
            masquerades=inputs.settings.ip_masq,
            lapsed=self.keeper.past_deadline,
        )

    def after_pass(self, intent: Intent) -> None:
        """Keep flannel's file true once the node is in place, written only when it differs.

        A disk that takes nothing is reported, and tried again after the next pass.
        """
        if not self.reconciler.in_place:
            return
        self.memory.note(intent, self.keeper.grant)
        path = self.options.subnet_env
        try:
            self._write_if_changed(path, format_subnet_env(subnet_env(intent, self.options.settings.ip_masq)))
            problem = None
        except OSError as error:
            problem = f"{path}: {error.strerror or error}"
        if problem is not None and problem != self.file_problem:
            log.warning("not written: %s", problem)
        self.file_problem = problem

    def _write_if_changed(self, path: Path, content: bytes) -> None:
        if self.files.read(path) != content:
            self.files.replace(path, content)
            log.info("wrote %s", path)


def subnet_env(intent: Intent, ip_masq: bool) -> SubnetEnv:
    """What CNI plugins read about this node.  The subnet is given with its gateway's host bits (base + 1)."""
    inputs = intent.desired.inputs
    pool4, pool6, own = inputs.config.pool4, inputs.config.pool6, inputs.own
    return SubnetEnv.of(
        network=pool4.network if pool4 else None,
        subnet=own.subnet,
        network6=pool6.network if pool6 else None,
        subnet6=own.subnet6,
        mtu=pod_mtu(inputs),
        ip_masq=ip_masq,
    )
