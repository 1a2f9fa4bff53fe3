"""What a video file says about itself: one pass over its packets, and its first picture."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mulde.errors import VideoError
from mulde.images import MAX_PIXELS, is_coloured
from mulde.media.container import DecodeDamage, open_stream, packets, pictures
from mulde.media.rate import NO_STAMP, Rate, steady_rate, true_rate
from mulde.media.reader import DEFAULT_RATE
from mulde.records import Int64

# No codec presents a picture more than 16 places away from where it is coded; twice that, for fields coded alone.
_MAX_REORDERED = 32
# Pictures one behind the other and nothing else, to which libav gives 25 a second.
_UNTIMED = ("mjpeg", "mjpeg_2000")


@dataclass(frozen=True)
class VideoFacts:
    """What one pass over a file's packets tells, without decoding more than its first picture.

    size_hw is after rotation; quarter_turns counter-clockwise turn the stored picture upright; rate is the true one
    (rate.py), rate_remark what is odd about it, steady_rate that without pauses, rate_in_header the container's own;
    num_frames_estimated is what the header's duration and rate come to where it names no number; stamps (N,) int64 are
    the presentation times of the pictures from the first one that can be decoded, ascending, in units of time_base.
    `stamps_are_times` is False where the container carries no usable ones, `pictures_carry_times` where a decoded
    picture's own stamp is not its time. `coloured` is whether the first picture is, None where it is too dark to say.
    """

    size_hw: tuple[int, int]
    quarter_turns: int
    rate: Fraction
    rate_remark: str
    steady_rate: Fraction
    rate_in_header: Fraction | None
    num_frames_from_header: int | None
    num_frames_estimated: int
    num_frames_hidden_by_edit_list: int
    num_packets_before_first_picture: int
    duration_from_header_s: float | None
    stamps: Int64
    time_base: Fraction
    stamps_are_times: bool
    pictures_carry_times: bool
    coloured: bool | None

    @property
    def num_packets_without_picture(self) -> int:
        """How many packets of the file come before the first picture that is delivered."""
        return self.num_frames_hidden_by_edit_list + self.num_packets_before_first_picture

    @property
    def numbers_are_true(self) -> bool:
        """Whether a picture's stamp tells its frame index, so that frames behind a hole keep their numbers."""
        return self.stamps_are_times and self.pictures_carry_times

    def index_of(self, stamp: int | None, lowest: int) -> tuple[int, bool]:
        """Frame index of the picture with `stamp`; `lowest` (and False) where the stamp is none or lies before that."""
        if not self.numbers_are_true:
            return lowest, True
        at = len(self.stamps) if stamp is None else int(np.searchsorted(self.stamps, stamp))
        in_place = lowest <= at < len(self.stamps) and self.stamps[at] == stamp
        return (at if in_place else lowest), bool(in_place)

    def time_s(self, index: int) -> float:
        """Seconds from the first stamp to the index-th; index / rate where there are no usable stamps."""
        if not self.stamps_are_times:
            return float(index / self.rate)
        known = min(index, len(self.stamps) - 1)
        time_s = int(self.stamps[known] - self.stamps[0]) * self.time_base
        return float(time_s if known == index else time_s + (index - known) / self.rate)


