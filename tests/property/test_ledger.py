"""The ledger: what is written is read back, anything else is an error; what was found first stays."""

from hypothesis import given
from hypothesis import strategies as st

from tulle.errors import DecodeError
from tulle.model.change import Change, Plan
from tulle.model.objects import Sysctl
from tulle.wire.ledger import SWITCHES, Ledger, decode_ledger, encode_ledger

VALUES = st.sampled_from(["0", "1", "2"])
LEDGERS = st.builds(
    Ledger,
    st.text("0123456789abcdef-", max_size=36),
    st.dictionaries(st.sampled_from(SWITCHES), st.tuples(VALUES, VALUES)),
)
PLANS = st.lists(
    st.tuples(st.sampled_from((*SWITCHES, "net/ipv6/conf/flannel.1/accept_ra")), st.none() | VALUES, VALUES), max_size=3
).map(lambda turns: Plan(tuple(Change(Sysctl(path, found), Sysctl(path, to)) for path, found, to in turns)))
CUT = st.tuples(LEDGERS, st.integers(0, 200)).map(lambda drawn: encode_ledger(drawn[0])[: drawn[1]])


@given(LEDGERS)
def test_what_is_written_is_read_back(ledger: Ledger) -> None:
    assert decode_ledger(encode_ledger(ledger)) == ledger


@given(st.binary(max_size=80) | CUT)
def test_any_bytes_are_a_ledger_of_our_switches_or_an_error(data: bytes) -> None:
    try:
        ledger = decode_ledger(data)
    except DecodeError:
        return
    assert set(ledger.turned) <= set(SWITCHES)


@given(LEDGERS, PLANS)
def test_what_was_found_first_stays(ledger: Ledger, plan: Plan) -> None:
    after = ledger.with_plan(plan)
    assert after.turned.items() >= ledger.turned.items()
    assert set(after.turned) <= set(SWITCHES)
    assert after.with_plan(plan) == after
