"""The kernel's own account of one packet: transmissions, receipts, drops and routing look-ups.

Root of the host only.  The events are host-wide, so they are recorded only while a probe is on its
way, filtered by size, into a bounded buffer that keeps the beginning; ``trail`` picks out the
probe's.  Times are made comparable with the taps': TAI is the wall clock plus whole seconds.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from tulle.errors import DecodeError, KernelError
from tulle.trace.flow import Flow
from tulle.trace.ring import Format, Record, decode_page, parse_format
from tulle.trace.tracefs import Instance
from tulle.trace.trail import NO_EVENTS, EventKind, Events, LookupEvent, SkbEvent

LONGEST_FRAME: Final = 700
"""The probe in a tunnel, or an ICMP error about it; what is longer is not ours."""
BUFFER_KB: Final = 512
_BUFFERS_KB: Final = range(64, 2049)
"""Sizes that are left as they are: changing one makes the kernel wait."""
_SKB_EVENTS: Final[Mapping[str, tuple[EventKind, str]]] = {
    "net/net_dev_start_xmit": ("xmit", f"len <= {LONGEST_FRAME}"),
    "net/netif_rx": ("netif_rx", f"len <= {LONGEST_FRAME}"),
    "net/netif_receive_skb": ("receive", f"len <= {LONGEST_FRAME}"),
    "skb/kfree_skb": ("free", "protocol != 0"),
    "skb/consume_skb": ("consume", ""),
}
"""What is recorded: the kind that it is to us, and the kernel's filter."""
_LOOKUPS: Final = {4: "fib/fib_table_lookup", 6: "fib6/fib6_table_lookup"}
_TIME_TRIES: Final = 50
_UNNAMED: Final = "0x"


class EventSource(Protocol):
    """What a session asks: recording from ``start`` to ``stop``, which gives the events between."""

    def __enter__(self) -> "EventSource": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> Events: ...


class NoTracepoints:
    """Where there are none: everything is answered with nothing."""

    def __enter__(self) -> "NoTracepoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def start(self) -> None:
        return

    def stop(self) -> Events:
        return NO_EVENTS


