"""The place: a paved plaza in front of a building, seen by a fixed camera, and how big things look on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mulde.records import Float64, UInt8

WALL = 0.25  # the building ends and the plaza begins this far down the picture
_SUPERSAMPLING = 3
_HEIGHT_PER_Y = 0.45


@dataclass(frozen=True)
class Lane:
    """Where people usually walk: they enter on the left, `entry_y` of the height down the picture."""

    entry_y: float
    heading: float
    mean_gap_s: float


LANES = (
    Lane(entry_y=0.90, heading=0.0, mean_gap_s=5.0),
    Lane(entry_y=0.68, heading=0.0, mean_gap_s=5.0),
    Lane(entry_y=0.42, heading=-0.32, mean_gap_s=6.5),
)


def person_height(y: float) -> float:
    """Height in pixels of a person whose feet are at row `y`: the camera's horizon is the upper edge."""
    return _HEIGHT_PER_Y * y


def background(size_hw: tuple[int, int], rng: np.random.Generator) -> UInt8:
    """The empty plaza, (H, W, 3) RGB."""
    height, width = (_SUPERSAMPLING * n for n in size_hw)
    image = _paving(height, width, rng)
    edge = round(WALL * height)
    image[:edge] = _building(edge, width, rng)
    image[edge - edge // 12 : edge] *= 0.72
    image += rng.normal(0, 7, (height, width, 1))
    small = cv2.resize(image.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(np.round(small), 0, 255), dtype=np.uint8)


def _paving(height: int, width: int, rng: np.random.Generator) -> Float64:
    """Slabs in perspective with their own tints, dark joints and large, faint stains."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    depth = height / np.maximum(y, 0.1 * height)  # 1 at the lower edge, 10 far away
    across, along = 7.0 * (x / width - 0.45) * depth, 5.0 * depth
    tints = rng.normal(0, 9, (64, 128))
    tint = tints[np.floor(along).astype(int) % 64, np.floor(across).astype(int) % 128]
    joint = (np.minimum(across % 1, 1 - across % 1) < 0.025) | (np.minimum(along % 1, 1 - along % 1) < 0.03)
    stains = cv2.resize(rng.normal(0, 7, (7, 10)), (width, height), interpolation=cv2.INTER_CUBIC)
    brightness = 158 + tint + stains - 34 * joint - 6 * (depth - 1)
    return np.asarray(brightness[..., None] * (1.03, 1.0, 0.94))


def _building(height: int, width: int, rng: np.random.Generator) -> Float64:
    """A facade with windows and a hedge."""
    image = np.empty((height, width, 3))
    image[:] = rng.uniform((120, 85, 70), (150, 110, 90))
    image[:: max(height // 12, 2)] *= 0.9
    num_windows = 9
    for i in range(num_windows):
        left, right = (round((i + part) / num_windows * width) for part in (0.22, 0.78))
        image[height // 8 : height // 2, left:right] = (70, 85, 100)
        image[height // 8 : height // 2, (left + right) // 2] = 150
    hedge = np.array([58, 82, 48]) + rng.normal(0, 9, (height - 2 * height // 3, width, 1))
    image[2 * height // 3 :] = hedge
    return image
