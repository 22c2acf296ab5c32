"""A journey that can be shown to strangers: every address and name replaced, each always by the same other one.

Pure.  What belongs together stays together: addresses of one /24 (IPv4) or /64 (IPv6) get a
common prefix out of those kept for documentation and benchmarks, ``.0`` and ``.1`` stay what
they are, frames are rewritten with checksums that fit.  The kernel's raw answers are left out.
Names that every node has (``flannel.1``, ``cbr0``, ``eth0``) tell nothing and stay.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, cast

import msgspec

from tulle.errors import DecodeError
from tulle.model.network import MacAddress
from tulle.trace.journey import Hop, Journey
from tulle.wire.frames import Ethernet, IcmpError, Ipv4, Ipv6, Ports, Transport, Udp, Vxlan
from tulle.wire.frames_decode import decode_frame
from tulle.wire.frames_encode import encode_frame

_KNOWN_DEVICES: Final = re.compile(r"lo|eth\d+|cbr0|cni0|port\d+|br0|flannel[-.\w]{0,12}|if\d+")
_MAC: Final = r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}"
_IPV6: Final = r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\d+(?:\.\d+){3})?"
_IPV4: Final = r"\d{1,3}(?:\.\d{1,3}){3}"
_BROADCAST: Final = MacAddress("ff:ff:ff:ff:ff:ff")
_OUR_WORDS: Final = {"schema", "mode", "tool", "created", "step", "direction", "kind", "dir", "t_source", "pkttype"} | {
    "role",
    "backend",
    "method",
    "proto",
    "status",
    "rule",
    "source",
    "id",
}
"""Fields whose values are this project's words, which a pod may well be called."""


def redact(journey: Journey) -> Journey:
    """``journey`` with other names and addresses; of one journey always the same."""
    mask = _Mask()
    mask.learn(journey)
    fields: dict[str, Any] = msgspec.to_builtins(replace(journey, hops=()))
    plain = msgspec.convert(mask.value(fields), Journey)
    packet = replace(plain.packet, digest="redacted")
    return replace(plain, packet=packet, hops=tuple(mask.hop(hop) for hop in journey.hops))


