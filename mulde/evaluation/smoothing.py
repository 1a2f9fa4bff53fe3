"""Gaussian smoothing of frame scores in time, inside one video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mulde.errors import UsageError
from mulde.records import Analysed, Bool, Float64, ScoredVideo

SmoothingMode = Literal["raw", "causal", "centred"]
SMOOTHING_MODES: tuple[SmoothingMode, ...] = get_args(SmoothingMode)

_RADIUS_SIGMAS = 4.0  # the kernel is cut where its weight is e^-8 of the peak
_EVEN = 1e-6
"""Frames whose steps in time differ by less than this share of a frame follow each other evenly."""
_MAX_DENSITY = 8
"""Where stamps say that more frames than this come in the time of one, the others are not looked at."""


@dataclass(frozen=True)
class Smoothing:
    """How the scores of the frames of one video are smoothed.

    sigma_frames: of the Gaussian, in frames of the video's rate; 0 for none. time_frames (T,): the time of each frame,
    in the same unit; None: 0, 1, 2 ... own (T,): which frames have a score of their own, while the others repeat the
    one before; repeated scores have no weight. None: all of them. step_frames: from one of them to the next.
    """

    sigma_frames: float
    time_frames: Float64 | None = None
    own: Bool | None = None
    step_frames: float = 1.0

    @classmethod
    def of(cls, video: ScoredVideo) -> Smoothing:
        """As the scores of the run were smoothed."""
        return cls.of_times(video.sigma_frames, video.track.time_s, video.rate, video.analysed)

    @classmethod
    def of_times(cls, sigma_frames: float, time_s: Float64, rate: float, analysed: Analysed | None) -> Smoothing:
        """Of frames at times (T,) in seconds, `rate` a second; analysed: which of them were looked at, None for all."""
        if analysed is None:
            return cls(sigma_frames, time_s * rate)
        return cls(sigma_frames, time_s * rate, analysed.own, rate / analysed.rate)

    def __call__(self, scores: Float64, mode: SmoothingMode) -> Float64:
        """Scores (T,) smoothed over time, (T,) float64; a new array. The arguments are those of `smooth`."""
        if self.own is None:
            return smooth(scores, self.sigma_frames, mode, self.time_frames)
        times = None if self.time_frames is None else self.time_frames[self.own] / self.step_frames
        smoothed = smooth(scores[self.own], self.sigma_frames / self.step_frames, mode, times)
        return np.asarray(smoothed[np.maximum(np.cumsum(self.own) - 1, 0)], np.float64)


def smooth(scores: Float64, sigma_frames: float, mode: SmoothingMode, time_frames: Float64 | None = None) -> Float64:
    """Scores (T,) of one video smoothed over time, (T,) float64; a new array.

    `centred` looks both ways, borders reflected; `causal` is the past half of the same Gaussian, its weights
    renormalised while fewer frames than the kernel is long have passed (reflecting there would look ahead);
    `raw`, and a sigma of 0 frames, change nothing. time_frames (T,): the time of each score, in frames; scores are
    weighed by how far they are apart in time, so that frames that are missing, or come at an uneven rate, do not
    matter. None: 0, 1, 2 ... Raises UsageError for another mode, a bad sigma, or times that go back.
    """
    if mode not in SMOOTHING_MODES:
        raise UsageError("smoothing mode", expected=" or ".join(SMOOTHING_MODES), got=repr(mode))
    if not (np.isfinite(sigma_frames) and sigma_frames >= 0):
        raise UsageError("smoothing sigma", expected="a finite number of frames, 0 or more", got=sigma_frames)
    scores = np.array(scores, np.float64)
    steps = np.ones(0) if time_frames is None else np.diff(time_frames)
    if (time_frames is not None and time_frames.shape != scores.shape) or not (steps >= 0).all():
        raise UsageError("times of scores", expected=f"{scores.size} numbers that do not fall", got="others")
    radius = _radius(sigma_frames)
    if mode == "raw" or radius == 0 or scores.size == 0:
        return scores
    if time_frames is not None and (np.abs(steps - 1) > _EVEN).any():
        return _uneven(scores, time_frames, sigma_frames, radius, looks_ahead=mode == "centred")
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


def _uneven(scores: Float64, time_frames: Float64, sigma_frames: float, radius: int, *, looks_ahead: bool) -> Float64:
    first, size = 0, scores.size
    if looks_ahead:
        scores, time_frames, first = _mirrored(scores, time_frames, radius)
    total, weight, lowest, highest = scores.copy(), np.ones(scores.size), scores.copy(), scores.copy()
    for apart in range(1, min(scores.size, _MAX_DENSITY * radius)):
        away = time_frames[apart:] - time_frames[:-apart]
        near = away < radius + 0.5
        if not near.any():
            break
        weights = np.where(near, np.exp(-0.5 * np.square(away / sigma_frames)), 0.0)
        later, earlier = slice(apart, None), slice(None, -apart)
        for here, there in ((later, earlier), (earlier, later)) if looks_ahead else ((later, earlier),):
            other = scores[there]
            total[here] += weights * other
            weight[here] += weights
            lowest[here] = np.where(near, np.minimum(lowest[here], other), lowest[here])
            highest[here] = np.where(near, np.maximum(highest[here], other), highest[here])
    return _clip(total / weight, lowest, highest)[first : first + size]


def _mirrored(scores: Float64, time_frames: Float64, radius: int) -> tuple[Float64, Float64, int]:
    """Scores and times continued by mirrors half a frame beyond either end, as far as the kernel reaches, and how many
    scores then come before the first one."""
    first, most = 0, _MAX_DENSITY * radius
    while True:
        head, tail = slice(None, most), slice(max(scores.size - most, 0), None)
        low, high = (2 * end - time_frames[part][::-1] for end, part in (
            (time_frames[0] - 0.5, head), (time_frames[-1] + 0.5, tail)))  # fmt: skip
        is_long = scores.size >= most or time_frames[-1] - time_frames[0] >= radius
        first += len(low)
        scores = np.concatenate([scores[head][::-1], scores, scores[tail][::-1]])
        time_frames = np.concatenate([low, time_frames, high])
        if is_long:
            return scores, time_frames, first


def _clip(mean: Float64, lowest: Float64, highest: Float64) -> Float64:
    """The mean, kept between the lowest and the highest score under the kernel.

    Only rounding can leave that range. Unclipped, the frames of a constant stretch would differ in their last bit, and
    a ranking figure would rank them.
    """
    return np.minimum(np.maximum(mean, lowest), highest)
