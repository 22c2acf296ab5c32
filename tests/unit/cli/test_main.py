"""The command line's frame: one way to fail, one language, and no import that a command does not need."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tulle import __version__
from tulle.cli import main as frame
from tulle.cli.main import choose_language, main, one_line, tulled_main
from tulle.errors import ConfigError


def run(*words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tulle", *words]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **paths, **(environment or {})}, check=False
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(["frob"], "frob: no such command: one of lab, trace,", id="unknown command"),
        pytest.param(["--frob"], "--frob: no such flag: one of", id="unknown flag before the command"),
        pytest.param(["agent", "--frob"], "--frob", id="unknown flag after the command"),
        pytest.param(["agent", "--ip-masq=maybe"], "--ip-masq maybe: must be true or false", id="bad value"),
        pytest.param(["--lang", "fr", "agent"], "--lang fr: must be en or zh", id="unknown language"),
        pytest.param(["agent", "--lang"], "--lang (nothing): must be en or zh", id="no language"),
    ],
)
def test_whatever_is_wrong_on_the_command_line_is_one_line_and_exit_2(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tulle: ")
    assert line in err
    assert err.count("\n") == 1


def test_tulled_takes_the_agents_flags_directly(capsys: pytest.CaptureFixture[str]) -> None:
    assert tulled_main(["--public-ip", "nowhere"]) == 2
    assert capsys.readouterr().err == "tulle: --public-ip nowhere: must be an IPv4 address\n"


def test_the_overview_names_every_command_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    for flags, word in ((["--lang", "en"], "commands:"), (["--lang=zh"], "命令：")):
        assert main([*flags, "--help"]) == 0
        text = capsys.readouterr().out
        assert word in text
        assert all(f"  {name} " in text for name in frame.COMMANDS)


def test_the_version_is_printed_without_importing_a_command() -> None:
    source = "import sys; from tulle.cli.main import main; main(['--version']); print(*sys.modules, file=sys.stderr)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == f"tulle {__version__}\n"
    assert not {"asyncio", "msgspec", "sqlite3", "ctypes", "tulle.cli.lab"} & set(done.stderr.split())


@pytest.mark.parametrize(
    ("flag", "environment", "language"),
    [
        pytest.param("zh", {"TULLE_LANG": "en"}, "zh", id="the flag first"),
        pytest.param(None, {"TULLE_LANG": "zh", "LANG": "en_US.UTF-8"}, "zh", id="then TULLE_LANG"),
        pytest.param(None, {"LANG": "zh_CN.UTF-8"}, "zh", id="then the locale"),
        pytest.param(None, {"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en", id="LC_ALL before LANG"),
        pytest.param(None, {"LANG": "de_AT.UTF-8"}, "en", id="any other locale is English"),
        pytest.param(None, {}, "en", id="nothing is English"),
    ],
)
def test_the_language_is_chosen_in_order(flag: str | None, environment: dict[str, str], language: str) -> None:
    assert choose_language(flag, environment) == language


def test_a_language_named_in_the_environment_must_exist() -> None:
    with pytest.raises(ConfigError, match="TULLE_LANG fr: must be en or zh"):
        choose_language(None, {"TULLE_LANG": "fr"})


def test_a_message_cannot_drive_the_terminal() -> None:
    assert one_line("a\x1b[2Jb\nc\u202ed") == "a\\x1b[2Jb\\nc\\u202ed"
    assert one_line("网络") == "网络"


def _interrupted() -> int:
    raise KeyboardInterrupt


def _forbidden() -> int:
    raise PermissionError(13, "Permission denied", "/run/tulle")


@pytest.mark.parametrize(
    ("work", "code", "err"),
    [
        pytest.param(_interrupted, 130, "", id="Ctrl-C is quiet"),
        pytest.param(_forbidden, 2, "tulle: /run/tulle: Permission denied\n", id="a refused file is named"),
    ],
)
def test_what_a_command_may_meet_becomes_an_exit_code(
    work: Callable[[], int], code: int, err: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dispatch(_: list[str]) -> int:
        return work()

    monkeypatch.setattr(frame, "_dispatch", dispatch)
    assert main([]) == code
    assert capsys.readouterr().err == err


def test_a_reader_that_went_away_is_no_error() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    command = f"{sys.executable} -m tulle --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment, check=False)
    assert done.stderr == ""


def test_python_dash_m_is_the_same_program() -> None:
    assert run("--version").stdout == f"tulle {__version__}\n"
