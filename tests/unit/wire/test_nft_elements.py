"""Elements of nftables' sets as bytes: keys as the kernel compares them."""

import pytest

from tulle.errors import DecodeError
from tulle.model.objects import NftElement, NftTableKey
from tulle.wire.netlink import Message
from tulle.wire.nft import decode_elements, format_element
from tulle.wire.nft_elements import NFT_MSG_NEWGEN, NFT_MSG_NEWSETELEM, add_element, changes_rules, encode_key

NAME = b"veth1" + bytes(11)
MAC = bytes.fromhex("0a580af40102")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        pytest.param(("veth1",), NAME, id="a name alone is as long as names can be"),
        pytest.param(("0a:58:0a:f4:01:02",), MAC, id="a MAC alone has no padding"),
        pytest.param(("veth1", "0a:58:0a:f4:01:02", "10.244.1.2"), NAME + MAC + bytes(2) + b"\x0a\xf4\1\2", id="three"),
        pytest.param(("veth1", "0xfd10"), NAME + bytes(14) + b"\xfd\x10", id="a number has an address's size"),
        pytest.param(("10.244.1.256",), b"10.244.1.256" + bytes(4), id="a name that only looks like an address"),
        pytest.param(("fd10::2",), b"\xfd\x10" + bytes(13) + b"\2", id="IPv6"),
    ],
)
def test_a_key_is_what_the_kernel_compares(value: tuple[str, ...], key: bytes) -> None:
    assert encode_key(value) == key


def test_a_name_that_no_device_has_is_refused() -> None:
    with pytest.raises(DecodeError):
        encode_key(("a-name-of-sixteen",))


def test_what_nft_lists_is_read_and_what_is_no_element_of_ours_is_passed_over() -> None:
    sets = (
        b'{"nftables": [{"set": {"name": "s", "elem": ["veth1", {"concat": ["veth1", "0x0a"]}, {"elem": {"val": 7}}, '
        b'{"concat": [{"prefix": 1}]}, 7]}}, {"set": {"name": "empty"}}]}'
    )
    found = decode_elements(NftTableKey("bridge", "tulle"), sets)
    assert [element.value for element in found] == [("veth1",), ("veth1", "0xa")]


def test_an_element_is_typed_as_nft_spells_it() -> None:
    element = NftElement("bridge", "tulle", "pods4", ("veth1", "0a:58:0a:f4:01:02", "10.244.1.2"))
    assert format_element(element) == 'element bridge tulle pods4 { "veth1" . 0a:58:0a:f4:01:02 . 10.244.1.2 }'
    assert b"pods4\0" in add_element(element, None).body


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [((), False), ((NFT_MSG_NEWSETELEM, NFT_MSG_NEWGEN), False), ((NFT_MSG_NEWSETELEM, 2566), True)],
)
def test_elements_are_no_rules(kinds: tuple[int, ...], expected: bool) -> None:
    assert changes_rules([Message(kind, 0, 0, 0, b"") for kind in kinds]) is expected
