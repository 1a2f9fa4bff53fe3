"""Directions of motion: the angles of a histogram's bins, its main direction, and their names."""

from __future__ import annotations

import numpy as np

from mulde.extractors.wording import percent
from mulde.records import Float32

DIRECTION_SHARE = "share_in_direction"

_DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
_MIN_AGREEMENT = 0.3


def direction(angle: float) -> str:
    """An angle in radians (0 = right, counted towards down) as a word."""
    return _DIRECTIONS[round(angle / (2 * np.pi) * len(_DIRECTIONS)) % len(_DIRECTIONS)]


def describe_direction(angle: float, share: float, partly: str = "") -> str:
    """Of motion in a direction (radians) in which only this share of normal motion goes."""
    few = f"only {percent(share)}" if share >= 0.01 else "less than 1 %"
    return f"moves {partly}{direction(angle)}, where {few} of normal motion goes that way"


def bin_angles(bins: int) -> np.ndarray:
    """The direction (bins,) in radians that each bin of a motion histogram is centred on."""
    return 2 * np.pi * np.arange(bins) / bins


def heading(histogram: Float32) -> float | None:
    """The mean direction in radians of a motion histogram (bins,); None where there is no main direction."""
    bins, total = len(histogram), float(histogram.sum())
    mean = (histogram * np.exp(1j * bin_angles(bins))).sum()
    if bins == 1 or total <= 0 or abs(mean) < _MIN_AGREEMENT * total:
        return None
    return float(np.angle(mean))


def direction_groups(bins: int) -> tuple[str, ...]:
    """The names of the columns of a motion histogram."""
    return ("speed",) if bins == 1 else tuple(direction(angle) for angle in bin_angles(bins))
