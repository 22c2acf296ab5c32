"""The plugin's words: what is refused with which code, what flannel's configurations mean, results old and new."""

import json
import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.wire import cni_error
from tulle.wire.cni import Invocation, decode_invocation, requested_version
from tulle.wire.cni_conf import NetworkConf, PodRoute
from tulle.wire.cni_conflist import from_flannel
from tulle.wire.cni_error import HINTS, VERSIONS, CniError, encode_error, encode_versions
from tulle.wire.cni_result import (
    Attached,
    Result,
    ResultAddress,
    ResultInterface,
    ResultRoute,
    decode_previous,
    encode_result,
)

ROOT = Path(__file__).parents[3]
CONF: Mapping[str, Any] = {"cniVersion": "1.1.0", "name": "net", "type": "tulle"}
ENVIRONMENT = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/c1", "CNI_IFNAME": "eth0"}


def decode(environment: Mapping[str, str] | None = None, conf: object = None, **changes: object) -> Invocation:
    """One invocation; ``changes`` are keys of the configuration, ``environment`` replaces variables."""
    stdin = json.dumps({**CONF, **changes} if conf is None else conf).encode()
    return decode_invocation({**ENVIRONMENT, **(environment or {})}, stdin)


def conf(**changes: object) -> NetworkConf:
    return decode(None, None, **changes).conf


def refusal(environment: Mapping[str, str] | None = None, stdin: bytes | None = None, **changes: object) -> CniError:
    with pytest.raises(CniError) as caught:
        if stdin is None:
            decode(environment, None, **changes)
        else:
            decode_invocation({**ENVIRONMENT, **(environment or {})}, stdin)
    return caught.value


# -- environment -------------------------------------------------------------------------


def test_an_invocation_says_what_the_runtime_wants() -> None:
    call = decode()
    assert (call.command, call.owner, call.netns) == ("ADD", ("c1", "eth0"), "/run/netns/c1")
    assert call.conf.name == "net"
    assert not call.own_netns


