"""The size of boxes: an object that is larger, wider or taller than what usually passes."""

from __future__ import annotations

import numpy as np

from mulde.extractors.base import Fingerprint
from mulde.extractors.spec import ExtractorSpec, NoSettings, Shared
from mulde.extractors.wording import NOTEWORTHY, Comparison, Wording, percent, times
from mulde.records import FeatureTable, Regions, Window

WIDENESS, TALLNESS = "times_as_wide", "times_as_tall"


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


def _build(settings: NoSettings, shared: Shared) -> Geometry:
    del settings, shared
    return Geometry()


def _groups(dim: int, settings: NoSettings) -> tuple[str, ...]:
    del dim, settings
    return ("width", "height")


def _describe(comparison: Comparison, settings: NoSettings) -> Wording:
    """The side that differs most from the usual one."""
    del settings
    ratios = np.exp2(comparison.row.astype(np.float64) - np.median(comparison.usual, axis=0))
    side = int(np.abs(np.log(ratios)).argmax())
    ratio = float(ratios[side])
    if 1 / NOTEWORTHY < ratio < NOTEWORTHY:
        return "unusual size or place", {}
    word, name = (("wide", WIDENESS), ("tall", TALLNESS))[side]
    often = times(ratio) if ratio > 1 else percent(ratio)
    return f"{often} as {word} as usual{comparison.place}", {name: ratio}


GEOMETRY = ExtractorSpec(
    name="geometry",
    object_centric=True,
    build=_build,
    column_groups=_groups,
    describe=_describe,
    needs_pixels=False,
)