@dataclass(slots=True)
class _Mask:
    """What has been replaced by what, in the order in which it was met."""

    names: dict[str, str] = field(default_factory=dict[str, str])
    networks: dict[int, int] = field(default_factory=dict[int, int])
    hosts: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    macs: dict[str, str] = field(default_factory=dict[str, str])

    def learn(self, journey: Journey) -> None:
        """All names of the journey, each by what it is the name of."""
        ends = (journey.source, journey.target)
        self._call("node", [end.node for end in ends])
        self._call("node", [node for domain in journey.clock.domains for node in domain.nodes])
        self._call("node", [hop.node for hop in journey.hops if hop.node != "underlay"])
        self._call("pod", [end.pod for end in ends])
        self._call("ns", [end.ns for end in ends])
        self._call("net", [hop.netns for hop in journey.hops if hop.netns != "root"])
        devices = [hop.dev for hop in journey.hops] + [reason for hop in journey.hops for reason in _devices(hop)]
        devices += [side.dev.rpartition("/")[2] for side in journey.side]
        self._call("veth", [name for name in devices if name.startswith("veth")])
        self._call("dev", [name for name in devices if not _KNOWN_DEVICES.fullmatch(name)])

    def _call(self, kind: str, names: Iterable[str]) -> None:
        for name in names:
            if name and name not in self.names:
                count = sum(other.startswith(f"{kind}-") for other in self.names.values())
                self.names[name] = f"{kind}-{_letters(count)}"

    def hop(self, hop: Hop) -> Hop:
        fields: dict[str, Any] = msgspec.to_builtins(replace(hop, frame="", why=()))
        why = tuple(msgspec.convert(self.value(msgspec.to_builtins(replace(w, raw=""))), type(w)) for w in hop.why)
        return replace(msgspec.convert(self.value(fields), Hop), frame=self._captured(hop), why=why)

    def value(self, value: Any, key: str = "") -> Any:
        """A value of the JSON form with its texts replaced."""
        match value:
            case str() if key not in _OUR_WORDS:
                return self.text(value)
            case dict() if key == "facts":
                return {name: self.text(told) for name, told in cast("dict[str, str]", value).items()}
            case dict():
                return {name: self.value(inner, name) for name, inner in cast("dict[str, Any]", value).items()}
            case list() | tuple():
                return [self.value(inner, key) for inner in cast("list[Any]", value)]
            case _:
                return value

    def text(self, text: str) -> str:
        if text in self.names:
            return self.names[text]
        names = "|".join(re.escape(name) for name in sorted(self.names, key=len, reverse=True))
        pattern = (
            rf"(?<![\w:.-])(?:(?P<mac>{_MAC})|(?P<six>{_IPV6})|(?P<four>{_IPV4})|(?P<name>{names or '(?!)'}))(?![\w:-])"
        )
        return re.sub(pattern, self._found, text)

    def _found(self, match: re.Match[str]) -> str:
        told = match[0]
        if match["name"]:
            return self.names[told]
        if match["mac"]:
            return self.mac(MacAddress(told.lower()))
        try:
            return str(self.address(ip_address(told)))
        except ValueError:
            return told

    def address(self, address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
        if address.is_unspecified or address.is_loopback or address.is_multicast or int(address) == 0xFFFFFFFF:
            return address
        bits = 8 if address.version == 4 else 64
        network, host = int(address) >> bits, int(address) & ((1 << bits) - 1)
        number = self.networks.setdefault(network, len(self.networks))
        if host > 1 and not (bits == 8 and host == 255):
            known = sum(key[0] == network for key in self.hosts)
            host = self.hosts.setdefault((network, host), known + 2)
        if address.version == 4:
            return IPv4Address((198 << 24) + (18 << 16) + ((number & 0x1FF) << 8) + (host & 0xFF))
        return IPv6Address((0x20010DB8 << 96) + (number << 64) + host)

    def mac(self, mac: MacAddress) -> MacAddress:
        if mac == _BROADCAST or not mac.strip("0:") or int(mac[:2], 16) & 1:
            return mac
        return MacAddress(
            self.macs.setdefault(mac, f"02:00:5e:00:{len(self.macs) >> 8:02x}:{len(self.macs) & 255:02x}")
        )

    def _captured(self, hop: Hop) -> str:
        """The frame with other addresses; "" when it cannot be read, since it could then not be cleaned."""
        if not hop.frame:
            return ""
        ports = frozenset({hop.outer.udp[1]}) if hop.outer is not None else frozenset[int]()
        try:
            frame = decode_frame(memoryview(b64decode(hop.frame)), wire_len=hop.len, vxlan_ports=ports)
        except DecodeError:
            return ""
        return b64encode(encode_frame(self._frame(frame))).decode()

    def _frame(self, frame: Ethernet) -> Ethernet:
        payload = frame.payload
        return replace(
            frame,
            source=self.mac(frame.source),
            destination=self.mac(frame.destination),
            payload=self._packet(payload) if isinstance(payload, Ipv4 | Ipv6) else b"",
        )

    def _packet(self, packet: Ipv4 | Ipv6) -> Ipv4 | Ipv6:
        if isinstance(packet, Ipv4):
            ends = self.address(packet.source), self.address(packet.destination)
            assert isinstance(ends[0], IPv4Address)
            assert isinstance(ends[1], IPv4Address)
            load = self._transport(packet.payload, whole=not packet.missing)
            return replace(packet, source=ends[0], destination=ends[1], payload=load, checksum=None)
        six = self.address(packet.source), self.address(packet.destination)
        assert isinstance(six[0], IPv6Address)
        assert isinstance(six[1], IPv6Address)
        return replace(
            packet, source=six[0], destination=six[1], payload=self._transport(packet.payload, whole=not packet.missing)
        )

    def _transport(self, load: Transport, *, whole: bool) -> Transport:
        """With a checksum that fits the other addresses; 0 (none) stays, of a cut packet it cannot be known."""
        match load:
            case Udp(payload=Vxlan() as vxlan):
                return replace(load, payload=replace(vxlan, inner=self._frame(vxlan.inner)))
            case IcmpError(quoted=Ipv4() | Ipv6() as quoted):
                return replace(load, quoted=self._packet(quoted), checksum=None)
            case bytes() | Ports():
                return load
            case _:
                return replace(load, checksum=None if whole and load.checksum != 0 else 0)


def _devices(hop: Hop) -> Iterable[str]:
    """Device names that only the answers beside a hop tell."""
    for reason in hop.why:
        for key in ("dev", "port", "master", "bridge"):
            told = reason.facts.get(key, "")
            yield from (name for name in told.split() if not name.isdecimal())


def _letters(number: int) -> str:
    """a, b … z, aa, ab …"""
    told = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        told = chr(ord("a") + digit) + told
    return told
