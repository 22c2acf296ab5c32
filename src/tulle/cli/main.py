"""``tulle``: one table of commands, one way to fail.

Only the module of the chosen command is imported, so that ``tulle --version`` and a pod's
start do not pay for the daemon.  No command's own work belongs here.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import TextIOWrapper
from typing import Final, NoReturn

from tulle import __version__
from tulle.errors import EXIT_COULD_NOT, ConfigError, TulleError

EXIT_INTERRUPTED: Final = 130
"""What a shell reports for SIGINT."""
EXIT_BROKEN_PIPE: Final = 141
"""What a shell reports for SIGPIPE: the reader went away (``tulle leases | head``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command's module, which has ``add_parser(subparsers)``, and its line in the list of commands."""

    module: str
    en: str
    zh: str


COMMANDS: Final[Mapping[str, Command]] = {
    "lab": Command(
        module="tulle.cli.lab",
        en="a cluster in network namespaces on this machine",
        zh="用网络命名空间在本机搭建一个集群",
    ),
    "trace": Command(
        module="tulle.cli.trace",
        en="follow a packet through every hop, with the evidence",
        zh="逐跳跟踪一个数据包，并给出证据",
    ),
    "show": Command(
        module="tulle.cli.show",
        en="a recorded walk again, in any form, on any machine",
        zh="在任何机器上以任何形式重新显示记录的路径",
    ),
    "graph": Command(
        module="tulle.cli.graph",
        en="the cluster as a picture: nodes, pods, tunnels, peers",
        zh="把集群画成图：节点、Pod、隧道、对等节点",
    ),
    "watch": Command(
        module="tulle.cli.watch",
        en="the live view in the terminal: peers, rates, repairs, drops",
        zh="终端里的实时视图：对等节点、速率、修复、丢弃",
    ),
    "status": Command(
        module="tulle.cli.status",
        en="what this node's agent holds, repairs and misses",
        zh="本节点代理持有、修复和缺失的内容",
    ),
    "peers": Command(
        module="tulle.cli.status",
        en="the other nodes, and the kernel entries that reach each",
        zh="其他节点，以及到达每个节点的内核表项",
    ),
    "leases": Command(module="tulle.cli.status", en="who holds which pod subnet", zh="各 Pod 子网由谁持有"),
    "plan": Command(
        module="tulle.cli.status",
        en="what the agent would change now, as ip/bridge/nft text",
        zh="代理现在会做的更改，以 ip/bridge/nft 命令显示",
    ),
    "need-overlay": Command(
        module="tulle.cli.need_overlay",
        en="whether plain routes to the peers would do, asked of the network",
        zh="到对等节点用普通路由是否足够，直接向网络求证",
    ),
    "network": Command(
        module="tulle.cli.network",
        en="show or set the network configuration that all nodes share",
        zh="显示或设置所有节点共用的网络配置",
    ),
    "cni": Command(
        module="tulle.cli.cni",
        en="put the CNI plugin where runtimes look for it, or remove it",
        zh="把 CNI 插件放到运行时查找的位置，或移除它",
    ),
    "leave": Command(
        module="tulle.cli.leave",
        en="give this node back to flannel's daemon, or clean it",
        zh="把本节点交还给 flannel 守护进程，或清理干净",
    ),
    "agent": Command(module="tulle.cli.agent", en="run the node agent (also: tulled)", zh="运行节点代理（同 tulled）"),
    "completion": Command(
        module="tulle.cli.completion",
        en="a completion script for bash, zsh or fish",
        zh="bash、zsh 或 fish 的补全脚本",
    ),
    "man": Command(module="tulle.cli.manual", en="print the manual page", zh="打印手册页"),
}

WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "about": ("An overlay network that you can see through.", "看得透的覆盖网络。"),
    "commands": ("commands:", "命令："),
    "options": ("options (also after the command):", "选项（也可写在命令之后）："),
    "lang": ("language of the output for people", "给人看的输出所用的语言"),
    "version": ("print the version", "显示版本"),
    "help": (
        "print this help; 'tulle COMMAND --help' for a command's",
        "显示本帮助；“tulle 命令 --help”显示该命令的帮助",
    ),
}


