"""The robust moving average of DMAD (Liu et al., CVPR 2023; the authors' code) and how it makes one score of three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mulde.errors import UsageError
from mulde.records import Float64

WINDOW, KEEP = 11, 5
WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.2, 1.6, 1.2, 1.0, 1.0, 1.0, 1.0)
PARTS = (0.2, 0.4, 0.6)
"""Of the vertical offset, the error and the gradient difference."""


def robust_average(
    scores: Float64,
    *,
    window: int = WINDOW,
    keep: int = KEEP,
    weights: Sequence[float] = WEIGHTS,
    start: float = 0.0,
) -> Float64:
    """Of scores (T,), in each window the weighted mean of the `keep` scores nearest to the window's mean; (T,).

    The window is centred: (window - 1) / 2 scores at the start become `start`, those at the end the last value that
    there is; fewer scores than a window are all `start`. weights (window,): by place in the window. Of scores equally
    far from the mean the earlier ones are kept. The defaults are those of UCSD Ped2.
    """
    if len(weights) != window or not 0 < keep <= window:
        raise UsageError(
            "robust average", expected=f"{window} weights and 1 to {window} scores to keep", got=len(weights)
        )
    averaged = np.full(len(scores), start)
    if len(scores) < window:
        return averaged
    windows = np.lib.stride_tricks.sliding_window_view(
        np.asarray(scores, np.float64), window
    )  # (T - window + 1, window)
    away = np.abs(windows - windows.mean(axis=1, keepdims=True))
    kept = np.argsort(away, axis=1, kind="stable")[:, :keep]
    values, by_place = np.take_along_axis(windows, kept, axis=1), np.asarray(weights, np.float64)[kept]
    border = (window - 1) // 2
    middle = (values * by_place).sum(axis=1) / by_place.sum(axis=1)
    averaged[border : border + len(middle)] = middle
    averaged[border + len(middle) :] = middle[-1]
    return averaged


def stretched(scores: Float64) -> Float64:
    """Scores (T,) stretched to 0..1; all 0 where they are all the same."""
    span = np.ptp(scores) if scores.size else 0.0
    return np.asarray((scores - scores.min()) / span if span > 0 else np.zeros(scores.size), np.float64)


def combined_scores(
    parts: Mapping[str, Sequence[Float64]], weights: Sequence[float] = PARTS, *, start: float = 0.0
) -> dict[str, Float64]:
    """One score of each frame from several, by video and in its order: each part is stretched inside each video, they
    are added up with weights, and averaged over all videos as if they were one.

    parts: video -> arrays (T,), higher = more anomalous. The authors take 1 minus everything; that is the same figures.
    """
    added = {
        video: sum((weight * stretched(part) for weight, part in zip(weights, of_video, strict=True)), np.zeros(1))
        for video, of_video in parts.items()
    }
    averaged = robust_average(np.concatenate(list(added.values())), start=start)
    ends = np.cumsum([len(scores) for scores in added.values()])[:-1]
    return dict(zip(added, np.split(averaged, ends), strict=True))
