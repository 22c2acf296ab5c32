"""What the kernel counts on each device."""

import pytest

from tulle.errors import DecodeError
from tulle.wire.net_dev import decode_net_dev

HEAD = "Inter-|   Receive                    |  Transmit\n face |bytes    packets errs drop … |bytes    packets …\n"


def test_both_directions_of_each_device() -> None:
    table = decode_net_dev(
        HEAD
        + "flannel.1:  100  2  1  3  0 0 0 0   900  8  5  4  0 0 0 0\n"
        + "  a:b:   0  0  0  0  0 0 0 0   0  0  0  0  0 0 0 0\n"
    )
    assert sorted(table) == ["a:b", "flannel.1"]
    got = table["flannel.1"]
    assert (got.received.octets, got.received.packets, got.received.errors, got.received.drops) == (100, 2, 1, 3)
    assert (got.sent.octets, got.sent.packets, got.sent.errors, got.sent.drops) == (900, 8, 5, 4)


def test_this_kernel_writes_it_so() -> None:
    with open("/proc/thread-self/net/dev") as file:
        assert "lo" in decode_net_dev(file.read())


@pytest.mark.parametrize("line", ["eth0 1 2 3", "eth0: 1 2 3", "eth0: " + "x " * 16])
def test_another_table_is_refused(line: str) -> None:
    with pytest.raises(DecodeError):
        decode_net_dev(HEAD + line)
