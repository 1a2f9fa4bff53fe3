"""What the columns of each kind of feature are called, and directions in words."""

from __future__ import annotations

import numpy as np

from mulde.config import FeatureSettings
from mulde.records import Float32

JOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
"""The key points of COCO, in the order of pose networks."""
_DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
_NUM_COLOURS = 6  # the last columns of the descriptor
_MIN_AGREEMENT = 0.3


def column_groups(stream: str, dim: int, features: FeatureSettings) -> tuple[str, ...]:
    """The group of each of the `dim` columns of a stream; one group for columns without a meaning of their own."""
    if stream == "velocity":
        return _direction_groups(dim)
    if stream == "geometry":
        return ("width", "height")
    if stream == "descriptor":
        return ("edges",) * (dim - _NUM_COLOURS) + ("colour",) * _NUM_COLOURS
    if stream == "pose":
        return tuple(joint for joint in JOINTS for _ in range(dim // len(JOINTS)))
    if stream == "flow_histogram":
        bins = features.flow_histogram.bins
        grid = features.flow_histogram.grid
        if grid == 1:
            return _direction_groups(bins)
        return tuple(_part_of_picture(y, x, grid) for y in range(grid) for x in range(grid) for _ in range(bins))
    return ("appearance",) * dim


def direction(angle: float) -> str:
    """An angle in radians (0 = right, counted towards down) as a word."""
    return _DIRECTIONS[round(angle / (2 * np.pi) * len(_DIRECTIONS)) % len(_DIRECTIONS)]


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


def _direction_groups(bins: int) -> tuple[str, ...]:
    return ("speed",) if bins == 1 else tuple(direction(angle) for angle in bin_angles(bins))


def _part_of_picture(y: int, x: int, grid: int) -> str:
    vertical = ("upper", "middle", "lower")[3 * (2 * y + 1) // (2 * grid)]
    horizontal = ("left", "centre", "right")[3 * (2 * x + 1) // (2 * grid)]
    return f"{vertical} {horizontal}"
