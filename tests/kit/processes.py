"""Work in a process of its own, which may die in the middle."""

import os
import traceback
from collections.abc import Callable


def in_a_child(work: Callable[[], object]) -> int:
    """The exit code of a forked child that does ``work``: 0 when it came to its end, 1 when it raised; −N: signal N."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  nothing may go up the test's own stack a second time
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
