"""At which level of the score a box finds what: the arithmetic under the region figures. Higher = more anomalous.

A level of -inf says: at no level. All boxes are xyxy, half-open: a box of whole numbers holds the pixels x0..x1-1.
"""

from __future__ import annotations

import numpy as np

from mulde.records import Bool, Float32, Float64, Int64, RegionScores

# Both shares are compared in whole numbers (10 * part >= whole), so that exactly a tenth counts as a tenth.
_IOU_TENTHS = 1  # a box finds a true region from an IoU of 0.1 (Ramachandra & Jones, beta)
_TRACK_TENTHS = 1  # a track is found from 0.1 of its regions (alpha)
_PIXEL_TENTHS = 4  # a frame is found from 40 % of its anomalous pixels


def match_boxes(
    detected: RegionScores, true_xyxy: Float32, true_frame: Int64, true_size_hw: tuple[int, int]
) -> tuple[Float64, Float64]:
    """The level at which each true region is found, and the scores of the boxes that are on none.

    true_xyxy (R, 4) in pixels of frames of true_size_hw, true_frame (R,); returns (R,) and (F,), F <= len(detected).
    Source: Ramachandra & Jones, arXiv 1902.05872: found is a region that a detected region of its frame meets with
    IoU >= 0.1; a false positive is a detected region that meets no true region so. Two boxes on one region are no
    fault.
    """
    first = np.searchsorted(detected.frame_index, true_frame, side="left")
    count = np.searchsorted(detected.frame_index, true_frame, side="right") - first
    # Every true region beside every detected box of its frame: pairs (P,).
    pair_true = np.repeat(np.arange(len(true_frame)), count)
    pair_box = np.arange(len(pair_true)) + np.repeat(first - (np.cumsum(count) - count), count)

    box_xyxy = in_pixels_of(detected, true_size_hw)
    meets = _overlap_enough(box_xyxy[pair_box], true_xyxy[pair_true].astype(np.float64))
    pair_true, pair_box = pair_true[meets], pair_box[meets]

    found_at = np.full(len(true_frame), -np.inf)
    np.maximum.at(found_at, pair_true, detected.anomaly_score[pair_box])
    on_none = np.ones(len(detected), np.bool_)
    on_none[pair_box] = False
    return found_at, detected.anomaly_score[on_none]


def in_pixels_of(detected: RegionScores, size_hw: tuple[int, int]) -> Float64:
    """The boxes (N, 4) stretched from frames of detected.size_hw to frames of size_hw."""
    down, across = size_hw[0] / detected.size_hw[0], size_hw[1] / detected.size_hw[1]
    stretched: Float64 = detected.box_xyxy.astype(np.float64) * np.array([across, down, across, down])
    return stretched


def _overlap_enough(a_xyxy: Float64, b_xyxy: Float64) -> Bool:
    sides = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    both = np.prod(np.maximum(sides, 0.0), axis=1)
    either = np.prod(a_xyxy[:, 2:] - a_xyxy[:, :2], axis=1) + np.prod(b_xyxy[:, 2:] - b_xyxy[:, :2], axis=1) - both
    enough: Bool = 10 * both >= _IOU_TENTHS * either
    return enough


def match_tracks(found_at: Float64, track_id: Int64) -> Float64:
    """The level at which each track is found: that of the region which completes a tenth of the track's regions.

    found_at (R,), track_id (R,); returns (K,), one per different track_id.
    """
    _, track, size = np.unique(track_id, return_inverse=True, return_counts=True)
    order = np.lexsort((-found_at, track))  # by track, then highest first
    needed = -(-_TRACK_TENTHS * size // 10)  # rounded up, so at least 1
    completing: Float64 = found_at[order][np.cumsum(size) - size + needed - 1]
    return completing


def highest_per_frame(detected: RegionScores, num_frames: int) -> Float64:
    """The highest score among the boxes of each frame, (T,); -inf in a frame without boxes."""
    highest = np.full(num_frames, -np.inf)
    np.maximum.at(highest, detected.frame_index, detected.anomaly_score)
    return highest


def cover_mask(mask: Bool, box_xyxy: Float64, score: Float64) -> float:
    """The level at which boxes cover 40 % of a mask's pixels: flagged so far is every box with at least that score.

    mask (H, W) with at least one pixel set; box_xyxy (N, 4) in pixels of the mask; score (N,). A pixel is flagged when
    its centre lies in a box.
    """
    height, width = mask.shape
    bounds = np.ceil(box_xyxy - 0.5).clip(0, [width, height, width, height]).astype(np.int64)
    missing, num_true, num_covered = mask.copy(), int(np.count_nonzero(mask)), 0
    for i in np.argsort(-score, kind="stable"):
        x0, y0, x1, y1 = bounds[i]
        newly = missing[y0:y1, x0:x1]
        num_covered += int(np.count_nonzero(newly))
        newly[:] = False
        if 10 * num_covered >= _PIXEL_TENTHS * num_true:
            return float(score[i])
    return -np.inf
