"""Which address comes next, after any history: as a plain reading of the files says, whatever the process remembers."""

from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tulle.cni.files import Folder
from tulle.cni.holdings import Holdings
from tulle.cni.host_local import Owner, format_owner
from tulle.cni.ipam import RELEASED, Addresses
from tulle.cni.pools import Pool, Subnet, choose_pools
from tulle.model.network import IPAddress
from tulle.wire.cni_error import CniError
from tulle.wire.cni_ranges import AddressRange

FOUR, SIX = IPv4Network("10.244.1.0/29"), IPv6Network("fd10:244:0:1::/64")


def part(first: str, last: str) -> AddressRange:
    return AddressRange(field="ipam.ranges", first=ip_address(first), last=ip_address(last))


LOW, HIGH = part("10.244.1.2", "10.244.1.3"), part("10.244.1.5", "10.244.1.6")
FEW = part("fd10:244:0:1::2", "fd10:244:0:1::4")
Asked = tuple[tuple[Subnet, ...], tuple[AddressRange, ...]]
ASKED: list[Asked] = [
    ((FOUR,), ()),
    ((FOUR, SIX), ()),
    ((FOUR, SIX), (FEW,)),
    ((SIX,), (FEW,)),
    ((FOUR,), (LOW,)),
    ((FOUR, SIX), (LOW, HIGH, FEW)),
]
NAMES = [f"{base}{number}" for base in ("10.244.1.", "fd10:244:0:1::") for number in range(2, 7)]
names = st.sampled_from(NAMES)


def next_address(pool: Pool, last: str | None, used: Collection[str], released: Sequence[str]) -> str | None:
    """The rule: one that was never given back, in turn after the last given; else the one given back first."""
    for name in map(str, pool.in_turn(ip_address(last) if last else None)):
        if name not in used and name not in released:
            return name
    return next((name for name in released if name not in used and ip_address(name) in pool), None)


class Order(RuleBasedStateMachine):
    """What a process remembers, asked at every step for every pool, beside the rule, which is told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.holdings = Holdings()
        self.held = set[str]()
        self.released: list[str] = []
        self.elsewhere = frozenset[str]()

    @rule(name=names)
    def hold(self, name: str) -> None:
        self.holdings.hold(name, ("c1", "eth0"))
        self.held.add(name)

    @rule(name=names)
    def give_back(self, name: str) -> None:
        self.holdings.give_back(name)
        self.held.discard(name)
        self.released = [each for each in self.released if each != name] + [name]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        assert self.holdings.lose([name]) == {name: ("c1", "eth0")}
        self.held.remove(name)

    @rule(released=st.permutations(NAMES), number=st.integers(0, len(NAMES)))
    def others_give_back(self, released: list[str], number: int) -> None:
        self.released = released[:number]
        self.holdings.set_released([*self.released[:0:-1], *self.released])

    @rule(elsewhere=st.frozensets(names, max_size=4))
    def others_use(self, elsewhere: frozenset[str]) -> None:
        self.elsewhere = elsewhere

    @invariant()
    def the_next_is_as_the_rule_says(self) -> None:
        used = self.held | self.elsewhere
        for pool in (pool for asked in ASKED for pool in choose_pools(*asked)):
            for last in (None, "10.244.1.4", "fd10:244:0:1::3"):
                found = self.holdings.longest_free(pool, ip_address(last) if last else None, self.elsewhere)
                assert next_address(pool, last, used, self.released) == (None if found is None else str(found))


def unsynced(_: Path, __: Iterable[str]) -> None:
    pass


class History(RuleBasedStateMachine):
    """One network's folder, a process that serves it, and others who change the same files.

    Of the past the rule is told what was given last, and reads everything else in the files.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = TemporaryDirectory()
        self.path = Path(self.root.name)
        self.last: dict[int, str] = {}
        self.owners: list[Owner] = []
        self.elsewhere = frozenset[str]()
        self.addresses = self.another_process()

    def teardown(self) -> None:
        self.root.cleanup()

    def another_process(self) -> Addresses:
        return Addresses(Folder(self.path, settle=unsynced), lambda: self.elsewhere)

    def new_owner(self) -> Owner:
        self.owners.append((f"c{len(self.owners)}", "eth0"))
        return self.owners[-1]

    @property
    def used(self) -> frozenset[str]:
        return self.elsewhere | {name for name in NAMES if (self.path / name).exists()}

    @property
    def released(self) -> list[str]:
        """Of one that was given back twice the last time counts."""
        lines = (self.path / RELEASED).read_text().split() if (self.path / RELEASED).exists() else []
        return list(reversed(dict.fromkeys(reversed(lines))))

    def allocate(self, asked: Asked, *wanted: IPAddress) -> None:
        subnets, ranges = asked
        given = self.addresses.allocate(self.new_owner(), subnets, wanted, ranges=ranges)
        self.last |= {number: str(interface.ip) for number, interface in enumerate(given)}

    @rule(asked=st.sampled_from(ASKED))
    def add(self, asked: Asked) -> None:
        pools = choose_pools(*asked)
        expected = {
            number: next_address(pool, self.last.get(number), self.used, self.released)
            for number, pool in enumerate(pools)
        }
        if None not in expected.values():
            self.allocate(asked)
            assert {number: self.last[number] for number in expected} == expected
        else:
            with pytest.raises(CniError, match="in use"):
                self.allocate(asked)

    @rule(name=names)
    def add_with_a_wish(self, name: str) -> None:
        if name not in self.used:
            ip = ip_address(name)
            self.allocate(((FOUR if ip.version == 4 else SIX,), ()), ip)

    @rule(ago=st.integers(1, 20), by_another=st.booleans())
    def release(self, ago: int, *, by_another: bool) -> None:
        process = self.another_process() if by_another else self.addresses
        for owner in self.owners[-ago:][:1]:
            process.release(owner)

    @rule(name=names)
    def host_local_claims(self, name: str) -> None:
        if name not in self.used:
            (self.path / name).write_bytes(format_owner(self.new_owner()))

    @rule(name=names)
    def host_local_removes(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    @rule(name=names)
    def restore(self, name: str) -> None:
        self.addresses.restore(self.new_owner(), [ip_address(name)])

    @rule(elsewhere=st.frozensets(names, max_size=4))
    def others_use(self, elsewhere: frozenset[str]) -> None:
        self.elsewhere = elsewhere

    @rule()
    def restart(self) -> None:
        self.addresses.note_last()
        self.addresses = self.another_process()


TestOrder, TestHistory = Order.TestCase, History.TestCase
TestOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
