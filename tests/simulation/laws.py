"""What must hold: at every step (safety), and once everything has been well for a while (liveness).

S1 one subnet, one node that would still give its addresses out · S2 an expired subnet is given out
last · S3 nothing in a kernel that no node's lease asks for · S4 what others own is never touched ·
S6 what was deleted is gone at once · S7 a restart changes nothing · S8 what is right is never taken
away · S9 who is well reaches everybody within a minute · N1 a node keeps its subnet · N2 it knows
at once that it lost it · N3 one address, one node · L0 an
agent does not crash · L1 all pairs reach each other · L2 and nothing is
left over · L4 no busy loop.
"""

import asyncio
from itertools import combinations
from math import inf
from typing import Final

from tests.simulation.nodes import CLONE, TUNNEL, Peer, SimNode, foreign_objects
from tests.simulation.truth import Claim, Ending
from tests.simulation.world import World
from tulle.model.book import HOLD_NS
from tulle.model.change import Create, Delete, Plan
from tulle.model.objects import RTPROT_KERNEL, FdbEntry, KernelObject, Neighbor, Route

PATIENT_TTL_S: Final = 600.0
"""Only stories with so few renewals are played for the hour after which nothing is held any more."""
CALLS_A_MINUTE: Final = 900
"""A node that loses one race after another may ask this much; a loop without a pause asks ten times as much."""
STALE_S: Final = 60.0
LOOK_S: Final = 15
HOLD_S: Final = HOLD_NS / 1e9
FOREIGN: Final = {obj.key: obj for obj in foreign_objects()}


