"""Region figures: is the anomaly found *where* it is? Higher scores mean more anomalous; undefined figures are None.

`gather_evidence` matches boxes with truth, video by video; `RegionPool` counts over the videos.

RBDC and TBDC (Ramachandra & Jones, arXiv 1902.05872): share of the true regions, or tracks, that are found, against the
false-positive regions per frame over all frames; area under the curve from 0 to 1 of those. Their detected regions are
cut from a score map again at each threshold; here boxes are fixed and a threshold keeps those with at least that score.

Pixel level (Mahadevan et al. 2010; Li et al. 2014): an anomalous frame counts as found once at least 40 % of its true
pixels lie in flagged boxes, a normal frame is a false positive once any box in it is flagged.

All curves: boxes with one score are flagged together; points are joined by straight lines. A curve that ends early goes
on level from its last point, so what no threshold reaches earns nothing; one that jumps across x = 1 is cut at its last
point with x <= 1 and goes on level too, as the public evaluation scripts do: a point beyond 1 earns nothing either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulde.evaluation.region_evidence import RegionEvidence, TruthSource, gather_evidence
from mulde.records import Float64, Int64

__all__ = [
    "MAX_CURVE_POINTS",
    "RegionCurves",
    "RegionEvidence",
    "RegionFigures",
    "RegionPool",
    "gather_evidence",
]

MAX_CURVE_POINTS = 2000


@dataclass(frozen=True)
class RegionFigures:
    """Figures in 0..1, None where undefined: no such truth, or for the pixel figures frames of one class only.

    regions_from: `masks` means that regions and tracks were made from pixel masks (see regions_from_masks).
    """

    regions_from: TruthSource
    rbdc: float | None
    tbdc: float | None
    num_true_regions: int
    num_true_tracks: int
    num_region_frames: int
    pixel_auc: float | None
    pixel_eer: float | None
    num_pixel_frames: int


@dataclass(frozen=True)
class RegionCurves:
    """The curves from x = 0 to 1, for plotting: (P,) and (Q,), at most MAX_CURVE_POINTS; empty where undefined."""

    pixel_fpr: Float64
    pixel_tpr: Float64
    false_regions_per_frame: Float64
    rbdc: Float64
    tbdc: Float64


class RegionPool:
    """The evidence of all videos, sorted once, then counted with each video taken any number of times (`copies`)."""

    def __init__(self, evidence: Sequence[RegionEvidence]) -> None:
        self._evidence = tuple(evidence)
        self._regions = _Curve(
            [e.false_scores for e in evidence], [e.region_scores for e in evidence], [e.track_scores for e in evidence]
        )
        self._pixels = _Curve(
            [e.pixel_scores[~e.pixel_anomalous] for e in evidence],
            [e.pixel_scores[e.pixel_anomalous] for e in evidence],
        )
        self._num_region_frames = np.array([e.num_region_frames for e in evidence], np.int64)

    def figures(self, copies: Int64 | None = None) -> RegionFigures:
        """The figures of all videos together; copies (V,), in the order of the evidence, resamples them (bootstrap)."""
        copies = np.ones(len(self._evidence), np.int64) if copies is None else copies
        num_regions, num_tracks = self._regions.num_to_find(copies)
        num_region_frames = int(copies @ self._num_region_frames)
        false_rate, rates = self._regions.points(copies, num_region_frames)
        (num_anomalous,) = self._pixels.num_to_find(copies)
        num_normal = self._pixels.num_false(copies)
        fpr, tpr = self._pixels.points(copies, num_normal)
        return RegionFigures(
            regions_from=self._regions_from(),
            rbdc=_area(false_rate, rates[0]),
            tbdc=_area(false_rate, rates[1]),
            num_true_regions=num_regions,
            num_true_tracks=num_tracks,
            num_region_frames=num_region_frames,
            pixel_auc=_area(fpr, tpr[0]),
            pixel_eer=_equal_error_rate(fpr, tpr[0]),
            num_pixel_frames=num_anomalous + num_normal,
        )

    def curves(self) -> RegionCurves:
        """The curves under the figures, thinned to MAX_CURVE_POINTS points each."""
        copies = np.ones(len(self._evidence), np.int64)
        x, found = _thinned(*self._regions.points(copies, int(copies @ self._num_region_frames)))
        fpr, tpr = _thinned(*self._pixels.points(copies, self._pixels.num_false(copies)))
        return RegionCurves(fpr, tpr[0], x, found[0], found[1])

    def _regions_from(self) -> TruthSource:
        sources = {e.regions_from for e in self._evidence}
        return "tracks" if "tracks" in sources else "masks" if "masks" in sources else "none"


class _Curve:
    """Share found against false positives, as the level falls.

    false: per video, the scores that raise a false positive; found: one list like it for each kind of thing to be
    found, its scores those at which a thing is found. Between two levels that find something only x grows, so the curve
    has corners at those levels alone.
    """

    def __init__(self, false: Sequence[Float64], *found: Sequence[Float64]) -> None:
        scores = np.concatenate([np.zeros(0), *(s for kind in found for s in kind)])
        levels = np.unique(scores[scores > -np.inf])[::-1]
        self._false = _Ladder(false, levels)
        self._found = [_Ladder(kind, levels) for kind in found]

    def num_false(self, copies: Int64) -> int:
        return int(copies @ self._false.sizes)

    def num_to_find(self, copies: Int64) -> list[int]:
        return [int(copies @ ladder.sizes) for ladder in self._found]

    def points(self, copies: Int64, width: int) -> tuple[Float64, Float64]:
        """x (P,): false positives / width, from 0 to 1; y (kinds, P): share found. P = 0 where they are undefined."""
        num_to_find = self.num_to_find(copies)
        if width == 0 or min(num_to_find) == 0:
            return np.zeros(0), np.zeros((len(num_to_find), 0))
        above, reached = self._false.counts(copies)
        x = np.concatenate([[0.0], np.stack([above, reached], axis=1).ravel() / width])
        y = np.zeros((len(num_to_find), len(x)))
        for row, ladder, total in zip(y, self._found, num_to_find, strict=True):
            row[2::2] = ladder.counts(copies)[1] / total
            row[3::2] = row[2:-1:2]  # just above a level, as many are found as at the level before
        within = np.count_nonzero(x <= 1.0)  # x rises: cut behind its last point up to 1, then go on level
        return np.append(x[:within], 1.0), np.concatenate([y[:, :within], y[:, within - 1 : within]], axis=1)


class _Ladder:
    """How many scores of all videos lie above, and at or above, each of some falling levels."""

    def __init__(self, scores: Sequence[Float64], levels: Float64) -> None:
        self.sizes = np.array([len(s) for s in scores], np.int64)
        pooled = np.concatenate([np.zeros(0), *scores])
        video = np.repeat(np.arange(len(scores), dtype=np.int32), self.sizes)
        counted = pooled >= (levels[-1] if len(levels) else np.inf)
        pooled, video = pooled[counted], video[counted]
        order = np.argsort(-pooled)
        falling, self._video = -pooled[order], video[order]
        self._above = np.searchsorted(falling, -levels, side="left")
        self._reached = np.searchsorted(falling, -levels, side="right")

    def counts(self, copies: Int64) -> tuple[Int64, Int64]:
        running = np.concatenate([[0], np.cumsum(copies[self._video])])
        return running[self._above], running[self._reached]


def _area(x: Float64, y: Float64) -> float | None:
    return float(np.trapezoid(y, x)) if len(x) else None


def _equal_error_rate(fpr: Float64, tpr: Float64) -> float | None:
    """Where 1 - TPR = FPR, on the straight lines between the points."""
    return float(np.interp(0.0, fpr - (1.0 - tpr), fpr)) if len(fpr) else None


def _thinned(x: Float64, y: Float64) -> tuple[Float64, Float64]:
    """At most MAX_CURVE_POINTS of the points x (P,), y (kinds, P), evenly spread along the curve, both ends kept."""
    if len(x) <= MAX_CURVE_POINTS:
        return x, y
    way = x + y.sum(axis=0)  # all of them rise
    keep = np.unique(np.searchsorted(way, np.linspace(way[0], way[-1], MAX_CURVE_POINTS - 1)))
    keep = np.unique(np.append(keep, len(x) - 1))
    return x[keep], y[:, keep]
