"""Several region finders as one: boxes of the first, what the next ones add, the overlap rule over all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mulde.extractors.base import Fingerprint, RegionFinder
from mulde.extractors.boxes import keep_boxes
from mulde.records import Regions, Window


class UnitedRegions:
    """The union of finders in the order given; each finder gets the boxes of the earlier ones."""

    def __init__(self, finders: Sequence[RegionFinder], *, min_area_px: float = 100, max_cover: float = 0.6) -> None:
        self.finders, self.min_area_px, self.max_cover = tuple(finders), min_area_px, max_cover
        self.before = max((finder.before for finder in self.finders), default=0)

    def fingerprint(self) -> Fingerprint:
        return {
            "finders": [finder.fingerprint() for finder in self.finders],
            "min_area_px": self.min_area_px,
            "max_cover": self.max_cover,
        }

    def find(self, window: Window) -> Regions:
        """Boxes in the core frames of the window, sorted by frame, none mostly covered by a larger one."""
        known = Regions.empty()
        for finder in self.finders:
            united = unite(known, finder.find(window, known))
            keep = keep_boxes(
                united.box_xyxy, united.frame_index, min_area_px=self.min_area_px, max_cover=self.max_cover
            )
            known = united.select(keep)
        return known


def unite(first: Regions, second: Regions) -> Regions:
    """All regions of both, sorted by frame; within a frame, those of `first` come first."""
    frame_index = np.concatenate([first.frame_index, second.frame_index])
    order = np.argsort(frame_index, kind="stable")
    return Regions(
        np.concatenate([first.box_xyxy, second.box_xyxy])[order],
        frame_index[order],
        np.concatenate([first.confidence, second.confidence])[order],
        np.concatenate([first.class_id, second.class_id])[order],
    )
