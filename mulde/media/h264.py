"""Pictures of an H.264 stream that were lost or sent twice, which libav's decoder covers up without a word.

Where all of a picture's packets are lost, or come again, the decoder predicts the pictures behind it from another one
and reports nothing. The stream itself says so: its reference pictures are numbered (ITU-T H.264, 7.4.3, frame_num).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

_SLICE, _IDR_SLICE, _SPS = 1, 5, 7  # nal_unit_type, table 7-1
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})  # profile_idc, 7.3.2.1.1
_START_CODE = b"\0\0\1"
_HEADER_BYTES = 512  # no sequence parameter set is longer
_MAX_SAME = 8  # so many pictures of one number in a row are of an encoder that does not number them
_SLICE_BYTES = 32  # and no slice header has frame_num behind these


class FrameNumberCheck:
    """Says of each packet whether its picture is predicted from others than those that the decoder has.

    `extradata` is what the container says of the stream: an avcC box, where sizes stand before the units of a packet,
    or units with start codes, as in the packets themselves.
    """

    def __init__(self, extradata: bytes) -> None:
        self._size_bytes = extradata[4] % 4 + 1 if len(extradata) > 6 and extradata[0] == 1 else 0
        self._format: _NumberFormat | None = None
        self._last_reference: int | None = None
        self._num_same = 0
        for unit in _avcc_parameter_sets(extradata) if self._size_bytes else _units(extradata, 0):
            self._take_parameters(unit)

    def is_out_of_order(self, packet: bytes) -> bool:
        """Whether the number of this packet's picture does not follow from the one before."""
        for unit in _units(packet, self._size_bytes):
            if not unit:
                continue
            kind, is_reference = unit[0] & 31, bool(unit[0] & 0x60)
            if kind == _SPS:
                self._take_parameters(unit)
            elif kind == _IDR_SLICE:
                self._last_reference = 0
                return False
            elif kind == _SLICE:
                return self._is_gap(unit, is_reference)
        return False

    def _is_gap(self, unit: bytes, is_reference: bool) -> bool:
        if self._format is None or self._format.gaps_allowed or self._num_same >= _MAX_SAME:
            return False
        try:
            number = self._format.read_number(unit)
        except IndexError:  # a slice that was cut: the decoder reports that one itself
            return False
        if number is None:
            return False
        last, self._last_reference = self._last_reference, number if is_reference else self._last_reference
        if last is None or number == (last + 1) % 2**self._format.num_bits:
            self._num_same = 0
            return False
        self._num_same = self._num_same + 1 if number == last else 0
        return number != last or not self._format.has_fields  # the second field of a picture has its number

    def _take_parameters(self, unit: bytes) -> None:
        if unit and unit[0] & 31 == _SPS:
            try:
                self._format = _number_format(unit)
            except IndexError:
                self._format = None


class _NumberFormat(NamedTuple):
    num_bits: int
    has_colour_planes: bool
    gaps_allowed: bool
    has_fields: bool

    def read_number(self, unit: bytes) -> int | None:
        """frame_num of a slice (7.3.3), None of one that goes on with a picture. Raises IndexError where it is cut."""
        bits = _Bits(unit[:_SLICE_BYTES])
        if bits.exp_golomb() > 0:  # first_mb_in_slice
            return None
        bits.exp_golomb()  # slice_type
        bits.exp_golomb()  # pic_parameter_set_id
        if self.has_colour_planes:
            bits.take(2)
        return bits.take(self.num_bits)


def _number_format(unit: bytes) -> _NumberFormat:
    """What a sequence parameter set says of frame_num (7.3.2.1.1). Raises IndexError where it is cut."""
    bits = _Bits(unit)
    profile = bits.take(8)
    bits.take(16)  # constraints, level_idc
    bits.exp_golomb()  # seq_parameter_set_id
    has_colour_planes = False
    if profile in _WITH_CHROMA:
        chroma_format = bits.exp_golomb()
        has_colour_planes = chroma_format == 3 and bool(bits.take(1))
        bits.exp_golomb()  # bit_depth_luma_minus8
        bits.exp_golomb()  # bit_depth_chroma_minus8
        bits.take(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.take(1):
            for number in range(12 if chroma_format == 3 else 8):
                if bits.take(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    num_bits = bits.exp_golomb() + 4
    order_type = bits.exp_golomb()  # pic_order_cnt_type
    if order_type == 0:
        bits.exp_golomb()
    elif order_type == 1:
        bits.take(1)
        bits.exp_golomb()
        bits.exp_golomb()
        for _ in range(min(bits.exp_golomb(), 255)):
            bits.exp_golomb()
    bits.exp_golomb()  # max_num_ref_frames
    gaps_allowed = bool(bits.take(1))
    bits.exp_golomb()  # pic_width_in_mbs_minus1
    bits.exp_golomb()  # pic_height_in_map_units_minus1
    return _NumberFormat(num_bits, has_colour_planes, gaps_allowed, has_fields=not bits.take(1))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    scale, following = 8, 8  # 7.3.2.1.1.1
    for _ in range(size):
        if following:
            coded = bits.exp_golomb()
            following = (scale + (coded + 1) // 2 * (1 if coded % 2 else -1)) % 256
        scale = following or scale


class _Bits:
    """The bits of a unit behind its first byte, without the bytes that keep start codes from appearing (7.4.1)."""

    def __init__(self, unit: bytes) -> None:
        payload = unit[1:_HEADER_BYTES].replace(b"\0\0\3", b"\0\0")
        self._bits = "".join(f"{byte:08b}" for byte in payload)
        self._at = 0

    def take(self, count: int) -> int:
        """Raises IndexError at the end."""
        self._at += count
        if self._at > len(self._bits):
            raise IndexError("the unit ends early")
        return int(self._bits[self._at - count : self._at], 2)

    def exp_golomb(self) -> int:
        """ue(v), 9.1."""
        one = self._bits.find("1", self._at)
        if one < 0:
            raise IndexError("the unit ends early")
        num_zeros, self._at = one - self._at, one
        return self.take(num_zeros + 1) - 1


def _units(data: bytes, size_bytes: int) -> Iterator[bytes]:
    """The NAL units of a packet, cut behind what is read of them."""
    if size_bytes:
        at = 0
        while at + size_bytes < len(data):
            size = int.from_bytes(data[at : at + size_bytes], "big")
            at += size_bytes
            yield data[at : at + min(size, _HEADER_BYTES)]
            at += size
        return
    at = data.find(_START_CODE)
    while at >= 0:
        yield data[at + 3 : at + 3 + _HEADER_BYTES]
        at = data.find(_START_CODE, at + 3)


def _avcc_parameter_sets(extradata: bytes) -> Iterator[bytes]:
    """The sequence parameter sets of an avcC box (ISO 14496-15, 5.3.3.1)."""
    at = 6
    for _ in range(extradata[5] & 31):
        size = int.from_bytes(extradata[at : at + 2], "big")
        yield extradata[at + 2 : at + 2 + size]
        at += 2 + size
