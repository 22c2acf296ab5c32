"""What can go wrong, by whose turn it is to act.

Every error carries facts (what, on which object, which rule), so that callers match on
types and fields, never on text.  ``str(error)`` is the one line that a person reads; the
command line prints it as ``tulle: <line>``.
"""

import os
from errno import EADDRNOTAVAIL, ENODEV, ENOENT, ENXIO, ESRCH
from typing import Final

EXIT_YES: Final = 0
EXIT_NO: Final = 1
EXIT_COULD_NOT: Final = 2


class TulleError(Exception):
    """Base of every error that tulle raises on purpose."""


class DecodeError(TulleError):
    """Bytes that are not what they claim to be: *they* are wrong.

    ``what`` names the structure; ``facts`` are the fields that broke the rule.
    """

    def __init__(self, what: str, **facts: object) -> None:
        detail = " ".join(f"{name}={value!r}" for name, value in facts.items())
        super().__init__(f"{what}: malformed{': ' if detail else ''}{detail}")
        self.what, self.facts = what, facts


class ConfigError(TulleError):
    """A value that a person gave breaks a rule: *you* are wrong.

    ``item`` names the object (a flag, a config key, a pod), ``rule`` what it must be.
    """

    def __init__(self, item: str, rule: str, advice: str = "") -> None:
        super().__init__(f"{item}: {rule}" + (f": {advice}" if advice else ""))
        self.item, self.rule, self.advice = item, rule, advice


class Rejected(TulleError):
    """A value from the store is well formed but breaks an admission rule."""

    def __init__(self, item: str, rule: str) -> None:
        super().__init__(f"{item}: {rule}")
        self.item, self.rule = item, rule


class StoreUnavailable(TulleError):
    """The store does not answer: wait and try again."""


class LeaseConflict(TulleError):
    """Somebody else holds what we asked for, or changed it first: plan again."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"lease {key}: {reason}")
        self.key, self.reason = key, reason


class LeaseLost(LeaseConflict):
    """Our own lease is gone or another node's now."""


class KernelError(TulleError):
    """The kernel refused ``request``; ``reason`` is its extended ACK text, if any."""

    def __init__(self, errno: int, request: object, reason: str = "") -> None:
        super().__init__(f"{request}: {reason or os.strerror(errno)}")
        self.errno, self.request, self.reason = errno, request, reason

    @property
    def target_missing(self) -> bool:
        """The object is not there: success, if we were deleting it."""
        return self.errno in {ENOENT, ESRCH, ENODEV, ENXIO, EADDRNOTAVAIL}


class Unsupported(TulleError):
    """This kernel or host lacks ``feature``; ``remedy`` says which option or package it needs."""

    def __init__(self, feature: str, remedy: str) -> None:
        super().__init__(f"{feature}: not available here: {remedy}")
        self.feature, self.remedy = feature, remedy


class ProcessFailed(TulleError):
    """A program that we run, or a process that we started, did not do its work; ``reason`` is its own word."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(f"{what}: {reason}")
        self.what, self.reason = what, reason
