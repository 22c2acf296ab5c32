"""A secret among a process's arguments is overwritten, and nothing else is."""

import subprocess
import sys

import pytest

from tulle.kernel.process_title import masked

SECRET = "canary-5521"  # noqa: S105 - to be looked for
PROGRAM = """
import sys
from tulle.kernel.process_title import hide_argument
print(hide_argument("--etcd-password"), open("/proc/self/cmdline").read().replace(chr(0), " "), sys.argv[2])
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a\0--pw\0secret\0b\0", b"a\0--pw\0xxxxxx\0b\0"),
        (b"a\0-pw\0secret\0b\0", b"a\0-pw\0xxxxxx\0b\0"),
        (b"a\0--pw=secret\0b\0", b"a\0--pw=xxxxxx\0b\0"),
        (b"a\0-pw=s=t\0secret\0", b"a\0-pw=xxx\0secret\0"),
        (b"a\0--pwx=secret\0pw\0secret\0", b"a\0--pwx=secret\0pw\0secret\0"),
        (b"a\0--pw", b"a\0--pw"),
        (b"", b""),
    ],
)
def test_only_the_flags_value_is_masked(before: bytes, after: bytes) -> None:
    assert masked(before, b"pw") == after


@pytest.mark.parametrize("words", [("--etcd-password", SECRET), ("-v", f"--etcd-password={SECRET}")])
def test_f65_other_users_do_not_see_it_and_the_program_still_has_it(words: tuple[str, str]) -> None:
    command = [sys.executable, "-c", PROGRAM, *words, "--last"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    hidden, _, rest = done.stdout.partition(" ")
    title, _, argument = rest.strip().rpartition(" ")
    assert hidden == "True"
    assert SECRET not in title
    assert title.rstrip().endswith("x" * len(SECRET) + " --last")
    assert SECRET in argument