@dataclass(slots=True)
class Tracepoints:
    """Recording in an instance of our own; use it as a context manager."""

    instance: Instance
    formats: Mapping[int, tuple[EventKind | None, Format]]
    """By number; a look-up has no kind."""
    offset_ns: int
    """From the ring's clock to the wall clock."""

    def __enter__(self) -> "Tracepoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.instance.close()

    def start(self) -> None:
        self.instance.write("tracing_on", "1")

    def stop(self) -> Events:
        self.instance.write("tracing_on", "0")
        skbs: list[SkbEvent] = []
        lookups: list[LookupEvent] = []
        for record in self._records():
            kind, form = self.formats.get(record.id, (None, None))
            with suppress(DecodeError, ValueError):  # an event that this kernel tells otherwise is left out
                if form is not None and kind is None:
                    lookups.append(_lookup(record, form, self.offset_ns))
                elif form is not None and kind is not None:
                    skbs.append(_skb(record, kind, form, self.offset_ns))
        return Events(
            tuple(sorted(skbs, key=lambda event: event.t_ns)), tuple(sorted(lookups, key=lambda event: event.t_ns))
        )

    def _records(self) -> Iterator[Record]:
        for processor in self.instance.processors():
            descriptor = self.instance.open(f"{processor}/trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
            try:
                for page in _pages(descriptor):
                    with suppress(DecodeError):
                        yield from decode_page(page)
            finally:
                os.close(descriptor)


def open_tracepoints(flow: Flow) -> tuple[EventSource, str]:
    """Recording, ready to start; or nothing, and why."""
    try:
        instance = Instance()
    except KernelError as error:
        return NoTracepoints(), "root of the host only" if os.geteuid() or _in_user_namespace() else str(error)
    try:
        return _prepared(instance, flow), ""
    except (OSError, DecodeError) as error:
        instance.close()
        return NoTracepoints(), str(error)
    except BaseException:
        instance.close()
        raise


def named(events: Events) -> Events:
    """``events`` with the names of the functions that freed something, for their addresses."""
    wanted = {int(event.place, 16) for event in events.skbs if event.place.startswith(_UNNAMED)}
    names = _symbols(frozenset(wanted)) if wanted else {}
    return replace(
        events,
        skbs=tuple(
            replace(event, place=names.get(int(event.place, 16), "")) if event.place.startswith(_UNNAMED) else event
            for event in events.skbs
        ),
    )


def _prepared(instance: Instance, flow: Flow) -> Tracepoints:
    """Raises OSError, DecodeError."""
    instance.write("tracing_on", "0")
    clock = "tai" if "tai" in instance.read("trace_clock").replace("[", " ").replace("]", " ").split() else "mono"
    instance.write("trace_clock", clock)
    if int(instance.read("buffer_size_kb").split()[0]) not in _BUFFERS_KB:
        instance.write("buffer_size_kb", str(BUFFER_KB))
    instance.write("options/overwrite", "0")
    formats: dict[int, tuple[EventKind | None, Format]] = {}
    for name, (kind, condition) in _SKB_EVENTS.items():
        form = _enable(instance, name, condition)
        formats[form.id] = kind, form
    with suppress(OSError):  # a kernel without this event: no look-ups are shown
        form = _enable(instance, _LOOKUPS[flow.source.version], "")
        formats[form.id] = None, form
    return Tracepoints(instance, formats, _offset_ns(clock))


def _enable(instance: Instance, name: str, condition: str) -> Format:
    form = parse_format(instance.read(f"events/{name}/format"))
    if condition:
        with suppress(OSError):  # an older kernel lacks the field: more is recorded
            instance.write(f"events/{name}/filter", condition)
    instance.write(f"events/{name}/enable", "1")
    return form


def _offset_ns(clock: str) -> int:
    """What to add to the ring's clock to get the wall clock's time.

    Of TAI it is whole seconds.  The monotonic clock runs with the wall clock at a distance that only
    setting the clock changes; reading one between two readings of the other bounds it from both sides.
    """
    number = time.CLOCK_TAI if clock == "tai" else time.CLOCK_MONOTONIC
    low, high = -(1 << 63), 1 << 63
    for _ in range(_TIME_TRIES):
        before = time.clock_gettime_ns(number)
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(number)
        low, high = max(low, wall - after), min(high, wall - before)
    middle = (low + high) // 2
    return round(middle / 1_000_000_000) * 1_000_000_000 if clock == "tai" else middle


def _pages(descriptor: int) -> Iterator[bytes]:
    size = os.sysconf("SC_PAGE_SIZE")
    while True:
        try:
            page = os.read(descriptor, size)
        except BlockingIOError:
            return
        if not page:
            return
        yield page


def _skb(record: Record, kind: EventKind, form: Format, offset_ns: int) -> SkbEvent:
    place = record.number(form, "location")
    reason = record.number(form, "reason", -1)
    return SkbEvent(
        t_ns=record.t_ns + offset_ns,
        kind=kind,
        skb=record.number(form, "skbaddr"),
        device=record.text(form, "name"),
        length=record.number(form, "len"),
        reason=form.symbols.get(reason, "NOT_SPECIFIED") if kind == "free" else "",
        place=f"{place:#x}" if kind == "free" and place else "",
    )


def _lookup(record: Record, form: Format, offset_ns: int) -> LookupEvent:
    device = record.text(form, "name")
    gateway = record.bytes(form, "gw4") if any(record.bytes(form, "gw4")) else record.bytes(form, "gw6")
    gateway = gateway or record.bytes(form, "gw")
    via = str(ip_address(gateway)) if any(gateway) else ""
    error = int.from_bytes(record.bytes(form, "err"), "little", signed=True)
    source, target = ip_address(record.bytes(form, "src")), ip_address(record.bytes(form, "dst"))
    table = record.number(form, "tb_id")
    found = f"dev {device}" + (f" gw {via}" if via else "") if error == 0 else f"err {error}"
    iif, oif = record.number(form, "iif"), record.number(form, "oif")
    return LookupEvent(
        t_ns=record.t_ns + offset_ns,
        source=source,
        target=target,
        table=table,
        device="" if device == "-" else device,
        gateway=via,
        error=error,
        text=f"table {table} oif {oif} iif {iif} {source} -> {target} ==> {found}",
        raw=record.data,
    )


@lru_cache
def _symbols(addresses: frozenset[int]) -> dict[int, str]:
    """The function that each address is in, by the kernel's own list; without what it hides from us."""
    best: dict[int, tuple[int, str]] = dict.fromkeys(addresses, (0, ""))
    with suppress(OSError), open("/proc/kallsyms", "rb") as listing:
        for line in listing:
            start, _, rest = line.partition(b" ")
            at = int(start, 16)
            for address, (nearest, _) in best.items():
                if nearest < at <= address and rest[:1] in b"tTwW":
                    best[address] = at, rest.split()[1].decode(errors="replace")
    return {address: name for address, (_, name) in best.items() if name}


def _in_user_namespace() -> bool:
    with suppress(OSError):
        return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    return False
