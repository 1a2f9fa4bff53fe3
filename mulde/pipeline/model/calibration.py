"""From row scores to one score per frame: calibration, maximum over the rows, p-values, combination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mulde.errors import FitError, RecordError
from mulde.records import Float64, Int64

_TAIL_SHARE = 0.05
_NUM_POINTS = 256
_MIN_SCALE = 1e-9  # calibrated scores of normal frames lie between 0 and about 2


@dataclass(frozen=True)
class Calibration:
    """Puts the row scores of a stream on a common scale: `low` becomes 0, `high` becomes 1, e times that becomes 2.

    low and high are the minimum and the 99.9th percentile of the row scores of normal video, each by a density that has
    not seen it. Above `high`, where that video says nothing, the scale is logarithmic: far out, a log-density grows
    without bound, at a pace that differs by stream. The order of scores stays.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.high > self.low):
            raise RecordError("calibration", expected="finite numbers, low < high", got=f"{self.low}, {self.high}")

    def __call__(self, scores: Float64) -> Float64:
        """Calibrated scores (N,), increasing in the raw ones (N,)."""
        share = (np.asarray(scores, np.float64) - self.low) / (self.high - self.low)
        return np.where(share <= 1, share, 1 + np.log(np.maximum(share, 1)))

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def calibrate(stream: str, heldout: Float64) -> Calibration:
    """Learn the scale of a stream from row scores (N,) of normal video. Raises FitError without rows."""
    if not len(heldout):
        raise FitError(f"calibration of {stream}", expected="normal rows", got="none")
    low, high = float(heldout.min()), float(np.quantile(heldout, 0.999))
    return Calibration(low, high if high > low else low + 1.0)  # all rows score the same: any scale will do


@dataclass(frozen=True)
class Surprise:
    """sqrt(-2 log p) of a frame's highest calibrated score in one stream, p being the share of normal frames that reach
    it: as far out as a normal variable with such a tail, about.

    Streams on this scale may be added up, as p-values are by Stouffer's method, so no stream needs a weight; a sum of
    -log p itself (Fisher's) would be that of the one stream whose tail happens to be longest. Straight lines join the
    points (`score`, `neg_log_p`), both (Q,) and rising; behind the last one, where few normal frames lie, an
    exponential tail goes on by `slope`.
    """

    score: Float64
    neg_log_p: Float64
    slope: float

    def __post_init__(self) -> None:
        both = (self.score, self.neg_log_p)
        if not (self.score.ndim == 1 and len(self.score) > 0 and self.score.shape == self.neg_log_p.shape):
            got = " and ".join(str(points.shape) for points in both)
            raise RecordError("surprise", expected="points (Q,) of two numbers, Q >= 1", got=got)
        is_rising = all(np.isfinite(points).all() and (np.diff(points) >= 0).all() for points in both)
        if not (is_rising and self.neg_log_p[0] >= 0 and np.isfinite(self.slope) and self.slope >= 0):
            raise RecordError("surprise", expected="finite points that rise from 0 or more, a slope of 0 or more")

    def __call__(self, scores: Float64) -> Float64:
        """Surprises (N,) >= 0, rising with the calibrated scores (N,)."""
        scores = np.asarray(scores, np.float64)
        beyond = np.maximum(scores - self.score[-1], 0)
        return np.asarray(np.sqrt(2 * (np.interp(scores, self.score, self.neg_log_p) + self.slope * beyond)))


def learn_surprise(frames: Float64) -> Surprise:
    """Learn the scale from the highest calibrated scores (T,) of normal frames that the densities have not seen.

    The highest twentieth is described by its mean excess alone. Raises FitError without frames.
    """
    if not len(frames):
        raise FitError("calibration of frames", expected="normal frames", got="none")
    neg_log_p = np.linspace(0, -np.log(_TAIL_SHARE), _NUM_POINTS)
    score = np.quantile(frames, 1 - np.exp(-neg_log_p))
    first = np.append(True, score[1:] > score[:-1])  # a score that many frames share is reached by all of them
    start = score[-1]
    excess = float((frames[frames > start] - start).mean()) if (frames > start).any() else 0.0
    scale = excess if excess > _MIN_SCALE else float(np.std(frames))
    return Surprise(score[first], neg_log_p[first], 1.0 / scale if scale > _MIN_SCALE else 1.0)


def learn_frames(best: Sequence[Float64], lowest: float) -> tuple[float, Surprise]:
    """The score of frames without rows, which is the lowest of any normal frame, and the surprise of frames.

    best: the highest calibrated scores (T,) of the frames of normal videos that the densities have not seen, NaN for
    frames without rows; lowest: the score of frames without rows where no frame has any.
    """
    frames = np.concatenate(best)
    floor = lowest if np.isnan(frames).all() else float(np.nanmin(frames))
    return floor, learn_surprise(np.where(np.isnan(frames), floor, frames))


def frame_maximum(scores: Float64, row_frame: Int64, frames: Int64, empty: float) -> Float64:
    """Highest row score of each frame (T,); `empty` where a frame has no row.

    scores (N,) and row_frame (N,): score and frame index of each row; frames (T,): the frame indices, increasing.
    """
    best = np.full(len(frames), -np.inf)
    np.maximum.at(best, np.searchsorted(frames, row_frame), scores)
    return np.where(np.isneginf(best), empty, best)


def combine(streams: Mapping[str, Float64], how: str) -> Float64:
    """The calibrated streams (T,) of a video as one score (T,): their `sum` or their `max`."""
    stacked = np.stack(list(streams.values()))
    return np.asarray(stacked.sum(axis=0) if how == "sum" else stacked.max(axis=0), np.float64)
