"""``tulle network``: show or set what all nodes share, in the store that they share.

The value is flannel's JSON, read and written as flannel reads and writes it.  It is checked
before it is stored, so that no node ever meets one that breaks a rule.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from tulle.agent.options import AgentOptions
from tulle.cli import etcd_flags
from tulle.cli.grammar import Subparsers
from tulle.errors import EXIT_NO, EXIT_YES, ConfigError
from tulle.kernel.system import SystemClock
from tulle.model.network import NetworkConfig
from tulle.store.etcd_address import EtcdAccess
from tulle.store.open import open_store
from tulle.store.ports import Store
from tulle.wire.network_config import CONFIG_LIMIT, decode_network_config, encode_network_config

T = TypeVar("T")

WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "none": (
        "the store has no network configuration: write one with 'tulle network set FILE'",
        "存储中没有网络配置：用 tulle network set FILE 写入",
    ),
    "set": ("network {}, backend {}: stored", "网络 {}，后端 {}：已写入"),
}


def add_parser(subparsers: Subparsers) -> None:
    text = "show or set the network configuration that all nodes share"
    parser = subparsers.add_parser("network", help=text, description=text[0].upper() + text[1:] + ".")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    show = _verb(verbs, "show", _show, "print the configuration as JSON; exit code 1 when there is none")
    set_ = _verb(verbs, "set", _set, "check a configuration and store it")
    set_.add_argument("file", metavar="FILE", help="flannel's net-conf.json; - for standard input")
    for verb in (show, set_):
        verb.add_argument("--root", metavar="DIR", help="the agent's root (default: TULLE_ROOT, else /)")
        verb.add_argument("--store", metavar="URL", help="the store (default: the embedded one in the state folder)")
        etcd_flags.add_arguments(verb)


def _verb(verbs: Subparsers, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _show(args: argparse.Namespace) -> int:
    config = _with_store(args, lambda store: store.network_config())
    if config is None:
        print(_say(args, "none"))
        return EXIT_NO
    print(json.dumps(json.loads(encode_network_config(config)), indent=2))
    return EXIT_YES


def _set(args: argparse.Namespace) -> int:
    value = _read(args.file)
    config = decode_network_config(value)
    _with_store(args, lambda store: store.write_network_config(value))
    print(_say(args, "set").format(_networks(config), config.backend.type))
    return EXIT_YES


def _read(file: str) -> bytes:
    """The file, as far as a configuration can be long."""
    if file == "-":
        return sys.stdin.buffer.read(CONFIG_LIMIT + 1)
    with open(file, "rb") as opened:
        return opened.read(CONFIG_LIMIT + 1)


def _with_store(args: argparse.Namespace, work: Callable[[Store], Awaitable[T]]) -> T:
    """``work`` done with the store that the command line names.  Raises ConfigError, StoreUnavailable."""
    etcd_flags.hide_password(args)
    root = Path(args.root or os.environ.get("TULLE_ROOT") or "/")
    url = AgentOptions(root=root, store=etcd_flags.store_url(args, os.environ)).store_url
    path = Path(url.removeprefix("sqlite://"))
    if args.verb == "show" and url.startswith("sqlite://") and not path.exists():
        raise ConfigError(f"store {path}", "is not there", "'tulle network set FILE' makes it")

    return asyncio.run(_asked(url, etcd_flags.access(args, os.environ), work))


async def _asked(url: str, access: EtcdAccess, work: Callable[[Store], Awaitable[T]]) -> T:
    store = open_store(url, SystemClock(), access)
    try:
        return await work(store)
    finally:
        await store.close()


def _networks(config: NetworkConfig) -> str:
    return " ".join(str(network) for network in config.networks)


def _say(args: argparse.Namespace, word: str) -> str:
    english, chinese = WORDS[word]
    return chinese if args.lang == "zh" else english
