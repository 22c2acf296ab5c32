"""The packet in the packet, drawn once: outer headers round the inner frame."""

from collections.abc import Iterable, Sequence

from tulle.render.walk_look import Look
from tulle.render.walk_text import Line, fit, flow, width
from tulle.render.walk_words import say
from tulle.trace.journey import Hop, Inner, Outer

_INDENT = " " * 4


def envelope(hop: Hop, hops: Sequence[Hop], look: Look) -> Iterable[Line]:
    """``hop``'s frame, from the headers that were captured; ``hops`` tell the length without the tunnel."""
    outer, inner = hop.outer, hop.inner
    if outer is None or inner is None:
        return
    plain = next((h.len for h in hops if h.n is not None and h.outer is None and h.len), 0)
    names = _outer_title(outer, (hop.len or 0) - plain, look), say("envelope.inner", look.lang, n=plain)
    draw = _drawn if look.boxes else _told
    yield from (Line(_INDENT + text, "tunnel") for text in draw(names, outer, inner, look))


def _drawn(names: tuple[str, str], outer: Outer, inner: Inner, look: Look) -> Iterable[str]:
    """A box in a box."""
    space = look.inside - len(_INDENT)
    inside = space - 6
    yield f"╔{_title('═', names[0], space)}╗"
    for piece in _broken(_outer_parts(outer), space - 2):
        yield f"║ {fit(piece, space - 2)} ║"
    yield f"║  ┌{_title('─', names[1], inside)}┐  ║"
    for piece in _broken(_inner_parts(inner), inside - 2):
        yield f"║  │ {fit(piece, inside - 2)} │  ║"
    yield f"║  └{'─' * inside}┘  ║"
    yield f"╚{'═' * space}╝"


def _told(names: tuple[str, str], outer: Outer, inner: Inner, look: Look) -> Iterable[str]:
    """The same as plain lines."""
    for name, parts in zip(names, (_outer_parts(outer), _inner_parts(inner)), strict=True):
        yield name
        for piece in _broken(parts, look.limit - len(_INDENT) - 2):
            yield f"  {piece}"


def _title(edge: str, name: str, columns: int) -> str:
    text = f"{edge} {name} "
    return text + edge * (columns - width(text))


def _outer_title(outer: Outer, more: int, look: Look) -> str:
    """The bytes that the tunnel costs, header by header."""
    ip = 40 if ":" in outer.src else 20
    return f"{say('envelope.outer', look.lang, n=more)}{say('colon', look.lang)}ETH 14 · IP {ip} · UDP 8 · VXLAN 8"


def _outer_parts(outer: Outer) -> list[str]:
    ports = f"UDP {outer.udp[0]}→{outer.udp[1]}"
    return [f"IP {outer.src}→{outer.dst} ttl {outer.ttl}", ports, f"VXLAN VNI {outer.vni}"]


def _inner_parts(inner: Inner) -> list[str]:
    macs = f"ETH …{inner.smac[-5:]}→…{inner.dmac[-5:]}"
    return [macs, f"IP {inner.src}→{inner.dst} ttl {inner.ttl}", inner.text]


def _broken(parts: Sequence[str], columns: int) -> list[str]:
    """Lines that end between two headers."""
    bar = " │ "
    pieces = [part if at == len(parts) - 1 else part + bar for at, part in enumerate(parts)]
    return [line.removesuffix(bar.rstrip()) for line in flow(pieces, columns)]
