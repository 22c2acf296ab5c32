"""When few addresses are left it is said once, and once when enough are free again."""

from dataclasses import replace

import pytest

from tulle.cni.fill import AddressUse, is_low, news


def use(used: int, free: int) -> AddressUse:
    return AddressUse(subnet="10.244.1.0/24", used=used, free=free, resting=0)


@pytest.mark.parametrize(
    ("used", "free", "before", "low"),
    [
        pytest.param(227, 26, False, False, id="more than a tenth is left"),
        pytest.param(228, 25, False, True, id="a tenth is left"),
        pytest.param(203, 50, True, True, id="not yet a fifth again"),
        pytest.param(202, 51, True, False, id="a fifth again"),
        pytest.param(202, 51, False, False, id="never was low"),
        pytest.param(12, 1, False, True, id="the last of a /28"),
        pytest.param(4, 1, False, True, id="the last of a /29"),
        pytest.param(0, 1, False, False, id="nobody has any"),
        pytest.param(0, 0, False, False, id="there are none"),
        pytest.param(253, 0, False, True, id="all are in use"),
    ],
)
def test_low_is_a_tenth_and_enough_a_fifth(used: int, free: int, before: bool, low: bool) -> None:
    assert is_low(use(used, free), before) == low


def test_it_is_said_once_and_once_again_when_it_is_over() -> None:
    low, enough = replace(use(250, 3), low=True), use(100, 153)
    ((is_warning, text),) = news((), [low])
    assert is_warning
    assert text == ("subnet 10.244.1.0/24: 3 of 253 addresses are left: delete pods, or give nodes larger subnets")
    assert news({low.subnet}, [low]) == []
    assert news((), [enough]) == []
    ((is_warning, text),) = news({low.subnet}, [enough])
    assert not is_warning
    assert text.endswith("which is enough again")
