"""Colours that colour-blind people can distinguish and that stay in order in greyscale: brighter is more anomalous."""

from __future__ import annotations

from functools import cache

import numpy as np

from mulde.records import Float64, UInt8

BLACK, WHITE, GREY, BRIGHT = (0, 0, 0), (255, 255, 255), (165, 165, 165), (255, 234, 70)
_OPAQUE = 0.75
_DARKEST = 70  # of 255: what is darker cannot be told from a dark picture


@cache
def _ramp() -> UInt8:
    """Cividis (Nuñez, Anderton, Renslow 2018) from dark blue to yellow, (N, 3) RGB."""
    import cv2

    steps = np.arange(_DARKEST, 256, dtype=np.uint8)[:, None]
    ramp: UInt8 = cv2.applyColorMap(steps, cv2.COLORMAP_CIVIDIS)[:, 0, ::-1]
    return ramp


def shades(strength: Float64) -> UInt8:
    """RGB colours (..., 3) of strengths (...) in 0..1; what lies outside gets the colour of the end."""
    ramp = _ramp()
    shade: UInt8 = ramp[np.rint(np.clip(strength, 0.0, 1.0) * (len(ramp) - 1)).astype(np.int64)]
    return shade


def over(image: UInt8, strength: Float64) -> UInt8:
    """A picture (H, W, 3) under the colours of strengths (H, W): where these are 0 it stays as it is."""
    share = _OPAQUE * np.clip(strength, 0.0, 1.0)[..., None]
    return np.asarray(np.rint(image * (1 - share) + shades(strength) * share), np.uint8)


def score_range(scores: Float64, alarm_level: float | None) -> tuple[float, float]:
    """The scores that get the darkest and the brightest colour: from the median of the scores (N,) to as far above the
    alarm level, which so lies in the middle; without a level, to their highest."""
    low = float(np.median(scores)) if scores.size else 0.0
    if alarm_level is not None and alarm_level > 0:
        low = low if low < alarm_level else 0.0  # where most of a video is unusual
        return low, 2.0 * alarm_level - low
    high = float(scores.max()) if scores.size else 1.0
    return low, high if high > low else low + 1.0


def strengths(scores: Float64, ends: tuple[float, float]) -> Float64:
    """Where scores (...) lie between the two ends, 0..1."""
    with np.errstate(over="ignore", invalid="ignore"):  # ends that are all but the same
        return np.clip((scores - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)
