"""Elements of nftables' sets, changed through a netlink socket: no process for what comes with every pod."""

from collections.abc import Callable, Sequence
from errno import EIO
from typing import TypeAlias

from tulle.errors import DecodeError, KernelError
from tulle.kernel.netlink_socket import Overflow
from tulle.model.change import Create, Delete, Step
from tulle.model.objects import NftElement
from tulle.wire.netlink import Ack, Request
from tulle.wire.nft_elements import BEGIN, END, add_element, delete_element

Transact: TypeAlias = Callable[[Request, Sequence[Request], Request], list[Ack]]
"""``NetlinkSocket.transact``."""


def apply_elements(transact: Transact, steps: Sequence[Step]) -> list[KernelError | None]:
    """Carry out ``steps`` in one transaction; where some are refused, the others in a second one.

    A refused transaction costs a grace period of the kernel's, about 15 ms.
    """
    errors = _together(transact, steps)
    good = [number for number, error in enumerate(errors) if error is None]
    if 0 < len(good) < len(steps):
        for number, error in zip(good, _together(transact, [steps[number] for number in good]), strict=True):
            errors[number] = error
    return errors


def _together(transact: Transact, steps: Sequence[Step]) -> list[KernelError | None]:
    try:
        acks = transact(BEGIN, [_request(step) for step in steps], END)
    except KernelError as error:
        return [error] * len(steps)
    except (DecodeError, Overflow) as error:
        return [KernelError(EIO, step, str(error)) for step in steps]
    pairs = zip(acks, steps, strict=True)
    return [KernelError(ack.errno, step, ack.reason) if ack.errno else None for ack, step in pairs]


def _request(step: Step) -> Request:
    match step:
        case Create(obj=NftElement() as element):
            return add_element(element, step)
        case Delete(obj=NftElement() as element):
            return delete_element(element, step)
        case _:
            raise AssertionError(f"{step} is not about an element")
