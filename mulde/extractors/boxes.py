"""Geometry of boxes: clipping, the overlap rule, crops. Boxes are xyxy in pixels."""

from __future__ import annotations

import numpy as np

from mulde.records import Bool, Float32, Int64, UInt8


def clip_boxes(box_xyxy: Float32, size_hw: tuple[int, int]) -> Float32:
    """Boxes (N, 4) cut at the borders of the picture."""
    height, width = size_hw
    return np.clip(box_xyxy, 0, np.array([width, height, width, height], np.float32)).astype(np.float32)


def area(box_xyxy: Float32) -> Float32:
    """Area in square pixels of each box, (N,); 0 for boxes turned inside out."""
    sides = np.clip(box_xyxy[:, 2:] - box_xyxy[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


def overlap(a_xyxy: Float32, b_xyxy: Float32) -> Float32:
    """Intersection over union (A, B) of boxes (A, 4) with boxes (B, 4)."""
    low = np.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = np.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    union = area(a_xyxy)[:, None] + area(b_xyxy)[None, :] - shared
    return np.asarray(shared / np.maximum(union, np.finfo(np.float32).tiny), np.float32)


def covered_by_larger(box_xyxy: Float32, max_cover: float) -> Bool:
    """True for each box of which a larger box covers more than `max_cover`: docs/method.md, Features.

    Of two equal boxes the first one stays. box_xyxy (N, 4), all of one frame; result (N,).
    """
    n = len(box_xyxy)
    areas = area(box_xyxy)
    low = np.maximum(box_xyxy[:, None, :2], box_xyxy[None, :, :2])
    high = np.minimum(box_xyxy[:, None, 2:], box_xyxy[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)  # (N, N)
    order = np.arange(n)
    larger = (areas[None, :] > areas[:, None]) | (
        (areas[None, :] == areas[:, None]) & (order[None, :] < order[:, None])
    )
    return np.asarray((larger & (shared > max_cover * areas[:, None])).any(axis=1), np.bool_)


def keep_boxes(box_xyxy: Float32, frame_index: Int64, *, min_area_px: float, max_cover: float) -> Bool:
    """Which boxes (N,) of several frames survive the least area and, frame by frame, the overlap rule."""
    keep = area(box_xyxy) >= min_area_px
    for frame in np.unique(frame_index):
        rows = np.flatnonzero((frame_index == frame) & keep)
        keep[rows] = ~covered_by_larger(box_xyxy[rows], max_cover)
    return np.asarray(keep, np.bool_)


def pixel_bounds(box: Float32, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """Whole-pixel bounds x0, y0, x1, y1 (half-open) of one box (4,), at least one pixel, inside the picture."""
    height, width = size_hw
    x0 = min(max(int(np.floor(box[0])), 0), width - 1)
    y0 = min(max(int(np.floor(box[1])), 0), height - 1)
    x1 = min(max(int(np.ceil(box[2])), x0 + 1), width)
    y1 = min(max(int(np.ceil(box[3])), y0 + 1), height)
    return x0, y0, x1, y1


def crop(image: UInt8, box: Float32) -> UInt8:
    """The pixels of one box (4,) of an image (H, W, 3): a view, never empty."""
    x0, y0, x1, y1 = pixel_bounds(box, (image.shape[0], image.shape[1]))
    return image[y0:y1, x0:x1]
