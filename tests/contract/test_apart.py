"""Work done apart: what it prints and how it ends comes home, and it can be interrupted.

In a process of its own, since a fork wants to be the only thread.
"""

import subprocess
import sys

import pytest

HEAD = """
import asyncio, os, signal, sys, time
from pathlib import Path
from tulle.serve.apart import Done, apart

def program():
    "The name of this process's memory, to tell a child from its parent."
    return os.getpid()

parent = program()
"""
STORIES = {
    "what it prints comes home": """
def work():
    print("out"); print("err", file=sys.stderr); return 3
assert asyncio.run(apart(work)) == Done(code=3, out=b"out\\n", err="err\\n")
""",
    "it has a loop of its own": """
async def inner(): return program() != parent
def work(): return int(asyncio.run(inner()))
assert asyncio.run(apart(work)).code == 1
""",
    "much output is no trouble": """
def work():
    print("x" * 3_000_000); return 0
assert len(asyncio.run(apart(work)).out) == 3_000_001
""",
    "a mistake is told": """
def work(): raise RuntimeError("oh")
done = asyncio.run(apart(work))
assert (done.code, done.err) == (1, "RuntimeError: oh\\n")
""",
    "it may become another program": """
def work(): os.execvp("sh", ["sh", "-c", "echo other; exit 7"])
assert asyncio.run(apart(work)) == Done(code=7, out=b"other\\n", err="")
""",
    "a signal's end is told": """
def work(): os.kill(os.getpid(), signal.SIGKILL)
assert asyncio.run(apart(work)).code == -9
""",
    "nothing of ours is open in it": """
ours = os.open("/dev/null", os.O_RDONLY)
def work():
    print(len(os.listdir("/proc/self/fd"))); return 0
assert asyncio.run(apart(work)).out == b"4\\n"  # the three standard ones, and the folder that is read
""",
    "interrupted it cleans up first": """
mark = Path(sys.argv[1])
def work():
    try:
        mark.write_text("begun"); time.sleep(100)
    except KeyboardInterrupt:
        mark.write_text("clean")
    return 0
async def story():
    task = asyncio.ensure_future(apart(work))
    while not (mark.exists() and mark.read_text()):
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert mark.read_text() == "clean"
asyncio.run(story())
""",
    "a signal for it is not taken for ours": """
told = []
def work():
    os.kill(os.getpid(), signal.SIGTERM); time.sleep(100)
async def story():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: told.append(1))
    assert (await apart(work)).code == -signal.SIGTERM
    await asyncio.sleep(0)
    assert told == []
asyncio.run(story())
""",
    "several at once do not mix": """
def work(n):
    def do():
        print(n); return n
    return do
async def story():
    done = await asyncio.gather(*(apart(work(n)) for n in range(8)))
    assert [(d.code, d.out) for d in done] == [(n, b"%d\\n" % n) for n in range(8)]
asyncio.run(story())
""",
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_work_apart(story: str, tmp_path: object) -> None:
    words = [sys.executable, "-W", "error", "-c", HEAD + story, f"{tmp_path}/mark"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
