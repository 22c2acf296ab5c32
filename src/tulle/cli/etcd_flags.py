"""flanneld's ``--etcd-*`` flags, and FLANNELD_ETCD_* of the environment where a flag is not given."""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tulle.cli.given import Given
from tulle.errors import ConfigError
from tulle.kernel.process_title import hide_argument
from tulle.store.etcd_address import DEFAULT_PREFIX, EtcdAccess, etcd_url

log = logging.getLogger(__name__)

DEFAULT_ENDPOINTS: Final = "http://127.0.0.1:4001,http://127.0.0.1:2379"
PASSWORD_FLAG: Final = "--etcd-password"  # noqa: S105 - its name
PASSWORD_LIMIT: Final = 4096
WHERE: Final = ("endpoints", "prefix")
HOW: Final = ("keyfile", "certfile", "cafile", "username", "password", "password_file")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where etcd is, and how to be let in."""
    etcd = parser.add_argument_group("etcd")
    etcd.add_argument("--etcd-endpoints", metavar="URLS", help=f"members (default: {DEFAULT_ENDPOINTS})")
    etcd.add_argument("--etcd-prefix", metavar="PATH", help=f"where its keys begin (default: {DEFAULT_PREFIX})")
    etcd.add_argument("--etcd-cafile", metavar="PATH", help="the authority that signed its certificates")
    etcd.add_argument("--etcd-certfile", metavar="PATH", help="our certificate")
    etcd.add_argument("--etcd-keyfile", metavar="PATH", help="our certificate's key")
    etcd.add_argument("--etcd-username", metavar="NAME", help="whom to log in as")
    etcd.add_argument("--etcd-password-file", metavar="PATH", help="the password's file (or FLANNELD_ETCD_PASSWORD)")
    etcd.add_argument(PASSWORD_FLAG, metavar="PASSWORD", help="the password, for all to see: better in a file")


def hide_password(args: argparse.Namespace) -> None:
    """Take a password off the process's title at once, and say how it is done better."""
    if args.etcd_password is None:
        return
    hidden = hide_argument(PASSWORD_FLAG)
    log.warning(
        "%s: %s: use --etcd-password-file or FLANNELD_ETCD_PASSWORD",
        PASSWORD_FLAG,
        "every user could see it while this started" if hidden else "every user can see it",
    )


def store_url(args: argparse.Namespace, environment: Mapping[str, str]) -> str | None:
    """The store that the command line names; None: it names none.  Raises ConfigError."""
    given = {name: value for name in (*WHERE, *HOW) if (value := Given(args, environment).text(f"etcd_{name}"))}
    where = [f"--etcd-{name}" for name in WHERE if getattr(args, f"etcd_{name}")]
    if args.store is not None:
        if where:
            raise ConfigError(where[0], "and --store both say where the leases are", "give one of them")
        return args.store
    if not given:
        return None
    return etcd_url(given.get("endpoints", DEFAULT_ENDPOINTS), given.get("prefix", DEFAULT_PREFIX))


def access(args: argparse.Namespace, environment: Mapping[str, str]) -> EtcdAccess:
    """How to be let in.  Raises ConfigError: the password's file cannot be read."""
    given = Given(args, environment)
    files = {name: given.text(f"etcd_{name}") for name in ("cafile", "certfile", "keyfile")}
    paths = {name: Path(value) for name, value in files.items() if value}
    return EtcdAccess(
        cafile=paths.get("cafile"),
        certfile=paths.get("certfile"),
        keyfile=paths.get("keyfile"),
        user=given.text("etcd_username"),
        password=_password(given),
    )


def _password(given: Given) -> str | None:
    path = given.text("etcd_password_file")
    if path is None:
        return given.text("etcd_password")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(PASSWORD_LIMIT)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no text"
        raise ConfigError(f"--etcd-password-file {path}", str(reason)) from error
    return text.rstrip("\n")
