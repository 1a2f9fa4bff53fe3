"""Gaussian smoothing of frame scores in time, inside one video."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from mulde.errors import UsageError
from mulde.records import Float64

SmoothingMode = Literal["raw", "causal", "centred"]
SMOOTHING_MODES: tuple[SmoothingMode, ...] = get_args(SmoothingMode)

_RADIUS_SIGMAS = 4.0  # the kernel is cut where its weight is e^-8 of the peak


def smooth(scores: Float64, sigma_frames: float, mode: SmoothingMode) -> Float64:
    """Scores (T,) of one video smoothed over time, (T,) float64; a new array.

    `centred` looks both ways, borders reflected; `causal` is the past half of the same Gaussian, its weights
    renormalised while fewer frames than the kernel is long have passed (reflecting there would look ahead);
    `raw`, and a sigma of 0 frames, change nothing. Raises UsageError for another mode or a bad sigma.
    """
    if mode not in SMOOTHING_MODES:
        raise UsageError("smoothing mode", expected=" or ".join(SMOOTHING_MODES), got=repr(mode))
    if not (np.isfinite(sigma_frames) and sigma_frames >= 0):
        raise UsageError("smoothing sigma", expected="a finite number of frames, 0 or more", got=sigma_frames)
    scores = np.array(scores, np.float64)
    radius = _radius(sigma_frames)
    if mode == "raw" or radius == 0 or scores.size == 0:
        return scores
    return _centred(scores, sigma_frames, radius) if mode == "centred" else _causal(scores, sigma_frames, radius)


def causal_length(sigma_frames: float) -> int:
    """How many scores, the frame's own included, decide a causally smoothed score."""
    return _radius(sigma_frames) + 1


def _radius(sigma_frames: float) -> int:
    return int(_RADIUS_SIGMAS * sigma_frames + 0.5)


def _centred(scores: Float64, sigma_frames: float, radius: int) -> Float64:
    from scipy import ndimage

    mean = ndimage.gaussian_filter1d(scores, sigma_frames, mode="reflect", radius=radius)
    size = 2 * radius + 1
    return _clip(mean, ndimage.minimum_filter1d(scores, size), ndimage.maximum_filter1d(scores, size))


def _causal(scores: Float64, sigma_frames: float, radius: int) -> Float64:
    from scipy import ndimage

    # weight[k] belongs to the frame k frames ago; nothing older than the first frame exists.
    weight = np.exp(-0.5 * (np.arange(min(radius + 1, scores.size)) / sigma_frames) ** 2)
    weight_passed = np.cumsum(weight)[np.minimum(np.arange(scores.size), weight.size - 1)]
    mean = np.convolve(scores, weight)[: scores.size] / weight_passed
    # `origin` moves the window so that it ends at the frame itself; "nearest" repeats the first frame before the start.
    window = {"size": weight.size, "origin": (weight.size - 1) // 2, "mode": "nearest"}
    return _clip(mean, ndimage.minimum_filter1d(scores, **window), ndimage.maximum_filter1d(scores, **window))


def _clip(mean: Float64, lowest: Float64, highest: Float64) -> Float64:
    """The mean, kept between the lowest and the highest score under the kernel.

    Only rounding can leave that range. Unclipped, the frames of a constant stretch would differ in their last bit, and
    a ranking figure would rank them.
    """
    return np.minimum(np.maximum(mean, lowest), highest)