class Laws:
    """Judges one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._excused: dict[int, float] = {}
        self._minute_s = 0.0
        self._judged, self._judged_s = 0, 0.0
        self._calls: dict[int, int] = {}
        self._clean: dict[int, tuple[int, int, int]] = {}
        self._held_subnet: dict[int, Peer] = {}
        self._remembered_too_long: dict[int, float] = {}
        """Until when these nodes knew the leases only by a memory that was older than a lease lives."""

    # -- before a step ----------------------------------------------------------------------

    def before_plan(self, node: SimNode, plan: Plan) -> None:
        """S4 and S8: judge what an agent is about to do."""
        now = node.reached
        for step in plan.steps:
            obj = step.obj if isinstance(step, Create | Delete) else step.before
            if not isinstance(step, Create) and obj.key in FOREIGN:
                self._world.breaks("S4", f"{node}: {step}")
            if isinstance(step, Delete) and (peer := _accounts_for(obj, now)) is not None:
                self._judge_removal(node, peer, obj)

    def _judge_removal(self, node: SimNode, peer: Peer, obj: KernelObject) -> None:
        """S8: a peer that is reached stays reached while its claim stands, or may still be in use."""
        claim = self._world.truth.last_of(peer)
        if claim is None or claim.hostile or self._own_place_changed(node):
            return
        if claim.ended_s is None:
            if self._world.now_s - claim.since_s < LOOK_S:
                return  # it may be the end of the claim before that is only heard of now
            self._world.breaks("S8", f"{node} removes {obj.key} of {peer}, which holds its lease")
        elif (
            claim.ending is Ending.FORGOTTEN
            and self._world.now_s < claim.ended_s + HOLD_S - 1
            and self._may_still_be_in_use(peer)
            and claim.ended_s > self._remembered_too_long.get(node.number, 0.0)
        ):
            self._world.breaks("S8", f"{node} removes {obj.key} of {peer}, which the store has only forgotten")

    def _may_still_be_in_use(self, peer: Peer) -> bool:
        """Nobody else holds the subnet, and the peer has nothing else."""
        truth = self._world.truth
        again = any(claim.peer.public_ip == peer.public_ip or claim.peer.mac == peer.mac for claim in truth.standing())
        return truth.current(peer.subnet) is None and not again

    def _own_place_changed(self, node: SimNode) -> bool:
        """A node that got another lease, or that rebuilds its device, may begin anew."""
        return node.node is None or self._world.now_s - node.upset_s < STALE_S

    # -- N1 ---------------------------------------------------------------------------------

    def placed(self, node: SimNode) -> None:
        """N1: an agent that starts again while its lease stands gets just that one."""
        self._note_memory(node)
        before, grant = self._held_subnet.get(node.number), node.grant
        if before is None or grant is None or grant.lease.subnet == before.subnet:
            return
        claim = self._world.truth.last_of(before)
        if claim is not None and (claim.ended_s is None):
            self._world.breaks("N1", f"{node} left {before.subnet} for {grant.lease.subnet}, though it holds it")

    def _note_memory(self, node: SimNode) -> None:
        """All that an old memory knows may have ended since, and to hold it would break S6: no ground for S8."""
        self._remembered_too_long.pop(node.number, None)
        if node.node is not None and (taken_ns := node.node.reconciler.intent.book.recalled_ns) is not None:
            age_s = (node.node.clock.wall_ns() - taken_ns) / 1e9
            if age_s >= self._world.story.ttl_s:
                self._remembered_too_long[node.number] = inf

    # -- at every step --------------------------------------------------------------------

    def excuse(self, node: SimNode) -> None:
        """Other hands have taken this node's lease away: until it has another one, nobody can blame it.

        Nor when its agent is down now and goes by memory later.
        """
        self._excused[node.number] = self._world.now_s

    def check(self) -> None:
        """All safety laws that can be seen from outside."""
        self._one_owner()
        self._expired_come_last()
        for node in self._world.living:
            self._note_lease(node)
            self._note_sync(node)
            self._loss_is_noticed(node)
            self._reaches_all(node)
            self._kernel_is_clean(node)
        self._calls_are_few()

    def _note_lease(self, node: SimNode) -> None:
        lease = node.grant.lease if node.grant is not None else None
        if (
            lease is not None
            and lease.subnet is not None
            and lease.public_ip is not None
            and lease.vtep_mac is not None
        ):
            self._held_subnet[node.number] = Peer(lease.subnet, lease.public_ip, lease.vtep_mac)

    def _note_sync(self, node: SimNode) -> None:
        if self._remembered_too_long.get(node.number) == inf and node.node and node.node.reconciler.intent.book.synced:
            self._remembered_too_long[node.number] = self._world.now_s

    def _loss_is_noticed(self, node: SimNode) -> None:
        """N2: a node that is well finds out at once that its lease was taken away."""
        if self._is_excused(node) and self._should_know(node, self._excused[node.number]) and node.trusts_its_lease:
            self._world.breaks("N2", f"{node} does not know that it lost {node.grant and node.grant.lease}")

    def _reaches_all(self, node: SimNode) -> None:
        """S9: a node that is well reaches everybody whose claim has stood for a minute."""
        if int(self._world.now_s) % LOOK_S or not node.trusts_its_lease or self._is_excused(node):
            return
        own = self._held_subnet[node.number]
        for claim in self._world.truth.standing():
            peer = claim.peer
            strange = peer.subnet == own.subnet or peer.public_ip == own.public_ip or self._is_robbed(claim)
            if not strange and self._should_know(node, claim.since_s) and peer not in node.reached:
                self._world.breaks("S9", f"{node} does not reach {peer}")

    def _expired_come_last(self) -> None:
        """S2: whose lease expired may still serve pods; another subnet is given out while there is one.

        A flanneld neither looks at the records of what expired nor leaves one.
        """
        truth = self._world.truth
        if truth.version == self._judged:
            return
        self._judged = truth.version
        for claims in truth.claims.values():
            if len(claims) < 2 or claims[-1].since_s <= self._judged_s:
                continue
            before, now = claims[-2:]
            expired = before.ending is Ending.EXPIRED and before.peer.public_ip != now.peer.public_ip
            unused = any(subnet not in truth.claims for subnet in self._world.pool)
            with_flanneld = any(claim.peer.mac.startswith("0a:") for claim in (before, now))
            if expired and unused and not now.hostile and not truth.forgotten and not with_flanneld:
                self._world.breaks("S2", f"{now.peer} took what had expired, though others were free")
        self._judged_s = self._world.now_s

    def _one_owner(self) -> None:
        trusting = [node for node in self._world.nodes if node.trusts_its_lease and not self._is_excused(node)]
        for one, other in combinations(trusting, 2):
            mine, theirs = one.grant, other.grant
            if mine is None or theirs is None:
                continue
            if mine.lease.subnet == theirs.lease.subnet:
                self._world.breaks("S1", f"{one} and {other} both hold {mine.lease}")
            if mine.lease.public_ip == theirs.lease.public_ip:
                self._world.breaks("N3", f"{one} and {other} are both at {mine.lease.public_ip}")

    def _is_excused(self, node: SimNode) -> bool:
        """Was what it holds asked for before it was taken away?"""
        return node.grant is not None and node.grant.sent_at_ns <= self._excused.get(node.number, 0.0) * 1e9

    def _kernel_is_clean(self, node: SimNode) -> None:
        """S3, S4 and S6: look at all that a kernel holds."""
        version = (id(node.kernel), node.kernel.changed, self._world.truth.version)
        if self._clean.get(node.number) == version:
            return
        if self._reached_peers_are_known(node):
            return  # until then it is looked at again
        self._clean[node.number] = version
        objects = node.objects
        for key, obj in FOREIGN.items():
            if objects.get(key) != obj:
                self._world.breaks("S4", f"{node} lost {key}")
        stray = [obj for obj in objects.values() if isinstance(obj, Route) and obj.device == TUNNEL and obj.via is None]
        for route in stray:
            if route.protocol != RTPROT_KERNEL:
                self._world.breaks("S3", f"{node} has {route.key} without a gateway")

    def _reached_peers_are_known(self, node: SimNode) -> bool:
        """S3 and S6; True while the node may still reach somebody whose lease was deleted just now."""
        waits = False
        for peer in node.reached:
            claim = self._world.truth.last_of(peer)
            if claim is None or (claim.hostile and not self._came_first(claim)):
                self._world.breaks("S3", f"{node} reaches {peer}, which no node ever was")
            elif claim.ending is Ending.DELETED:
                ended_s = claim.ended_s or 0.0
                if any(begin_s <= ended_s <= end_s for begin_s, end_s in node.was_troubled):
                    continue  # it saw no deletion, only an absence, and may hold what is absent
                waits = True
                if not self._should_know(node, ended_s):
                    continue
                self._world.breaks("S6", f"{node} still reaches {peer}, deleted at {claim.ended_s}")
        return waits

    def _is_robbed(self, claim: Claim) -> bool:
        """Somebody hostile had this one's MAC before it came back."""
        return any(
            other.hostile and other.peer.mac == claim.peer.mac and other.since_s < claim.since_s
            for claims in self._world.truth.claims.values()
            for other in claims[-1:]
        )

    def _came_first(self, claim: Claim) -> bool:
        """A hostile lease with another's MAC is as good as that other's, once it is the older one."""
        others = (other for other in self._world.truth.standing() if other.peer.mac == claim.peer.mac)
        return all(other.since_s > claim.since_s for other in others)

    def _should_know(self, node: SimNode, since_s: float) -> bool:
        """Has the node been well for so long that it must have heard?"""
        since_s = max(since_s, node.upset_s, self._world.upset_s)
        if node.troubles or self._world.frozen_at_s is not None:
            return False
        return node.node is not None and self._world.now_s - since_s > STALE_S

    def _calls_are_few(self) -> None:
        """L4: nobody asks the store all the time."""
        if self._world.now_s - self._minute_s < 60:
            return
        self._minute_s = self._world.now_s
        for node in self._world.nodes:
            calls = node.calls
            if calls - self._calls.get(node.number, 0) > CALLS_A_MINUTE:
                self._world.breaks("L4", f"{node} asked {calls - self._calls[node.number]} times in a minute")
            self._calls[node.number] = calls

    # -- at the end -----------------------------------------------------------------------

    def all_reach_each_other(self) -> None:
        """L1: every living node is in its place and reaches all others."""
        truth = {claim.peer for claim in self._world.truth.standing() if not self._is_robbed(claim)}
        for node in self._world.living:
            own = self._held_subnet.get(node.number)
            if node.node is None or not node.trusts_its_lease or own is None:
                if node.number < CLONE and not self._all_taken():
                    self._world.breaks("L1", f"{node} has no lease")
                continue
            if not any(claim.peer == own for claim in self._world.truth.standing()):
                self._world.breaks("L1", f"{node} believes in {own}, which is not in the store")
            missing = {peer for peer in truth if peer != own and peer.subnet != own.subnet} - node.reached
            living = {(other.address) for other in self._world.living} | {f.address for f in self._world.flannelds}
            for peer in missing:
                if peer.public_ip in living and peer.public_ip != own.public_ip:
                    self._world.breaks("L1", f"{node} does not reach {peer}")

    def _all_taken(self) -> bool:
        """There may be more nodes than subnets."""
        return self._world.story.spare_subnets == 0

    def nothing_is_left_over(self) -> None:
        """L2: every kernel reaches just those that hold a lease; which of them it may believe is S3's business."""
        last = [claims[-1] for claims in self._world.truth.claims.values()]
        truth = {claim.peer for claim in last if claim.ended_s is None}
        for node in self._world.living:
            if node.node is None:
                continue
            held = {entry.lease.subnet for entry in node.node.reconciler.intent.book.held.values()}
            for peer in node.reached - truth:
                if peer.subnet in held and self._world.story.ttl_s < PATIENT_TTL_S:
                    continue
                self._world.breaks("L2", f"{node} still reaches {peer}")
            entries = [obj for obj in node.objects.values() if isinstance(obj, FdbEntry | Neighbor | Route)]
            on_tunnel = [obj for obj in entries if obj.device == TUNNEL and not _made_by_kernel(obj)]
            if len(on_tunnel) != 3 * len(node.reached):
                self._world.breaks("L2", f"{node} holds {len(on_tunnel)} entries for {len(node.reached)} peers")

    async def restarts_change_nothing(self) -> None:
        """S7: an agent that starts again in an unchanged world makes no change to the kernel."""
        for node in self._world.living:
            if node.node is None or node.node.reconciler.intent.book.held:
                continue
            before = len(node.kernel.calls)
            node.kill()
            node.start()
            await asyncio.sleep(STALE_S)
            for step in node.kernel.calls[before:]:
                self._world.breaks("S7", f"{node}: a restart made {type(step).__name__} {step.key}")


def _accounts_for(obj: KernelObject, peers: set[Peer]) -> Peer | None:
    """Which reached peer needs ``obj``."""
    match obj:
        case Route(dst=dst, device="flannel.1"):
            return next((peer for peer in peers if peer.subnet == dst), None)
        case Neighbor(ip=ip, device="flannel.1"):
            return next((peer for peer in peers if peer.subnet.network_address == ip), None)
        case FdbEntry(mac=mac, device="flannel.1"):
            return next((peer for peer in peers if peer.mac == mac), None)
        case _:
            return None


def _made_by_kernel(obj: KernelObject) -> bool:
    return isinstance(obj, Route) and obj.protocol == RTPROT_KERNEL
