"""Following an etcd whose answers get lost; what a real one does is the contract suites' business."""

from tests.contract.stores import key, lease
from tests.kit.etcd_memory import MemoryClient, MemoryEtcd
from tests.kit.virtual_time import NS, SeededRandom, VirtualClock, run
from tulle.model.lease import Departure, Gone, Put, Snapshot
from tulle.store.etcd import EtcdStore
from tulle.store.etcd_client import Unanswered
from tulle.store.etcd_layout import Layout
from tulle.wire.etcd import GRANT, PUT, TIME_TO_LIVE, decode_granted, grant_request, put_request
from tulle.wire.leases import encode_lease

LAYOUT = Layout("/coreos.com/network")


class Unlucky(MemoryClient):
    """A way on which some of the answers to one question are lost, by their number."""

    lost = (2, 4)
    asked = 0

    async def call(self, method: str, request: bytes, *, repeatable: bool = False) -> bytes:
        answer = await super().call(method, request, repeatable=repeatable)
        self.asked += method == TIME_TO_LIVE
        if method == TIME_TO_LIVE and self.asked in self.lost:
            raise Unanswered("lost")
        return answer


def test_expiries_of_one_moment_are_told_once_and_as_such_though_the_question_for_one_had_to_be_asked_again() -> None:
    async def story() -> None:
        clock = VirtualClock()
        cluster = MemoryEtcd(lambda: clock.boottime_ns() / NS)
        client = Unlucky(cluster)
        events = EtcdStore(client, LAYOUT.prefix, clock, SeededRandom()).watch()
        assert isinstance(await anext(events), Snapshot)
        ttl_lease, _ = decode_granted(cluster.handle(GRANT, grant_request(60)))
        for number in (1, 2):
            value = encode_lease(lease(number))
            cluster.handle(PUT, put_request(LAYOUT.lease(key(number)), value, lease=ttl_lease))
            assert isinstance(await anext(events), Put)
        told = [await anext(events), await anext(events)]
        assert told == [Gone(key(number), cluster.revision, Departure.EXPIRED) for number in (1, 2)]
        assert client.asked == 6

    run(story())
