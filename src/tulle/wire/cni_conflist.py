"""Network configuration files as runtimes read them from their folder: ours, and flannel's with only ``type`` changed.

One file serves old and new runtimes: what libcni before 1.2 does not know (``cniVersions``) it passes over,
newer ones take the newest that both sides speak.  Source: CNI specification 1.1.0, "Configuration format".
"""

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from tulle.errors import ConfigError, DecodeError
from tulle.wire.strict_json import decode_object

CONFLIST_LIMIT: Final = 1 << 20
ENDINGS: Final = (".conf", ".conflist", ".json")
"""What a file must end in for a runtime to read it.  Source: libcni, ConfFiles."""
TYPE: Final = "tulle"
FLANNEL: Final = "flannel"
PORTMAP: Final = "portmap"

JsonObject = dict[str, Any]


def conflist(name: str, *, host_ports: bool) -> bytes:
    """The configuration of the network ``name``; with ``host_ports`` the chain ends in portmap."""
    ours: JsonObject = {"type": TYPE, "capabilities": {"ips": True, "ipRanges": True, "mac": True, "dns": True}}
    portmap: JsonObject = {"type": PORTMAP, "capabilities": {"portMappings": True}}
    return _encoded(
        {
            "cniVersion": "1.0.0",
            "cniVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
            "name": name,
            "plugins": [ours, portmap] if host_ports else [ours],
        }
    )


def from_flannel(file: str, content: bytes) -> bytes:
    """flannel's configuration for tulle: only ``type`` changes; a single plugin becomes a list of one.

    Raises ConfigError naming ``file``: it is no configuration, or no plugin of it is flannel's.
    """
    found = _decoded(file, content)
    plugins: object = found.get("plugins")
    if plugins is None:
        single = {key: value for key, value in found.items() if key not in {"cniVersion", "name"}}
        found = {"cniVersion": found.get("cniVersion", "0.3.1"), "name": found.get("name"), "plugins": [single]}
    elif not isinstance(plugins, list):
        raise ConfigError(file, "its plugins are no list")
    chain = cast("list[object]", found["plugins"])
    if not any(_type_of(plugin) == FLANNEL for plugin in chain):
        raise ConfigError(file, f"no plugin of it has the type {FLANNEL}", "name flannel's configuration")
    return _encoded({**found, "plugins": [_renamed(plugin) for plugin in chain]})


def types_in(content: bytes) -> tuple[str, ...]:
    """The plugins that a runtime would execute for this file, in order; none when it cannot be read."""
    try:
        found = _decoded("", content)
    except ConfigError:
        return ()
    plugins: object = found.get("plugins", [found])
    return tuple(_type_of(plugin) for plugin in cast("list[object]", plugins)) if isinstance(plugins, list) else ()


def is_read_by_runtimes(file: str) -> bool:
    """Does a file of this name count as a configuration?"""
    return file.endswith(ENDINGS)


def _decoded(file: str, content: bytes) -> JsonObject:
    """With the keys as they are written, once the strict decoder has let it pass."""
    try:
        decode_object("configuration", content, CONFLIST_LIMIT)
    except DecodeError as error:
        raise ConfigError(file, "is no network configuration", str(error)) from None
    return cast("JsonObject", json.loads(content))


def _type_of(plugin: object) -> str:
    found = cast("Mapping[str, object]", plugin).get("type") if isinstance(plugin, dict) else None
    return found if isinstance(found, str) else ""


def _renamed(plugin: object) -> object:
    if _type_of(plugin) != FLANNEL:
        return plugin
    return {**cast("JsonObject", plugin), "type": TYPE}


def _encoded(document: JsonObject) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
