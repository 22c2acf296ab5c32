"""What the agent was asked to do, as one frozen value, and where its files are."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from tulle.model.network import IPAddress
from tulle.plan.desired import Settings
from tulle.store.etcd_address import ANONYMOUS, EtcdAccess

LEASE_TTL_S: Final = 86_400.0
RENEW_MARGIN_S: Final = 3_600.0
AUDIT_PERIOD_S: Final = 10.0
RULES_PERIOD_S: Final = 5.0
"""flannel's ``--iptables-resync``."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Where to listen."""

    ip: IPAddress
    port: int

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


@dataclass(frozen=True, slots=True)
class Paths:
    """Every path that the agent uses, below ``root`` (a lab's node has its own root)."""

    root: Path

    @property
    def state(self) -> Path:
        """Private state (0700): node id, allocations."""
        return self.root / "var/lib/tulle"

    @property
    def socket(self) -> Path:
        return self.root / "run/tulle/agent.sock"

    @property
    def http(self) -> Path:
        """Where health and metrics are served, unless a flag says otherwise."""
        return self.root / "run/tulle/http.sock"

    @property
    def subnet_env(self) -> Path:
        return self.root / "run/flannel/subnet.env"

    @property
    def networks(self) -> Path:
        """host-local's files, kept in step."""
        return self.root / "var/lib/cni/networks"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """One agent's command line, parsed."""

    root: Path = Path("/")
    store: str | None = None
    """A store URL; None: the embedded store in the state folder."""
    etcd: EtcdAccess = ANONYMOUS
    iface: tuple[str, ...] = ()
    iface_regex: tuple[str, ...] = ()
    iface_can_reach: IPAddress | None = None
    public_ip: IPv4Address | None = None
    public_ip6: IPv6Address | None = None
    subnet_file: Path | None = None
    settings: Settings = Settings()
    lease_ttl_s: float = LEASE_TTL_S
    renew_margin_s: float = RENEW_MARGIN_S
    audit_period_s: float = AUDIT_PERIOD_S
    rules_period_s: float = RULES_PERIOD_S
    healthz_ip: IPAddress = IPv4Address("127.0.0.1")
    healthz_port: int = 0
    """0: health is not served on an address."""
    metrics: TcpAddress | Path | None = None
    """Where health and metrics are served; None: on a socket below the root."""

    @property
    def paths(self) -> Paths:
        return Paths(self.root)

    @property
    def store_url(self) -> str:
        """The store as a URL."""
        return self.store or f"sqlite://{self.paths.state.absolute()}/leases.db"

    @property
    def subnet_env(self) -> Path:
        """Where ``subnet.env`` goes: as given, else flannel's place below the root."""
        return self.subnet_file or self.paths.subnet_env
