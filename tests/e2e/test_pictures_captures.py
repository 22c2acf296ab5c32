"""Other people's readers agree with the JSON about every packet of ``walk.pcapng``: tshark and tcpdump."""

import os
import re
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path

import pytest

from tests.kit.kernels import NO_TCPDUMP
from tests.kit.pictures import recordings
from tulle.trace.captures import encode_capture, tap_name
from tulle.trace.journey import Hop, Journey

TSHARK = "tshark is not installed" if shutil.which("tshark") is None else None
JOURNEYS = recordings()
FIELDS = (
    "frame.interface_name",
    "frame.comment",
    "frame.packet_flags_direction",
    "frame.time_epoch",
    "frame.len",
    "ip.src",
    "ipv6.src",
    "vxlan.vni",
)
LIMIT_S = 60


def sightings(journey: Journey) -> list[Hop]:
    return [hop for hop in journey.hops if hop.n is not None]


def run(*words: str, home: Path) -> str:
    quiet = {**os.environ, "HOME": str(home), "TZ": "UTC"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, env=quiet, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=JOURNEYS)
def journey(request: pytest.FixtureRequest) -> Journey:
    return JOURNEYS[request.param]


@pytest.fixture
def file(journey: Journey, tmp_path: Path) -> Path:
    path = tmp_path / "walk.pcapng"
    path.write_bytes(encode_capture(journey))
    return path


@pytest.mark.skipif(TSHARK is not None, reason=TSHARK or "")
def test_tshark_reads_every_packet_as_the_json_tells_it(journey: Journey, file: Path, tmp_path: Path) -> None:
    asked = [word for name in FIELDS for word in ("-e", name)]
    port = journey.overlay.port if journey.overlay else 8472
    told = run("tshark", "-n", "-r", str(file), "-d", f"udp.port=={port},vxlan", "-T", "fields", *asked, home=tmp_path)
    rows = [line.split("\t") for line in told.splitlines()]
    assert len(rows) == len(sightings(journey))
    start = _ns(rows[0][3])
    for hop, (tap, comment, direction, time, length, source4, source6, vni) in zip(
        sightings(journey), rows, strict=True
    ):
        assert tap == tap_name(hop)
        assert comment.startswith(f"hop {hop.n}/{len(rows)}")
        assert int(direction, 16) == {"rx": 1, "tx": 2}[hop.dir]
        assert _ns(time) - start == hop.t_ns
        assert int(length) == hop.len
        assert hop.inner is not None
        outer = [hop.outer.src] if hop.outer else []
        assert (source4 or source6).split(",")[: len(outer) + 1] == [*outer, hop.inner.src]
        assert vni == (str(hop.outer.vni) if hop.outer else "")


@pytest.mark.skipif(NO_TCPDUMP is not None, reason=NO_TCPDUMP or "")
def test_tcpdump_reads_the_same_bytes_at_the_same_nanosecond(journey: Journey, file: Path, tmp_path: Path) -> None:
    told = run("tcpdump", "-Z", "root", "-r", str(file), "-n", "-xx", "-tt", "--nano", home=tmp_path)
    frames = [bytes.fromhex("".join(re.findall(r"\t0x\w+: +([0-9a-f ]+)", part))) for part in _parts(told)]
    stamps = [_ns(part.split()[0]) for part in _parts(told)]
    assert frames == [b64decode(hop.frame) for hop in sightings(journey)]
    assert [stamp - stamps[0] for stamp in stamps] == [hop.t_ns for hop in sightings(journey)]


def _ns(stamp: str) -> int:
    seconds, _, fraction = stamp.partition(".")
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def _parts(told: str) -> list[str]:
    """One text per packet: its line and the bytes below it."""
    return re.split(r"\n(?=\d)", told.strip())
