"""The size of boxes: an object that is larger, wider or taller than what usually passes."""

from __future__ import annotations

import numpy as np

from mulde.extractors.base import Fingerprint
from mulde.extractors.spec import ExtractorSpec, NoSettings, Shared
from mulde.extractors.wording import NOTEWORTHY, Comparison, Wording, percent, times
from mulde.records import FeatureTable, Float32, Regions, Window

WIDENESS, TALLNESS = "times_as_wide", "times_as_tall"


def log_sides(regions: Regions, height_px: int) -> Float32:
    """log2 of the width and of the height of each box (N, 2), as shares of the frame's height."""
    sides = regions.box_xyxy[:, 2:] - regions.box_xyxy[:, :2]
    return np.asarray(np.log2(sides / height_px), np.float32)


def describe_sides(row: Float32, usual: Float32, place: str) -> Wording:
    """The side (row (2,): log2 of width and height) that differs most from the usual ones (n, 2)."""
    ratios = np.exp2(row.astype(np.float64) - np.median(usual, axis=0))
    side = int(np.abs(np.log(ratios)).argmax())
    ratio = float(ratios[side])
    if 1 / NOTEWORTHY < ratio < NOTEWORTHY:
        return "unusual size or place", {}
    word, name = (("wide", WIDENESS), ("tall", TALLNESS))[side]
    often = times(ratio) if ratio > 1 else percent(ratio)
    return f"{often} as {word} as usual{place}", {name: ratio}


class Geometry:
    """2 numbers per box: log2 of its width and of its height, as shares of the frame's height."""

    name = "geometry"
    object_centric = True
    before = after = 0

    def fingerprint(self) -> Fingerprint:
        return {"extractor": self.name, "version": 1}

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        values = log_sides(regions, window.frames.size_hw[0])
        return FeatureTable(values, regions.frame_index, regions.box_xyxy)


def _build(settings: NoSettings, shared: Shared) -> Geometry:
    del settings, shared
    return Geometry()


def _groups(dim: int, settings: NoSettings) -> tuple[str, ...]:
    del dim, settings
    return ("width", "height")


def _describe(comparison: Comparison, settings: NoSettings) -> Wording:
    del settings
    return describe_sides(comparison.row, comparison.usual, comparison.place)


GEOMETRY = ExtractorSpec(
    name="geometry",
    object_centric=True,
    build=_build,
    column_groups=_groups,
    describe=_describe,
    needs_pixels=False,
)
