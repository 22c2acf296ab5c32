"""Which address of a network comes next: one that was never given back, in turn; else the one given back first.  Pure.

Every ADD asks, so the answer is kept up as addresses come and go: on a node where all were given back once it takes a
few steps, however many there are.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tulle.cni.host_local import Owner, ip_of
from tulle.cni.pools import Pool
from tulle.model.network import IPAddress


@dataclass(slots=True)
class Holdings:
    """Who holds which address of one network, and which were given back, in that order; addresses by their names."""

    _held: dict[str, Owner] = field(default_factory=dict[str, Owner])
    _released: dict[str, None] = field(default_factory=dict[str, None])
    _resting: dict[str, None] = field(default_factory=dict[str, None])
    """Of those that were given back, in the same order, the ones that nobody holds."""
    _spent: dict[Pool, frozenset[str]] = field(default_factory=dict[Pool, frozenset[str]])
    """Where nothing was new, and what was in use elsewhere then.  Only ``_forget_order`` can make something new."""

    @property
    def held(self) -> Mapping[str, Owner]:
        return self._held

    @property
    def released(self) -> Collection[str]:
        """In the order in which they were given back; some of it is in use again."""
        return self._released.keys()

    def hold(self, name: str, owner: Owner) -> None:
        """``owner`` has it now."""
        self._held[name] = owner
        self._resting.pop(name, None)

    def give_back(self, name: str) -> None:
        """Nobody has it any more; it comes after all others."""
        self._held.pop(name, None)
        for order in (self._released, self._resting):
            order.pop(name, None)
            order[name] = None

    def lose(self, names: Iterable[str]) -> Mapping[str, Owner]:
        """Nobody has these any more, and nobody gave them back; who had them."""
        lost = {name: self._held.pop(name) for name in tuple(names)}
        if lost:
            self._forget_order()
        return lost

    def set_released(self, names: Iterable[str]) -> None:
        """These were given back, in this order: of one that is named twice the last time counts."""
        self._released = dict.fromkeys(reversed(dict.fromkeys(reversed(tuple(names)))))
        self._forget_order()

    def longest_free(self, pool: Pool, last: IPAddress | None, elsewhere: frozenset[str]) -> IPAddress | None:
        """One that was never given back, in turn after ``last``; else the one given back first; None: all are in use.

        ``elsewhere``: what is in use besides.
        """
        if not self._is_spent(pool, elsewhere):
            for ip in pool.in_turn(last):
                if self._is_new(str(ip), elsewhere):
                    return ip
            self._spent[pool] = elsewhere
        return next((ip_of(name) for name in self._resting if name not in elsewhere and ip_of(name) in pool), None)

    def _is_spent(self, pool: Pool, elsewhere: frozenset[str]) -> bool:
        """Is it known that nothing of ``pool`` is new?"""
        before = self._spent.get(pool)
        return before is not None and not any(
            ip_of(name) in pool and self._is_new(name, elsewhere) for name in before - elsewhere
        )

    def _is_new(self, name: str, elsewhere: frozenset[str]) -> bool:
        """Does nobody have this address, and has nobody given it back?"""
        return not (name in self._held or name in self._released or name in elsewhere)

    def _forget_order(self) -> None:
        self._resting = {name: None for name in self._released if name not in self._held}
        self._spent.clear()
