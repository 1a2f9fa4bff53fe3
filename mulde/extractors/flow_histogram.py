"""Histogram of a whole frame's motion, cell by cell of a grid: no boxes needed."""

from __future__ import annotations

import numpy as np

from mulde.extractors.base import Fingerprint
from mulde.extractors.flow import DisFlow, SharedMotion
from mulde.extractors.velocity import speed_and_direction
from mulde.records import FeatureTable, Float32, Regions, Window


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
