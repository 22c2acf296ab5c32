"""The etcd store lets itself in: TLS, client certificates, users, tokens that end; and what it says when it can't."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path

import pytest

from tests.contract.stores import CONFIG, LONG_S, Watch, lease
from tests.kit.certificates import NEEDS_OPENSSL, Authority, Certificate
from tests.kit.etcd import NEEDS_ETCD, Etcd, etcd
from tulle.errors import ConfigError, StoreUnavailable
from tulle.kernel.system import SystemClock
from tulle.model.lease import Put, Snapshot
from tulle.store.etcd_address import ANONYMOUS, EtcdAccess
from tulle.store.open import open_store
from tulle.store.ports import Store

pytestmark = [NEEDS_ETCD, NEEDS_OPENSSL]

PASSWORD = "canary-4242"  # noqa: S105 - a test's
NODE = EtcdAccess(user="node", password=PASSWORD)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "ca")


def server_flags(authority: Authority, made: Certificate, *, clients: bool) -> tuple[str, ...]:
    flags = ("--cert-file", str(made.cert), "--key-file", str(made.key))
    return (*flags, "--client-cert-auth", "--trusted-ca-file", str(authority.ca)) if clients else flags


def secured(tmp_path: Path, authority: Authority, *, clients: bool) -> Etcd:
    """A member that speaks TLS, and asks for client certificates if wanted."""
    made, operator = authority.sign("server"), authority.sign("root")
    ctl = ("--cacert", str(authority.ca), "--cert", str(operator.cert), "--key", str(operator.key))
    flags = server_flags(authority, made, clients=clients)
    return Etcd(tmp_path / "etcd", scheme="https", flags=flags, ctl_flags=ctl)


@pytest.fixture
def with_users(tmp_path: Path) -> Generator[Etcd]:
    """A member with authentication on: ``root``, and ``node`` that may do what a node needs."""
    with etcd(tmp_path) as server:
        server.enable_users(PASSWORD)
        yield server


def told(server: Etcd, access: EtcdAccess, story: Callable[[Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = open_store(server.url, SystemClock(), access)
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(whole())


async def works(store: Store) -> None:
    """Everything that a node does."""
    await store.write_network_config(CONFIG)
    assert await store.network_config() is not None
    watch = Watch(store.watch())
    assert isinstance(await watch.next(), Snapshot)
    grant = await store.create(lease(1), LONG_S)
    assert await watch.next() == Put(grant.lease, grant.revision)
    await store.release(await store.renew(grant, lease(1), LONG_S))
    await watch.close()


async def is_away(store: Store) -> None:
    with pytest.raises(StoreUnavailable) as away:
        await store.snapshot()
    assert PASSWORD not in str(away.value)
    with pytest.raises(StoreUnavailable):
        await Watch(store.watch()).next()


def test_tls_with_the_authority_that_signed_the_server(tmp_path: Path, authority: Authority) -> None:
    server = secured(tmp_path, authority, clients=False)
    try:
        server.start()
        told(server, EtcdAccess(cafile=authority.ca), works)
        told(server, ANONYMOUS, is_away)
        told(server, EtcdAccess(cafile=Authority.make(tmp_path / "other").ca), is_away)
    finally:
        server.kill()


def test_a_server_whose_certificate_is_for_another_address_is_not_trusted(tmp_path: Path, authority: Authority) -> None:
    made = authority.sign("server", address="192.0.2.1")
    flags = server_flags(authority, made, clients=False)
    ctl = ("--cacert", str(authority.ca), "--insecure-skip-tls-verify")
    with etcd(tmp_path, scheme="https", flags=flags, ctl_flags=ctl) as server:
        told(server, EtcdAccess(cafile=authority.ca), is_away)


def test_client_certificates_also_as_users_once_authentication_is_on(tmp_path: Path, authority: Authority) -> None:
    server, node, stranger = secured(tmp_path, authority, clients=True), authority.sign("node"), authority.sign("x")
    try:
        server.start()
        as_node = EtcdAccess(cafile=authority.ca, certfile=node.cert, keyfile=node.key)
        told(server, EtcdAccess(cafile=authority.ca), is_away)
        told(server, as_node, works)
        server.enable_users(PASSWORD)
        told(server, as_node, works)
        told(server, EtcdAccess(cafile=authority.ca, certfile=stranger.cert, keyfile=stranger.key), is_away)
    finally:
        server.kill()


def test_a_renewed_certificate_is_taken_up_by_the_next_connection(tmp_path: Path, authority: Authority) -> None:
    server = secured(tmp_path, authority, clients=True)
    used = Certificate(tmp_path / "used.pem", tmp_path / "used.key")

    def use(made: Certificate) -> None:
        shutil.copy(made.cert, used.cert)
        shutil.copy(made.key, used.key)

    async def story(store: Store) -> None:
        await store.snapshot()
        await asyncio.to_thread(server.kill)
        replacement = Authority.make(tmp_path / "new")
        server.flags = server_flags(replacement, replacement.sign("server"), clients=True)
        operator = replacement.sign("root")
        server.ctl_flags = ("--cacert", str(replacement.ca), "--cert", str(operator.cert), "--key", str(operator.key))
        await asyncio.to_thread(server.start)
        await is_away(store)
        use(replacement.sign("node"))
        shutil.copy(replacement.ca, authority.ca)
        await works(store)

    use(authority.sign("node"))
    try:
        server.start()
        told(server, EtcdAccess(cafile=authority.ca, certfile=used.cert, keyfile=used.key), story)
    finally:
        server.kill()


def test_tls_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store("etcd://127.0.0.1:1/x", SystemClock(), EtcdAccess(cafile=tmp_path / "missing.pem"))
        with pytest.raises(ConfigError, match="--etcd-cafile"):
            await store.snapshot()
        await store.close()

    asyncio.run(story())


def test_a_user_with_rights_on_the_prefix_does_everything_that_a_node_does(with_users: Etcd) -> None:
    told(with_users, NODE, works)


@pytest.mark.parametrize(
    "access",
    [
        pytest.param(ANONYMOUS, id="nobody"),
        pytest.param(EtcdAccess(user="node", password="wrong"), id="a wrong password"),  # noqa: S106 - a test's
        pytest.param(EtcdAccess(user="nosuch", password=PASSWORD), id="an unknown user"),
    ],
)
def test_who_is_not_let_in_waits_for_the_store(with_users: Etcd, access: EtcdAccess) -> None:
    told(with_users, access, is_away)


def test_a_user_without_rights_on_the_prefix_is_told_so(with_users: Etcd) -> None:
    async def story() -> None:
        store = open_store(with_users.url.replace("coreos", "other"), SystemClock(), NODE)
        with pytest.raises(StoreUnavailable, match="PERMISSION_DENIED"):
            await store.snapshot()
        await store.close()

    asyncio.run(story())


def test_a_token_that_the_store_forgot_is_asked_for_anew(with_users: Etcd) -> None:
    async def story(store: Store) -> None:
        grant = await store.create(lease(1), LONG_S)
        watch = Watch(store.watch())
        await watch.next()
        await asyncio.to_thread(with_users.kill)  # its tokens live in its memory
        await asyncio.to_thread(with_users.start)
        renewed = await store.renew(grant, lease(1, mac=9), LONG_S)
        event = await watch.next()
        assert event == Put(renewed.lease, renewed.revision) or isinstance(event, Snapshot)
        await watch.close()

    told(with_users, NODE, story)


def test_a_token_that_has_run_out_is_asked_for_anew(tmp_path: Path, authority: Authority) -> None:
    signing = authority.sign("jwt")
    public = tmp_path / "jwt.pub"
    signing.write_public_key(public)
    token = f"jwt,pub-key={public},priv-key={signing.key},sign-method=ES256,ttl=1s"
    with etcd(tmp_path, flags=("--auth-token", token)) as server:
        server.enable_users(PASSWORD)

        async def story(store: Store) -> None:
            watch = Watch(store.watch())
            await watch.next()
            grant = await store.create(lease(1), LONG_S)
            assert await watch.next() == Put(grant.lease, grant.revision)
            await asyncio.sleep(1.5)  # for real: the token's time is the server's
            renewed = await store.renew(grant, lease(1), LONG_S)
            assert await watch.next() == Put(renewed.lease, renewed.revision)
            await watch.close()

        told(server, NODE, story)


def test_a_user_is_let_in_where_nobody_asks(tmp_path: Path) -> None:
    with etcd(tmp_path) as server:
        told(server, NODE, works)


def test_authentication_that_is_switched_on_under_a_node_is_noticed(tmp_path: Path) -> None:
    with etcd(tmp_path) as server:

        async def story(store: Store) -> None:
            await works(store)
            await asyncio.to_thread(server.enable_users, PASSWORD)
            await works(store)

        told(server, NODE, story)
