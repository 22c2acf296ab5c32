"""A runtime in a storm: many threads of ADD, DEL and CHECK on one node whose agent is killed again and again.

    with restarting(node) as agents, ThreadPoolExecutor(…) as threads:
        threads.map(lambda number: Client(node, seed, number).work(steps), range(…))

What a ``Client`` remembers of its pods is what a runtime knows: attached, gone, or not known (an ADD that
failed, which a DEL has to follow).  Each choice follows from the seed; which of them meet is the scheduler's.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.kit.plugin import PATIENCE_S, PluginNode
from tests.kit.shims import Done

Known = Literal["new", "attached", "unsure", "gone"]


@dataclass
class Agents:
    """The agents that follow each other behind one socket; ``current`` is the pid of the last one started."""

    node: PluginNode
    current: int = 0
    started: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def kill(self) -> None:
        """End the one of now without a word; returns when the next one has been started."""
        with self.changed:
            before = self.started
            os.kill(self.current, signal.SIGKILL)
            assert self.changed.wait_for(lambda: self.started > before, PATIENCE_S), "no new agent"

    def freeze(self, sleep_s: float) -> None:
        """The one of now stands still, longer than anybody waits whose call it has not read; then it goes on."""
        pid = self.current
        os.kill(pid, signal.SIGSTOP)
        time.sleep(sleep_s)
        os.kill(pid, signal.SIGCONT)

    def wait_until_ready(self) -> None:
        """Until the one of now answers: it has read its files, and done the DELs that were left."""
        self.node.wait_until(lambda: self.node.run("STATUS").code == 0, "an agent that is ready")


@contextmanager
def restarting(node: PluginNode) -> Generator[Agents]:
    """Agents of ``node``, one after another: who dies is followed by the next at once, as systemd has it.

    They are forked by a process of their own, made here: the threads that come later are not copied.
    """
    pids, told = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        try:
            os.close(pids)
            _supervise(node, told)
        finally:
            os._exit(1)
    os.close(told)
    agents = Agents(node)
    reader = threading.Thread(target=_follow, args=(agents, pids))
    reader.start()
    try:
        with agents.changed:
            assert agents.changed.wait_for(lambda: agents.started, PATIENCE_S), "no agent"
        agents.wait_until_ready()
        yield agents
    finally:
        os.kill(supervisor, signal.SIGTERM)
        os.waitpid(supervisor, 0)
        reader.join()


@dataclass
class Pod:
    """A container as its runtime knows it."""

    name: str
    known: Known = "new"
    result: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass
class Client:
    """One of the runtime's threads, with pods of its own."""

    node: PluginNode
    seed: int
    number: int
    conf: dict[str, Any] = field(default_factory=dict[str, Any])
    pods: list[Pod] = field(default_factory=list[Pod])
    wrong: list[str] = field(default_factory=list[str])
    """What must never be answered, and was."""

    def work(self, steps: int, size: int = 4) -> None:
        """``steps`` calls on ``size`` pods at a time, in an order that follows from the seed."""
        chance = random.Random(f"{self.seed}/{self.number}")
        for _ in range(steps):
            living = [pod for pod in self.pods if pod.known != "gone"]
            if len(living) < size and chance.random() < 0.5:
                self.pods.append(Pod(self.node.new_pod()))
                living.append(self.pods[-1])
            if living:
                self._step(chance.choice(living), chance.random())

    def _step(self, pod: Pod, dice: float) -> None:
        match pod.known:
            case "new" if dice < 0.9:
                self._add(pod)
            case "attached" if dice < 0.15:
                self._expect(self._run("CHECK", pod, prevResult=pod.result), "CHECK", {0, 11})
            case "attached" if dice < 0.3:
                self._expect(self._run("ADD", pod), "a second ADD", {101, 11})
            case "attached" if dice < 0.4:
                self.node.remove_pod(pod.name)
                self._delete(pod)
            case _:
                self._delete(pod)

    def _add(self, pod: Pod) -> None:
        done = self._run("ADD", pod)
        self._expect(done, "ADD", {0, 11})
        pod.known, pod.result = ("attached", done.answer) if done.code == 0 else ("unsure", {})

    def _delete(self, pod: Pod) -> None:
        """A runtime's DEL: whatever happens, it succeeds."""
        self._expect(self._run("DEL", pod), "DEL", {0})
        pod.known = "gone"

    def _run(self, verb: str, pod: Pod, **conf: Any) -> Done:
        return self.node.run(verb, pod.name, **self.conf, **conf)

    def _expect(self, done: Done, what: str, codes: set[int]) -> None:
        code = done.error if done.code else 0
        if code not in codes:
            self.wrong.append(f"{what}: {done}")


def _supervise(node: PluginNode, told: int) -> None:
    """Until it is told to end; its agent ends before it."""
    awaited = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    while True:
        node.fork_agent()
        os.write(told, f"{node.pid}\n".encode())
        while os.waitpid(node.pid or 0, os.WNOHANG) == (0, 0):  # one that stands still sends the signal, too
            if signal.sigwait(awaited) == signal.SIGTERM:
                node.stop()
                return


def _follow(agents: Agents, pids: int) -> None:
    with open(pids) as lines:
        for line in lines:
            with agents.changed:
                agents.current = int(line)
                agents.started += 1
                agents.changed.notify_all()


def pause(chance: random.Random, most_s: float) -> None:
    """Where between two calls of others a death falls is chance: this is the one place that sleeps."""
    time.sleep(chance.uniform(0, most_s))
