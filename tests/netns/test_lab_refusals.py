"""What cannot be done is one line that names the object and the rule, exit code 2, and nothing is left behind."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.labs import NEEDS_ROOT, WHOLE_S, LabCommand, User, a_lab, environment

pytestmark = pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT))
NO_VXLAN = """
import sys
from tulle.cli import main
from tulle.wire.rtnetlink import links

new = links._new
links._new = lambda name, kind, *more: new(name, "tullet" if kind == "vxlan" else kind, *more)
sys.exit(main.main(sys.argv[1:]))
"""
"""``tulle`` that asks the kernel for a kind of device that it does not have."""


@pytest.fixture
def lab() -> Iterator[LabCommand]:
    with a_lab() as command:
        yield command


@pytest.fixture(scope="module")
def running() -> Iterator[LabCommand]:
    """One lab for all questions that leave it as it is."""
    with a_lab() as command:
        command.must("up", "--nodes", "2", "--pods", "1")
        yield command


def refused(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """One line with all of ``parts``, and exit code 2."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.startswith("tulle: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.rstrip("\n").isprintable()
    for part in parts:
        assert part in done.stderr


UP = [
    pytest.param(["--frob"], "--frob", id="unknown flag"),
    pytest.param(["--nodes", "0"], "nodes 0: must be 1 or more", id="no node"),
    pytest.param(["--nodes", "-1"], "--nodes", id="less than no node"),
    pytest.param(["--nodes", "two"], "'two' must be a whole number", id="no number"),
    pytest.param(["--nodes", "999999999"], "has room for 255 nodes", id="a billion nodes"),
    pytest.param(["--nodes", "9" * 5000], "at most nine digits", id="absurd number"),
    pytest.param(["--nodes", "245"], "underlay 192.168.64.0/24: has room for 244 nodes", id="more than the underlay"),
    pytest.param(["--pods", "254"], "its /24 subnet has room for 253 pods, not 254", id="more pods than addresses"),
    pytest.param(["--pods", "1.5"], "'1.5' must be a whole number", id="half a pod"),
    pytest.param(["--underlay", "hub"], "invalid choice: 'hub'", id="unknown underlay"),
    pytest.param(["/nonexistent/lab.toml"], "/nonexistent/lab.toml: No such file", id="no file"),
    pytest.param(["/"], "Is a directory", id="a folder"),
    pytest.param(["/dev/zero"], "/dev/zero: is larger than 1 MiB", id="an endless file"),
    pytest.param(["a.toml", "b.toml"], "b.toml", id="two files"),
]