def test_all_missing_variables_are_named_at_once() -> None:
    error = refusal({"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""})
    assert error.code == 4
    assert all(name in error.details for name in ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"))


@pytest.mark.parametrize(
    "environment",
    [
        {"CNI_COMMAND": "add"},
        {"CNI_CONTAINERID": "../x"},
        {"CNI_CONTAINERID": "-x"},
        {"CNI_CONTAINERID": "a/b"},
        {"CNI_CONTAINERID": "a\nb"},
        {"CNI_CONTAINERID": "a" * 300},
        {"CNI_IFNAME": "."},
        {"CNI_IFNAME": ".."},
        {"CNI_IFNAME": "eth%d"},
        {"CNI_IFNAME": "a b"},
        {"CNI_IFNAME": "a/b"},
        {"CNI_IFNAME": "a:b"},
        {"CNI_IFNAME": "sixteen-letters-"},
        {"CNI_IFNAME": "é"},
        {"CNI_IFNAME": "a\x7f"},
        {"CNI_NETNS": "relative/path"},
        {"CNI_NETNS": "/a\0b"},
        {"CNI_ARGS": "nonsense"},
        {"CNI_ARGS": "UNKNOWN=1"},
        {"CNI_ARGS": "IP=none"},
        {"CNI_ARGS": "MAC=01:00:5e:00:00:01"},
    ],
    ids=str,
)
def test_a_bad_environment_is_code_4(environment: Mapping[str, str]) -> None:
    assert refusal(environment).code == 4


def test_what_kubernetes_sends_along_is_let_pass() -> None:
    args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=d;NEW=e"
    assert decode({"CNI_ARGS": args}).conf == conf()


def test_del_needs_no_namespace_and_no_readable_previous_result() -> None:
    call = decode({"CNI_COMMAND": "DEL", "CNI_NETNS": ""}, prevResult="nonsense")
    assert (call.netns, call.previous) == ("", None)


@pytest.mark.parametrize("command", ["STATUS", "GC", "VERSION"])
def test_what_concerns_no_pod_ignores_the_pods_variables(command: str) -> None:
    call = decode({"CNI_COMMAND": command, "CNI_CONTAINERID": "../..", "CNI_IFNAME": "", "CNI_NETNS": "x"})
    assert (call.command, call.container_id) == (command, "")


@pytest.mark.parametrize(("value", "allowed"), [("1", True), ("true", True), ("0", False), ("yes", False)])
def test_libcni_may_allow_the_nodes_own_namespace(value: str, allowed: bool) -> None:
    assert decode({"CNI_NETNS_OVERRIDE": value}).own_netns is allowed


# -- configuration -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        (b"", 6),
        (b"[]", 6),
        (b'{"name":"a","name":"b"}', 6),
        (b'{"name":"a","NAME":"b"}', 6),
        (b'{"mtu":NaN}', 6),
        (b'{"name":"\xff"}', 6),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", 6),
        (b'{"cniVersion":"9.0.0","name":"net"}', 1),
        (b'{"cniVersion":7,"name":"net"}', 1),
        (b'{"cniVersion":"1.0.0"}', 7),
        (b'{"cniVersion":"1.0.0","name":"../net"}', 7),
    ],
)
def test_bad_input_has_the_specifications_code(stdin: bytes, code: int) -> None:
    assert refusal(stdin=stdin).code == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"mtu": 67}, 7),
        ({"mtu": 65536}, 7),
        ({"mtu": True}, 7),
        ({"bridge": "too-long-a-bridge"}, 7),
        ({"bridge": 7}, 7),
        ({"hairpinMode": "yes"}, 7),
        ({"hairpinMode": True, "promiscMode": True}, 7),
        ({"delegate": []}, 7),
        ({"delegate": {"vlan": 7}}, 2),
        ({"delegate": {"vlanTrunk": [{"id": 7}]}}, 2),
        ({"delegate": {"portIsolation": True}}, 2),
        ({"delegate": {"enabledad": True}}, 2),
        ({"delegate": {"type": "macvlan"}}, 2),
        ({"delegate": {"macspoofchk": "yes"}}, 7),
        ({"tulle": {"guard": 1}}, 7),
        ({"ipam": {"dataDir": "/elsewhere"}}, 2),
        ({"ipam": {"type": "host-local", "resolvConf": "/etc/resolv.conf"}}, 2),
        ({"ipam": {"type": "../../bin/sh"}}, 2),
        ({"ipam": {"type": 7}}, 2),
        ({"ipam": {"type": "dhcp"}}, 4),
        ({"ipam": {"routes": [{"dst": "0.0.0.0/0", "gw": "fd00::1"}]}}, 7),
        ({"ipam": {"routes": [{"dst": "nowhere"}]}}, 7),
        ({"tulle": {"speed": 9}}, 2),
        ({"runtimeConfig": {"mac": "ff:ff:ff:ff:ff:ff"}}, 7),
        ({"runtimeConfig": {"ips": ["fe80::1%eth0"]}}, 7),
        ({"runtimeConfig": {"ips": ["224.0.0.1"]}}, 105),
        ({"cniVersion": "0.3.1", "prevResult": []}, 7),
        ({"prevResult": {"ips": 7}}, 7),
        ({"prevResult": {"interfaces": [7]}}, 7),
    ],
    ids=str,
)
def test_a_bad_key_has_a_code_and_is_named(changes: Mapping[str, Any], code: int) -> None:
    assert refusal(**changes).code == code


def test_an_unknown_key_of_ours_is_named_with_its_value() -> None:
    assert "tulle.speed" in refusal(tulle={"speed": 9}).msg
    assert "9" in refusal(tulle={"speed": 9}).details


def test_unknown_keys_and_capabilities_of_others_are_let_pass() -> None:
    assert conf(capabilities={"mac": True}, future={"a": 1}) == conf()


