"""What the plugin's verbs share on one node: its kernel, its files, what the agent knows, who is being served."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from errno import EEXIST, ENOENT
from functools import partial
from pathlib import Path

from tulle.cni.attach import PodNetwork, host_device, judge
from tulle.cni.delegate import Inside, execute
from tulle.cni.files import Folder, Settle, settle_now
from tulle.cni.host_local import Owner, ip_of
from tulle.cni.in_use import InUse
from tulle.cni.ipam import Addresses
from tulle.cni.lookout import Lookout
from tulle.cni.pod_rules import PodRules
from tulle.cni.pools import Pool, Subnet
from tulle.cni.records import Record, Records
from tulle.cni.removal import Removal
from tulle.errors import ConfigError, KernelError
from tulle.kernel.netns import identify, open_path
from tulle.kernel.port import Kernel
from tulle.kernel.vigil import Vigil
from tulle.model.change import Create, Delete, Outcome, Plan, Step, subject_of
from tulle.model.objects import Link, Sysctl, VethKind
from tulle.model.state import KernelState
from tulle.plan.diff import diff
from tulle.plan.text import format_object
from tulle.wire.cni import Invocation
from tulle.wire.cni_error import ALREADY_ATTACHED, BAD_NETNS, OBJECT_TAKEN, CniError
from tulle.wire.cni_ipam import Delegate

IPV6 = Path("/proc/sys/net/ipv6")


@dataclass(slots=True, kw_only=True)
class Site:
    """One node.

    ``network`` answers what pods need to know, None while there is no lease; ``open_pod`` opens the
    kernel of a namespace by descriptor; ``networks`` holds a folder of addresses for each network, ``state``
    is the agent's own folder.
    """

    kernel: Kernel
    open_pod: Callable[[int], Kernel]
    removal: Removal
    networks: Path
    state: Path
    network: Callable[[], PodNetwork | None]
    boot_id: str
    last_network: Callable[[], PodNetwork | None] = lambda: None
    """What an agent said last, for the time before there is a lease."""
    settle: Settle = settle_now
    before: Callable[[str], None] = lambda _: None
    inside: Inside = lambda run: run()
    """Runs a function in the node's namespace: another plugin is executed there."""
    trouble: Callable[[], str] = str
    """Why what was written may not be on disk; "" when it is."""
    pods_changed: Callable[[], None] = lambda: None
    """Called when a routed pod came or went."""
    planning: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The bridge is shared: look at it and change it in one piece."""
    vigil: Vigil | None = None
    """Over the bridge: ADD takes it for what it was as long as nobody announces that it changed."""
    rules: PodRules = field(init=False)
    lookout: Lookout = field(init=False)
    in_use: InUse = field(init=False)
    _own_netns: tuple[int, int] = field(default_factory=identify)
    _addresses: dict[str, Addresses] = field(default_factory=dict[str, Addresses])
    _records: dict[str, Records] = field(default_factory=dict[str, Records])
    _served: dict[Owner, "_Queue"] = field(default_factory=dict[Owner, "_Queue"])

    def __post_init__(self) -> None:
        self.rules = PodRules(self.kernel, self._known_of_this_boot)
        self.lookout = Lookout(self.kernel, self.vigil)
        self.in_use = InUse(self.networks)

    # -- files -------------------------------------------------------------------------

    def addresses(self, network: str) -> Addresses:
        """The allocations of one network, remembered."""
        if network not in self._addresses:
            folder = Folder(self.networks / network, self.settle, self.before)
            self._addresses[network] = Addresses(folder, partial(self.in_use.elsewhere, network))
        return self._addresses[network]

    def records(self, network: str) -> Records:
        """What was attached to one network."""
        if network not in self._records:
            self._records[network] = Records(Folder(self.state / "attachments" / network, self.settle, self.before))
        return self._records[network]

    def new_record(self, call: Invocation) -> Record:
        """What is known of an attachment when its call comes in: no addresses yet."""
        return Record(
            network=call.conf.name,
            container_id=call.container_id,
            ifname=call.ifname,
            netns=call.netns,
            boot_id=self.boot_id,
            device=host_device(*call.owner),
            bridge=call.conf.bridge or "",
            addresses=(),
        )

    def all_records(self) -> Iterator[Record]:
        """What was attached, to whichever network."""
        for network in self.known_networks():
            yield from self.records(network).all()

    def _known_of_this_boot(self) -> Iterator[Record]:
        """As they are remembered: one that is lost is looked for first, and its rules stay until then."""
        known = (record for records in self._records.values() for record in records.known)
        return (record for record in known if record.boot_id == self.boot_id)

    def known_networks(self) -> frozenset[str]:
        """Every network that has a folder here."""
        return frozenset(_folders(self.networks) + _folders(self.state / "attachments"))

    def note_last(self) -> None:
        """What a next agent, or host-local, likes to know; a disk that takes nothing loses nothing else by it."""
        for addresses in self._addresses.values():
            with suppress(OSError):
                addresses.note_last()

    def lay_in(self, count: int) -> bool:
        """Make up to ``count`` spare files for the next pods; False: there are enough.  Raises OSError."""
        return any(each.folder.lay_in(count) for each in (*self._addresses.values(), *self._records.values()))

    def free(self, pool: Pool) -> int:
        """How many addresses of ``pool`` are left, whichever network has the others."""
        return pool.capacity - sum(ip_of(name) in pool for name in self.in_use.anywhere())

    def resting(self, subnet: Subnet) -> int:
        """How many of the free ones had a pod before, as far as this process has seen."""
        names = {name for addresses in self._addresses.values() for name in addresses.given_back}
        return sum(ip_of(name) in subnet for name in names - self.in_use.anywhere())

    async def ask(self, delegate: Delegate, verb: str, conf: bytes | None = None) -> bytes:
        """What the plugin that manages the addresses answers.  Raises CniError."""
        return await execute(delegate, verb, self.inside, conf)

    # -- who is served -----------------------------------------------------------------

    @asynccontextmanager
    async def alone(self, owner: Owner) -> AsyncGenerator[None]:
        """Calls on one attachment wait for each other."""
        queue = self._served.setdefault(owner, _Queue())
        queue.length += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.length -= 1
            if not queue.length:  # a lock that is free may have been promised to the next
                del self._served[owner]

    def in_service(self) -> frozenset[Owner]:
        """The attachments that somebody is at work on now."""
        return frozenset(self._served)

    # -- kernel ------------------------------------------------------------------------

    @contextmanager
    def netns(self, call: Invocation) -> Generator[int]:
        """A descriptor of the pod's namespace.  Raises CniError: it is none, or the node's own."""
        try:
            descriptor = open_path(call.netns)
        except ConfigError as error:
            raise CniError(BAD_NETNS, f"CNI_NETNS {call.netns}", error.rule) from None
        try:
            if not call.own_netns and identify(descriptor) == self._own_netns:
                raise CniError(BAD_NETNS, f"CNI_NETNS {call.netns}", "is the node's own namespace")
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def pod(self, call: Invocation) -> Generator[Kernel]:
        """The kernel of the pod's namespace.  Raises CniError: it is none, or the node's own."""
        with self.netns(call) as descriptor, closing(self.open_pod(descriptor)) as kernel:
            yield kernel


@dataclass(slots=True)
class _Queue:
    """The calls on one attachment: who is served, and who waits."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


