"""Taking pods' devices away: gone when it is answered, marked ones only, and answered also when nothing is heard."""

import asyncio
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tulle.cni.attach import alias_of, host_mac
from tulle.cni.removal import Deletion, Removal
from tulle.errors import KernelError
from tulle.kernel import netns
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.model.network import MacAddress
from tulle.wire.netlink import Ack, Request
from tulle.wire.rtnetlink.links import LinkSettings, decode_link, dump_links, get_link, new_bridge, new_veth
from tulle.wire.rtnetlink.parts import RTM_DELLINK, RTNLGRP_LINK

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")

PODS: Final = [f"pod{number}" for number in range(8)]
STRANGER: Final = MacAddress("02:00:00:00:00:01")


@pytest.fixture
def path() -> Iterator[Path]:
    name = f"tullet-{secrets.token_hex(4)}"
    yield netns.create(name)
    netns.delete(name)


def make_pairs(path: Path, pods: Iterable[str], mac: Callable[[str], MacAddress]) -> None:
    with NetlinkSocket.open(path) as sock:
        sock.execute([new_bridge("br0", LinkSettings(up=True))])
        bridge = decode_link(sock.ask(get_link("br0"))).index
        for pod in pods:
            settings = LinkSettings(mac=mac(pod), master=bridge, up=True)
            sock.run(new_veth(pod, settings, peer=f"{pod}.in", peer_settings=LinkSettings()))


def ours(pod: str) -> MacAddress:
    return host_mac(pod, "eth0")


def devices(path: Path) -> set[str]:
    with NetlinkSocket.open(path) as sock:
        return {decode_link(message).name for message in sock.dump(dump_links())} - {"lo", "br0"}


async def remove_all(removal: Removal, pods: Iterable[str], after: Callable[[str], None]) -> list[bool]:
    async def remove(pod: str) -> bool:
        was_there = await removal.remove(pod, alias_of(pod), ours(pod))
        after(pod)
        return was_there

    try:
        return list(await asyncio.gather(*(remove(pod) for pod in pods)))
    finally:
        await removal.close()


def test_what_was_answered_is_gone_with_its_other_end(path: Path) -> None:
    make_pairs(path, PODS, ours)
    left: dict[str, set[str]] = {}
    removal = Removal(lambda: NetlinkSocket.open(path))
    pods = [*PODS, "never"]
    found = asyncio.run(remove_all(removal, pods, lambda pod: left.update({pod: devices(path)})))
    assert found == [True] * len(PODS) + [False]
    assert all({pod, f"{pod}.in"}.isdisjoint(left[pod]) for pod in pods)
    assert devices(path) == set()


def test_somebody_elses_device_of_the_name_stays(path: Path) -> None:
    make_pairs(path, PODS[:2], lambda pod: STRANGER if pod == "pod0" else ours(pod))
    removal = Removal(lambda: NetlinkSocket.open(path))
    assert asyncio.run(remove_all(removal, PODS[:2], lambda _: None)) == [False, True]
    assert devices(path) == {"pod0", "pod0.in"}


def test_it_is_answered_while_the_kernel_still_waits_for_its_cpus(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_pairs(path, PODS, ours)
    answered = threading.Event()
    run = Deletion.run

    def waits_until_all_have_heard(self: Deletion) -> None:
        run(self)
        assert answered.wait(20), "nobody heard before the deletion had ended"

    monkeypatch.setattr(Deletion, "run", waits_until_all_have_heard)
    removal = Removal(lambda: NetlinkSocket.open(path))
    heard: list[str] = []

    def hear(pod: str) -> None:
        heard.append(pod)
        if len(heard) == len(PODS):
            answered.set()

    assert all(asyncio.run(remove_all(removal, PODS, hear)))


class Deaf(NetlinkSocket):
    """Its announcements are lost."""

    def subscribe(self, groups: Iterable[int]) -> None:
        pass


def test_a_deletion_that_is_not_announced_is_heard_when_it_has_ended(path: Path) -> None:
    make_pairs(path, PODS, ours)
    assert all(asyncio.run(remove_all(Removal(lambda: Deaf.open(path)), PODS, lambda _: None)))
    assert devices(path) == set()


class Refused(NetlinkSocket):
    """The kernel lets nothing be changed."""

    def execute(self, requests: Iterable[Request]) -> list[Ack]:
        return [Ack(1, 0, "not today") for _ in requests]


def test_a_refusal_is_heard_by_all_who_wait(path: Path) -> None:
    make_pairs(path, PODS[:3], ours)

    async def attempt() -> list[bool | BaseException]:
        removal = Removal(lambda: Refused.open(path))
        found = await asyncio.gather(
            *(removal.remove(pod, alias_of(pod), ours(pod)) for pod in PODS[:3]), return_exceptions=True
        )
        await removal.close()
        return found

    assert {type(each) for each in asyncio.run(attempt())} == {KernelError}
    assert devices(path) >= set(PODS[:3])


def test_a_socket_hears_only_what_it_wants_to(path: Path) -> None:
    with NetlinkSocket.open(path) as sock, NetlinkSocket.open(path) as ear:
        ear.hear_only(RTM_DELLINK)
        ear.subscribe((RTNLGRP_LINK,))
        sock.run(new_veth("a", LinkSettings(up=True), peer="b", peer_settings=LinkSettings()))
        sock.run(Request(RTM_DELLINK, 0, get_link("a").body, "a"))
        assert {message.kind for message in ear.receive()} == {RTM_DELLINK}
