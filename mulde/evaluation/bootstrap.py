"""Bootstrap intervals over videos: how much the AUCs would vary with other videos of the same kind.

Frames of one video are alike, so videos are drawn, never frames (Efron & Tibshirani 1993, percentile interval).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulde.evaluation.metrics import LabelledScores, pool
from mulde.records import Float64, Int64

COVERAGE = 0.95


def draw_videos(num_videos: int, num_resamples: int, seed: int) -> Int64:
    """How often each video comes in each resample of num_videos with replacement: (num_resamples, num_videos) int64."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_videos, np.full(num_videos, 1 / max(num_videos, 1)), size=num_resamples)


def auc_intervals(videos: Sequence[LabelledScores], draws: Int64) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of `micro_auc` and `macro_auc`; draws (B, len(videos)) as `draw_videos` gives them.

    A resample in which a figure is undefined does not count for it. A figure that rests on fewer than two videos has
    no interval.
    """
    resampled = resampled_aucs(videos, draws)
    return {name: interval for name, values in resampled.items() if (interval := _interval(values)) is not None}


def resampled_aucs(videos: Sequence[LabelledScores], draws: Int64) -> dict[str, Float64]:
    """`micro_auc` and `macro_auc` of each resample, (B,), NaN where it is undefined; without a figure that rests on
    fewer than two videos."""
    if len(videos) < 2 or not len(draws):
        return {}
    wins = twice_wins(videos)
    normal = np.array([np.sum(~v.anomalous) for v in videos], np.float64)
    anomalous = np.array([np.sum(v.anomalous) for v in videos], np.float64)
    counts = draws.astype(np.float64)

    micro_wins = np.einsum("bi,bi->b", counts @ wins, counts) / 2
    resampled = {"micro_auc": _divided(micro_wins, (counts @ anomalous) * (counts @ normal))}

    both = (normal > 0) & (anomalous > 0)
    if both.sum() > 1:
        per_video = wins.diagonal()[both] / (2 * normal[both] * anomalous[both])
        resampled["macro_auc"] = _divided(counts[:, both] @ per_video, counts[:, both].sum(axis=1))
    return resampled


@dataclass(frozen=True)
class PairedDifference:
    """How much a figure of one run exceeds that of another on the same resamples: the 95 % percentile interval, and the
    share of the resamples in which it is higher."""

    low: float
    high: float
    share_higher: float


def paired_difference(values: Float64, others: Float64) -> PairedDifference | None:
    """A figure of two runs on the same resamples, (B,) each, NaN where undefined; None where it is in all of them."""
    difference = values - others
    interval = _interval(difference)
    return interval and PairedDifference(*interval, float(np.mean(difference[~np.isnan(difference)] > 0)))


def _divided(numerator: Float64, denominator: Float64) -> Float64:
    """The quotients (B,), NaN where the denominator is 0."""
    quotients = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotients, where=denominator > 0)
    return quotients


def _interval(values: Float64) -> tuple[float, float] | None:
    defined = values[~np.isnan(values)]
    if not defined.size:
        return None
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(defined, (tail, 1 - tail))
    return float(low), float(high)


def twice_wins(videos: Sequence[LabelledScores]) -> Float64:
    """[i, j]: pairs of an anomalous frame of video i above a normal frame of video j, twice, plus the ties, (V, V).

    The micro AUC of any resample with counts c is then c' W c / 2 over (anomalous frames) x (normal frames): frames
    are sorted once, not once for each resample.
    """
    scores, anomalous = pool(videos)
    video = np.repeat(np.arange(len(videos)), [v.scores.size for v in videos])
    levels, level = np.unique(scores[anomalous], return_inverse=True)
    starts = np.searchsorted(video[anomalous], np.arange(len(videos)))
    has = np.bincount(video[anomalous], minlength=len(videos)) > 0
    wins = np.zeros((len(videos), len(videos)))
    if not levels.size:
        return wins
    for j, labelled in enumerate(videos):
        normal = labelled.scores[~labelled.anomalous]
        # A normal frame gives one win to every level from its own up, and another to every level above it.
        gains = np.concatenate([np.searchsorted(levels, normal, side) for side in ("left", "right")])
        passed = np.cumsum(np.bincount(gains, minlength=levels.size + 1))
        wins[has, j] = np.add.reduceat(passed[level], starts[has])
    return wins
