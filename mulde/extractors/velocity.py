"""Velocity of objects from optical flow (docs/method.md, Features; Reiss & Hoshen, arXiv 2212.00789)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from mulde.extractors.base import Fingerprint
from mulde.extractors.boxes import pixel_bounds
from mulde.extractors.directions import (
    DIRECTION_SHARE,
    bin_angles,
    describe_direction,
    direction,
    direction_groups,
    heading,
)
from mulde.extractors.flow import DisFlow, SharedMotion
from mulde.extractors.spec import ExtractorSpec, Requirement, Shared
from mulde.extractors.wording import FASTNESS, NOTEWORTHY, STILL, Comparison, Wording, percent, times
from mulde.records import FeatureTable, Float32, Int64, Regions, Window
from mulde.section import Section

_MIN_SCALE = 0.05
"""Of the ground at a box's foot: nearer to the horizon, or above it, speeds are multiplied by no more than 20."""
_NUM_TYPICAL = 9
_HARDLY = 0.1
_QUARTER = 0.25  # of the motion: what goes within 45 degrees of a direction if all directions are alike


class VelocitySettings(Section):
    step: int = Field(1, ge=1, le=100, description="frames over which motion is measured")
    bins: int = Field(8, ge=1, le=64, description="number of directions; 1 = speed alone")
    normalise: Literal["none", "height", "perspective"] = Field(
        "none",
        description="speed in pixels per frame, in box heights per frame, or in pixels as seen at the lower border",
    )
    horizon: float = Field(
        0.0, ge=-100, lt=1, description="for perspective: where the ground vanishes, as a share of the frame's height"
    )


def speed_and_direction(flow: Float32, bins: int) -> tuple[Float32, Int64]:
    """Speed sqrt(u^2 + v^2) of each pixel and the bin of its direction, both (H W,), row by row.

    Directions are angles (0 = right, counted towards down); bin b holds those nearest to 2 pi b / bins. Bins are
    centred on the main directions, so that noise around a steady walk to the right does not flip between the first
    and the last bin.
    """
    u, v = flow[..., 0].ravel(), flow[..., 1].ravel()
    if bins == 1:
        return np.hypot(u, v), np.zeros(u.shape, np.int64)
    sector = np.rint(np.arctan2(v, u) * np.float32(bins / (2 * np.pi)))  # -bins / 2 to bins / 2
    return np.hypot(u, v), np.where(sector < 0, sector + bins, sector).astype(np.int64)


def orientation_histogram(flow: Float32, bins: int) -> Float32:
    """Mean over all pixels of the speed sqrt(u^2 + v^2), split by direction into (bins,).

    flow (H, W, 2): x and y displacement of each pixel of a box. A bin's value is the summed speed of its pixels over
    *all* pixels of the box, so the bins add up to the mean speed. The Euclidean norm, not |u| + |v|: that one is 41 %
    higher for the same speed along a diagonal.
    """
    speed, direction = speed_and_direction(flow, bins)
    if bins == 1:
        return np.array([speed.mean()], np.float32)
    return (np.bincount(direction, weights=speed, minlength=bins) / speed.size).astype(np.float32)


def ground_scale(box_xyxy: Float32, height_px: int, horizon: float) -> Float32:
    """How large the ground at the foot of each box (N, 4) looks against the frame's lower border, (N,).

    On flat ground it grows linearly from 0 at the horizon, `horizon` frame heights below the upper border, to 1 at
    the lower border. Never below 0.05.
    """
    above = horizon * height_px
    scale: Float32 = np.maximum((box_xyxy[:, 3] - above) / (height_px - above), _MIN_SCALE, dtype=np.float32)
    return scale


class Velocity:
    """`bins` numbers per box: motion by direction, seen over `step` frames, by `orientation_histogram`.

    Motion is measured on the pixels of frame t, where the box was found, as the way they have come since frame
    t - step; the first `step` frames, which have no past, use the way they go until t + step. `normalise`: `none`
    gives pixels per frame; `height` box heights per frame; `perspective` pixels per frame divided by the
    `ground_scale` at the box's foot.
    """

    name = "velocity"
    object_centric = True

    def __init__(
        self,
        *,
        motion: SharedMotion | None = None,
        step: int = 1,
        bins: int = 8,
        normalise: str = "none",
        horizon: float = 0.0,
    ) -> None:
        self.motion, self.step, self.bins = motion or SharedMotion(DisFlow()), step, bins
        self.normalise, self.horizon = normalise, horizon
        self.before = self.after = step
        self.after_with_past = 0  # the frames behind are for the first frames alone
        self.motion.add(self)

    def fingerprint(self) -> Fingerprint:
        normalised: Fingerprint = {} if self.normalise == "none" else {"normalise": self.normalise}
        if self.normalise == "perspective":
            normalised["horizon"] = self.horizon
        flow = self.motion.flow.fingerprint()
        return {"extractor": self.name, "version": 2, "step": self.step, "bins": self.bins, **normalised, **flow}

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        values = np.zeros((len(regions), self.bins), np.float32)
        rows = [row for row in range(window.first, window.last) if len(_boxes_of(window, regions, row))]
        for row, histograms in zip(rows, self.motion.ask(self, window, regions, rows), strict=True):
            boxes = _boxes_of(window, regions, row)
            values[boxes.start : boxes.stop] = histograms
        return FeatureTable(values / self._unit(window, regions), regions.frame_index, regions.box_xyxy)

    def read(self, motion: Float32, window: Window, regions: Regions, row: int) -> Float32:
        """Histograms (n, bins), in pixels per frame, of the n boxes of one frame."""
        boxes = _boxes_of(window, regions, row)
        histograms = np.zeros((len(boxes), self.bins), np.float32)
        for i, box in enumerate(regions.box_xyxy[boxes.start : boxes.stop]):
            x0, y0, x1, y1 = pixel_bounds(box, window.frames.size_hw)
            histograms[i] = orientation_histogram(motion[y0:y1, x0:x1], self.bins)
        return histograms

    def _unit(self, window: Window, regions: Regions) -> Float32:
        """What the speeds of each box are divided by, (N, 1)."""
        box_xyxy = regions.box_xyxy
        unit = np.ones(len(regions), np.float32)
        if self.normalise == "height":
            unit = np.maximum(box_xyxy[:, 3] - box_xyxy[:, 1], 1, dtype=np.float32)
        elif self.normalise == "perspective":
            unit = ground_scale(box_xyxy, window.frames.size_hw[0], self.horizon)
        return unit[:, None]


