"""The port: what the daemon, the CNI attachment and the lab ask of one network namespace's kernel.

``LinuxKernel`` (``kernel/linux.py``) and ``FakeKernel`` (``kernel/fake.py``) both pass
``tests/contract/test_kernel_contract.py``.  No decision lives behind this port.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from tulle.model.change import Outcome, Plan
from tulle.model.network import DroppingChain, IPNetwork, PacketFilters
from tulle.model.state import KernelState, Scope


class Kernel(Protocol):
    """One network namespace.  Plans that are applied at the same time mix their steps, each in its own order."""

    async def observe(self, scope: Scope) -> KernelState:
        """What the kernel holds now, of the part that ``scope`` names (more may be returned, never less).

        Links, addresses (all), unicast and blackhole-like routes of every table but ``local``,
        neighbours, FDB entries of VXLAN devices; sysctls and the packet filter's rules only where
        ``scope.keys`` names them, and where the tool for them (nft, iptables) is there.
        Raises KernelError when a dump fails.
        """
        ...

    async def apply(self, plan: Plan) -> tuple[Outcome, ...]:
        """Carry out the steps in order; one outcome per step.

        Not atomic: a refused step does not stop the others, except that steps on a link
        that could not be made fail with it, and rules stay whose successors could not be made.
        A Create is exclusive: EEXIST when the key was taken meanwhile.  A Delete whose target
        is gone is done.
        """
        ...

    async def dropping_chains(
        self, networks: tuple[IPNetwork, ...] = (), tunnels: tuple[str, ...] = ()
    ) -> tuple[DroppingChain, ...]:
        """Foreign base chains in the forward hook whose policy is drop.

        And those in which a rule is sure to drop what goes between two addresses of one of
        ``networks`` and through one of the devices ``tunnels``.
        """
        ...

    async def packet_filters(self) -> PacketFilters:
        """The engines whose tools are installed, and whether the older iptables holds rules.  Raises KernelError."""
        ...

    def changes(self) -> AsyncIterator[Scope]:
        """What others changed, as dirty scopes; ``Scope.all()`` after an overflow.

        Subscribed when the iterator is made, not at its first step, so that nothing falls
        between an ``observe`` and the first event.  Own changes may or may not be echoed.
        A NEWLINK, DELADDR or nexthop loss names the whole device, because the kernel does not
        announce the routes that go with it.  A change of the nft ruleset names the key of
        tulle's own table.  Of sysctls only the namespace's IP forwarding is announced.
        """
        ...

    def close(self) -> None:
        """Release sockets; the kernel's state stays."""
        ...
