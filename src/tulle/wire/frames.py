"""What can be on a wire that tulle looks at, as values: Ethernet, ARP, IP, ICMP, UDP, TCP, VXLAN.

Headers nest as they do in the frame: an ``Ethernet`` carries an ``Ipv4`` that carries a ``Udp``
that carries a ``Vxlan`` that carries an ``Ethernet``.  What tulle does not read further is
``bytes``.  Reading is in ``frames_decode``, writing in ``frames_encode``; neither knows sockets.

A capture has a snap length, so a frame may be cut.  ``missing`` counts the bytes that a header
announces and the capture does not hold; a header that is itself cut stays ``bytes``, or
``Ports`` when at least its ports are there.  ``checksum`` is the number that was read; None
asks the encoder to compute it.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final, TypeAlias

from tulle.model.network import MacAddress, Vni

ETH_P_IPV4: Final = 0x0800
"""EtherTypes.  Source: include/uapi/linux/if_ether.h."""
ETH_P_ARP: Final = 0x0806
ETH_P_VLAN: Final = 0x8100
ETH_P_IPV6: Final = 0x86DD

IPPROTO_ICMP: Final = 1
"""IP protocol numbers.  Source: include/uapi/linux/in.h, in6.h."""
IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_ICMPV6: Final = 58

ICMP_ECHO_REPLY: Final = 0
"""ICMP types.  Source: RFC 792; RFC 4443 §4, RFC 4861 §4 for version 6."""
ICMP_ECHO_REQUEST: Final = 8
ICMPV6_ECHO_REQUEST: Final = 128
ICMPV6_ECHO_REPLY: Final = 129
ND_SOLICITATION: Final = 135
ND_ADVERTISEMENT: Final = 136
ND_SOURCE_MAC: Final = 1
"""Link-layer address options, eight bytes each over Ethernet.  Source: RFC 4861 §4.6.1."""
ND_TARGET_MAC: Final = 2

ARP_REQUEST: Final = 1
ARP_REPLY: Final = 2

TCP_FIN: Final = 0x01
TCP_SYN: Final = 0x02
TCP_RST: Final = 0x04
TCP_PSH: Final = 0x08
TCP_ACK: Final = 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Arp:
    """ARP for IPv4 over Ethernet.  ``target_mac`` is all zero in a request.  Source: RFC 826."""

    operation: int
    sender_mac: MacAddress
    sender_ip: IPv4Address
    target_mac: MacAddress
    target_ip: IPv4Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """ICMP or ICMPv6 echo, request or reply.  Source: RFC 792, RFC 4443 §4.1."""

    request: bool
    ident: int
    sequence: int
    payload: bytes
    checksum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpError:
    """An ICMP or ICMPv6 error and the start of the packet that it is about.

    ``info`` is the second header word: the next hop's MTU in "too big", the pointer in
    "parameter problem", else 0.  ``quoted`` is ``bytes`` when the quote is not readable as IP.
    """

    type: int
    code: int
    info: int
    quoted: "Ipv4 | Ipv6 | bytes"
    checksum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborDiscovery:
    """An ICMPv6 neighbour solicitation or advertisement.

    ``options`` is what follows the target, cut or not; ``flags`` the advertisement's R, S, O bits
    as they stand in its first byte.  Source: RFC 4861 §4.3, §4.4.
    """

    advertisement: bool
    target: IPv6Address
    options: bytes = b""
    flags: int = 0
    checksum: int | None = None

    @property
    def mac(self) -> MacAddress | None:
        """The source (solicitation) or target (advertisement) link-layer option; None when absent or cut."""
        wanted = ND_TARGET_MAC if self.advertisement else ND_SOURCE_MAC
        options = self.options
        while len(options) >= 8 and options[1]:
            if options[0] == wanted:
                return MacAddress(options[2:8].hex(":"))
            options = options[options[1] * 8 :]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpOther:
    """Any other ICMP message; ``body`` is what follows the checksum."""

    type: int
    code: int
    body: bytes
    checksum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """A VXLAN header and the inner frame.  ``flags`` is the first byte (0x08: the VNI is valid).

    Source: RFC 7348 §5.
    """

    vni: Vni
    inner: "Ethernet"
    flags: int = 0x08


@dataclass(frozen=True, slots=True, kw_only=True)
class Udp:
    """A UDP datagram.  Source: RFC 768."""

    source_port: int
    destination_port: int
    payload: bytes | Vxlan
    missing: int = 0
    checksum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcp:
    """A TCP segment; ``options`` with their padding.  Source: RFC 9293 §3.1."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    window: int
    payload: bytes
    urgent: int = 0
    options: bytes = b""
    checksum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The start of a TCP or UDP header that was cut after its ports: an ICMP quote, a short snap length.

    ``rest`` is what follows the ports; of TCP its first four bytes are the sequence number.
    """

    source_port: int
    destination_port: int
    rest: bytes


Transport: TypeAlias = Echo | IcmpError | NeighborDiscovery | IcmpOther | Udp | Tcp | Ports | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipv4:
    """An IPv4 packet.  ``fragment_offset`` is in bytes.  Source: RFC 791 §3.1."""

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    ttl: int
    payload: Transport
    tos: int = 0
    ident: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    fragment_offset: int = 0
    options: bytes = b""
    missing: int = 0
    checksum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipv6:
    """An IPv6 packet.  ``next_header`` is the fixed header's field, ``protocol`` the one after all ``extensions``.

    Source: RFC 8200 §3, §4.
    """

    source: IPv6Address
    destination: IPv6Address
    protocol: int
    hop_limit: int
    payload: Transport
    next_header: int
    extensions: bytes = b""
    traffic_class: int = 0
    flow_label: int = 0
    missing: int = 0

    @property
    def ttl(self) -> int:
        """The hop limit, under the name that IPv4 uses."""
        return self.hop_limit


Network: TypeAlias = Arp | Ipv4 | Ipv6 | bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ethernet:
    """An Ethernet frame; ``vlan`` is the 802.1Q tag (TCI) when one is in the frame.

    Source: IEEE 802.3 §3, 802.1Q §9.
    """

    destination: MacAddress
    source: MacAddress
    ethertype: int
    payload: Network
    vlan: int | None = None
