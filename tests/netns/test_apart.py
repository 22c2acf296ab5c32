"""Requests that a process sends: answered in order, refused one by one, and never left half done behind who gave up."""

import asyncio
import os
import secrets
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from errno import EBADF, EEXIST, EIO, ENODEV, ENOTSOCK
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM
from typing import Any

import pytest

from tulle.errors import KernelError
from tulle.kernel import netns
from tulle.kernel import sender as sender_module
from tulle.kernel.apart import Apart
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.kernel.sender import CARRIED, ROOM, Sender
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
    assert found.is_ready()
    yield found
    found.close()


def devices(namespace: Path | int) -> set[str]:
    with NetlinkSocket.open(namespace) as sock:
        return {decode_link(message).name for message in sock.dump(dump_links())} - {"lo"}


def process_of(sender: Sender) -> "subprocess.Popen[bytes]":
    """The process itself, to be treated badly."""
    assert sender.is_ready()
    return sender._running.process  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess]


async def refusal(sender: Sender, descriptor: int) -> int:
    """Why a job with this descriptor, which is closed, cannot be done."""
    heard: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    sender.send(b"requests", (descriptor,), heard.set_result)
    os.close(descriptor)
    return await heard


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


def test_what_the_requests_name_goes_with_them(namespace: int, apart: Apart) -> None:
    name = f"tullet-{secrets.token_hex(4)}"
    other = netns.open_path(netns.create(name))
    there = new_veth("a", LinkSettings(), peer="b", peer_settings=LinkSettings(), peer_netns_fd=CARRIED)
    try:

        async def story() -> None:
            assert [ack.errno for ack in await apart.execute((there,), other)] == [0]
            assert [ack.errno for ack in await apart.execute((there,))] == [EBADF], "it is not kept"

        run(story())
        assert (devices(namespace), devices(other)) == ({"a"}, {"b"})
    finally:
        os.close(other)
        netns.delete(name)


def test_two_namespaces_share_the_process(namespace: int, sender: Sender) -> None:
    name = f"tullet-{secrets.token_hex(4)}"
    other = netns.create(name)
    try:

        async def story() -> None:
            assert sender.is_ready()
            with NetlinkSocket.open(namespace) as here, NetlinkSocket.open(other) as there:
                crowd = [Apart(sender, sock).execute((PAIR,)) for sock in (here, there)]
                assert [[ack.errno for ack in acks] for acks in await asyncio.gather(*crowd)] == [[0], [0]]
                assert sender.unanswered == 0

        run(story())
        assert devices(namespace) == devices(other) == {"a", "b"}
    finally:
        netns.delete(name)


def test_what_cannot_be_sent_fails_by_name(namespace: int, apart: Apart, sender: Sender) -> None:
    async def story() -> None:
        assert await refusal(sender, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)) == ENOTSOCK
        assert sender.unanswered == 0
        assert [ack.errno for ack in await apart.execute((PAIR,))] == [0], "the next ones do not care"

    run(story())
    assert devices(namespace) == {"a", "b"}


def test_a_process_that_dies_takes_its_jobs_with_it_and_another_comes(apart: Apart, sender: Sender) -> None:
    async def story() -> None:
        assert [ack.errno for ack in await apart.execute((new_bridge("br0", LinkSettings()),))] == [0]
        first = process_of(sender)
        first.send_signal(SIGSTOP)
        making = asyncio.create_task(apart.execute((PAIR,)))
        await asyncio.sleep(0)
        first.kill()
        with pytest.raises(KernelError, match="link a") as failed:
            await making
        assert failed.value.errno == EIO
        assert sender.unanswered == 0
        assert apart.is_ready()
        assert process_of(sender).pid != first.pid
        assert [ack.errno for ack in await apart.execute((new_bridge("br1", LinkSettings()),))] == [0]

    run(story())


def test_a_process_that_was_stopped_is_ended(apart: Apart, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "PATIENCE_S", 1.0)

    async def story() -> None:
        await apart.execute((new_bridge("br0", LinkSettings()),))
        first = process_of(sender)
        first.send_signal(SIGSTOP)
        with pytest.raises(KernelError) as failed:
            await apart.execute((PAIR,))
        assert failed.value.errno == EIO
        assert apart.is_ready()
        assert first.returncode == -SIGKILL
        assert [ack.errno for ack in await apart.execute((PAIR,))] == [0]

    run(story())


def test_signals_for_the_agent_do_not_end_it(apart: Apart, sender: Sender) -> None:
    async def story() -> None:
        await apart.execute((new_bridge("br0", LinkSettings()),))
        for number in (SIGINT, SIGTERM, SIGHUP):
            process_of(sender).send_signal(number)
        assert [ack.errno for ack in await apart.execute((PAIR,))] == [0]

    run(story())


@pytest.mark.parametrize("program", ["/bin/false", "/nowhere", "/etc/passwd"])
def test_a_program_that_does_nothing_is_not_tried_for_ever(namespace: int, program: str) -> None:
    sender = Sender(Path(program))
    apart = Apart(sender, NetlinkSocket.open(namespace))

    async def story() -> None:
        if apart.is_ready():
            with pytest.raises(KernelError):
                await apart.execute((PAIR,))
        assert not apart.is_ready()

    run(story())
    apart.close()
    sender.close()


def test_it_takes_so_many_jobs_and_no_more(apart: Apart, sender: Sender) -> None:
    async def story() -> None:
        process = process_of(sender)
        process.send_signal(SIGSTOP)
        names = [f"more{number}" for number in range(ROOM)]
        crowd = [asyncio.create_task(apart.execute((new_bridge(name, LinkSettings()),) * 20)) for name in names]
        assert apart.is_ready()
        await asyncio.sleep(0)
        assert not apart.is_ready()
        process.send_signal(SIGCONT)
        assert [acks[0].errno for acks in await asyncio.gather(*crowd)] == [0] * ROOM
        assert apart.is_ready()

    run(story())


def test_what_was_not_begun_when_the_agent_ended_is_left(namespace: int, sender: Sender, apart: Apart) -> None:
    """Nobody would undo it: the plugin's DEL may have come and gone."""

    async def story() -> None:
        process = process_of(sender)
        process.send_signal(SIGSTOP)
        crowd = [asyncio.create_task(apart.execute((new_bridge(f"br{each}", LinkSettings()),))) for each in range(8)]
        await asyncio.sleep(0)
        going_on = threading.Timer(0.1, process.send_signal, (SIGCONT,))
        going_on.start()
        sender.close()
        going_on.join()
        found = await asyncio.gather(*crowd, return_exceptions=True)
        assert [type(each) for each in found] == [KernelError] * 8
        assert process.returncode == 0

    run(story())
    assert devices(namespace) == set()


def test_nothing_is_left_of_it(namespace: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    sender = Sender()
    sender.close()
    sender = Sender()

    async def story() -> None:
        apart = Apart(sender, NetlinkSocket.open(namespace))
        assert apart.is_ready()
        await apart.execute((PAIR,))
        process = process_of(sender)
        apart.close()
        sender.close()
        sender.close()
        assert process.returncode == 0

    run(story())
    assert len(os.listdir("/proc/self/fd")) == before
