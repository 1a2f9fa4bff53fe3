"""The size of boxes: an object that is larger, wider or taller than what usually passes."""

from __future__ import annotations

import numpy as np

from mulde.extractors.base import Fingerprint
from mulde.records import FeatureTable, Regions, Window


class Geometry:
    """2 numbers per box: log2 of its width and of its height, as shares of the frame's height."""

    name = "geometry"
    object_centric = True
    before = after = 0

    def fingerprint(self) -> Fingerprint:
        return {"extractor": self.name, "version": 1}

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        sides = regions.box_xyxy[:, 2:] - regions.box_xyxy[:, :2]  # (N, 2)
        values = np.log2(sides / window.frames.size_hw[0]).astype(np.float32)
        return FeatureTable(values, regions.frame_index, regions.box_xyxy)