def probe(path: Path, number: int | None, default_rate: Fraction | None) -> VideoFacts:
    """Read a stream's packets once and decode its first picture. Raises VideoError where no picture can be decoded."""
    presented, coded = array("q"), array("q")  # the stamps of each packet
    num_hidden, first, damage, damaged_before_first = 0, None, DecodeDamage(), False
    with open_stream(path, number) as (source, container, stream):
        width, height = stream.width, stream.height  # as the header says; a decoder forgets what it refuses
        for packet in packets(source, container, stream, damage):
            if first is None:
                first = next(iter(pictures(stream, packet, damage)), None)
                damaged_before_first = damage.num_bad_packets > 0
            if packet is not None and packet.is_discard:
                num_hidden += 1
            elif packet is not None and not _is_hidden(stream, packet):
                presented.append(NO_STAMP if packet.pts is None else packet.pts)
                coded.append(NO_STAMP if packet.dts is None else packet.dts)
        if first is None:
            too_large = width * height > MAX_PIXELS
            raise VideoError(
                f"No picture of {path} could be decoded",
                expected=f"at most {MAX_PIXELS} pixels, not {width} x {height}" if too_large else None,
                got=f"{len(presented)} video packets ({'; '.join(damage.reasons) or 'no error reported'})",
                hint="copy the file again, or convert it with ffmpeg",
            )
        # AVI numbers its packets in coding order, and a decoder hands these numbers on to reordered pictures.
        pictures_carry_times = not (container.format.name == "avi" and stream.codec_context.has_b_frames)
        # Frame 0 is the first that can be decoded, where a recording starts between key frames; damage is counted.
        start = first.pts if pictures_carry_times and not damaged_before_first else None
        decoding = np.array(coded, np.int64)
        stamps, usable = _stamps(np.array(presented, np.int64), decoding, start)
        time_base, named = Fraction(stream.time_base or 1), _named_rates(stream)
        rate = true_rate(stamps, decoding, usable, time_base, named, default_rate or DEFAULT_RATE)
        if container.format.name in _UNTIMED:
            rate = Rate(rate.value, f"it holds no times, {float(rate.value):g} frames per second are taken")
        quarter_turns, size_hw = quarter_turns_of(first), (int(first.height), int(first.width))
        return VideoFacts(
            size_hw=size_hw[::-1] if quarter_turns % 2 else size_hw,
            quarter_turns=quarter_turns,
            rate=rate.value,
            rate_remark=rate.remark,
            steady_rate=steady_rate(stamps, time_base, rate.value) if usable else rate.value,
            rate_in_header=named[0] if named else None,
            num_frames_from_header=stream.frames or None,
            num_frames_estimated=int(stream.frames or (stream.average_rate or 0) * (container.duration or 0) / 10**6),
            num_frames_hidden_by_edit_list=num_hidden,
            num_packets_before_first_picture=len(presented) - len(stamps),
            duration_from_header_s=_duration_from_header_s(container, stream),
            stamps=stamps,
            time_base=time_base,
            stamps_are_times=usable,
            pictures_carry_times=pictures_carry_times,
            coloured=is_coloured(first.to_ndarray(format="rgb24")),
        )


def _is_hidden(stream: Any, packet: Any) -> bool:
    # VP8 has packets whose picture is only there to predict others from (RFC 6386, 9.1: show_frame).
    return stream.name == "vp8" and not bytes(packet)[0] & 0x10


def quarter_turns_of(picture: Any) -> int:
    """How many quarter turns, counter-clockwise, bring a decoded picture upright."""
    # libav counts degrees counter-clockwise. Other angles than quarter turns are left alone, as decord does.
    degrees = int(picture.rotation)
    return degrees // 90 % 4 if degrees % 90 == 0 else 0


def _stamps(presented: Int64, coded: Int64, first: int | None) -> tuple[Int64, bool]:
    """The stamps from `first` on in ascending order and whether they are times; else one number per packet."""
    order = np.argsort(presented, kind="stable")
    stamps = presented[order]
    known = coded[coded != NO_STAMP]
    usable = (
        not (presented == NO_STAMP).any()
        and (np.diff(stamps) > 0).all()
        and (np.abs(order - np.arange(len(order))) <= _MAX_REORDERED).all()
        and (np.diff(known) >= 0).all()  # else the clock was set back
    )
    if not usable:
        return np.arange(len(presented), dtype=np.int64), False
    return (stamps if first is None or first > stamps[-1] else stamps[stamps >= first]), True


def _named_rates(stream: Any) -> list[Fraction]:
    named = (stream.guessed_rate, stream.average_rate, stream.base_rate)
    return [Fraction(rate) for rate in dict.fromkeys(named) if rate and rate > 0]


def _duration_from_header_s(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # sound may last longer than the pictures
    return container.duration / 1e6 if container.duration and alone else None
