"""The kernel in memory: its switches.  That it behaves as Linux does is what the contract suite shows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from errno import EBUSY, EEXIST, ENODEV
from ipaddress import IPv4Address

import pytest

from tests.kit import virtual_time
from tests.kit.cluster import bare_host, mac
from tulle.errors import KernelError
from tulle.kernel.fake import FakeKernel
from tulle.model.change import Create, Delete, Plan
from tulle.model.objects import BridgeKind, Link, LinkKey, Neighbor, SysctlKey
from tulle.model.state import KernelState, Scope

ENTRIES = tuple(Neighbor(device="eth0", ip=IPv4Address(f"192.168.64.{n}"), mac=mac(n)) for n in (1, 2, 3))
MAKE = Plan(tuple(Create(entry) for entry in ENTRIES))


def kernel() -> FakeKernel:
    return FakeKernel(bare_host())


def applied(fake: FakeKernel, plan: Plan = MAKE) -> list[int]:
    """The error number of each step; 0: done."""
    outcomes = virtual_time.run(fake.apply(plan))
    return [outcome.error.errno if outcome.error is not None else 0 for outcome in outcomes]


def seen(fake: FakeKernel, scope: Scope | None = None) -> KernelState:
    return virtual_time.run(fake.observe(scope or Scope.all()))


@pytest.mark.parametrize("after", [0, 1, 2])
def test_one_step_is_refused_and_the_others_are_done(after: int) -> None:
    fake = kernel()
    fake.fail(EBUSY, after=after)
    assert applied(fake) == [EBUSY if number == after else 0 for number in range(3)]
    assert [entry.key in seen(fake) for entry in ENTRIES] == [number != after for number in range(3)]
    assert len(fake.calls) == 3
    assert applied(fake) == [0 if number == after else EEXIST for number in range(3)]


def test_what_is_on_a_device_that_could_not_be_made_fails_with_it_and_never_reaches_the_kernel() -> None:
    fake = kernel()
    bridge = Link(name="br0", kind=BridgeKind())
    on_it = Neighbor(device="br0", ip=IPv4Address("10.0.0.1"), mac=mac(1))
    fake.fail(EBUSY)
    assert applied(fake, Plan((Create(bridge), Create(on_it), *MAKE.steps))) == [EBUSY, EBUSY, 0, 0, 0]
    assert Create(on_it) not in fake.calls


def test_deleting_what_is_not_there_is_done_unless_the_refusal_was_asked_for() -> None:
    fake = kernel()
    assert applied(fake, Plan((Delete(ENTRIES[0]),))) == [0]
    fake.fail(ENODEV)
    assert applied(fake, Plan((Delete(ENTRIES[0]),))) == [ENODEV]


def test_meddling_is_no_call_of_ours_and_may_be_refused() -> None:
    fake = kernel()
    fake.meddle(Create(ENTRIES[0]))
    with pytest.raises(KernelError):
        fake.meddle(Create(ENTRIES[0]))
    assert fake.calls == []


async def _next(changes: AsyncIterator[Scope]) -> Scope | None:
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            return await anext(changes)
    return None


def test_changes_add_up_until_they_are_read_and_are_lost_on_the_deaf() -> None:
    async def story() -> None:
        fake = kernel()
        changes = fake.changes()
        fake.meddle(Create(ENTRIES[0]), Create(ENTRIES[1]))
        assert await _next(changes) == Scope.of([ENTRIES[0].key, ENTRIES[1].key])
        fake.deaf = True
        fake.meddle(Create(ENTRIES[2]))
        assert await _next(changes) is None
        fake.overflow()
        assert await _next(changes) == Scope.all()

    virtual_time.run(story())


def test_a_sysctl_that_is_asked_for_and_not_there_is_shown_as_absent() -> None:
    key = SysctlKey("net/ipv6/conf/nothing/accept_ra")
    found = seen(kernel(), Scope.of([key])).get(key)
    assert found is not None
    assert getattr(found, "value", "") is None


def test_a_scope_is_all_that_is_shown() -> None:
    found = seen(kernel(), Scope.of([LinkKey("eth0")]))
    assert set(found.objects) == {LinkKey("eth0")}