@pytest.mark.parametrize(("words", "line"), UP)
def test_an_up_that_cannot_be(lab: LabCommand, words: list[str], line: str) -> None:
    refused(lab.run("up", *words), line)
    assert lab.leftovers() == []


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x", "é", "x" * 16, "a\nb", "a\x1b[2J"])
def test_a_name_that_no_lab_can_have(name: str) -> None:
    for verb in (["up"], ["down"], ["exec"]):
        words = ["node1", "true"] if verb == ["exec"] else []
        done = LabCommand("none").run("", f"--name={name}", *words, tulle=["lab", *verb])
        if name:
            refused(done, "must be 1 to 15 letters, digits, - or _")


FILES = [
    pytest.param(b"", "", id="an empty file is a lab of defaults"),
    pytest.param(b"\xff\xfe", "not UTF-8 text", id="no text"),
    pytest.param(b"nodes = [", "not TOML", id="no TOML"),
    pytest.param(b"x = " + b"[" * 200_000, "not TOML: nested too deeply", id="nested without an end"),
    pytest.param(b"mtu = " + b"9" * 10_000, "not TOML: Exceeds the limit", id="a number without an end"),
    pytest.param(b"a = 1\n" * 200_000, "is larger than 1 MiB", id="a file without an end"),
    pytest.param(b"backends = 'udp'", "backends: unknown key: one of backend, checks, ipv6, mtu", id="unknown key"),
    pytest.param(b"backend = 'udp'", "backend udp: must be vxlan or host-gw", id="no backend of the lab"),
    pytest.param(b"mtu = 625", "mtu 625: must be 626 to 65535", id="mtu too small"),
    pytest.param(b"mtu = 1349\nipv6 = true", "mtu 1349: must be 1350 to 65535: IPv6 needs 1280", id="mtu for IPv6"),
    pytest.param(b"mtu = -1", "mtu: must be a whole number, not negative", id="a negative mtu"),
    pytest.param(b"mtu = 1e9", "mtu: must be a whole number", id="a float"),
    pytest.param(b"mtu = true", "mtu: must be a whole number", id="truth as a number"),
    pytest.param(b"mtu = 1979-05-27", "mtu: must be a whole number", id="a date"),
    pytest.param(b"ipv6 = 'yes'", "ipv6: must be true or false", id="text as truth"),
    pytest.param(b"nodes = 4\nnetwork = '10.0.0.0/22'", "10.0.0.0/22: has room for 3 nodes", id="network too small"),
    pytest.param(b"network = '10.0.0.0/24'", "subnet_len 24: must be 25 to 30", id="no room for a subnet"),
    pytest.param(b"network = '192.168.0.0/16'", "overlaps the underlay", id="the underlay's network"),
    pytest.param(b"network = '0.0.0.0/0'", "overlaps the underlay", id="the whole world"),
    pytest.param(b"network = '127.0.0.0/8'", "no pod can have an address of it", id="loopback"),
    pytest.param(b"network = '224.0.0.0/4'", "no pod can have an address of it", id="multicast"),
    pytest.param(b"network = '10.0.0.1/8'", "must be an IPv4 network", id="host bits"),
    pytest.param(b"network6 = 'fe80::/10'\nipv6 = true", "no pod can have an address of it", id="link-local"),
    pytest.param(b"underlay = 'hub'", "underlay hub: must be switch or router", id="unknown underlay"),
    pytest.param(b"vni = 16777216", "vni 16777216: must be 1 to 16777215", id="vni"),
    pytest.param(b"port = 0", "port 0: must be 1 to 65535", id="port"),
    pytest.param(b"name = '../../etc'", "lab '../../etc': must be 1 to 15", id="a path as name"),
    pytest.param(b'[nodes]\n"\\u001b[2J" = []', "node '\\x1b[2J': must be 1 to 15", id="a name that drives a terminal"),
    pytest.param(b"[nodes]\na = ['p', 'p']", "pod p: the name is taken by a pod", id="a pod twice"),
    pytest.param(b"[nodes]\nrouter = []\nswitch = []", "node switch: the name is taken by the underlay", id="taken"),
    pytest.param(b"[nodes]\na = 3", "nodes.a: must be a list of pod names", id="a count in the table"),
    pytest.param(b"[nodes]\n", "nodes 0: must be 1 or more", id="a table without a node"),
    pytest.param(b"checks = ['pod1 likes pod2']", "must read like", id="no check"),
    pytest.param(b"checks = ['pod1 reaches pod99']", "pod99 is no node or pod", id="a check of what there is not"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "line"), FILES[1:])
def test_a_file_that_breaks_a_rule(lab: LabCommand, tmp_path: Path, content: bytes, line: str) -> None:
    file = tmp_path / "lab.toml"
    file.write_bytes(content)
    done = lab.run("", str(file), tulle=["lab", "up"]) if b"name =" in content else lab.run("up", str(file))
    refused(done, line)
    assert lab.leftovers() == []


NOWHERE = "no such node, pod, namespace or process"
QUESTIONS = [
    pytest.param(["ping", "pod9", "pod1"], f"pod9: {NOWHERE}: node1, node2, pod1, pod2, switch", id="from nowhere"),
    pytest.param(["ping", "pod1", "pod9"], f"pod9: {NOWHERE}", id="ping to nowhere"),
    pytest.param(["ping", "-6", "pod1", "pod2"], "pod2: has no IPv6 address", id="ping over what is not there"),
    pytest.param(["ping", "-W", "nan", "pod1", "pod2"], "'nan' must be seconds", id="not a time"),
    pytest.param(["ping", "-W", "-1", "pod1", "pod2"], "-W", id="a negative time"),
    pytest.param(["ping", "-c", "x", "pod1", "pod2"], "'x' must be a whole number", id="not a count"),
    pytest.param(["ping", "pod1"], "required: TO", id="ping without a target"),
    pytest.param(["exec", "pod9", "true"], f"pod9: {NOWHERE}", id="exec nowhere"),
    pytest.param(["exec", "pod1"], "lab exec: no command: like", id="exec of nothing"),
    pytest.param(["exec", "pod1", "--"], "lab exec: no command: like 'tulle lab exec pod1 -- ip route'", id="nothing"),
    pytest.param(["exec", "pod1", "--", "/none"], "/none: cannot be executed: No such file", id="no command"),
    pytest.param(["exec", "pod1", "--", "/etc"], "/etc: cannot be executed: Permission denied", id="a folder"),
    pytest.param(["sh", "pod9"], f"pod9: {NOWHERE}", id="a shell nowhere"),
    pytest.param(["check", "pod1 reaches pod9"], "pod9 is no node or pod of lab", id="check of nothing"),
    pytest.param(["check", "pod1 pod2"], "must read like", id="no sentence"),
    pytest.param(["check", "pod1 reaches pod2 over ipv6"], "has no IPv6: make it with --ipv6", id="no family"),
    pytest.param(["add node", "node1"], "node node1: the name is taken by a node", id="a node twice"),
    pytest.param(["add node", "pod2"], "node pod2: the name is taken by a pod", id="a node called as a pod"),
    pytest.param(["add node", "a/b"], "node 'a/b': must be 1 to 15", id="a path as node"),
    pytest.param(["add node", "--pods", "300"], "has room for 253 pods, not 300", id="too many pods"),
    pytest.param(["remove node", "node9"], "has no such node: it has node1, node2", id="remove nothing"),
    pytest.param(["remove node"], "required: NODE", id="remove without a name"),
    pytest.param(["up"], "is already there: 'tulle lab down --name", id="a name in use"),
    pytest.param(["down", "--all"], "--all: does not go with --name", id="all and one"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "line"), QUESTIONS)
def test_a_question_that_a_lab_cannot_answer(running: LabCommand, words: list[str], line: str) -> None:
    before = running.listed()
    refused(running.run(*words), line)
    assert running.listed() == before


@pytest.mark.parametrize(
    "words",
    [["ping", "a", "b"], ["exec", "a", "true"], ["check"], ["add node"], ["remove node", "node1"], ["sh", "a"], ["ls"]],
    ids=lambda words: words[0],
)
def test_a_lab_that_does_not_exist(lab: LabCommand, words: list[str]) -> None:
    refused(lab.run(*words), f"tulle: lab {lab.name}: no such lab: ")
    assert lab.leftovers() == []


def test_a_kernel_without_vxlan_is_named_with_the_option_that_it_lacks(lab: LabCommand) -> None:
    command = [sys.executable, "-c", NO_VXLAN, "lab", "up", "--name", lab.name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False, timeout=WHOLE_S)
    refused(done, "agent of node", "VXLAN: not available here: ", "CONFIG_VXLAN")
    assert lab.leftovers() == []


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv: not installed")
@pytest.mark.parametrize("power", ["sys_admin", "net_admin"])
def test_a_root_without_its_powers_is_told_which_and_what_else_works(lab: LabCommand, power: str) -> None:
    powerless = LabCommand(lab.name, User(prefix=("setpriv", f"--bounding-set=-{power}", f"--inh-caps=-{power}")))
    refused(powerless.run("up"), "tulle: a lab (", "Operation not permitted", "CAP_NET_ADMIN", "as an ordinary user")
    assert lab.leftovers() == []
