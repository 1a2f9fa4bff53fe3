"""The curves behind the pictures of an evaluation, thinned to what a screen can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mulde.evaluation import null
from mulde.evaluation.metrics import Counts
from mulde.evaluation.protocol import Evaluation
from mulde.evaluation.regions import RegionCurves
from mulde.evaluation.smoothing import Smoothing
from mulde.records import Float64, Int64, LabelTrack

MAX_POINTS = 1000


@dataclass(frozen=True)
class Line:
    """One curve in the unit square: x (N,), y (N,) in 0..1. never_looks: of a score that never looks at the video."""

    name: str
    x: Float64
    y: Float64
    never_looks: bool = False


@dataclass(frozen=True)
class TradeOff:
    """One picture of a cost against a benefit. `key` names its file; steps: y holds until the next x. chance: the y of
    an uninformed score, at x = 0 and x = 1; None where there is no such line."""

    key: str
    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    chance: tuple[float, float] | None = None
    steps: bool = False


def thin_track(values: Float64, columns: int) -> Int64:
    """Positions to draw of values (T,): the lowest and the highest of each of `columns` stretches, and both ends."""
    if len(values) <= 2 * columns:
        return np.arange(len(values))
    width = -(-len(values) // columns)
    stretches = np.pad(values, (0, -len(values) % width), mode="edge").reshape(-1, width)
    first = np.arange(len(stretches)) * width
    ends = [0, len(values) - 1]
    # argmin and argmax give the first of equals, so never one of the values that fill up the last stretch
    return np.unique(np.concatenate([first + stretches.argmin(axis=1), first + stretches.argmax(axis=1), ends]))


def thin_path(x: Float64, y: Float64, max_points: int = MAX_POINTS) -> tuple[Float64, Float64]:
    """At most `max_points` of the points x, y (N,), evenly along the path, both ends kept.

    A dropped point is at most the length of the path / (max_points - 1) from the kept one before it, in |dx| + |dy|.
    """
    if len(x) <= max_points:
        return x, y
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    keep = np.unique(np.searchsorted(length, np.linspace(0.0, length[-1], max_points)))
    return x[keep], y[keep]


def frame_trade_offs(
    evaluation: Evaluation,
    scores: Mapping[str, Float64],
    labels: Mapping[str, LabelTrack],
    smoothing: Mapping[str, Smoothing],
) -> list[TradeOff]:
    """ROC and precision against recall of the fused scores (T,) by video, each smoothing a line, beside null scores.

    The null scores are smoothed as the last row of the evaluation is. Empty where the labels hold one class only.
    """
    videos = sorted(scores)  # the order of `evaluate_tracks`, so that the random score is its first draw
    anomalous = np.concatenate([labels[video].anomalous for video in videos])
    if anomalous.all() or not anomalous.any():
        return []
    rng = np.random.default_rng(evaluation.seed)
    nulls = {"random": [null.random(len(scores[video]), rng) for video in videos]}
    for name in ("ramp", "triangle"):
        nulls[name] = [null.FIXED_NULLS[name](len(scores[video])) for video in videos]

    pooled: list[tuple[str, Float64, bool]] = []
    for row in evaluation.rows:
        smoothed = [smoothing[video](scores[video], row.smoothing) for video in videos]
        pooled.append((row.smoothing, np.concatenate(smoothed), False))
    for name, raw in nulls.items():
        last = evaluation.rows[-1].smoothing
        smoothed = [smoothing[video](values, last) for video, values in zip(videos, raw, strict=True)]
        pooled.append((f"null: {name}", np.concatenate(smoothed), True))

    chance = float(anomalous.mean())
    counted = [(name, Counts.of(values, anomalous), is_null) for name, values, is_null in pooled]
    roc = tuple(Line(name, *_roc(counts), is_null) for name, counts, is_null in counted)
    precision = tuple(Line(name, *_precision(counts), is_null) for name, counts, is_null in counted)
    return [
        TradeOff(
            "roc",
            "ROC of frames",
            "false positive rate: normal frames flagged",
            "true positive rate: anomalous frames flagged",
            roc,
            (0.0, 1.0),
        ),
        TradeOff(
            "pr",
            "Precision against recall of frames",
            "recall: anomalous frames flagged",
            "precision: flagged frames that are anomalous",
            precision,
            (chance, chance),
            steps=True,
        ),
    ]


def _roc(counts: Counts) -> tuple[Float64, Float64]:
    false, true = (np.concatenate([[0.0], n / n[-1]]) for n in (counts.normal, counts.anomalous))
    return thin_path(false, true)


def _precision(counts: Counts) -> tuple[Float64, Float64]:
    """From recall 1 down to 0; each precision holds until the next lower recall, as average precision has it."""
    recall, precision = counts.anomalous / counts.anomalous[-1], counts.anomalous / (counts.anomalous + counts.normal)
    return thin_path(np.append(recall[::-1], 0.0), np.append(precision[::-1], precision[0]))


def region_trade_offs(curves: RegionCurves) -> list[TradeOff]:
    """Pixel-level ROC, RBDC and TBDC, as far as they are defined."""
    false_regions = "false-positive regions per frame"
    trade_offs = [
        TradeOff(
            "pixel-roc",
            "Pixel-level ROC",
            "false positive rate: normal frames with a flagged pixel",
            "anomalous frames, 40 % of their pixels flagged",
            (Line("pixel level", *thin_path(curves.pixel_fpr, curves.pixel_tpr)),),
            (0.0, 1.0),
        ),
        TradeOff(
            "rbdc",
            "Region-based detection (RBDC)",
            false_regions,
            "true regions found",
            (Line("RBDC", *thin_path(curves.false_regions_per_frame, curves.rbdc)),),
        ),
        TradeOff(
            "tbdc",
            "Track-based detection (TBDC)",
            false_regions,
            "true tracks found",
            (Line("TBDC", *thin_path(curves.false_regions_per_frame, curves.tbdc)),),
        ),
    ]
    return [trade_off for trade_off in trade_offs if trade_off.lines[0].x.size]


def columns_per_video(num_videos: int) -> int:
    """How many stretches a curve is thinned to, so that a page with that many videos stays below some 8 MB."""
    return int(np.clip(200_000 // max(num_videos, 1), 50, 600))


def truth_frames(frame_index: Int64, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of positions among the scored frames as half-open ranges of frame indices; frames may be missing."""
    return [(int(frame_index[first]), int(frame_index[last - 1]) + 1) for first, last in spans]
