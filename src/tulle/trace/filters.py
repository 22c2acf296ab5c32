"""The taps' filter as classic BPF: what the kernel lets through to a tap, before it is copied.

Pure.  It bounds the volume and nothing more: the probe is recognised afterwards, by its bytes.
Let through are ARP and neighbour discovery, and what has one of the two addresses at either end
(NAT may have changed the other) and is ICMP or the probe's protocol and port; the same inside
VXLAN.  Offsets count from the network header, so that devices without a link layer work too.
Source: linux/Documentation/networking/filter.rst, include/uapi/linux/filter.h.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tulle.trace.flow import Flow
from tulle.wire.frames import (
    ETH_P_ARP,
    ETH_P_IPV4,
    ETH_P_IPV6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_UDP,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
)

Instruction: TypeAlias = tuple[int, int, int, int]
"""``struct sock_filter``: code, jump if true, jump if false, constant."""

SNAP_LENGTH: Final = 256
_SOCK_FILTER: Final = struct.Struct("=HBBI")
_AD_PROTOCOL, _NET = 0xFFFFF000, 0xFFF00000  # SKF_AD_OFF + SKF_AD_PROTOCOL, SKF_NET_OFF
_LD_WORD, _LD_HALF, _LD_BYTE = 0x20, 0x28, 0x30
_INDEXED: Final = 0x20
"""Added to an absolute load: the offset counts from X."""
_LDX_HEADER_LENGTH: Final = 0xB1
_LDX_CONSTANT, _TAX, _AND, _SHIFT, _ADD_X, _JEQ, _RETURN = 0x01, 0x07, 0x54, 0x64, 0x0C, 0x15, 0x06
_INNER: Final = 8 + 8 + 14
"""From the outer transport header to the inner IP header: UDP, VXLAN, Ethernet.  Source: RFC 7348 §5."""


@dataclass(slots=True)
class _Program:
    """Instructions with names for the places that jumps go to; None is the next instruction."""

    lines: list[tuple[int, int, str | None, str | None]] = field(
        default_factory=list[tuple[int, int, str | None, str | None]]
    )
    labels: dict[str, int] = field(default_factory=dict[str, int])

    def put(self, code: int, constant: int = 0) -> None:
        self.lines.append((code, constant & 0xFFFFFFFF, None, None))

    def jump(self, constant: int, yes: str | None, no: str | None = None, *, code: int = _JEQ) -> None:
        self.lines.append((code, constant, yes, no))

    def label(self, name: str) -> None:
        self.labels[name] = len(self.lines)

    def assembled(self) -> tuple[Instruction, ...]:
        return tuple(
            (code, self._distance(at, yes), self._distance(at, no), constant)
            for at, (code, constant, yes, no) in enumerate(self.lines)
        )

    def _distance(self, at: int, name: str | None) -> int:
        return 0 if name is None else self.labels[name] - at - 1


def tap_filter(flow: Flow, vxlan_ports: Iterable[int]) -> tuple[Instruction, ...]:
    """The program for every tap of a trace of ``flow``; ``vxlan_ports`` are those of all devices found."""
    program = _Program()
    program.put(_LD_WORD, _AD_PROTOCOL)
    program.jump(ETH_P_ARP, "keep")
    program.jump(ETH_P_IPV4, "v4")
    program.jump(ETH_P_IPV6, "v6", "drop")
    program.label("v4")
    program.put(_LDX_HEADER_LENGTH, _NET)
    _outer(program, "4", _NET + 9, vxlan_ports)
    program.label("plain4")
    _plain(program, flow, version=4)
    program.label("v6")
    program.put(_LDX_CONSTANT, 40)
    _outer(program, "6", _NET + 6, vxlan_ports)
    program.label("plain6")
    _plain(program, flow, version=6)
    program.label("inner")
    _inner(program, flow)
    program.label("drop")
    program.put(_RETURN, 0)
    program.label("keep")
    program.put(_RETURN, SNAP_LENGTH)
    return program.assembled()


def encoded(program: Iterable[Instruction]) -> bytes:
    """The program as the kernel takes it."""
    return b"".join(_SOCK_FILTER.pack(*instruction) for instruction in program)


def _outer(program: _Program, version: str, protocol_at: int, ports: Iterable[int]) -> None:
    """To "inner" when this is UDP to a VXLAN port, else to "plain<version>".  X is the IP header's length."""
    program.put(_LD_BYTE, protocol_at)
    program.jump(IPPROTO_UDP, None, f"plain{version}")
    program.put(_LD_HALF + _INDEXED, _NET + 2)
    for port in sorted(ports):
        program.jump(port, "inner")


