"""Requests that a thread sends: answered in order, refused one by one, and never left half done behind who gave up."""

import asyncio
import os
import secrets
import threading
from collections.abc import Coroutine, Iterator
from errno import EBADF, EEXIST, ENODEV
from pathlib import Path
from typing import Any

import pytest

from tulle.errors import KernelError
from tulle.kernel import netns
from tulle.kernel.apart import Apart, Sender
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.wire.rtnetlink.links import LinkSettings, decode_link, del_link, dump_links, new_bridge, new_veth, set_link
from tulle.wire.rtnetlink.parts import IfIndex

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")

PAIR = new_veth("a", LinkSettings(), peer="b", peer_settings=LinkSettings())


@pytest.fixture
def namespace() -> Iterator[int]:
    name = f"tullet-{secrets.token_hex(4)}"
    descriptor = netns.open_path(netns.create(name))
    yield descriptor
    os.close(descriptor)
    netns.delete(name)


@pytest.fixture
def sender() -> Iterator[Sender]:
    found = Sender()
    yield found
    found.close()


@pytest.fixture
def apart(namespace: int, sender: Sender) -> Iterator[Apart]:
    found = Apart(sender, NetlinkSocket.open(namespace))
    yield found
    found.close()


def devices(namespace: Path | int) -> set[str]:
    with NetlinkSocket.open(namespace) as sock:
        return {decode_link(message).name for message in sock.dump(dump_links())} - {"lo"}


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 5))


def test_every_request_has_its_answer(namespace: int, apart: Apart) -> None:
    async def story() -> None:
        crowd = [[new_bridge(f"br{number}", LinkSettings())] for number in range(8)]
        found = await asyncio.gather(*map(apart.execute, crowd))
        assert [[ack.errno for ack in acks] for acks in found] == [[0]] * 8
        acks = await apart.execute((new_bridge("br0", LinkSettings()), PAIR, del_link(IfIndex(999))))
        assert [ack.errno for ack in acks] == [EEXIST, 0, ENODEV]

    run(story())
    assert devices(namespace) == {"a", "b", *(f"br{number}" for number in range(8))}


def test_who_gives_up_is_told_when_it_is_done(namespace: int, apart: Apart) -> None:
    async def story() -> None:
        await apart.execute((new_bridge("br0", LinkSettings()),))
        making = asyncio.create_task(apart.execute((PAIR, set_link("a", LinkSettings(alias="mine")))))
        await asyncio.sleep(0)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert devices(namespace) == {"a", "b", "br0"}
        assert [ack.errno for ack in await apart.execute((PAIR,))] == [EEXIST], "its answer is nobody else's"

    run(story())


def test_another_loop_is_answered_too(namespace: int, apart: Apart) -> None:
    async def story(name: str) -> None:
        assert [ack.errno for ack in await apart.execute((new_bridge(name, LinkSettings()),))] == [0]

    run(story("br1"))
    run(story("br2"))
    assert devices(namespace) == {"br1", "br2"}


def test_what_cannot_be_sent_fails_by_name(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        await apart.execute((new_bridge("br0", LinkSettings()),))
        monkeypatch.setattr(NetlinkSocket, "send", refuse)
        with pytest.raises(KernelError, match="link a"):
            await apart.execute((PAIR,))
        monkeypatch.undo()
        assert [ack.errno for ack in await apart.execute((PAIR,))] == [0]

    def refuse(_: NetlinkSocket, __: bytes, subject: object) -> None:
        raise KernelError(EBADF, subject)

    run(story())


def test_two_namespaces_share_the_thread(namespace: int, sender: Sender) -> None:
    name = f"tullet-{secrets.token_hex(4)}"
    other = netns.create(name)
    try:

        async def story() -> None:
            with NetlinkSocket.open(namespace) as here, NetlinkSocket.open(other) as there:
                crowd = [Apart(sender, sock).execute((PAIR,)) for sock in (here, there)]
                assert [[ack.errno for ack in acks] for acks in await asyncio.gather(*crowd)] == [[0], [0]]
                assert sender.unanswered == 0

        run(story())
        assert devices(namespace) == devices(other) == {"a", "b"}
    finally:
        netns.delete(name)


def test_nothing_is_left_of_it(namespace: int) -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    sender = Sender()
    sender.close()

    async def story() -> None:
        apart = Apart(sender, NetlinkSocket.open(namespace))
        await apart.execute((PAIR,))
        apart.close()
        sender.close()
        sender.close()

    run(story())
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
