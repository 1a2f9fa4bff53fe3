"""Histogram of a whole frame's motion, cell by cell of a grid: no boxes needed."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from mulde.extractors.base import Fingerprint
from mulde.extractors.directions import direction, direction_groups, heading
from mulde.extractors.flow import DisFlow, SharedMotion
from mulde.extractors.spec import ExtractorSpec, Shared
from mulde.extractors.velocity import speed_and_direction
from mulde.extractors.wording import NOTEWORTHY, STILL, Comparison, Wording, percent, times
from mulde.records import FeatureTable, Float32, Regions, Window
from mulde.section import Section


class FlowHistogramSettings(Section):
    step: int = Field(1, ge=1, le=100, description="frames over which motion is measured")
    bins: int = Field(8, ge=1, le=64, description="number of directions; 1 = speed alone")
    grid: int = Field(1, ge=1, le=32, description="the frame is cut into grid x grid cells, each with its histogram")


def grid_histogram(flow: Float32, grid: int, bins: int) -> Float32:
    """`orientation_histogram` of each of grid x grid cells of a flow (H, W, 2): (grid grid bins,), cells as one reads.

    Pixel (y, x) is in cell (y grid // H, x grid // W). Cells of a frame smaller than the grid may be empty: zeros.
    """
    height, width = flow.shape[:2]
    speed, direction = speed_and_direction(flow, bins)
    cell_y, cell_x = np.arange(height) * grid // height, np.arange(width) * grid // width
    cell = (cell_y[:, None] * grid + cell_x[None, :]).ravel()  # (H W,)
    total = np.bincount(cell * bins + direction, weights=speed, minlength=grid * grid * bins)
    pixels = np.outer(np.bincount(cell_y, minlength=grid), np.bincount(cell_x, minlength=grid)).repeat(bins)
    return (total / np.maximum(pixels, 1)).astype(np.float32)


class FlowHistogram:
    """`grid` x `grid` x `bins` numbers per frame: motion in pixels per frame by place and direction.

    The motion is that of `Velocity`: the way that the pixels of frame t have come since frame t - step.
    """

    name = "flow_histogram"
    object_centric = False

    def __init__(self, *, motion: SharedMotion | None = None, step: int = 1, bins: int = 8, grid: int = 1) -> None:
        self.motion, self.step, self.bins, self.grid = motion or SharedMotion(DisFlow()), step, bins, grid
        self.before = self.after = step
        self.after_with_past = 0  # the frames behind are for the first frames alone
        self.motion.add(self)

    def fingerprint(self) -> Fingerprint:
        flow = self.motion.flow.fingerprint()
        return {"extractor": self.name, "version": 1, "step": self.step, "bins": self.bins, "grid": self.grid, **flow}

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        values = np.zeros((window.last - window.first, self.grid**2 * self.bins), np.float32)
        rows = range(window.first, window.last)
        for i, histogram in enumerate(self.motion.ask(self, window, regions, rows)):
            values[i] = histogram
        return FeatureTable(values, window.core_index)

    def read(self, motion: Float32, window: Window, regions: Regions, row: int) -> Float32:
        """Histogram (grid grid bins,) of one frame."""
        del window, regions, row
        return grid_histogram(motion, self.grid, self.bins)


def _build(settings: FlowHistogramSettings, shared: Shared) -> FlowHistogram:
    return FlowHistogram(motion=shared.motion, **settings.model_dump())


def _groups(dim: int, settings: FlowHistogramSettings) -> tuple[str, ...]:
    bins, grid = settings.bins, settings.grid
    if grid == 1:
        return direction_groups(bins)
    return tuple(_part_of_picture(y, x, grid) for y in range(grid) for x in range(grid) for _ in range(bins))


def _part_of_picture(y: int, x: int, grid: int) -> str:
    vertical = ("upper", "middle", "lower")[3 * (2 * y + 1) // (2 * grid)]
    horizontal = ("left", "centre", "right")[3 * (2 * x + 1) // (2 * grid)]
    return f"{vertical} {horizontal}"


def _describe(comparison: Comparison, settings: FlowHistogramSettings) -> Wording:
    """How much the whole picture moves, where to, and in which part."""
    row, bins = comparison.row, settings.bins
    amount, usual = float(row.sum()), float(np.median(comparison.usual.sum(axis=1)))
    ratio = amount / max(usual, STILL)
    angle = heading(row.reshape(-1, bins).sum(axis=0))
    going = f", most of it heading {direction(angle)}" if angle is not None else ""
    place = comparison.groups[0][0] if bins < len(row) and comparison.groups else ""
    where = f", above all at the {place}" if place else ""
    if 1 / NOTEWORTHY < ratio < NOTEWORTHY:
        return f"the whole picture is unusual: its motion{going}{where}", {}
    often = f"{times(ratio)} as much motion as usual" if ratio > 1 else f"{percent(ratio)} of the usual motion"
    return f"the whole picture is unusual: {often}{going}{where}", {"times_as_much_motion": ratio}


FLOW_HISTOGRAM = ExtractorSpec(
    name="flow_histogram",
    object_centric=False,
    settings=FlowHistogramSettings,
    build=_build,
    column_groups=_groups,
    describe=_describe,
    uses_flow=True,
)
