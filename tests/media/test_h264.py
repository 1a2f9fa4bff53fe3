"""Numbers of H.264 pictures, from units that are written bit by bit after ITU-T H.264, 7.3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulde.media.h264 import FrameNumberCheck

START = b"\0\0\0\1"


def golomb(value: int) -> str:
    coded = f"{value + 1:b}"
    return "0" * (len(coded) - 1) + coded


def unit(header: int, bits: str) -> bytes:
    bits += "1"
    padded = bits + "0" * (-len(bits) % 8)
    payload = int(padded, 2).to_bytes(len(padded) // 8, "big")
    escaped = bytearray()
    for byte in payload:
        if escaped[-2:] == b"\0\0" and byte <= 3:
            escaped.append(3)
        escaped.append(byte)
    return bytes([header]) + bytes(escaped)


def parameters(
    *, num_bits: int = 4, gaps_allowed: bool = False, has_fields: bool = False, order_type: int = 0
) -> bytes:
    """A sequence parameter set of the main profile."""
    order = {0: golomb(4), 1: f"0{golomb(0)}{golomb(0)}{golomb(2)}{golomb(5)}{golomb(6)}", 2: ""}[order_type]
    size = f"{golomb(1)}{int(gaps_allowed)}{golomb(3)}{golomb(2)}{int(not has_fields)}"
    return unit(0x67, f"{77:08b}{0:08b}{30:08b}{golomb(0)}{golomb(num_bits - 4)}{golomb(order_type)}{order}{size}")


def slice_of(
    number: int, *, num_bits: int = 4, is_reference: bool = True, is_key: bool = False, first: int = 0
) -> bytes:
    header = (0x60 if is_reference else 0) | (5 if is_key else 1)
    return unit(header, f"{golomb(first)}{golomb(5)}{golomb(0)}{number:0{num_bits}b}{'01' * 20}")


KEY = slice_of(0, is_key=True)


def says(units: list[bytes], extradata: bytes) -> list[bool]:
    check = FrameNumberCheck(extradata)
    return [check.is_out_of_order(START + one) for one in units]


@pytest.mark.parametrize("order_type", [0, 1, 2])
@pytest.mark.parametrize("num_bits", [4, 8, 16])
def test_numbers_that_follow_are_in_order_and_wrap(num_bits, order_type):
    numbers = [n % 2**num_bits for n in range(1, 40)]
    units = [KEY, *(slice_of(n, num_bits=num_bits) for n in numbers)]
    extradata = START + parameters(num_bits=num_bits, order_type=order_type)
    assert not any(says(units, extradata))
    del units[20]
    assert says(units, extradata).index(True) == 20


@pytest.mark.parametrize(
    ("numbers", "has_fields", "expected"),
    [
        ([1, 2, 2, 3], False, [False, False, True, False]),  # sent twice
        ([1, 1, 2, 2, 3, 3], True, [False] * 6),  # both fields of each picture
        ([1, 2, 4, 5], False, [False, False, True, False]),
        ([1, 1, 3], True, [False, False, True]),
    ],
)
def test_a_number_comes_once_for_a_picture_and_twice_for_its_fields(numbers, has_fields, expected):
    extradata = START + parameters(has_fields=has_fields)
    assert says([KEY, *map(slice_of, numbers)], extradata)[1:] == expected


def test_pictures_that_nothing_refers_to_share_the_next_number():
    free = [slice_of(2, is_reference=False)] * 3
    assert not any(says([KEY, slice_of(1), *free, slice_of(2), slice_of(3)], START + parameters()))


def test_a_key_frame_begins_again_and_the_first_number_may_be_any():
    assert not any(says([slice_of(9), slice_of(10), KEY, slice_of(1)], START + parameters()))


def test_the_slices_of_one_picture_have_one_number():
    assert not any(says([KEY, slice_of(1), slice_of(1, first=7), slice_of(2)], START + parameters()))


def test_streams_that_may_have_gaps_and_streams_without_parameters_are_left_alone():
    units = [KEY, slice_of(1), slice_of(5)]
    assert not any(says(units, START + parameters(gaps_allowed=True)))
    assert not any(says(units, b""))
    assert says([parameters(), *units], b"") == [False, False, False, True]


def test_an_encoder_that_numbers_nothing_is_not_asked_any_more():
    said = says([KEY, *[slice_of(0)] * 12], START + parameters())
    assert said == [False] + [True] * 8 + [False] * 4


def test_sizes_in_front_of_the_units_are_read_as_well():
    sps = parameters()
    check = FrameNumberCheck(bytes([1, 77, 0, 30, 0xFF, 0xE1]) + len(sps).to_bytes(2, "big") + sps + b"\1\0\1\x68")
    units = [KEY, slice_of(1), slice_of(3)]
    assert [check.is_out_of_order(len(one).to_bytes(4, "big") + one) for one in units] == [False, False, True]


@given(st.binary(max_size=60), st.lists(st.binary(max_size=40), max_size=5))
def test_no_bytes_are_too_odd(extradata, packets):
    check = FrameNumberCheck(extradata)
    for packet in packets:
        check.is_out_of_order(packet)
        check.is_out_of_order(START + parameters() + START + packet)