def _boxes_of(window: Window, regions: Regions, row: int) -> range:
    """Where the boxes of frame `row` of the window stand among the regions."""
    frame = window.frames.frame_index[row]
    low, high = np.searchsorted(regions.frame_index, [frame, frame + 1])
    return range(int(low), int(high))


def _build(settings: VelocitySettings, shared: Shared) -> Velocity:
    return Velocity(motion=shared.motion, **settings.model_dump())


def _groups(dim: int, settings: VelocitySettings) -> tuple[str, ...]:
    del settings
    return direction_groups(dim)


def _describe(comparison: Comparison, settings: VelocitySettings) -> Wording:
    """The direction of the motion where that is the most unusual, else its speed against the usual one."""
    del settings
    has_directions = len(comparison.row) > 1
    angle = heading(comparison.row) if has_directions else comparison.angle
    rare = _rare_direction(comparison, angle) if has_directions else None
    if rare is not None and _direction_matters_more(comparison):
        partly = "partly " if angle is None else ""
        return describe_direction(*rare, partly), {DIRECTION_SHARE: rare[1]}
    going = f", heading {direction(angle)}" if angle is not None else ""
    ratio, where = _times_as_fast(comparison)
    if 1 / NOTEWORTHY < ratio < NOTEWORTHY:
        return f"moves in an unusual way{going}", {}
    if ratio < _HARDLY:
        return "hardly moves, where things usually move", {FASTNESS: ratio}
    fast = f"moves {times(ratio)} as fast as usual" if ratio > 1 else f"moves at {percent(ratio)} of the usual speed"
    return f"{fast}{where}{going}", {FASTNESS: ratio}


def _times_as_fast(comparison: Comparison) -> tuple[float, str]:
    """The speed against the usual one here, or everywhere if that is what is unusual."""
    speed = float(comparison.row.sum())
    ratios = [
        speed / max(float(np.median(rows.sum(axis=1))), STILL) for rows in (comparison.usual, comparison.everywhere)
    ]
    is_usual_here = 1 / NOTEWORTHY < ratios[0] < NOTEWORTHY
    return (ratios[1], "") if is_usual_here else (ratios[0], comparison.place)


def _direction_matters_more(comparison: Comparison) -> bool:
    """Whether the row would be less unusual at its speed in a usual direction than in its direction at a usual speed.

    The model itself is asked, about rows made up from the normal ones (n, bins) that are nearest to the median speed.
    """
    speeds, speed = comparison.usual.sum(axis=1), float(comparison.row.sum())
    usual_speed = float(np.median(speeds))
    if speed <= STILL or usual_speed <= STILL:
        return False
    typical = comparison.usual[np.argsort(np.abs(speeds - usual_speed), kind="stable")[:_NUM_TYPICAL]]
    turned = typical * (speed / np.maximum(typical.sum(axis=1, keepdims=True), STILL))
    paced = comparison.row[None] * (usual_speed / speed)
    scores = comparison.score_rows(np.concatenate([paced, turned]).astype(np.float32))
    return bool(np.median(scores[1:]) < scores[0])


def _rare_direction(comparison: Comparison, angle: float | None) -> tuple[float, float] | None:
    """The main direction of the row's motion, else that in which it has most more than usual, and the share of normal
    motion within 45 degrees of it; None where much normal motion or little of the row's goes that way."""
    row, usual = (rows.sum(axis=0, dtype=np.float64) for rows in (comparison.row[None], comparison.usual))  # (bins,)
    row, usual = row / max(row.sum(), STILL), usual / max(usual.sum(), STILL)
    angles = bin_angles(len(row))
    angle = float(angles[int(np.argmax(row - usual))]) if angle is None else angle
    near = np.cos(angles - angle) > np.cos(np.pi / 4) - 1e-9
    share = float(usual[near].sum())
    return (angle, share) if share < _QUARTER <= row[near].sum() else None


VELOCITY = ExtractorSpec(
    name="velocity",
    object_centric=True,
    settings=VelocitySettings,
    build=_build,
    column_groups=_groups,
    describe=_describe,
    uses_flow=True,
    requirements=(Requirement("horizon", 'normalise="perspective"', lambda v: v.normalise == "perspective"),),
)
