"""``tulle cni``: put the plugin where container runtimes look for it, and take it away again."""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import tulle
from tulle.cli.grammar import Subparsers
from tulle.cni import install as placing
from tulle.cni.install import RECORD, Report, Wish
from tulle.errors import EXIT_NO, EXIT_YES, ConfigError
from tulle.kernel.system import SystemFiles
from tulle.wire.cni_conf import NAME

SCHEMA: Final = "tulle.cni-install/1"
WHAT: Final[Mapping[str, tuple[str, str]]] = {
    "wrote": ("wrote", "已写入"),
    "kept": ("kept", "保持"),
    "moved": ("moved", "已移动"),
    "removed": ("removed", "已删除"),
    "left": ("left", "留下"),
}
WHY: Final[Mapping[str, str]] = {
    "as it should be": "内容已符合要求",
    "somebody changed it: --force replaces it": "有人改动过：用 --force 替换",
    "not as it was installed": "与安装时不同",
}
NOTES: Final[Mapping[str, tuple[str, str]]] = {
    "no-portmap": (
        "{path} has no portmap: pods have no host ports: install the containernetworking plugins, then run this again",
        "{path} 中没有 portmap：Pod 没有主机端口：安装 containernetworking 插件后再运行一次",
    ),
    "sorts-first": (
        "{path} sorts before 10-tulle.conflist: a runtime that takes the first file uses that one: move it away",
        "{path} 排在 10-tulle.conflist 之前：取第一个文件的运行时会用它：请移走它",
    ),
    "flannels": (
        "{path} is flannel's: 'tulle cni install --from {path.name}' takes its settings over",
        "{path} 是 flannel 的配置：用 tulle cni install --from {path.name} 接管其设置",
    ),
}
NOTHING: Final = ("nothing is installed", "没有安装任何东西")


def add_parser(subparsers: Subparsers) -> None:
    text = "put the CNI plugin where container runtimes look for it, or take it away"
    parser = subparsers.add_parser("cni", help=text, description=text[0].upper() + text[1:] + ".")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    install = _verb(verbs, "install", _install, "write the plugin and its configuration, each whole or not at all")
    install.add_argument("--name", metavar="NAME", help="the network's name (default: as the last time, else cbr0)")
    install.add_argument(
        "--from",
        dest="flannels",
        metavar="FILE",
        help="flannel's configuration in that folder: only type changes, and the file is set aside",
    )
    install.add_argument("--loopback", action="store_true", help="be the loopback plugin too, also if there is one")
    install.add_argument("--force", action="store_true", help="replace what somebody changed")
    uninstall = _verb(
        verbs, "uninstall", _uninstall, "remove exactly what install wrote; exit code 1 when somebody changed it"
    )
    for verb in (install, uninstall):
        verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
        verb.add_argument("--json", action="store_true", help="print the facts as JSON")
        verb.add_argument("--root", metavar="DIR", help="the agent's root (default: TULLE_ROOT, else /)")
    install.add_argument("--bin-dir", metavar="DIR", help="where plugins are (default: /opt/cni/bin)")
    install.add_argument("--conf-dir", metavar="DIR", help="where configurations are (default: /etc/cni/net.d)")


def _verb(verbs: Subparsers, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _install(args: argparse.Namespace) -> int:
    root = _root(args)
    conf_dir = Path(args.conf_dir or root / "etc/cni/net.d").absolute()
    wish = Wish(
        bin_dir=Path(args.bin_dir or root / "opt/cni/bin").absolute(),
        conf_dir=conf_dir,
        record=root / "var/lib/tulle" / RECORD,
        name=_name(args.name),
        flannels=_in_folder(args.flannels, conf_dir),
        source=Path(tulle.__file__).parent / "bin" / "tulle-cni",
        loopback=args.loopback,
        force=args.force,
        dry_run=args.dry_run,
    )
    _print(args, placing.install(wish, SystemFiles()))
    return EXIT_YES


def _uninstall(args: argparse.Namespace) -> int:
    wish = Wish(bin_dir=Path(), conf_dir=Path(), record=_root(args) / "var/lib/tulle" / RECORD, dry_run=args.dry_run)
    report = placing.uninstall(wish, SystemFiles())
    _print(args, report)
    return EXIT_YES if report.complete else EXIT_NO


def _root(args: argparse.Namespace) -> Path:
    return Path(args.root or os.environ.get("TULLE_ROOT") or "/").absolute()


def _name(name: str | None) -> str | None:
    if name is not None and not NAME.fullmatch(name):
        raise ConfigError(f"--name {name}", "must be letters, digits, '_', '.' or '-', and not begin with these")
    return name


def _in_folder(file: str | None, conf_dir: Path) -> str | None:
    """The name of a file that lies in ``conf_dir``, however it was said."""
    if file is None:
        return None
    path = Path(file)
    if path.name in {"", ".", ".."} or (len(path.parts) > 1 and path.parent.absolute() != conf_dir):
        raise ConfigError(f"--from {file}", f"must be a file in {conf_dir}", "or name its folder with --conf-dir")
    return path.name


def _print(args: argparse.Namespace, report: Report) -> None:
    if args.json:
        acts = [{"what": act.what, "path": act.path, "why": act.why} for act in report.acts]
        notes = [{"what": note.what, "path": str(note.path)} for note in report.notes]
        print(json.dumps({"schema": SCHEMA, "dry_run": args.dry_run, "acts": acts, "notes": notes}, indent=2))
        return
    chinese: bool = args.lang == "zh"
    for act in report.acts:
        why = WHY.get(act.why, act.why) if chinese else act.why
        print(f"{WHAT[act.what][chinese]} {act.path}{f': {why}' if why else ''}")
    if not report.acts:
        print(NOTHING[chinese])
    for note in report.notes:
        print(NOTES[note.what][chinese].format(path=note.path))
