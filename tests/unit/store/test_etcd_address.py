"""Which etcd a URL and flanneld's flags mean, and what they must not be."""

from pathlib import Path

import pytest

from tulle.errors import ConfigError
from tulle.kernel.system import SystemClock
from tulle.store.etcd_address import ANONYMOUS, Endpoint, EtcdAccess, EtcdAddress, etcd_url, parse_etcd_url
from tulle.store.open import open_store

CA = EtcdAccess(cafile=Path("/ca.pem"))
SECRET = "canary-7731"  # noqa: S105 - to be looked for in messages


def address(*members: tuple[str, int], prefix: str = "/coreos.com/network", tls: bool = False) -> EtcdAddress:
    endpoints = tuple(Endpoint(host, port) for host, port in members)
    return EtcdAddress(endpoints=endpoints, prefix=prefix, tls=tls, access=ANONYMOUS)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("etcd://10.0.0.1:2379/coreos.com/network", address(("10.0.0.1", 2379))),
        ("etcd://10.0.0.1", address(("10.0.0.1", 2379))),
        ("etcd://a:1,b:2/x/", address(("a", 1), ("b", 2), prefix="/x")),
        ("etcds://[fd00::1]:2379/x", address(("fd00::1", 2379), prefix="/x", tls=True)),
    ],
)
def test_a_url_names_members_and_prefix(url: str, expected: EtcdAddress) -> None:
    assert parse_etcd_url(url) == expected


def test_tls_files_mean_tls() -> None:
    assert parse_etcd_url("etcd://a:1", CA).tls
    certificate = EtcdAccess(certfile=Path("/c"), keyfile=Path("/k"))
    assert parse_etcd_url("etcd://a:1", certificate).tls


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ("http://127.0.0.1:4001,http://127.0.0.1:2379", "etcd://127.0.0.1:4001,127.0.0.1:2379/coreos.com/network"),
        ("https://a:1/, https://b:2", "etcds://a:1,b:2/coreos.com/network"),
        ("a:1", "etcd://a:1/coreos.com/network"),
    ],
)
def test_flannels_endpoints_are_a_url(endpoints: str, expected: str) -> None:
    assert etcd_url(endpoints, "/coreos.com/network") == expected
    assert parse_etcd_url(expected).prefix == "/coreos.com/network"


@pytest.mark.parametrize("endpoints", ["", ",", "http://a:1,https://b:2", "unix:///x", "http://a:1/path", "ftp://a"])
def test_endpoints_that_mean_nothing_are_refused(endpoints: str) -> None:
    with pytest.raises(ConfigError, match="--etcd-endpoints"):
        etcd_url(endpoints, "/x")


@pytest.mark.parametrize(
    "url",
    [
        "etcd://",
        "etcd:///x",
        "etcd://a:b/x",
        "etcd://a:1,/x",
        "etcd://a:99999/x",
        "etcd://a b/x",
        "etcd://a/b//c",
        "x://a",
    ],
)
def test_urls_of_another_form_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        parse_etcd_url(url)


def test_a_password_is_neither_taken_from_a_url_nor_ever_shown() -> None:
    url = f"etcd://root:{SECRET}@a:1/x"
    with pytest.raises(ConfigError) as refused:
        parse_etcd_url(url)
    assert SECRET not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        open_store(url.replace("etcd", "nosuch"), SystemClock())
    assert SECRET not in str(refused.value)
    assert SECRET not in repr(EtcdAccess(user="root", password=SECRET))
    assert SECRET not in repr(parse_etcd_url("etcd://a", EtcdAccess(user="root", password=SECRET)))


@pytest.mark.parametrize(
    "access",
    [
        EtcdAccess(certfile=Path("/c")),
        EtcdAccess(keyfile=Path("/k")),
        EtcdAccess(user="u"),
        EtcdAccess(password=SECRET),
    ],
)
def test_half_of_a_pair_is_refused(access: EtcdAccess) -> None:
    with pytest.raises(ConfigError):
        parse_etcd_url("etcd://a", access)


def test_a_store_is_opened_without_any_connection() -> None:
    open_store("etcd://192.0.2.1:1/x", SystemClock())
