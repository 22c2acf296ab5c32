"""``tulle completion bash|zsh|fish``: a script for the shell; ``places``: the names that commands take.

tulle completion bash > /etc/bash_completion.d/tulle
tulle completion zsh  > "${fpath[1]}/_tulle"
tulle completion fish > ~/.config/fish/completions/tulle.fish
"""

import argparse
from collections.abc import Iterable
from typing import Final

from tulle.cli.grammar import Subparsers, Verb, read_grammar
from tulle.errors import EXIT_YES, TulleError

SHELLS: Final = ("bash", "zsh", "fish")
TAKES_PLACES: Final = ("/trace", "/lab/sh", "/lab/exec", "/lab/ping")

BASH: Final = """\
# tulle completion for bash
_tulle() {
    local word path=
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path/$word" in
            @PATHS@) path="$path/$word" ;;
        esac
    done
    local words=
    case "$path" in
@CASES@
    esac
    case "$path" in
        @PLACES@) words="$words $(tulle completion places 2>/dev/null)" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _tulle tulle
"""

ZSH: Final = """\
#compdef tulle
_tulle() {
    local word route=
    for word in "${(@)words[2,CURRENT-1]}"; do
        case "$route/$word" in
            @PATHS@) route="$route/$word" ;;
        esac
    done
    local found=
    case "$route" in
@CASES@
    esac
    case "$route" in
        @PLACES@) found="$found $(tulle completion places 2>/dev/null)" ;;
    esac
    compadd -- ${=found} || _files
}
_tulle "$@"
"""

FISH: Final = """\
# tulle completion for fish
function __tulle_words
    set -l route ''
    for word in (commandline -opc)[2..]
        switch "$route/$word"
            case @PATHS@
                set route "$route/$word"
        end
    end
    switch "$route"
@CASES@
    end
    switch "$route"
        case @PLACES@
            tulle completion places 2>/dev/null
    end
end
complete -c tulle -a '(__tulle_words)'
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "completion", help="a completion script for a shell", description="Print a completion script for a shell."
    )
    what = "which shell; places: the names of nodes, pods and namespaces that there are"
    parser.add_argument("shell", choices=(*SHELLS, "places"), help=what)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print("\n".join(_places()) if args.shell == "places" else script(args.shell), end="")
    return EXIT_YES


def script(shell: str) -> str:
    """The completion script for ``shell``, one of SHELLS."""
    from tulle.cli.main import COMMANDS  # its table names this module

    verbs = list(read_grammar({name: command.module for name, command in COMMANDS.items()}).every())
    paths = [_path(verb) for verb in verbs if verb.words]
    cases = "\n".join(_case(shell, _path(verb), _words(verb)) for verb in verbs)
    between = " " if shell == "fish" else "|"
    template = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    filled = template.replace("@PATHS@", between.join(paths)).replace("@PLACES@", between.join(TAKES_PLACES))
    return filled.replace("@CASES@", cases)


def _path(verb: Verb) -> str:
    return "".join(f"/{word}" for word in verb.words)


def _words(verb: Verb) -> list[str]:
    below = [under.words[-1] for under in verb.verbs]
    common = [] if verb.words else ["--lang", "--version", "--help"]
    return [*below, *common, *(name for flag in verb.flags for name in flag.names)]


def _case(shell: str, path: str, words: Iterable[str]) -> str:
    match shell:
        case "fish":
            printed = "\n".join(f"            echo {word}" for word in words)
            return f"        case '{path}'\n{printed}"
        case "zsh":
            return f'        "{path}") found="{" ".join(words)}" ;;'
        case _:
            return f'        "{path}") words="{" ".join(words)}" ;;'


def _places() -> list[str]:
    from tulle.cli.places import candidates

    try:
        return [place.name for place in candidates()]
    except TulleError:
        return []  # a completion has nobody to complain to