def plan_towards(wanted: KernelState, observed: KernelState) -> Plan:
    """What is still to be done of ``wanted``; what else there is stays."""
    return diff(wanted, observed, judge)


def steps_towards(wanted: KernelState, observed: KernelState) -> Plan:
    """``plan_towards``, of which nothing is in the way.  Raises CniError with the first thing that is."""
    plan = plan_towards(wanted, observed)
    if plan.conflicts:
        conflict = plan.conflicts[0]
        raise CniError(OBJECT_TAKEN, format_object(conflict.wanted), f"held by {format_object(conflict.holder)}")
    return plan


async def carry_out(kernel: Kernel, plan: Plan) -> None:
    """All of ``plan``.  Raises CniError or KernelError with the first step that failed."""
    for outcome in await kernel.apply(plan):
        _check(outcome)


def is_without_ipv6(step: Step, error: KernelError | None) -> bool:
    """A setting of IPv6 on a kernel that has none: nothing to protect."""
    obj = None if isinstance(step, Delete) else subject_of(step)
    is_missing = error is None or error.errno == ENOENT
    return isinstance(obj, Sysctl) and obj.path.startswith("net/ipv6/") and is_missing and not IPV6.exists()


def _check(outcome: Outcome) -> None:
    match outcome:
        case Outcome(step=step, error=error) if error is not None and is_without_ipv6(step, error):
            pass
        case Outcome(step=Create(obj=Link(kind=VethKind(peer=str(peer)))), error=error) if error is not None:
            if error.errno == EEXIST:
                raise CniError(ALREADY_ATTACHED, f"interface {peer}", "exists in the pod, or its other end on the node")
            raise error
        case Outcome(step=Create(obj=obj), error=error) if error is not None and error.errno == EEXIST:
            raise CniError(OBJECT_TAKEN, format_object(obj), "held by somebody else")
        case Outcome(error=error) if error is not None:
            raise error
        case _:
            pass


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
