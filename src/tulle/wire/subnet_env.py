"""``subnet.env``: what a node tells CNI plugins about itself, text ⇄ value, byte for byte as flannel writes it.

The file is shell: ``NAME=value`` lines.  Nothing here executes it, and of a value only what
parses as a network, a number or a truth value gets through.  Where the file lies and how it is
replaced is the agent's business.  Source: flannel's ``subnet.env`` as captured from running nodes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, TypeVar

from tulle.errors import DecodeError
from tulle.model.network import IPNetwork

N = TypeVar("N", IPv4Network, IPv6Network)

LARGEST: Final = 64 << 10
MTU_RANGE: Final = range(68, 65536)
"""From the least MTU that IPv4 allows (RFC 791) to the largest packet."""
_TRUTHS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
"""What Go's strconv.ParseBool takes, since flannel's own reader is its caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetEnv:
    """A node's networks and settings; at least one family is there, whole.

    ``subnet`` and ``subnet6`` are the node's subnets without host bits; in the file each has those
    of its gateway (base + 1).  ``networks`` are the overlay's, one unless somebody wrote a list.
    """

    networks: tuple[IPv4Network, ...] = ()
    subnet: IPv4Network | None = None
    networks6: tuple[IPv6Network, ...] = ()
    subnet6: IPv6Network | None = None
    mtu: int
    ip_masq: bool

    @classmethod
    def of(
        cls,
        network: IPNetwork | None,
        subnet: IPNetwork | None,
        network6: IPNetwork | None,
        subnet6: IPNetwork | None,
        mtu: int,
        ip_masq: bool,
    ) -> "SubnetEnv":
        """From a lease's subnets and the pools that they come from; a network of the other family counts as none."""
        return cls(
            networks=(network,) if isinstance(network, IPv4Network) else (),
            subnet=subnet if isinstance(subnet, IPv4Network) else None,
            networks6=(network6,) if isinstance(network6, IPv6Network) else (),
            subnet6=subnet6 if isinstance(subnet6, IPv6Network) else None,
            mtu=mtu,
            ip_masq=ip_masq,
        )


def format_subnet_env(env: SubnetEnv) -> bytes:
    """The file's content, in flannel's order; a family that is not there has no lines."""
    return "".join(f"{name}={value}\n" for name, value in _lines(env)).encode()


def parse_subnet_env(content: bytes) -> SubnetEnv:
    """The value of a file that flannel, tulle or a person wrote.

    Unknown names, blank lines, comments and quotes around a value are as a shell takes them; of a
    repeated name the last counts.  Raises DecodeError: too large, not text, a line without ``=``,
    a value that does not parse, no MTU or IPMASQ, or no family with both network and subnet.
    """
    values = _values(content)
    env = SubnetEnv(
        networks=tuple(_networks4(values.get("FLANNEL_NETWORK", ""))),
        subnet=_only(list(_networks4(values.get("FLANNEL_SUBNET", "")))),
        networks6=tuple(_networks6(values.get("FLANNEL_IPV6_NETWORK", ""))),
        subnet6=_only(list(_networks6(values.get("FLANNEL_IPV6_SUBNET", "")))),
        mtu=_mtu(values.get("FLANNEL_MTU", "")),
        ip_masq=_truth(values.get("FLANNEL_IPMASQ", "")),
    )
    halves = bool(env.networks) != (env.subnet is not None) or bool(env.networks6) != (env.subnet6 is not None)
    if halves or (env.subnet is None and env.subnet6 is None):
        raise DecodeError("subnet.env", rule="a network and a subnet of the same family", found=sorted(values))
    return env


def _lines(env: SubnetEnv) -> Iterator[tuple[str, str]]:
    if env.subnet is not None:
        yield "FLANNEL_NETWORK", ",".join(map(str, env.networks))
        yield "FLANNEL_SUBNET", _with_gateway(env.subnet)
    if env.subnet6 is not None:
        yield "FLANNEL_IPV6_NETWORK", ",".join(map(str, env.networks6))
        yield "FLANNEL_IPV6_SUBNET", _with_gateway(env.subnet6)
    yield "FLANNEL_MTU", str(env.mtu)
    yield "FLANNEL_IPMASQ", "true" if env.ip_masq else "false"


def _with_gateway(subnet: IPNetwork) -> str:
    return f"{subnet.network_address + 1}/{subnet.prefixlen}"


def _values(content: bytes) -> Mapping[str, str]:
    if len(content) > LARGEST:
        raise DecodeError("subnet.env", largest=LARGEST, got=len(content))
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise DecodeError("subnet.env", byte=error.start) from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.removeprefix("export ").partition("=")
        if not equals:
            raise DecodeError("subnet.env", line=number, text=stripped[:80])
        found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value


def _networks4(text: str) -> Iterator[IPv4Network]:
    for network in _parsed(text):
        if not isinstance(network, IPv4Network):
            raise DecodeError("subnet.env", network=text, rule="IPv4")
        yield network


def _networks6(text: str) -> Iterator[IPv6Network]:
    for network in _parsed(text):
        if not isinstance(network, IPv6Network):
            raise DecodeError("subnet.env", network=text, rule="IPv6")
        yield network


def _only(subnets: list[N]) -> N | None:
    """The node's one subnet, which must have room for a gateway."""
    if len(subnets) > 1 or any(subnet.prefixlen == subnet.max_prefixlen for subnet in subnets):
        raise DecodeError(
            "subnet.env", subnet=",".join(map(str, subnets))[:80], rule="one subnet with room for a gateway"
        )
    return subnets[0] if subnets else None


def _parsed(text: str) -> Iterator[IPNetwork]:
    for part in text.split(",") if text else ():
        address, slash, length = part.partition("/")
        if not slash or not length.isdecimal() or "%" in address:
            raise DecodeError("subnet.env", network=part[:80], rule="address/length")
        try:
            yield ip_network((address, int(length)), strict=False)
        except ValueError:
            raise DecodeError("subnet.env", network=part[:80], rule="address/length") from None


def _mtu(text: str) -> int:
    if len(text) > 5 or not text.isdecimal() or int(text) not in MTU_RANGE:
        raise DecodeError("subnet.env", FLANNEL_MTU=text[:80], rule="68 … 65535")
    return int(text)


def _truth(text: str) -> bool:
    if text not in _TRUTHS:
        raise DecodeError("subnet.env", FLANNEL_IPMASQ=text[:80], rule="true or false")
    return _TRUTHS[text]