def _plain(program: _Program, flow: Flow, *, version: int) -> None:
    if (version == 6) != flow.is_v6:
        program.jump(0, "drop", "drop")
        return
    if flow.is_v6:
        program.put(_LDX_CONSTANT, 40)
        _neighbor_discovery(program, "outer", at=0)
        program.put(_LDX_CONSTANT, 0)
        _addresses(program, flow, "outer", at=0)
        program.put(_LDX_CONSTANT, 40)
        program.put(_LD_BYTE, _NET + 6)
    else:
        program.put(_LDX_CONSTANT, 0)
        _addresses(program, flow, "outer", at=0)
        program.put(_LDX_HEADER_LENGTH, _NET)
        program.put(_LD_BYTE, _NET + 9)
    _transport(program, flow, at=0)


def _inner(program: _Program, flow: Flow) -> None:
    """X is the length of the outer IP header; the inner frame's IP header is ``_INNER`` bytes further on."""
    program.put(_LD_HALF + _INDEXED, _NET + _INNER - 2)
    program.jump(ETH_P_ARP, "keep")
    program.jump(ETH_P_IPV6 if flow.is_v6 else ETH_P_IPV4, None, "drop")
    if flow.is_v6:
        _neighbor_discovery(program, "inner", at=_INNER + 40)
    _addresses(program, flow, "inner", at=_INNER)
    program.put(_LD_BYTE + _INDEXED, _NET + _INNER + (6 if flow.is_v6 else 9))
    if flow.is_v6:
        _transport(program, flow, at=_INNER + 40)
        return
    program.jump(IPPROTO_ICMP, "keep")
    if not flow.port:
        program.jump(0, "drop", "drop")
        return
    program.jump(flow.number, None, "drop")
    program.put(_LD_BYTE + _INDEXED, _NET + _INNER)  # the inner header's length, added to X
    program.put(_AND, 0xF)
    program.put(_SHIFT, 2)
    program.put(_ADD_X)
    program.put(_TAX)
    _ports(program, flow.port, at=_INNER)


def _neighbor_discovery(program: _Program, name: str, *, at: int) -> None:
    """Keep solicitations and advertisements, whoever asks; ``at`` is the ICMPv6 header, from X."""
    program.put(_LD_BYTE + _INDEXED, _NET + at - 40 + 6)
    program.jump(IPPROTO_ICMPV6, None, f"{name}-no-nd")
    program.put(_LD_BYTE + _INDEXED, _NET + at)
    program.jump(ND_SOLICITATION, "keep")
    program.jump(ND_ADVERTISEMENT, "keep")
    program.label(f"{name}-no-nd")


def _addresses(program: _Program, flow: Flow, name: str, *, at: int) -> None:
    """Go on when one of the two addresses is at either end; ``at`` is the IP header, from X."""
    size, first = (16, 8) if flow.is_v6 else (4, 12)
    wanted = [(first + end * size, address.packed) for end in (0, 1) for address in (flow.source, flow.target)]
    for number, (offset, packed) in enumerate(wanted):
        words = [packed[word : word + 4] for word in range(0, size, 4)]
        for word, value in enumerate(words):
            program.put(_LD_WORD + _INDEXED, _NET + at + offset + 4 * word)
            is_last = word == len(words) - 1
            program.jump(int.from_bytes(value, "big"), f"{name}-ours" if is_last else None, f"{name}-not{number}")
        program.label(f"{name}-not{number}")
    program.jump(0, "drop", "drop")
    program.label(f"{name}-ours")


def _transport(program: _Program, flow: Flow, *, at: int) -> None:
    """A holds the protocol; ``at`` is the transport header, from X."""
    program.jump(IPPROTO_ICMPV6 if flow.is_v6 else IPPROTO_ICMP, "keep")
    if not flow.port:
        program.jump(0, "drop", "drop")
        return
    program.jump(flow.number, None, "drop")
    _ports(program, flow.port, at=at)


def _ports(program: _Program, port: int, *, at: int) -> None:
    for offset in (0, 2):
        program.put(_LD_HALF + _INDEXED, _NET + at + offset)
        program.jump(port, "keep")
    program.jump(0, "drop", "drop")
