"""What all probes of one trace have in common."""

from dataclasses import dataclass

from tulle.model.network import IPAddress
from tulle.trace.probe_packet import PROTOCOL_NUMBERS, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """From where to where, and how; ``port`` 0: ICMP, which has none.

    ``size`` is the whole IP packet's, in bytes, which then may not be fragmented; None: as ping's.
    """

    protocol: Protocol
    source: IPAddress
    target: IPAddress
    port: int = 0
    size: int | None = None

    @property
    def is_v6(self) -> bool:
        return self.source.version == 6

    @property
    def number(self) -> int:
        """The IP protocol number."""
        return PROTOCOL_NUMBERS[self.protocol, self.source.version]
