"""Lease events → the commands that follow, as golden text.

Each ``*.txt`` beside this file is one story.  Lines that begin with ``>`` are what happens; the
lines below them are every command that the agent then runs, which is all that it changes, and
``# refused`` says which lease it does not believe from now on::

    > node 10.244.1.0/24 192.168.64.11 02:00:00:00:00:01     this node's own lease
    > snapshot 10.244.2.0/24 192.168.64.12 02:00:00:00:00:02, …   all leases that the store has
    > put 10.244.3.0/24 192.168.64.13 02:00:00:00:00:03
    > gone 10.244.3.0/24
    > lost route 10.244.2.0/24        something in the kernel goes without the agent
    > audit

``UPDATE_GOLDENS=1`` rewrites the expected lines; read the difference before committing it.
"""

import os
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from tulle.model.change import Change, Create, Delete, Plan
from tulle.model.lease import Gone, Lease, LeaseEvent, LeaseKey, Put, Snapshot
from tulle.model.network import Host, MacAddress, NetworkConfig, SubnetPool, Underlay, Vni, Vxlan
from tulle.model.objects import KernelObject, Link, LinkKey, NftTable, ObjectKey
from tulle.model.state import KernelState, Scope, object_device
from tulle.plan.desired import Settings, node_ownership
from tulle.plan.diff import diff
from tulle.plan.intent import Intent
from tulle.plan.text import format_object, format_plan

HERE = Path(__file__).parent
NETWORK = IPv4Network("10.244.0.0/16")
CONFIG = NetworkConfig(
    pool4=SubnetPool(
        network=NETWORK,
        subnet_len=24,
        first=IPv4Network("10.244.1.0/24"),
        last=IPv4Network("10.244.255.0/24"),
    ),
    pool6=None,
    backend=Vxlan(),
)


@dataclass
class World:
    """A node without a kernel: what it means to hold, and what a kernel that obeys would hold."""

    intent: Intent | None = None
    kernel: KernelState = field(default_factory=KernelState.of)
    revision: int = 1

    def happen(self, line: str) -> str:
        """The commands that follow from one line of the story."""
        verb, _, rest = line.partition(" ")
        match verb:
            case "node":
                own = lease(rest)
                assert own.public_ip is not None
                underlay = Underlay(device="eth0", mtu=1500, address=own.public_ip, address6=None)
                settings = Settings(ip_masq=True)
                self.intent = Intent.initial(CONFIG, Host(underlay=underlay), own, settings)
                return ""
            case "lost":
                return self._lose(rest)
            case "audit":
                return self._pass(Scope.all())
            case _:
                return self._event(self._decoded(verb, rest))

    def _decoded(self, verb: str, rest: str) -> LeaseEvent:
        self.revision += 1
        match verb:
            case "snapshot":
                leases = tuple(lease(text) for text in rest.split(",") if text.strip())
                return Snapshot(cluster_id="c1", revision=self.revision, leases=leases)
            case "put":
                return Put(lease(rest, created=self.revision), self.revision)
            case "gone":
                return Gone(key(IPv4Network(rest.strip())), self.revision)
            case _:
                raise AssertionError(f"unknown verb {verb}")

    def _event(self, event: LeaseEvent) -> str:
        assert self.intent is not None
        before = self.intent.admission.refusals
        self.intent, scope = self.intent.after(event, now_ns=0)
        fresh = [refusal for refusal in self.intent.admission.refusals if refusal not in before]
        return "".join(f"# refused {refusal.key}: {refusal.rule}\n" for refusal in fresh) + self._pass(scope)

    def _lose(self, what: str) -> str:
        gone = [obj for obj in self.kernel if format_object(obj).startswith(what)]
        assert len(gone) == 1, f"{what}: {[format_object(obj) for obj in self.kernel]}"
        self.kernel = without(self.kernel, gone[0])
        device = gone[0].name if isinstance(gone[0], Link) else object_device(gone[0])
        return self._pass(Scope.of([gone[0].key], [device] if device else []))

    def _pass(self, scope: Scope) -> str:
        assert self.intent is not None
        if not self.intent.book.synced or not scope:
            return ""
        wanted = self.intent.desired.state
        judge = node_ownership(CONFIG, self.intent.seen_macs)
        scope = scope.including(wanted)
        plan = diff(wanted, self.kernel, judge, scope)
        self.kernel = applied(plan, self.kernel)
        assert not diff(wanted, self.kernel, judge).steps, "a second pass would change something"
        return shortened(format_plan(plan))


def key(subnet: IPv4Network) -> LeaseKey:
    return LeaseKey(f"{subnet.network_address}-{subnet.prefixlen}")


def lease(text: str, created: int = 1) -> Lease:
    subnet, public_ip, mac = text.split()
    return Lease(
        key=key(IPv4Network(subnet)),
        subnet=IPv4Network(subnet),
        public_ip=IPv4Address(public_ip),
        backend_type="vxlan",
        vni=Vni(1),
        vtep_mac=MacAddress(mac),
        created=created,
    )


def applied(plan: Plan, state: KernelState) -> KernelState:
    """What a kernel holds that obeys every step."""
    for step in plan.steps:
        match step:
            case Create(obj=obj) | Change(after=obj):
                state = state.merged(KernelState.of([obj]))
            case Delete(obj=obj):
                state = without(state, obj)
    return state


def without(state: KernelState, gone: KernelObject) -> KernelState:
    """``state`` less ``gone``; a link takes along all that is on it."""
    keys: list[ObjectKey] = [gone.key]
    if isinstance(gone, Link):
        keys += [obj.key for obj in state if object_device(obj) == gone.name and obj.key != LinkKey(gone.name)]
    return state.without(keys)


def shortened(text: str) -> str:
    """The text without the table's rules, which have tests of their own."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if line == "EOF":
            inside = False
        elif not inside:
            lines.append("nft -f - # table inet tulle" if line.startswith("nft -f") else line)
        inside = inside or line.startswith("nft -f")
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("story", sorted(HERE.glob("*.txt")), ids=lambda path: path.stem)
def test_story(story: Path) -> None:
    told = story.read_text().splitlines()
    happened = [line for line in told if line.startswith((">", "#!"))]
    world, actual = World(), ""
    for line in happened:
        actual += f"{line}\n"
        if line.startswith(">"):
            actual += world.happen(line[1:].strip())
    if os.environ.get("UPDATE_GOLDENS"):
        story.write_text(actual)
    assert actual.splitlines() == told


def test_there_is_a_table_in_every_kernel_that_the_stories_build() -> None:
    world = World()
    world.happen("node 10.244.1.0/24 192.168.64.11 02:00:00:00:00:01")
    world.happen("snapshot")
    assert list(world.kernel.each(NftTable))
