"""From row scores to one score per frame: calibration, maximum over the rows, combination (METHOD.md section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from mulde.errors import FitError
from mulde.records import Float64, Int64


@dataclass(frozen=True)
class Calibration:
    """Puts the scores of one stream on a common scale: `low` becomes 0, `high` becomes 1, e times that becomes 2.

    low and high are the minimum and the 99.9th percentile of the row scores of held-out normal video; floor is the
    lowest calibrated score that a training frame had, given to frames without rows. Above `high`, where held-out video
    says nothing, the scale is logarithmic: far out, a log-density grows without bound, at a pace that differs by
    stream, and in a sum the stream with the longest tail would silence the others. The order of scores stays.
    """

    low: float
    high: float
    floor: float

    def __call__(self, scores: Float64) -> Float64:
        """Calibrated scores (N,), increasing in the raw ones (N,)."""
        share = (np.asarray(scores, np.float64) - self.low) / (self.high - self.low)
        return np.where(share <= 1, share, 1 + np.log(np.maximum(share, 1)))

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def calibrate(stream: str, heldout: Float64, training_frames: Float64) -> Calibration:
    """Learn the scale of one stream from row scores (N,) of held-out normal video.

    training_frames (T,): the highest row score of each training frame that has rows. Raises FitError without rows.
    """
    if not len(heldout) or not len(training_frames):
        raise FitError(f"calibration of {stream}", expected="normal rows", got="none")
    low, high = float(heldout.min()), float(np.quantile(heldout, 0.999))
    if high <= low:  # every normal row scores the same: any scale will do
        high = low + 1.0
    floor = Calibration(low, high, 0.0)(training_frames.min(keepdims=True))
    return Calibration(low, high, float(floor[0]))


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
