"""From a store's URL to the store."""

from pathlib import Path
from typing import Final

from tulle.errors import ConfigError
from tulle.kernel.system import SystemRandom
from tulle.seams import Clock
from tulle.store.etcd_address import ANONYMOUS, FORM, EtcdAccess, parse_etcd_url
from tulle.store.ports import Store

SCHEMES: Final = ("sqlite:///path", FORM)


def open_store(url: str, clock: Clock, access: EtcdAccess = ANONYMOUS) -> Store:
    """The store behind ``url``, without any I/O yet; close it when done.  ``access`` is for etcd.

    Raises ConfigError: a scheme that this build does not have, or a URL that is not of its form.
    """
    match url.partition("://")[0]:  # each store brings its libraries: only the one that is used is loaded
        case "sqlite":
            from tulle.store.sqlite import SqliteStore

            return SqliteStore(_sqlite_path(url), clock)
        case "etcd" | "etcds":
            from tulle.store.etcd import EtcdStore
            from tulle.store.etcd_client import EtcdClient

            address = parse_etcd_url(url, access)
            return EtcdStore(EtcdClient(address), address.prefix, clock, SystemRandom())
        case scheme:  # only the scheme is shown: the rest may hold a password
            raise ConfigError(f"--store {ascii(scheme)[:40]}", "no such kind of store", f"one of {', '.join(SCHEMES)}")


def _sqlite_path(url: str) -> Path:
    rest = url.partition("://")[2]
    if not rest.startswith("/") or rest.endswith("/") or "\0" in rest:
        raise ConfigError(f"--store {url}", "must name a file by its absolute path", "sqlite:///path")
    return Path(rest)
