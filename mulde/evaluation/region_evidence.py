"""Boxes of each video matched with its true regions, tracks and masks: what the region figures are counted from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mulde.errors import LabelError
from mulde.evaluation.matching import cover_mask, highest_per_frame, in_pixels_of, match_boxes, match_tracks
from mulde.evaluation.truth_regions import regions_from_masks
from mulde.records import Bool, Float64, Int64, RegionScores, TruthRegions

TruthSource = Literal["tracks", "masks", "none"]


@dataclass(frozen=True)
class RegionEvidence:
    """What the boxes of one video add to the curves.

    region_scores (R,), track_scores (K,): the level at which each true region and track is found, -inf for never;
    false_scores (F,): the scores of the boxes on no true region; num_region_frames: the frames in which true regions
    are known. pixel_scores (P,): for each frame with a mask the level at which it is found or raises a false alarm,
    -inf for never; pixel_anomalous (P,): whether the mask has a pixel.
    """

    video: str
    regions_from: TruthSource
    num_region_frames: int
    region_scores: Float64
    track_scores: Float64
    false_scores: Float64
    pixel_scores: Float64
    pixel_anomalous: Bool


def gather_evidence(
    regions: Mapping[str, RegionScores],
    num_frames: Mapping[str, int],
    truth: Mapping[str, TruthRegions],
    masks: Callable[[str], Iterator[Bool] | None],
    truth_size_hw: Mapping[str, tuple[int, int]] | None = None,
) -> tuple[RegionEvidence, ...]:
    """Boxes against truth, one RegionEvidence per video of num_frames in sorted order.

    regions: video -> scored boxes, for every video (none is an ordinary value); truth: video -> annotated tracks, for
    those that have them: a video without anomaly has an empty TruthRegions, a video that is missing is left out of RBDC
    and TBDC; masks: video -> (H, W) bool per frame or None, read once and held one at a time. Where `truth` is empty,
    regions and tracks are made from the masks. truth_size_hw: the size of the frames that the boxes in `truth` were
    drawn on, where it is not RegionScores.size_hw (frames that were shrunk before extraction).
    Raises LabelError when boxes, truth or masks do not fit num_frames, or a video has no entry in regions.
    """
    sizes = truth_size_hw or {}
    return tuple(
        _evidence(
            _boxes_of(video, regions, num_frames[video]),
            num_frames[video],
            truth.get(video),
            masks(video),
            sizes.get(video),
            link_masks=not truth,
        )
        for video in sorted(num_frames)
    )


def _boxes_of(video: str, regions: Mapping[str, RegionScores], num_frames: int) -> RegionScores:
    if video not in regions:
        raise LabelError(
            f"scored boxes of {video}", expected=f"boxes of {num_frames} frames, or none in them", got="no entry"
        )
    _check_frames(f"scored boxes of {video}", regions[video].frame_index, num_frames)
    return regions[video]


def _check_frames(what: str, frame_index: Int64, num_frames: int) -> None:
    if len(frame_index) and frame_index[-1] >= num_frames:
        raise LabelError(
            what,
            expected=f"frames 0 to {num_frames - 1}, as the video has",
            got=f"frame {frame_index[-1]}",
            hint="check that boxes and labels count frames from 0",
        )


def _evidence(
    detected: RegionScores,
    num_frames: int,
    truth: TruthRegions | None,
    masks: Iterator[Bool] | None,
    truth_size_hw: tuple[int, int] | None,
    *,
    link_masks: bool,
) -> RegionEvidence:
    regions_from: TruthSource = "none" if truth is None else "tracks"
    size_hw = truth_size_hw or detected.size_hw
    pixels = None if masks is None else _MaskReader(detected, num_frames, masks)
    if pixels is not None and link_masks:
        truth, regions_from = regions_from_masks(detected.video, pixels), "masks"
        size_hw = pixels.size_hw
    elif pixels is not None:
        for _ in pixels:  # reading is what fills its scores
            pass
    found_at, false_scores, track_scores = np.zeros(0), np.zeros(0), np.zeros(0)
    if truth is not None:
        _check_frames(f"true regions of {detected.video}", truth.frame_index, num_frames)
        found_at, false_scores = match_boxes(detected, truth.box_xyxy, truth.frame_index, size_hw)
        track_scores = match_tracks(found_at, truth.track_id)
    return RegionEvidence(
        video=detected.video,
        regions_from=regions_from,
        num_region_frames=0 if truth is None else num_frames,
        region_scores=found_at,
        track_scores=track_scores,
        false_scores=false_scores,
        pixel_scores=np.zeros(0) if pixels is None else pixels.scores,
        pixel_anomalous=np.zeros(0, np.bool_) if pixels is None else pixels.anomalous,
    )


class _MaskReader:
    """Hands masks on, one at a time, and keeps of each frame the level at which it is found or raises a false alarm."""

    def __init__(self, detected: RegionScores, num_frames: int, masks: Iterator[Bool]) -> None:
        self.detected, self.num_frames, self.masks = detected, num_frames, masks
        self.scores = highest_per_frame(detected, num_frames)
        self.anomalous = np.zeros(num_frames, np.bool_)
        self.size_hw = detected.size_hw

    def __iter__(self) -> Iterator[Bool]:
        rows = np.searchsorted(self.detected.frame_index, np.arange(self.num_frames + 1))
        box_xyxy, num_masks = np.zeros((0, 4)), 0
        for frame, mask in enumerate(self.masks):
            if frame == 0:
                self.size_hw = (mask.shape[0], mask.shape[1])
                box_xyxy = in_pixels_of(self.detected, self.size_hw)
            self._check(mask, frame)
            if mask.any():
                here = slice(rows[frame], rows[frame + 1])
                self.anomalous[frame] = True
                self.scores[frame] = cover_mask(mask, box_xyxy[here], self.detected.anomaly_score[here])
            num_masks = frame + 1
            yield mask
        if num_masks < self.num_frames:
            raise LabelError(
                f"masks of {self.detected.video}", expected=f"one for each of {self.num_frames} frames", got=num_masks
            )

    def _check(self, mask: Bool, frame: int) -> None:
        if frame >= self.num_frames or mask.shape != self.size_hw:
            raise LabelError(
                f"masks of {self.detected.video}",
                expected=f"one of {self.size_hw} (height, width) for each of {self.num_frames} frames",
                got=f"one of {mask.shape} for frame {frame}",
            )
