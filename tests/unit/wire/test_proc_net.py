"""The IP layer's counters as the kernel prints them."""

from tulle.wire.proc_net import IpCounters, parse_ip_counters

SNMP = """\
Ip: Forwarding DefaultTTL InReceives InDiscards OutDiscards OutNoRoutes
Ip: 1 64 1000 3 4 5
Icmp: InMsgs OutMsgs
Icmp: 7 8
"""
NETSTAT = """\
TcpExt: SyncookiesSent InNoRoutes
TcpExt: 1 999
IpExt: InNoRoutes InTruncatedPkts
IpExt: 10 0
"""
SNMP6 = (
    "Ip6InReceives                   \t77\nIp6InNoRoutes                   \t20\nIp6OutNoRoutes                  \t40\n"
)


def test_both_versions_and_both_directions_are_counted() -> None:
    assert parse_ip_counters(SNMP + NETSTAT + SNMP6) == IpCounters(no_route=5 + 10 + 20 + 40, discarded=3 + 4)


def test_what_a_kernel_does_not_count_is_zero() -> None:
    assert parse_ip_counters("") == IpCounters(no_route=0, discarded=0)
    assert parse_ip_counters("Ip: OutNoRoutes\nIp: many\nnonsense\nIp6InDiscards -1\n") == IpCounters(
        no_route=0, discarded=0
    )