def test_a_conflist_of_flannels_works_with_only_its_type_changed() -> None:
    found = conf(cniVersion="0.3.1", delegate={"hairpinMode": True, "isDefaultGateway": True})
    assert (found.bridge, found.hairpin, found.default_gateway) == (None, True, True)


PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
FLANNELS: dict[str, dict[str, Any]] = {
    "kube-flannel": {
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [{"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}}, PORTMAP],
    },
    "k3s": {
        "name": "cbr0",
        "cniVersion": "1.0.0",
        "plugins": [
            {"type": "flannel", "delegate": {"hairpinMode": True, "forceAddress": True, "isDefaultGateway": True}},
            PORTMAP,
            {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        ],
    },
    "an old node": {"name": "cbr0", "type": "flannel", "delegate": {"isDefaultGateway": True}},
}


@pytest.mark.parametrize("where", FLANNELS)
def test_the_configurations_that_clusters_have_are_taken_over_whole(where: str) -> None:
    before = FLANNELS[where]
    after = json.loads(from_flannel("10-flannel.conflist", json.dumps(before).encode()))
    ours, *others = after["plugins"]
    theirs, *chain = before.get("plugins", [{"type": "flannel", "delegate": before.get("delegate")}])
    assert (ours, others) == ({**theirs, "type": "tulle"}, chain)
    assert after["name"] == "cbr0"
    found = conf(**ours, name=after["name"], cniVersion=after["cniVersion"])
    assert (found.default_gateway, found.gateway, found.hairpin, found.ip_masq) == (True, True, True, True)


def test_the_delegates_keys_are_read_as_the_bridge_plugin_reads_them() -> None:
    delegate = {
        "bridge": "br7",
        "mtu": 1400,
        "promiscMode": True,
        "isDefaultGateway": False,
        "forceAddress": True,
        "ipMasq": True,
        "ipam": {"type": "host-local", "routes": [{"dst": "10.0.0.0/8"}]},
    }
    found = conf(delegate=delegate, bridge="outer")
    assert (found.bridge, found.mtu, found.promiscuous, found.hairpin) == ("br7", 1400, True, False)
    assert (found.default_gateway, found.force_address, found.ip_masq) == (False, True, True)
    assert found.routes == (PodRoute(ip_network("10.0.0.0/8")),)


@pytest.mark.parametrize(
    ("keys", "gateway", "default"),
    [
        ({}, True, True),
        ({"delegate": {}}, True, False),
        ({"delegate": {"isDefaultGateway": True}}, True, True),
        ({"delegate": {"isGateway": False}}, False, False),
        ({"isGateway": False}, False, False),
        ({"isGateway": False, "isDefaultGateway": True}, True, True),
    ],
    ids=str,
)
def test_a_default_route_is_flannels_only_where_it_is_said(keys: dict[str, Any], gateway: bool, default: bool) -> None:
    assert (conf(**keys).gateway, conf(**keys).default_gateway) == (gateway, default)


@pytest.mark.parametrize(
    ("keys", "guard", "needed"),
    [
        ({}, True, False),
        ({"macspoofchk": True}, True, True),
        ({"delegate": {"macspoofchk": False}}, False, False),
        ({"macspoofchk": True, "tulle": {"guard": False}}, False, False),
        ({"macspoofchk": False, "tulle": {"guard": True}}, True, False),
    ],
    ids=str,
)
def test_the_guard_is_on_unless_the_network_does_without(keys: dict[str, Any], guard: bool, needed: bool) -> None:
    assert (conf(**keys).guard, conf(**keys).guard_needed) == (guard, needed)


@pytest.mark.parametrize("key", ["vlan", "vlanTrunk", "enabledad", "portIsolation", "disableContainerInterface"])
def test_a_key_that_asks_for_nothing_is_let_pass(key: str) -> None:
    assert conf(delegate={key: [] if key == "vlanTrunk" else 0 if key == "vlan" else False}) == conf(delegate={})


def test_wishes_come_from_capabilities_then_args_then_the_environment() -> None:
    args = {"cni": {"ips": ["10.0.0.7"], "mac": "02:00:00:00:00:07"}}
    runtime = {"ips": ["10.0.0.9/24", "fd00::9"], "mac": "02:00:00:00:00:09"}
    environment = {"CNI_ARGS": "IP=10.0.0.5;MAC=02:00:00:00:00:05"}
    first = decode(environment, None, args=args, runtimeConfig=runtime).conf.wishes
    second = decode(environment, None, args=args).conf.wishes
    third = decode(environment).conf.wishes
    assert [str(ip) for ip in first.addresses] == ["10.0.0.9", "fd00::9"]
    assert [str(wishes.addresses[0]) for wishes in (second, third)] == ["10.0.0.7", "10.0.0.5"]
    assert [wishes.mac for wishes in (first, second, third)] == [f"02:00:00:00:00:0{n}" for n in (9, 7, 5)]


def test_a_list_of_attachments_that_is_absent_is_not_one_that_is_empty() -> None:
    entry = [{"containerID": "a", "ifname": "eth0"}]
    collect = {"CNI_COMMAND": "GC"}
    assert decode(collect).conf.valid_attachments is None
    assert decode(collect, None, **{"cni.dev/valid-attachments": list[object]()}).conf.valid_attachments == frozenset()
    assert decode(collect, None, **{"cni.dev/attachments": entry}).conf.valid_attachments == {("a", "eth0")}
    both = {"cni.dev/valid-attachments": entry, "cni.dev/attachments": []}
    assert decode(collect, None, **both).conf.valid_attachments == {("a", "eth0")}
    assert refusal(collect, None, **{"cni.dev/valid-attachments": [{"containerID": 7}]}).code == 7


@pytest.mark.parametrize(
    ("command", "version", "code"),
    [("CHECK", "0.3.1", 1), ("GC", "1.0.0", 1), ("STATUS", "1.0.0", 1), ("CHECK", "0.4.0", 7)],
)
def test_a_verb_needs_its_version_and_check_the_result_of_add(command: str, version: str, code: int) -> None:
    assert refusal({"CNI_COMMAND": command}, None, cniVersion=version).code == code


def test_a_configuration_without_a_version_is_the_oldest() -> None:
    assert decode(None, {"name": "net", "type": "tulle"}).conf.cni_version == "0.1.0"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_invocation_or_a_numbered_cause(stdin: bytes) -> None:
    assert refusal(stdin=stdin).code in {1, 2, 6, 7}
    assert requested_version(stdin) in VERSIONS


# -- answers -----------------------------------------------------------------------------

ATTACHED = Attached(
    interfaces=(
        ResultInterface(name="cbr0", mac="02:00:00:00:00:01", mtu=1450),
        ResultInterface(name="veth1", mac="02:00:00:00:00:02", mtu=1450),
        ResultInterface(name="eth0", mac="02:00:00:00:00:03", mtu=1450, sandbox="/run/netns/c1"),
    ),
    addresses=(
        ResultAddress(address=ip_interface("10.244.1.2/24"), gateway=ip_address("10.244.1.1")),
        ResultAddress(address=ip_interface("fd10::2/64"), gateway=ip_address("fd10::1")),
    ),
    routes=(
        ResultRoute(ip_network("0.0.0.0/0"), ip_address("10.244.1.1")),
        ResultRoute(ip_network("::/0"), ip_address("fd10::1")),
    ),
)


def result(version: str, previous: Result | None = None) -> dict[str, Any]:
    encoded = encode_result(version, ATTACHED, previous)
    assert encoded.count(b"\n") == 1
    found: dict[str, Any] = json.loads(encoded)
    return found


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_the_oldest_result_has_one_address_of_each_family(version: str) -> None:
    assert result(version) == {
        "cniVersion": version,
        "ip4": {
            "ip": "10.244.1.2/24",
            "gateway": "10.244.1.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.244.1.1"}],
        },
        "ip6": {"ip": "fd10::2/64", "gateway": "fd10::1", "routes": [{"dst": "::/0", "gw": "fd10::1"}]},
        "dns": {},
    }


@pytest.mark.parametrize("version", VERSIONS[2:])
def test_a_result_since_0_3_0_has_lists_and_every_address_its_interface(version: str) -> None:
    found = result(version)
    assert [ip["interface"] for ip in found["ips"]] == [2, 2]
    assert [ip.get("version") for ip in found["ips"]] == (["4", "6"] if version < "1" else [None, None])
    assert [i.get("mtu") for i in found["interfaces"]] == ([1450] * 3 if version == "1.1.0" else [None] * 3)
    assert [i.get("sandbox") for i in found["interfaces"]] == [None, None, "/run/netns/c1"]


def previous(body: object) -> Result:
    return decode_previous(json.dumps({**CONF, "prevResult": body}).encode())


def test_a_previous_result_is_kept_and_ours_added_to_it() -> None:
    before = previous(
        {
            "cniVersion": "1.1.0",
            "interfaces": [{"name": "dummy0", "socketPath": "/x"}],
            "ips": [{"address": "192.0.2.1/24", "interface": 0}],
            "dns": {"nameservers": ["192.0.2.53"]},
            "vendor": 7,
        }
    )
    found = result("1.1.0", before)
    assert found["interfaces"][0] == {"name": "dummy0", "socketPath": "/x"}
    assert [ip["interface"] for ip in found["ips"]] == [0, 3, 3]
    assert (found["dns"], found["vendor"]) == ({"nameservers": ["192.0.2.53"]}, 7)
    assert len(found["routes"]) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_our_own_result_reads_back_as_a_previous_one(version: str) -> None:
    again = previous(result(version))
    assert again.addresses() == {each.address for each in ATTACHED.addresses}
    wanted = None if version in VERSIONS[:2] else "02:00:00:00:00:03"
    assert again.mac("eth0", "/run/netns/c1") == wanted
    assert again.mac("eth0", "/elsewhere") is None


def test_an_address_of_a_previous_result_that_is_none_is_left_out() -> None:
    assert previous({"ips": [{"address": "nonsense"}, {}], "ip4": 7}).addresses() == frozenset()


def test_an_error_says_what_to_do() -> None:
    answer = json.loads(encode_error(CniError(100, "subnet 10.0.0.0/30", "every address is in use"), "0.4.0"))
    assert answer["cniVersion"] == "0.4.0"
    assert answer["code"] == 100
    assert answer["details"] == "every address is in use: delete pods, or give nodes larger subnets"
    assert "details" not in json.loads(encode_error(CniError(7, "x"), "1.1.0"))


def codes_in_the_source() -> set[int]:
    """What the Python and the C can answer."""
    module = {value for name, value in vars(cni_error).items() if name.isupper() and isinstance(value, int)}
    header = (ROOT / "csrc/tulle_cni.h").read_text()
    return module | {int(number) for number in re.findall(r"CODE_[A-Z_]+ = (\d+)", header)}


def test_every_code_of_ours_has_a_hint() -> None:
    assert {code for code in HINTS if code >= 100} == {code for code in codes_in_the_source() if code >= 100}
    assert codes_in_the_source() <= {*range(1, 100), *range(100, 141)}


@pytest.mark.parametrize("page", ["cni.md", "cni.zh.md"])
def test_every_code_is_in_the_documentation_and_no_other(page: str) -> None:
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| [^|]+ \|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert sorted(map(int, rows)) == sorted(codes_in_the_source())


def test_version_lists_what_is_supported() -> None:
    assert json.loads(encode_versions("0.4.0")) == {"cniVersion": "0.4.0", "supportedVersions": list(VERSIONS)}
