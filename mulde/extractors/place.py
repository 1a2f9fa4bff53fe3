"""Where objects stand, together with the size that they have there: wrong places, and wrong sizes for a place."""

from __future__ import annotations

import numpy as np

from mulde.extractors.base import Fingerprint
from mulde.extractors.geometry import describe_sides, log_sides
from mulde.extractors.spec import ExtractorSpec, NoSettings, Shared
from mulde.extractors.wording import Comparison, Wording
from mulde.records import FeatureTable, Regions, Window

AWAY = "own_heights_away"
_FEW = 5


class Place:
    """4 numbers per box: x and y of its foot, the middle of its lower side, from the upper left corner in frame
    heights; then log2 of its width and of its height, as shares of the frame's height."""

    name = "place"
    object_centric = True
    before = after = 0

    def fingerprint(self) -> Fingerprint:
        return {"extractor": self.name, "version": 1}

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        height_px = window.frames.size_hw[0]
        x0, _, x1, y1 = regions.box_xyxy.T
        foot = np.stack([(x0 + x1) / 2, y1], axis=1) / height_px  # (N, 2)
        values = np.concatenate([foot, log_sides(regions, height_px)], axis=1).astype(np.float32)
        return FeatureTable(values, regions.frame_index, regions.box_xyxy)


def _build(settings: NoSettings, shared: Shared) -> Place:
    del settings, shared
    return Place()


def _groups(dim: int, settings: NoSettings) -> tuple[str, ...]:
    del dim, settings
    return ("place", "place", "width", "height")


def _describe(comparison: Comparison, settings: NoSettings) -> Wording:
    """The place where that is unusual by itself, else the size against the usual one there."""
    del settings
    if not _place_matters_more(comparison):
        return describe_sides(comparison.row[2:], comparison.usual[:, 2:], comparison.place)
    away = np.sort(np.hypot(*(comparison.everywhere[:, :2] - comparison.row[:2]).T))[:_FEW]
    heights = float(away[-1] / np.exp2(comparison.row[3]))
    how_far = f", {heights:.1f} times its own height from where things stand" if heights >= 0.1 else ""
    return f"stands where hardly anything stands{how_far}", {AWAY: heights}


def _place_matters_more(comparison: Comparison) -> bool:
    """Whether the row would keep more than half of its score with the usual size at its place. The model is asked."""
    resized = comparison.row.copy()
    resized[2:] = np.median(comparison.usual[:, 2:], axis=0)
    scores = comparison.score_rows(np.concatenate([comparison.row[None], resized[None], comparison.usual]))
    usual = np.median(scores[2:])
    return bool(scores[1] - usual > (scores[0] - usual) / 2)


PLACE = ExtractorSpec(
    name="place",
    object_centric=True,
    build=_build,
    column_groups=_groups,
    describe=_describe,
    needs_pixels=False,
)
