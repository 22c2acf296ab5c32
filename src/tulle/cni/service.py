"""The plugin's end in the agent, put together: from the agent's folders to one handler, and its housekeeping.

Closed until the files are in order: what lives has its addresses again before the first ADD is answered.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from tulle.cni.attach import PodNetwork
from tulle.cni.collect import LOOK_PERIOD_S, Collector, forget_the_dead, restore
from tulle.cni.durability import Durability
from tulle.cni.files import Settle, settle_now
from tulle.cni.keeping import Keeper
from tulle.cni.recovery import recover
from tulle.cni.removal import Removal
from tulle.cni.server import CniServer
from tulle.cni.site import Site
from tulle.cni.tombstones import Tombstones
from tulle.errors import DecodeError, TulleError
from tulle.kernel.apart import Apart
from tulle.kernel.linux import LinuxKernel
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.kernel.netns import run_in
from tulle.kernel.packet_filter import PacketFilter
from tulle.kernel.port import Kernel
from tulle.kernel.sender import Sender
from tulle.kernel.system import SystemFiles
from tulle.kernel.vigil import Vigil
from tulle.wire.subnet_env import parse_subnet_env

log = logging.getLogger(__name__)

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
OFFLINE_COMMAND: Final = "cni-offline"
"""Where the agent leaves word for the shim how its code is started without it: NUL-terminated words."""
HOUSEKEEPING_PERIOD_S: Final = 10.0
TELL_PERIOD_S: Final = 1.0
SPARES_AT_ONCE: Final = 4


def node_server(
    root: Path,
    network: Callable[[], PodNetwork | None],
    netns: Path | None = None,
    settle: Settle = settle_now,
    sender: Sender | None = None,
) -> CniServer:
    """The plugin of the node whose files are below ``root``; ``netns`` None: the namespace of this thread."""
    site = Site(
        kernel=LinuxKernel.open(netns, sender=sender),
        open_pod=partial(open_pod, sender),
        vigil=Vigil(netns),
        removal=Removal(lambda: NetlinkSocket.open(netns)),
        networks=root / "var/lib/cni/networks",
        state=root / "var/lib/tulle",
        network=network,
        boot_id=BOOT_ID.read_text().strip(),
        last_network=lambda: last_known_network(root),
        settle=settle,
        inside=lambda run: run() if netns is None else run_in(netns, run),
    )
    places = (root / "var/lib/tulle/tombstones", root / "run/tulle/tombstones")
    return CniServer(site, Tombstones(places))


@asynccontextmanager
async def serving(
    root: Path, network: Callable[[], PodNetwork | None], netns: Path | None = None
) -> AsyncGenerator[CniServer]:
    """The agent's plugin, with its housekeeping, until the block ends; then what was written is on disk."""
    durability, sender = Durability(), Sender()
    server = node_server(root, network, netns, durability.settle, sender)
    server.site.trouble = lambda: durability.trouble
    sender.is_ready()  # so that the first pod does not wait for its start
    _leave_word(root / "var/lib/tulle" / OFFLINE_COMMAND)
    await put_in_order(server)
    tasks = (
        asyncio.create_task(_keep_house(server), name="collect addresses"),
        asyncio.create_task(_keep_rules(server), name="keep pods' rules"),
        asyncio.create_task(_follow_pods(server), name="tell when addresses are few"),
        asyncio.create_task(Keeper(server.site).run(), name="keep routed pods"),
    )
    try:
        yield server
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.site.removal.close()
        server.site.note_last()
        await durability.close()
        server.site.lookout.close()
        server.site.kernel.close()
        sender.close()


def last_known_network(root: Path) -> PodNetwork | None:
    """What the agent said last about this node; None when nothing can be read there."""
    try:
        env = parse_subnet_env((root / "run/flannel/subnet.env").read_bytes())
    except (OSError, DecodeError):
        return None
    networks = (*env.networks, *env.networks6)
    return PodNetwork(subnet=env.subnet, subnet6=env.subnet6, mtu=env.mtu, networks=networks)


def _leave_word(path: Path) -> None:
    """A disk that takes nothing keeps what an agent before this one said; without it DELs wait for an agent."""
    try:
        SystemFiles().replace(path, offline_command(), 0o600)
    except OSError as error:
        log.warning("%s: not written: %s", path, error.strerror)


def offline_command() -> bytes:
    """This interpreter with this code, and nothing of the caller's environment."""
    words = (sys.executable, "-I", "-m", "tulle.cni.offline")
    return b"".join(os.fsencode(word) + b"\0" for word in words)


async def put_in_order(server: CniServer) -> None:
    """What a crash, a reboot or a silent agent left behind.  A disk that takes nothing keeps it for later."""
    for network in sorted(server.site.known_networks()):
        for steps in ((recover,), (restore, forget_the_dead)):  # the dead are told only when the living are restored
            try:
                for step in steps:
                    await step(server.site, network)
            except (TulleError, OSError) as error:
                log.warning("network %s: not in order yet: %s", network, error)
    await server.bury()
    if any(server.site.all_records()):
        await server.repair_rules()
    else:
        server.site.rules.wake.set()  # what is left there is nobody's, and the first pod need not wait for the look
    server.asked.set()


def open_pod(sender: Sender | None, descriptor: int) -> Kernel:
    """The kernel of a pod's namespace: one socket, since one call uses it, and no firewall of ours."""
    own = os.dup(descriptor)
    try:
        sock = NetlinkSocket.open(own, receive_buffer=None)
        apart = None if sender is None else Apart(sender, sock)
        return LinuxKernel(own, sock, sock, PacketFilter.none(), apart=apart)
    except BaseException:
        os.close(own)
        raise


async def _keep_rules(server: CniServer) -> None:
    """Whole again as soon as somebody changed the ruleset, and now and then all the same."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(HOUSEKEEPING_PERIOD_S):
                await server.site.rules.wake.wait()
        server.site.rules.wake.clear()
        await server.repair_rules()


async def _follow_pods(server: CniServer) -> None:
    """Whenever pods came or went, not more than once a second: they come in crowds."""
    while True:
        await server.asked.wait()
        server.asked.clear()
        server.tell_low()
        await asyncio.sleep(TELL_PERIOD_S)
        await _lay_in(server.site)


async def _lay_in(site: Site) -> None:
    """Files for the next pods, a few at a time; whoever is served meanwhile makes his own."""
    with suppress(OSError):
        while not site.in_service() and site.lay_in(SPARES_AT_ONCE):  # noqa: ASYNC110  others run; nothing is waited for
            await asyncio.sleep(0)


async def _keep_house(server: CniServer) -> None:
    """Tombstones now and again, and a look for the dead once a minute; what fails now is tried again."""
    collector = Collector(server.site)
    rounds = 0
    while True:
        await asyncio.sleep(HOUSEKEEPING_PERIOD_S)
        rounds += 1
        server.site.note_last()
        try:
            if server.tombstones.any():
                await server.bury()
            if rounds * HOUSEKEEPING_PERIOD_S >= LOOK_PERIOD_S:
                rounds = 0
                await collector.look()
        except (TulleError, OSError) as error:
            log.warning("addresses: not looked at: %s", error)
