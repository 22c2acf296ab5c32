"""``tulle lab serve`` for tests: started as a person starts it, asked as a page asks it."""

import json
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from tests.kit.labs import PATIENCE_S, WHOLE_S, LabCommand


@dataclass(frozen=True, slots=True)
class Serving:
    """A lab that is served at ``url``."""

    process: subprocess.Popen[str]
    url: str

    def ask(self, verb: str, **body: str) -> tuple[int, dict[str, Any]]:
        """What a page's act is answered.  ``source`` stands for ``from``, which is no name in Python."""
        told = {{"source": "from"}.get(name, name): text for name, text in body.items()}
        place = urlsplit(self.url)
        connection = HTTPConnection(place.hostname or "", place.port, timeout=WHOLE_S)
        try:
            connection.request("POST", place.path + verb, json.dumps(told), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def view(self) -> dict[str, Any]:
        """The first event of a stream: the lab now."""
        place = urlsplit(self.url)
        connection = HTTPConnection(place.hostname or "", place.port, timeout=WHOLE_S)
        try:
            connection.request("GET", place.path + "events")
            stream = connection.getresponse()
            while not (line := stream.readline()).startswith(b"data: "):
                assert line, "the stream has ended"
            return json.loads(line.removeprefix(b"data: "))
        finally:
            connection.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Tell it to stop: exit code, what else it printed, what it complained of."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err


@contextmanager
def served(lab: LabCommand, *words: str) -> Generator[Serving]:
    """Serve a lab that is up."""
    process = lab.popen("serve", "--json", *words)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, process.communicate(timeout=PATIENCE_S)[1]
        yield Serving(process, json.loads(line)["url"])
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
