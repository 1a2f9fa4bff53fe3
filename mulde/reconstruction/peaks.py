"""Rows of numbers from maps: the highest mean in any box of the picture, and mean and maximum inside given boxes."""

from __future__ import annotations

import numpy as np

from mulde.records import Float32

_LEAST = 1e-6
_BOX = (16 / 256, 14 / 256)  # of the side: 16 x 14 pixels of 256, as the authors' code on the gradient difference


def frame_rows(maps: Float32) -> Float32:
    """Natural logarithms (N, M) of the highest mean that any box of 1/16 by 14/256 of the side has in each of the maps
    (N, M, S, S). Beyond the border is 0."""
    rows = np.zeros(maps.shape[:2], np.float32)
    for number, channel in np.ndindex(*rows.shape):
        rows[number, channel] = box_means(maps[number, channel]).max()
    return np.log(np.maximum(rows, _LEAST))


def box_means(one: Float32) -> Float32:
    """The mean of a map (S, S) in the box of 1/16 by 14/256 of the side around each pixel."""
    import cv2

    height, width = _box_px(one.shape[-1])
    return np.asarray(cv2.blur(one, (width, height), borderType=cv2.BORDER_CONSTANT), np.float32)


def highest_box(one: Float32) -> Float32:
    """The box (4,) of the highest mean of a map (S, S), x0 y0 x1 y1 in shares of the side, as far as it lies inside."""
    side = one.shape[-1]
    height, width = _box_px(side)
    y, x = np.unravel_index(int(box_means(one).argmax()), one.shape)
    left, top = x - width // 2, y - height // 2
    return np.asarray(np.clip([left, top, left + width, top + height], 0, side) / side, np.float32)


def _box_px(side: int) -> tuple[int, int]:
    height, width = (max(1, round(share * side)) for share in _BOX)
    return height, width


def object_rows(maps: Float32, boxes: Float32, size_hw: tuple[int, int]) -> Float32:
    """Natural logarithms (K, 2 M) of mean and maximum of each map (M, S, S) inside boxes (K, 4), xyxy in pixels of a
    frame of `size_hw`. The smallest box has one pixel of the map."""
    side = maps.shape[-1]
    scale = side / np.array([size_hw[1], size_hw[0]] * 2, np.float64)
    low = np.floor(boxes[:, :2] * scale[:2]).clip(0, side - 1).astype(int)
    high = np.maximum(np.ceil(boxes[:, 2:] * scale[2:]).clip(0, side).astype(int), low + 1)
    rows = np.zeros((len(boxes), 2 * len(maps)), np.float32)
    for row, (x0, y0), (x1, y1) in zip(rows, low, high, strict=True):
        inside = maps[:, y0:y1, x0:x1].reshape(len(maps), -1)
        row[0::2], row[1::2] = inside.mean(axis=1), inside.max(axis=1)
    return np.log(np.maximum(rows, _LEAST))
