"""The scores of all videos in a page: whole numbers on a grid, as differences, deflated, as text."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mulde.errors import RecordError
from mulde.records import Float64, Int64

UInt16 = NDArray[np.uint16]

STEPS = 65_000  # from the lowest score to the highest
_MAX_STREAM_VALUES = 800_000  # of all videos and streams: about 1 MB in the page
_MAX_P_VALUES = 4096


@dataclass(frozen=True)
class Grid:
    """Levels low + k * step, k = 0, 1 ... 65535; `alarm` is the k that stands for `alarm_level`.

    A score s is kept as the highest k whose level it reaches, so it reaches a level of the grid exactly when its number
    reaches k: alarms at these levels are those of the scores themselves.
    """

    low: float
    step: float
    alarm: int | None = None
    alarm_level: float | None = None

    @classmethod
    def over(cls, scores: Sequence[Float64], alarm_level: float | None = None) -> Grid:
        """A grid that spans all scores, and the alarm level where there is one, which is then on it."""
        full = [values for values in scores if values.size]
        ends = [float(end) for values in full for end in (values.min(), values.max())]
        ends += [] if alarm_level is None else [alarm_level]
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
        step = (high - low) / STEPS if high > low else 1.0 / STEPS
        if alarm_level is None:
            return cls(low, step)
        alarm = math.ceil((alarm_level - low) / step)  # up, so that no score lies below the grid
        return cls(alarm_level - alarm * step, step, alarm, alarm_level)

    def level(self, k: int) -> float:
        return self.alarm_level if k == self.alarm and self.alarm_level is not None else self.low + k * self.step

    def numbers(self, scores: Float64) -> UInt16:
        """(T,) the highest k whose level each of the scores (T,) reaches."""
        k = np.floor((scores - self.low) / self.step)
        k -= self.low + k * self.step > scores  # rounding may go either way
        k += self.low + (k + 1) * self.step <= scores
        k = np.clip(k, 0, 65_535)
        if self.alarm is not None and self.alarm_level is not None:
            reaches = scores >= self.alarm_level
            k = np.where(reaches, np.maximum(k, self.alarm), np.minimum(k, self.alarm - 1))
        return np.clip(k, 0, 65_535).astype(np.uint16)


def packed(values: UInt16) -> str:
    """Text of values (N,): their differences, zigzag, low bytes before high bytes, deflated, base64."""
    steps = np.diff(values.astype(np.int32), prepend=0).astype(np.int16).astype(np.int32)
    zigzag = ((steps << 1) ^ (steps >> 15)).astype("<u2")
    return deflated(zigzag.view(np.uint8).reshape(-1, 2).T.tobytes())


def deflated(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")


def bucket_frames(num_frames: int, num_streams: int) -> int:
    """How many frames share one lowest and one highest value of a stream; 1: every frame has its own."""
    if num_frames * num_streams <= _MAX_STREAM_VALUES:
        return 1
    return -(-2 * num_frames * num_streams // _MAX_STREAM_VALUES)


def bucketed(values: Float64, size: int) -> Float64:
    """values (T,) as they are for size 1, else (2 * ceil(T / size),): the lowest and the highest of each bucket."""
    if size == 1 or not values.size:
        return values
    starts = np.arange(0, values.size, size)
    both = np.stack([np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)], axis=1)
    return both.reshape(-1)


def p_value_steps(
    grid: Grid, numbers: Sequence[UInt16], p_values: Sequence[Float64]
) -> tuple[list[int], list[float]] | None:
    """Where on the grid the p-value of frames falls, and to what: numbers (K,) rising from 0, p (K,) falling.

    None where p-values do not fall with the score, as when tables of several models lie together.
    """
    k, p = np.concatenate([np.zeros(0, np.int64), *numbers]), np.concatenate([np.zeros(0), *p_values])
    if not k.size:
        return None
    order = np.lexsort((p, k))  # scores that share a number get the highest of their p-values
    k, p = k[order], p[order]
    last = np.append(k[1:] != k[:-1], True)
    k, p = k[last].astype(np.int64), np.round(p[last], 9)
    if np.any(np.diff(p) > 0):
        return None
    falls = np.append(True, p[1:] < p[:-1])
    k, p = k[falls], p[falls]
    kept = _thinned(np.log(p), _MAX_P_VALUES)
    k[0] = 0
    return k[kept].tolist(), [float(f"{p_value:.5g}") for p_value in p[kept]]


def _thinned(values: Float64, max_values: int) -> Int64:
    """Positions of at most `max_values` of values (N,), falling, spread evenly over their range; both ends are kept."""
    if values.size <= max_values:
        return np.arange(values.size)
    wanted = np.linspace(values[0], values[-1], max_values)
    return np.unique(np.minimum(np.searchsorted(-values, -wanted), values.size - 1))


def is_regular(frame_index: Int64, time_s: Float64, rate: float) -> bool:
    """Whether frames follow each other without a gap, each 1 / rate after the one before, to a millisecond."""
    if not frame_index.size:
        return True
    positions = np.arange(frame_index.size)
    if np.any(frame_index - frame_index[0] != positions):
        return False
    return bool(np.all(np.abs(time_s - time_s[0] - positions / rate) < 1e-3))


def axis_text(frame_index: Int64, time_s: Float64) -> str:
    """Frame indices (T,) and times (T,) in whole milliseconds as differences, int32, deflated."""
    time_ms = np.rint(time_s * 1000).astype(np.int64)
    if frame_index.size and (time_ms.max() >= 2**31 or frame_index.max() >= 2**31):
        raise RecordError("a video of a report", expected="less than 24 days", got=f"{time_s.max():.0f} s")
    both = np.concatenate([np.diff(frame_index, prepend=0), np.diff(time_ms, prepend=0)]).astype("<i4")
    return deflated(both.tobytes())
