"""Errors carry facts, and are one line each."""

from errno import EADDRNOTAVAIL, EBUSY, EEXIST, ENODEV, ENOENT, ENXIO, EPERM, ESRCH

import pytest

from tulle.errors import (
    ConfigError,
    DecodeError,
    KernelError,
    LeaseConflict,
    LeaseLost,
    ProcessFailed,
    Rejected,
    StoreUnavailable,
    TulleError,
    Unsupported,
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(DecodeError("VXLAN header", need=8, got=3), "VXLAN header: malformed: need=8 got=3", id="decode"),
        pytest.param(DecodeError("it"), "it: malformed", id="decode, without facts"),
        pytest.param(
            ConfigError("--iface", "no such device", "see 'ip link'"),
            "--iface: no such device: see 'ip link'",
            id="config",
        ),
        pytest.param(ConfigError("--iface", "no such device"), "--iface: no such device", id="config, without advice"),
        pytest.param(Rejected("10.244.2.0-24", "VNI 7 is not 1"), "10.244.2.0-24: VNI 7 is not 1", id="rejected"),
        pytest.param(LeaseConflict("k", "is taken"), "lease k: is taken", id="conflict"),
        pytest.param(KernelError(EPERM, "add route"), "add route: Operation not permitted", id="kernel"),
        pytest.param(KernelError(EPERM, "add route", "Not so."), "add route: Not so.", id="kernel, in its own words"),
        pytest.param(Unsupported("VXLAN", "load it"), "VXLAN: not available here: load it", id="unsupported"),
        pytest.param(ProcessFailed("nft", "no"), "nft: no", id="process"),
    ],
)
def test_an_error_is_one_line_that_names_the_object(error: TulleError, line: str) -> None:
    assert str(error) == line


@pytest.mark.parametrize(
    ("errno", "missing"),
    [
        (ENOENT, True),
        (ESRCH, True),
        (ENODEV, True),
        (ENXIO, True),
        (EADDRNOTAVAIL, True),
        (EBUSY, False),
        (EEXIST, False),
    ],
)
def test_the_kernel_says_in_several_ways_that_a_target_is_missing(errno: int, missing: bool) -> None:
    assert KernelError(errno, "delete").target_missing is missing


def test_a_lost_lease_is_a_conflict_and_all_are_ours() -> None:
    assert issubclass(LeaseLost, LeaseConflict)
    assert all(
        issubclass(kind, TulleError) for kind in (DecodeError, ConfigError, Rejected, StoreUnavailable, KernelError)
    )
