"""What an operator reads: status, peers, leases and plan in both languages, and one line for every mistake."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unicodedata import east_asian_width

import pytest

from tests.kit.agents import Cluster, Node, cluster, until
from tests.kit.damage import picture
from tests.kit.enter import enter
from tests.kit.kernels import NEEDS_ROOT
from tulle.agent.control import AgentAnswer, ask

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("words")) as made:
        made.start()
        yield made


@pytest.fixture
def node(site: Cluster) -> Node:
    return site.node(1)


def columns(line: str) -> int:
    return sum(2 if east_asian_width(char) in "WF" else 1 for char in line)


def test_the_status_of_a_healthy_node_is_a_few_lines(node: Node) -> None:
    shown = node.tulle("status")
    assert shown.returncode == 0
    facts = (line for line in shown.stdout.splitlines() if not line.startswith("   "))  # a long path goes on below
    names = [line.split()[0] for line in facts]
    assert names == ["tulle:", "lease", "underlay", "backend", "store", "peers", "work"]
    assert "10.244.1.0/24, good for 23 h" in shown.stdout
    assert "eth0 192.168.64.11 mtu 1500" in shown.stdout


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_status_fits_eighty_columns_in_every_language(node: Node, lang: str) -> None:
    shown = node.tulle("status", lang=lang).stdout
    assert max(map(columns, shown.splitlines())) <= 80
    assert ("租约" in shown) is (lang == "zh")


def test_peers_leases_and_plan_speak_chinese_too(node: Node) -> None:
    assert node.tulle("leases", lang="zh").stdout.split()[0] == "子网"
    assert node.tulle("plan", lang="zh").stdout == "# 无需更改\n"
    assert "10.244.2.0/24" in node.tulle("peers", lang="zh").stdout


def test_json_is_the_same_in_every_language(node: Node) -> None:
    for verb, schema in (("peers", "tulle.status/1"), ("leases", "tulle.status/1"), ("plan", "tulle.plan/1")):
        english, chinese = (json.loads(node.tulle(verb, "--json", lang=lang).stdout) for lang in ("en", "zh"))
        assert english == chinese
        assert next(iter(english)) == "schema"
        assert english["schema"] == schema


def test_peers_show_the_entries_that_the_kernel_shows(node: Node) -> None:
    shown = node.tulle("peers").stdout
    (neighbour,) = node.json("ip", "-j", "neigh", "show", "nud", "permanent")
    assert f"neighbour 10.244.2.0 lladdr {neighbour['lladdr']} dev flannel.1" in shown
    assert f"fdb {neighbour['lladdr']} dev flannel.1 dst 192.168.64.12" in shown
    assert "route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in shown


def test_leases_are_a_table_with_our_own_first(node: Node) -> None:
    head, own, other = node.tulle("leases").stdout.splitlines()
    assert head.split() == ["SUBNET", "NODE", "VTEP", "MAC", "STATE"]
    assert (own.split()[0], own.split()[-1]) == ("10.244.1.0/24", "self")
    assert (other.split()[1], other.split()[-1]) == ("192.168.64.12", "ok")


def test_a_plan_with_nothing_to_do_is_a_comment_for_a_shell(node: Node) -> None:
    assert node.tulle("plan").stdout == "# nothing to change\n"


def test_the_whole_state_as_text_makes_an_equal_node(site: Cluster, node: Node) -> None:
    text = node.tulle("plan", "--from-scratch").stdout
    copy = Node(site.net, 9, node.root, "")
    site.net.add(copy.name)
    site.net.veth((copy.name, "eth0"), ("switch", "portcopy"))
    copy.ip("addr add 192.168.64.11/24 dev eth0")
    shell = [*enter(site.net.full(copy.name)), "sh", "-e"]
    done = subprocess.run(shell, input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert picture(copy) == picture(node)


def test_a_plan_that_a_stopped_agent_cannot_answer_says_so_in_time(node: Node) -> None:
    assert node.process is not None
    node.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(AgentAnswer, match=r"no answer on \S+ in 0.3 s: see its log"):
            ask(node.socket, {"verb": "plan"}, timeout_s=0.3)
    finally:
        node.process.send_signal(signal.SIGCONT)


MISTAKES = [
    pytest.param(("--nonsense",), "nonsense", id="an unknown flag"),
    pytest.param(("--public-ip", "10.0.0"), "--public-ip 10.0.0: must be an IPv4 address", id="no address"),
    pytest.param(
        ("--public-ipv6", "10.0.0.1"), "--public-ipv6 10.0.0.1: must be an IPv6 address", id="of another kind"
    ),
    pytest.param(("--iface-regex", "eth[9"), "--iface-regex", id="no regular expression"),
    pytest.param(("--ip-masq=perhaps",), "--ip-masq perhaps: must be true or false", id="neither true nor false"),
    pytest.param(("--audit-period", "0"), "--audit-period 0: must be a number of seconds", id="no time at all"),
    pytest.param(("--audit-period", "soon"), "--audit-period soon: must be a number of seconds", id="no number"),
    pytest.param(("--store", "nonsense"), "--store 'nonsense': no such kind of store", id="no store's URL"),
    pytest.param(("--store", "sqlite://relative"), "--store sqlite://relative: must name a file", id="no path"),
]


@pytest.mark.parametrize(("flags", "said"), MISTAKES)
def test_a_wrong_flag_is_one_line_and_leaves_nothing(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    with cluster(tmp_path, nodes=1) as site:
        node = site.node(1)
        done = node.run(*flags)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not node.socket.exists()
        assert "flannel.1" not in node.sh("ip", "link")


@pytest.mark.parametrize(
    ("config", "damage", "said"),
    [
        pytest.param(
            {"Backend": {"Type": "vxlan", "MTU": 500}},
            (),
            "Backend.MTU: MTU 500 leaves pods 450 bytes",
            id="the config's MTU",
        ),
        pytest.param(
            {}, ("link set eth0 mtu 600",), "device eth0: MTU 600 leaves pods 550 bytes", id="the device's MTU"
        ),
        pytest.param({}, ("addr flush dev eth0",), "device eth0: has no IPv4 address", id="no address"),
        pytest.param(
            {"Network": "10.244.1.0/24", "SubnetLen": 26, "SubnetMin": "10.244.1.64", "SubnetMax": "10.244.1.64"},
            (),
            "out of subnets",
            id="a network too small for the nodes",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, config: dict[str, object], damage: tuple[str, ...], said: str
) -> None:
    with cluster(tmp_path, nodes=1, config=config) as site:
        node = site.node(1)
        if "Network" in config:
            site.plant("10.244.1.64-26", b'{"PublicIP":"192.168.64.77","PublicIPv6":null}')
        node.ip(*damage)
        done = node.run()
        assert done.returncode == 2, done.stderr
        assert said in done.stderr.splitlines()[-1]
        assert not [line for line in done.stderr.splitlines() if "Traceback" in line]
        assert "flannel.1" not in node.sh("ip", "link")


def test_f09_a_node_with_the_public_address_of_a_living_one_is_refused(site: Cluster, tmp_path: Path) -> None:
    node = site.node(2)
    other = Node(node.net, 2, tmp_path / "other", node.store_url)
    other.root.mkdir()
    done = other.run("--public-ip", "192.168.64.11")
    assert done.returncode == 2
    assert "another node is reached at our public address 192.168.64.11" in done.stderr
    assert site.node(1).status()["state"] == "ready"


def test_a_second_agent_on_the_same_root_is_refused_and_the_first_goes_on(node: Node) -> None:
    before = node.status()
    done = node.run()
    assert done.returncode == 2
    assert done.stderr == (
        f"tulle: socket {node.socket}: another agent serves it: stop that one, or choose another --root\n"
    )
    assert node.status()["pid"] == before["pid"]
    assert node.status()["store"]["revision"] == before["store"]["revision"], "not even the lease was touched"


@pytest.mark.parametrize(
    "who",
    [
        pytest.param(
            ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"),
            id="an ordinary user",
        ),
        pytest.param(("unshare", "--user", "--map-root-user"), id="root of a user namespace only"),
    ],
)
def test_without_the_privilege_it_is_named(tmp_path: Path, who: tuple[str, ...]) -> None:
    python = [*who, sys.executable, "-c", "import tulle"]
    if subprocess.run(python, capture_output=True, check=False, env=_import_path()).returncode != 0:
        pytest.skip(f"{who[0]}: cannot be done here, or that user cannot read this folder")
    agent = [sys.executable, "-m", "tulle", "agent", "--root", str(tmp_path / "root")]
    done = subprocess.run([*who, *agent], capture_output=True, text=True, check=False, timeout=20, env=_import_path())
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("tulle: agent: lacks CAP_NET_ADMIN")
    assert len(done.stderr.splitlines()) == 1


def test_an_agent_that_is_not_there_is_named_with_the_next_step(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tulle", "status", "--root", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**_import_path(), "TULLE_LANG": "en"}
    )
    assert done.returncode == 2
    assert "not running" in done.stderr
    assert "start it with tulled" in done.stderr


def test_a_kernel_without_vxlan_ends_the_start_with_its_name(tmp_path: Path) -> None:
    """Simulated: the kernel's refusal is put in the way of the request for the device."""
    with cluster(tmp_path, nodes=1) as site:
        node = site.node(1)
        code = (
            "import sys; from tulle.kernel.netlink_socket import NetlinkSocket; from tulle.wire.netlink import Ack\n"
            "execute = NetlinkSocket.execute\n"
            "refused = [Ack(95, 0, '')]\n"
            "asks = lambda requests: b'vxlan' in requests[0].encode(1)\n"
            "NetlinkSocket.execute = lambda self, asked: refused if asks(asked) else execute(self, asked)\n"
            "from tulle.cli.main import main; sys.exit(main())\n"
        )
        command = node.command()
        command[command.index("-m") : command.index("-m") + 2] = ["-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20, env=_import_path())
        assert done.returncode == 2, done.stderr
        assert done.stderr.splitlines()[-1].startswith("tulle: VXLAN: not available here: load the module vxlan")
        assert "Traceback" not in done.stderr


def test_a_host_without_any_packet_filter_still_gets_its_overlay_and_is_told_what_is_missing(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        node = site.node(1)
        code = (
            "import sys; from tulle.kernel import tools; which = tools.shutil.which\n"
            "hidden = lambda name: 'nft' in name or 'tables' in name\n"
            "tools.shutil.which = lambda name, **rest: None if hidden(name) else which(name, **rest)\n"
            "from tulle.cli.main import main; sys.exit(main())\n"
        )
        command = node.command()
        command[command.index("-m") : command.index("-m") + 2] = ["-c", code]
        with (node.root / "agent.log").open("ab") as log:
            node.process = subprocess.Popen(command, stdout=log, stderr=log, env=_import_path())
        until(lambda: node.socket.exists() and node.status().get("failures"), "the agent says so", lambda: node.log)
        (failure,) = node.status()["failures"]
        assert "install the package that has nft" in failure["reason"]
        assert "flannel.1" in node.sh("ip", "link")


def _import_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TULLE_LANG": "en"}
