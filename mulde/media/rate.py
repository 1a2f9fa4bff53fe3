"""The true rate of a video, from its time stamps instead of its header.

A container's own rate may be the grain of its clock (1000 in a WebM, 90000 in a transport stream), that of a camera
which leaves out still frames, or one that was entered by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from mulde.records import Int64

NO_STAMP = -(2**63)
"""libav's own mark of a stamp that is not there."""
_MIN_RATE, _MAX_RATE = Fraction(1, 10), 1000
"""Bounds of the frame rates that are taken for those of a camera."""
_ROUNDING_S = Fraction(1, 1000), Fraction(1, 100)
"""Lowest and highest error of two stamps together; stamps coarser than the latter count frames."""
_MAX_PAUSE_S = 30 * 86400
# Clocks of cameras run fast or slow by as much; 29.97 and 30 frames per second are five times as far apart.
_DRIFT = Fraction(1, 5000)
# Steps that differ from the median by a third or less, as 33 and 34 ms do, and 40 and 50; a skipped frame does not.
_MIN_STEPS, _UNEVEN, _STEADY_SHARE, _SAME = 8, 0.34, 0.8, Fraction(1, 50)
_MAX_DENOMINATOR = 100_000  # numerator and denominator fit into the 32 bits that encoders have for them


class Rate(NamedTuple):
    """Frames per second, and in words what is odd about them, "" for nothing."""

    value: Fraction
    remark: str = ""


class _Span(NamedTuple):
    """How many steps from frame to frame take how many seconds; `grain_s`: how finely that is known."""

    num_steps: int
    seconds: Fraction
    grain_s: Fraction

    @property
    def rate(self) -> Fraction:
        return self.num_steps / self.seconds


def true_rate(
    stamps: Int64, coded: Int64, usable: bool, time_base: Fraction, named: Sequence[Fraction], default: Fraction
) -> Rate:
    """(frames - 1) / (last - first time), or the nominal rate that equals it but for rounding and drift.

    stamps (N,): times of presentation, ascending; coded (N,): times of decoding in file order, NO_STAMP where there is
    none; both in units of `time_base` seconds. The latter are used where the former are not usable. named: the rates
    that the container names, best first. default: for a video without any credible rate.
    """
    span = _presented(stamps, time_base) if usable else _decoded(coded, time_base)
    believed = [rate for rate in named if _MIN_RATE <= rate < _MAX_RATE]
    if span is None:
        if believed or not named or len(stamps) < 2:
            return Rate(believed[0] if believed else default)
        remark = f"its header claims {float(named[0]):g} frames per second and its time stamps cannot be used"
        return Rate(default, f"{remark}; {float(default):g} are taken")
    remark = ""
    if usable and (jump_s := _jump_s(stamps, time_base)):
        remark = f"its clock jumps by {float(jump_s) / 86400:.0f} days, which its rate leaves out"
        span = _Span(span.num_steps - 1, span.seconds - jump_s, span.grain_s)
    if span.rate >= _MAX_RATE:
        rate = believed[0] if believed else default
        remark = f"its time stamps come to {float(span.rate):g} frames per second; {float(rate):g} are taken"
        return Rate(rate, remark)
    if span.rate < _MIN_RATE:
        remark = f"its time stamps come to one frame in {float(1 / span.rate):.4g} s"
    return Rate(_rounded(span, named), remark)


def steady_rate(stamps: Int64, time_base: Fraction, rate: Fraction) -> Fraction:
    """Frames per second from one frame to the next, where that is steady but for pauses; else `rate`, the mean one.

    A camera that leaves out still pictures has a mean rate that depends on what happens, while motion from frame to
    frame means the same. stamps (N,): ascending, in units of `time_base` seconds.
    """
    steps = np.diff(stamps)
    if len(steps) < _MIN_STEPS:
        return rate
    usual = float(np.median(steps))
    is_usual = np.abs(steps - usual) <= _UNEVEN * usual
    if usual <= 0 or is_usual.mean() < _STEADY_SHARE:
        return rate
    measured = 1 / (Fraction(float(steps[is_usual].mean())) * time_base)
    same = abs(measured - rate) <= _SAME * rate
    return rate if same or measured >= _MAX_RATE else measured.limit_denominator(_MAX_DENOMINATOR)


def _presented(stamps: Int64, time_base: Fraction) -> _Span | None:
    if len(stamps) < 2:
        return None
    return _span(len(stamps) - 1, int(stamps[-1] - stamps[0]), time_base)


def _decoded(coded: Int64, time_base: Fraction) -> _Span | None:
    """The rate from incomplete stamps, or of a clock that was set back, whose steps backwards do not count."""
    known = np.flatnonzero(coded != NO_STAMP)
    ticks, frames = np.diff(coded[known]), np.diff(known)
    forward = ticks >= 0
    return _span(int(frames[forward].sum()), int(ticks[forward].sum()), time_base)


def _jump_s(stamps: Int64, time_base: Fraction) -> Fraction:
    """The longest step where it is one that no recording pauses for, but a clock that is set does; else 0."""
    longest = int(np.diff(stamps).max()) * time_base
    return longest if len(stamps) > 2 and longest > _MAX_PAUSE_S else Fraction(0)


def _span(num_steps: int, ticks: int, time_base: Fraction) -> _Span | None:
    grain_s = min(max(time_base, _ROUNDING_S[0]), _ROUNDING_S[1])
    return _Span(num_steps, ticks * time_base, grain_s) if num_steps > 0 and ticks > 0 else None


def _rounded(span: _Span, named: Sequence[Fraction]) -> Fraction:
    """The first rate that comes to the same time as the span: of the named, the whole and those of NTSC; or its own."""
    tolerance_s = max(span.grain_s, _DRIFT * span.seconds)
    for rate in [*map(_meant, named), *_usual(span.rate)]:
        if rate > 0 and abs(span.num_steps / rate - span.seconds) <= tolerance_s:
            return rate
    if span.rate < 1:
        return 1 / (1 / span.rate).limit_denominator(_MAX_DENOMINATOR)
    return span.rate.limit_denominator(_MAX_DENOMINATOR)


def _meant(named: Fraction) -> Fraction:
    """Matroska names 19001/317 for 60000/1001."""
    return next((rate for rate in _usual(named) if abs(rate - named) < named / 100_000), named)


def _usual(rate: Fraction) -> tuple[Fraction, Fraction]:
    """The whole rate and that of NTSC (a multiple of 1000/1001) that are closest."""
    return Fraction(round(rate)), Fraction(round(rate * Fraction(1001, 1000)) * 1000, 1001)
