"""The daemon: composition by hand from top to bottom, and one TaskGroup.

Start: control socket and health → a place in the network (``start``) → reconcile.  Stop: the tasks end, the
data path stays up, the lease stays in the store until it expires or ``tulle leave`` gives it back.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from tulle.agent.control import ControlServer
from tulle.agent.desk import Desk
from tulle.agent.endpoints import endpoints
from tulle.agent.node import Node
from tulle.agent.notify import Herald
from tulle.agent.options import AgentOptions
from tulle.agent.start import Rim, jittered, take_place
from tulle.cni.server import CniServer
from tulle.cni.service import serving
from tulle.errors import StoreUnavailable
from tulle.kernel.linux import LinuxKernel
from tulle.kernel.system import (
    SystemClock,
    SystemFiles,
    SystemRandom,
    boot_id,
    check_privileges,
    keep_collector_short,
    let_threads_in,
    make_room_for_descriptors,
)
from tulle.kernel.turn import Precedence
from tulle.model.state import Scope
from tulle.store.open import open_store


async def run_agent(options: AgentOptions) -> None:
    """Be this node's agent until cancelled.

    Raises, alone or in a group, ConfigError (a flag, the configuration or the host breaks a rule),
    Unsupported (the kernel lacks something), LeaseConflict (another node has our public address).
    """
    clock = SystemClock()
    check_privileges()
    keep_collector_short()
    let_threads_in()
    make_room_for_descriptors()
    desk = Desk(options.store_url, clock.wall_ns(), os.getpid())
    async with AsyncExitStack() as stack:
        precedence = Precedence()
        kernel = LinuxKernel.open(precedence=precedence)
        stack.callback(kernel.close)
        cni = await stack.enter_async_context(_control_server(options, desk, precedence))
        await stack.enter_async_context(endpoints(options, desk))
        store = open_store(options.store_url, clock, options.etcd)
        stack.push_async_callback(store.close)
        rim = Rim(
            kernel=kernel,
            store=store,
            clock=clock,
            random=SystemRandom(),
            files=SystemFiles(),
            precedence=precedence,
            boot_id=boot_id(),
            kernel_changed=cni.kernel_changed,
            address_uses=cni.address_uses,
        )
        herald = Herald(os.environ, os.getpid(), desk, clock)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(herald.run(), name="keep who started us told")
            await be_a_node(options, rim, desk, herald.placed, herald.reloading)


async def be_a_node(
    options: AgentOptions,
    rim: Rim,
    desk: Desk,
    on_place: Callable[[], None],
    on_reload: Callable[[], None] = lambda: None,
) -> None:
    """Take a place in the network and keep it until cancelled.  Raises as ``run_agent``.

    ``on_place``: the node's own part stands, ``subnet.env`` is written, pods can be served; called again
    when that is so under another configuration, ``on_reload`` when it begins to be put into effect.
    """
    changes = rim.kernel.changes()  # before the first look at the host: nothing falls between
    node = await take_place(options, rim, desk)
    desk.open(node)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_follow_leases(node), name="follow leases")
        tasks.create_task(_follow_config(node, on_place, on_reload), name="follow the configuration")
        tasks.create_task(_follow_kernel(node, changes, rim.kernel_changed), name="follow the kernel")
        tasks.create_task(node.keeper.run(), name="keep own lease")
        tasks.create_task(node.reconciler.run(), name="reconcile")
        tasks.create_task(node.memory.run(), name="remember")
        tasks.create_task(_take_notice(node, on_place), name="notice the place")


@asynccontextmanager
async def _control_server(options: AgentOptions, desk: Desk, precedence: Precedence) -> AsyncGenerator[CniServer]:
    """Questions are answered from here on; that nobody else answers them is what makes this root ours."""
    async with serving(options.paths.root, desk.pod_network) as cni:
        server = ControlServer(options.paths.socket, cni.handle, desk.verbs, precedence)
        await server.start()
        try:
            yield cni
        finally:
            await server.close()


async def _follow_leases(node: Node) -> None:
    """Feed the reconciler from the store; a store that is away changes nothing but our own state."""
    while True:
        try:
            async for event in node.directory.watch():
                node.store_answers(True)
                node.keeper.noticed(event)
                await node.reconciler.digest(event)
        except StoreUnavailable as error:
            node.store_answers(False, str(error))
            await node.reconciler.go_by_memory()
        await node.clock.sleep(jittered(node.random))


async def _follow_config(node: Node, on_place: Callable[[], None], on_reload: Callable[[], None]) -> None:
    """Go over to whatever configuration the store has, where a running node can."""
    while True:
        with suppress(StoreUnavailable):  # whoever follows the leases says so
            async for seen in node.directory.watch_config():
                if node.config_seen(seen):
                    on_reload()
                    await _take_notice(node, on_place)
        await node.clock.sleep(jittered(node.random))


async def _take_notice(node: Node, on_place: Callable[[], None]) -> None:
    await node.reconciler.wait_until(lambda reconciler: reconciler.in_place and not reconciler.dirty)
    on_place()


async def _follow_kernel(node: Node, changes: AsyncIterator[Scope], hears: Callable[[Scope], None]) -> None:
    async for scope in changes:
        node.reconciler.kernel_changed(scope)
        hears(scope)
