"""The runner of documentation pages: what it takes for a command, and what for a lie."""

from pathlib import Path

import pytest

from tests.kit.docs import Block, Command, blocks, commands, matches, run_page
from tests.kit.labs import User

PAGE = """\
Text.

```toml lab.toml
nodes = 1
```

- in a list:

  ```console
  $ cat lab.toml \\
      | head -n 1
  nodes = 1
  $ true
  ```

```sh
exit 1
```
"""


def test_blocks_are_found_with_their_kind_file_and_place() -> None:
    toml, console, shell = blocks(PAGE)
    assert toml == Block(kind="toml", file="lab.toml", line=4, lines=("nodes = 1",))
    assert (console.kind, console.line, shell.kind) == ("console", 10, "sh")
    assert tuple(commands(console)) == (
        Command(line=10, words="cat lab.toml | head -n 1", shown=("nodes = 1",)),
        Command(line=13, words="true", shown=()),
    )


def test_a_page_is_done_in_order_with_its_files(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert run_page(page, User(), tmp_path) == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("$ false", "exit code 1", id="a command that fails"),
        pytest.param("$ echo one\ntwo", "the page shows\ntwo\n--- it printed\none", id="another output"),
        pytest.param("echo", "line 2: a console block begins with", id="no command"),
    ],
)
def test_a_page_that_is_not_true_is_told_by_line(tmp_path: Path, text: str, complaint: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```console\n{text}\n```\n")
    with pytest.raises(AssertionError, match=complaint):
        run_page(page, User(), tmp_path)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        (["a"], ["a", "b"], False),
        (["...", "b"], ["a", "a", "b"], True),
        (["..."], [], True),
        (["a", "..."], ["a"], True),
        (["took 0.1 s, pid 7"], ["took 12.75 s, pid 123"], True),
        (["reply 0.493 ms"], ["reply 1.2 ms"], True),
        (["reply from 10.244.2.3"], ["reply from 10.244.2.4"], False),
        (["0.45 秒后就绪"], ["1.2 秒后就绪"], True),
        (["eth0@… UP"], ["eth0@if7 UP"], True),
        (["a  "], ["a"], True),
    ],
)
def test_times_and_numbers_of_processes_may_differ_and_nothing_else(
    shown: list[str], printed: list[str], same: bool
) -> None:
    assert matches(shown, printed) is same
