"""``lab.toml``: a lab in ten lines of text, read into a ``LabFile``.

The file arrives as text; what the values mean together is ``topology.design``'s to judge.
"""

import tomllib
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Final, cast

from tulle.errors import ConfigError
from tulle.lab.checks import Check, parse_check
from tulle.lab.topology import NETWORK, NETWORK6, LabFile


def parse_lab_file(text: str, path: str) -> LabFile:
    """``lab.toml``.  Raises ConfigError naming the file, the key and the rule."""
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(path, "not TOML: nested too deeply") from None
    except ValueError as error:  # tomllib's own, and int's for a number of thousands of digits
        raise ConfigError(path, f"not TOML: {error}") from None
    known = {*KEYS, "nodes", "pods"}
    for key in data:
        if key not in known:
            raise ConfigError(f"{path}: {key}", "unknown key", f"one of {', '.join(sorted(known))}")
    settings = {key: KEYS[key](f"{path}: {key}", data[key]) for key in KEYS if key in data}
    nodes, pods = data.get("nodes"), data.get("pods")
    counts = None if pods is None else _count(f"{path}: pods", pods)
    if isinstance(nodes, dict):
        if pods is not None:
            raise ConfigError(f"{path}: pods", "[nodes] already lists the pods", "leave it out")
        table = cast("dict[str, object]", nodes)  # TOML's keys are text
        named = {name: _pod_names(f"{path}: nodes.{name}", names) for name, names in table.items()}
        return LabFile(settings=settings, named=named)
    return LabFile(settings=settings, nodes=None if nodes is None else _count(f"{path}: nodes", nodes), pods=counts)


def _text(item: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(item, "must be text in quotes")
    return value


def _count(item: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ConfigError(item, "must be a whole number, not negative")
    return value


def _truth(item: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(item, "must be true or false")
    return value


def _vni(item: str, value: object) -> int:
    return _between(item, _count(item, value), 1, (1 << 24) - 1)


def _port(item: str, value: object) -> int:
    return _between(item, _count(item, value), 1, 65535)


def _between(item: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise ConfigError(f"{item} {value}", f"must be {least} to {most}")
    return value


def _network4(item: str, value: object) -> IPv4Network:
    try:
        return IPv4Network(_text(item, value))
    except ValueError as error:
        raise ConfigError(f"{item} {value}", f"must be an IPv4 network, like {NETWORK}: {error}") from None


def _network6(item: str, value: object) -> IPv6Network:
    try:
        return IPv6Network(_text(item, value))
    except ValueError as error:
        raise ConfigError(f"{item} {value}", f"must be an IPv6 network, like {NETWORK6}: {error}") from None


def _pod_names(item: str, value: object) -> tuple[str, ...]:
    return _texts(item, value, 'must be a list of pod names, like ["pod1", "pod2"]')


def _checks(item: str, value: object) -> tuple[Check, ...]:
    rule = 'must be a list of sentences, like ["pod1 reaches pod4"]'
    return tuple(parse_check(text, item) for text in _texts(item, value, rule))


def _texts(item: str, value: object, rule: str) -> tuple[str, ...]:
    texts = cast("list[object]", value) if isinstance(value, list) else [value, None]
    found = tuple(text for text in texts if isinstance(text, str))
    if len(found) < len(texts):
        raise ConfigError(item, rule)
    return found


KEYS: Final[Mapping[str, Callable[[str, object], object]]] = {
    "name": _text,
    "underlay": _text,
    "mtu": _count,
    "ipv6": _truth,
    "network": _network4,
    "network6": _network6,
    "subnet_len": _count,
    "backend": _text,
    "pod_mode": _text,
    "vni": _vni,
    "port": _port,
    "outside": _truth,
    "store": _text,
    "checks": _checks,
}
"""The keys that are fields of ``LabSettings``, each with its reader; ``nodes`` and ``pods`` are beside them."""
