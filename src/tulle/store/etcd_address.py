"""Which etcd, and how to be let in: what the store's URL and flanneld's ``--etcd-*`` flags say.

    etcd://host:port[,host:port…]/prefix      etcds:// for TLS with the system's authorities

A CA, or a certificate with its key, also means TLS.  Passwords are never part of a URL, because
a URL is shown in ``tulle status``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tulle.errors import ConfigError

DEFAULT_PORT: Final = 2379
DEFAULT_PREFIX: Final = "/coreos.com/network"
SCHEMES: Final = {"etcd": False, "etcds": True}
FORM: Final = "etcd://host:port[,host:port]/prefix"


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdAccess:
    """How to be let in: TLS files and a user, all of them optional."""

    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def tls(self) -> bool:
        return self.cafile is not None or self.certfile is not None


ANONYMOUS: Final = EtcdAccess()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One member of the cluster."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdAddress:
    """Members in the order in which they are tried, and the prefix below which tulle and flannel keep their keys."""

    endpoints: tuple[Endpoint, ...]
    prefix: str
    tls: bool
    access: EtcdAccess


def parse_etcd_url(url: str, access: EtcdAccess = ANONYMOUS) -> EtcdAddress:
    """Where ``url`` leads to.  Raises ConfigError; what it says never contains a password."""
    scheme, _, rest = url.partition("://")
    hosts, slash, path = rest.partition("/")
    if scheme not in SCHEMES:
        raise ConfigError("--store", "is no etcd URL", FORM)
    if "@" in hosts:
        raise ConfigError("--store", "must not carry a user or password", "use --etcd-username, and a password file")
    _check_access(access)
    return EtcdAddress(
        endpoints=tuple(_endpoint(text) for text in hosts.split(",")),
        prefix=_prefix(slash + path if path else DEFAULT_PREFIX),
        tls=SCHEMES[scheme] or access.tls,
        access=access,
    )


def etcd_url(endpoints: str, prefix: str) -> str:
    """The store URL that flanneld's ``--etcd-endpoints`` and ``--etcd-prefix`` mean.  Raises ConfigError."""
    members = [urlsplit(text if "//" in text else f"http://{text}") for text in _split(endpoints)]
    schemes = {member.scheme for member in members}
    if len(schemes) != 1 or not schemes <= {"http", "https"}:
        raise ConfigError("--etcd-endpoints", "must be http:// or https:// URLs, all of one kind", "http://host:2379")
    if any(member.path not in {"", "/"} or member.query for member in members):
        raise ConfigError("--etcd-endpoints", "must be plain URLs, without a path", "http://host:2379")
    return f"{'etcds' if schemes == {'https'} else 'etcd'}://{','.join(m.netloc for m in members)}{_prefix(prefix)}"


def _endpoint(text: str) -> Endpoint:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or _is_odd(text):
        raise ConfigError(f"--store {ascii(text)[:60]}", "is not host:port", FORM)
    return Endpoint(host, DEFAULT_PORT if port is None else port)


def _is_odd(text: str) -> bool:
    """Is there anything in ``text`` that a host and port do not have?"""
    return any(mark in text for mark in "?#\\ ") or not text.isprintable()


def _prefix(text: str) -> str:
    prefix = "/" + text.strip("/")
    if prefix == "/" or not prefix.isprintable() or "//" in prefix:
        raise ConfigError("etcd prefix", "must be a path like /coreos.com/network")
    return prefix


def _split(endpoints: str) -> Sequence[str]:
    found = [text.strip() for text in endpoints.split(",") if text.strip()]
    if not found:
        raise ConfigError("--etcd-endpoints", "names no endpoint", "http://host:2379")
    return found


def _check_access(access: EtcdAccess) -> None:
    if (access.certfile is None) != (access.keyfile is None):
        raise ConfigError("--etcd-certfile", "needs --etcd-keyfile, and the other way round")
    if (access.user is None) != (access.password is None):
        raise ConfigError("--etcd-username", "needs a password, and the other way round")
