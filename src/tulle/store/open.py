"""From a store's URL to the store."""

from pathlib import Path
from typing import Final

from tulle.errors import ConfigError
from tulle.seams import Clock
from tulle.store.sqlite import SqliteStore

SCHEMES: Final = ("sqlite:///path",)


def open_store(url: str, clock: Clock) -> SqliteStore:
    """The store behind ``url``, without any I/O yet; close it when done.

    Raises ConfigError: a scheme that this build does not have, or a path that is not absolute.
    """
    scheme, _, rest = url.partition("://")
    if scheme != "sqlite":  # only the scheme is shown: the rest may hold a password
        raise ConfigError(f"--store {ascii(scheme)[:40]}", "no such kind of store", f"one of {', '.join(SCHEMES)}")
    if not rest.startswith("/") or rest.endswith("/") or "\0" in rest:
        raise ConfigError(f"--store {url}", "must name a file by its absolute path", "sqlite:///path")
    return SqliteStore(Path(rest), clock)
