"""Velocity of objects from optical flow (METHOD.md section 2; Reiss & Hoshen, arXiv 2212.00789)."""

from __future__ import annotations

import numpy as np

from mulde.extractors.base import Fingerprint
from mulde.extractors.boxes import pixel_bounds
from mulde.extractors.flow import DisFlow
from mulde.records import FeatureTable, Float32, Regions, Window


def orientation_histogram(flow: Float32, bins: int) -> Float32:
    """Mean over all pixels of the speed sqrt(u^2 + v^2), split by direction into (bins,).

    flow (H, W, 2): x and y displacement of each pixel of a box. Bin b holds the pixels whose angle (0 = right,
    counted towards down) is nearest to 2 pi b / bins; its value is their summed magnitude over *all* pixels of the
    box, so the bins add up to the mean speed. The Euclidean norm, not |u| + |v|: that one is 41 % higher for the same
    speed along a diagonal. Bins are centred on the main directions, so that noise around a
    steady walk to the right does not flip between the first and the last bin.
    """
    u, v = flow[..., 0].ravel(), flow[..., 1].ravel()
    magnitude = np.hypot(u, v)
    if bins == 1:
        return np.array([magnitude.mean()], np.float32)
    sector = np.rint(np.arctan2(v, u) * (bins / (2 * np.pi))).astype(np.int64) % bins
    return (np.bincount(sector, weights=magnitude, minlength=bins) / magnitude.size).astype(np.float32)


class Velocity:
    """`bins` numbers per box: motion in pixels per frame by direction, seen over `step` frames.

    Motion is measured on the pixels of frame t, where the box was found, as the way they have come since frame
    t - step; the first `step` frames, which have no past, use the way they go until t + step.
    """

    name = "velocity"
    object_centric = True

    def __init__(self, *, flow: DisFlow | None = None, step: int = 1, bins: int = 8) -> None:
        self.flow, self.step, self.bins = flow or DisFlow(), step, bins
        self.before = self.after = step

    def fingerprint(self) -> Fingerprint:
        return {"extractor": self.name, "version": 2, "step": self.step, "bins": self.bins, **self.flow.fingerprint()}

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        values = np.zeros((len(regions), self.bins), np.float32)
        for row in range(window.first, window.last):
            boxes = np.flatnonzero(regions.frame_index == window.frames.frame_index[row])
            if boxes.size:
                motion = self._motion(window, row)  # (H, W, 2)
                for i in boxes:
                    x0, y0, x1, y1 = pixel_bounds(regions.box_xyxy[i], window.frames.size_hw)
                    values[i] = orientation_histogram(motion[y0:y1, x0:x1], self.bins)
        return FeatureTable(values, regions.frame_index, regions.box_xyxy)

    def _motion(self, window: Window, row: int) -> Float32:
        """Motion (H, W, 2) at the pixels of frame `row`, in pixels per frame; zero where the video is too short."""
        images = window.frames.images
        if row - self.step >= 0:
            return -self.flow(images[row], images[row - self.step]) / np.float32(self.step)
        if row + self.step < len(images):
            return self.flow(images[row], images[row + self.step]) / np.float32(self.step)
        return np.zeros((*window.frames.size_hw, 2), np.float32)