class OneLineParser(argparse.ArgumentParser):
    """argparse that fails as every other part of tulle does: one line, no usage text, exit code 2."""

    def __init__(self, **settings: object) -> None:
        settings.setdefault("allow_abbrev", False)
        super().__init__(**settings)  # pyright: ignore[reportArgumentType]  # argparse's own keywords, passed on

    def error(self, message: str) -> NoReturn:
        words = self.prog.split()
        item = " ".join(words[1:]) or "command line"
        raise ConfigError(item, message, f"see '{self.prog} --help'")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code (0 yes, 1 no, 2 could not, 130 interrupted)."""
    return _guarded(lambda: _dispatch(sys.argv[1:] if argv is None else list(argv)))


def tulled_main(argv: Sequence[str] | None = None) -> int:
    """``tulled``: the agent as one word, its arguments directly."""
    return _guarded(lambda: _run_agent(sys.argv[1:] if argv is None else list(argv)))


def choose_language(flag: str | None, environment: Mapping[str, str]) -> str:
    """``en`` or ``zh``: the flag, else TULLE_LANG, else the locale; whatever is not Chinese is English.

    Raises ConfigError: a language that was asked for by name and does not exist.
    """
    for source, text in (("--lang", flag), ("TULLE_LANG", environment.get("TULLE_LANG"))):
        if text:
            if text not in {"en", "zh"}:
                raise ConfigError(f"{source} {text}", "must be en or zh")
            return text
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "zh" if locale.lower().startswith("zh") else "en"


def one_line(text: str) -> str:
    """``text`` safe to print: control characters as escapes, so that no message drives a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _dispatch(words: list[str]) -> int:
    flag, words = _take_language(words)
    lang = choose_language(flag, os.environ)
    match words:
        case [] | ["-h" | "--help", *_]:
            print(_overview(lang))
            return 0 if words else EXIT_COULD_NOT
        case ["--version", *_]:
            print(f"tulle {__version__}")
            return 0
        case ["agent", *rest]:
            from tulle.cli import agent  # its words are read as flanneld's are

            return agent.run(rest, lang, as_flanneld=False)
        case _ if words[0] in COMMANDS:
            return _run_command(words[0], words, lang)
        case _:
            name = words[0]
            known = "one of " + ", ".join(COMMANDS)
            raise ConfigError(name, "no such flag" if name.startswith("-") else "no such command", known)


def make_parser(lang: str, **settings: object) -> OneLineParser:
    """A parser whose help, and that of all its commands, is in ``lang``."""
    if lang != "zh":
        return OneLineParser(**settings)
    from tulle.cli.zh import ChineseParser

    return ChineseParser(**settings)


def _run_command(name: str, words: list[str], lang: str) -> int:
    parser = make_parser(lang, prog="tulle")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    import_module(COMMANDS[name].module).add_parser(subparsers)
    args = parser.parse_args(words)
    args.lang = lang
    return int(args.run(args))


def _run_agent(words: list[str]) -> int:
    from tulle.cli import agent  # the daemon is heavy: only here

    flag, words = _take_language(words)
    return agent.run(words, choose_language(flag, os.environ), as_flanneld=True)


def _take_language(words: list[str]) -> tuple[str | None, list[str]]:
    """``--lang`` from anywhere before ``--``, and the words without it."""
    ours, theirs = _cut(words, "--")
    flag, rest = None, list[str]()
    while ours:
        word = ours.pop(0)
        if word == "--lang":
            flag = ours.pop(0) if ours else "(nothing)"
        elif word.startswith("--lang="):
            flag = word.removeprefix("--lang=") or "(nothing)"
        else:
            rest.append(word)
    return flag, rest + theirs


def _cut(words: list[str], mark: str) -> tuple[list[str], list[str]]:
    at = words.index(mark) if mark in words else len(words)
    return words[:at], words[at:]


def _overview(lang: str) -> str:
    say = {key: pair[lang == "zh"] for key, pair in WORDS.items()}
    rows = [(name, command.zh if lang == "zh" else command.en) for name, command in COMMANDS.items()]
    flags = [("--lang en|zh", say["lang"]), ("--version", say["version"]), ("-h, --help", say["help"])]
    return "\n".join(
        [
            "tulle COMMAND [...]",
            "",
            say["about"],
            "",
            say["commands"],
            *(f"  {name:14}{text}" for name, text in rows),
            "",
            say["options"],
            *(f"  {name:14}{text}" for name, text in flags),
        ]
    )


def _guarded(work: Callable[[], int]) -> int:
    """Run ``work``; whatever a person can meet becomes one line on stderr and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without box drawing still gets its answer
    try:
        code = work()
        sys.stdout.flush()
        return code
    except TulleError as error:
        return complain(str(error))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more when it ends
        return EXIT_BROKEN_PIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return complain(f"{where}{error.strerror or error}")


def complain(line: str) -> int:
    """Say on stderr what could not be done; the exit code for it."""
    print(f"tulle: {one_line(line)}", file=sys.stderr)
    return EXIT_COULD_NOT
