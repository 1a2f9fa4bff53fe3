"""The evaluation protocol: the same figures for a result and for scores that never look at the video.

It reports and chooses nothing: labels are opened here, so a choice by these figures is a choice on test labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mulde.errors import LabelError, UsageError
from mulde.evaluation import null
from mulde.evaluation.alarms import (
    ORACLE_RATES_PER_HOUR,
    EventRules,
    FalseAlarmCurve,
    OperatingPoint,
    operating_point,
    with_null_recall,
)
from mulde.evaluation.bootstrap import auc_intervals, draw_videos
from mulde.evaluation.compat import CompatFigures, compat_figures, without_skipped
from mulde.evaluation.metrics import Figures as Figures  # part of what this module offers
from mulde.evaluation.metrics import LabelledScores, frame_figures, mean_figures
from mulde.evaluation.pixels import PixelFigures
from mulde.evaluation.regions import RegionFigures, RegionPool
from mulde.evaluation.smoothing import SMOOTHING_MODES, Smoothing, SmoothingMode
from mulde.records import Bool, Float64, Int64, LabelTrack

if TYPE_CHECKING:
    import pandas as pd

NUM_RANDOM_DRAWS = 5  # one smoothed draw is off by several points on a small set; the mean of a few is not
NUM_RESAMPLES = 1000
T = TypeVar("T")
TableCell = str | float | int | None


@dataclass(frozen=True)
class FiguresRow:
    """The figures of a result and of each null score, all after the same smoothing.

    intervals: 95 % bootstrap interval over videos of the result's micro_auc and macro_auc, where there is one; alarms:
    event figures of the result, level by level, where frame rates are known.
    """

    smoothing: SmoothingMode
    result: Figures
    nulls: Mapping[str, Figures]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    alarms: tuple[OperatingPoint, ...] = ()

    def remarks(self) -> Iterator[str]:
        """A sentence for each figure in which the result is not above its best null score, or perhaps not."""
        for kind in ("micro", "macro"):
            value = getattr(self.result, f"{kind}_auc")
            if value is None:
                continue
            best_name = max(self.nulls, key=lambda name: getattr(self.nulls[name], f"{kind}_auc"))
            best = getattr(self.nulls[best_name], f"{kind}_auc")
            low, high = self.intervals.get(f"{kind}_auc", (value, value))
            if value <= best:
                yield (
                    f"{self.smoothing}: {kind} AUC {value:.3f} is not above the {best_name} score ({best:.3f}), "
                    "which never looks at the video."
                )
            elif low <= best:
                yield (
                    f"{self.smoothing}: {kind} AUC {value:.3f} may not be above the {best_name} score ({best:.3f}), "
                    f"which never looks at the video: its 95 % interval over videos is {low:.3f} to {high:.3f}."
                )
        for point in self.alarms:
            if "oracle" in point.name:
                continue  # nobody can choose that level, so nobody has to be warned of it
            best_name, best = max(point.null_recall.items(), key=lambda item: item[1], default=("", -1.0))
            if point.recall is not None and point.recall <= best:
                yield (
                    f"{self.smoothing}: at {point.name}, the share of events found ({100 * point.recall:.0f} %) is not "
                    f"above that of the {best_name} score ({100 * best:.0f} %, with no more false alarms and normal "
                    "frames flagged), which never looks at the video."
                )


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of `evaluate_tracks`. sigma_frames is the smoothing of each video, in frames; method: what tables call
    the scores; without_skipped: the figures without the frames that the method gave no score; pixels: of each map
    of a pixel model, by its name."""

    num_videos: int
    num_frames: int
    num_anomalous_frames: int
    seed: int
    sigma_frames: Mapping[str, float]
    rows: tuple[FiguresRow, ...]
    num_resamples: int = 0
    event_rules: EventRules = field(default_factory=EventRules)
    regions: RegionFigures | None = None
    compat: CompatFigures | None = None
    without_skipped: CompatFigures | None = None
    pixels: Mapping[str, PixelFigures] = field(default_factory=dict)
    method: str = "mulde"

    @property
    def variants(self) -> list[CompatFigures]:
        """The figures that are not comparable, as far as there are any."""
        return [figures for figures in (self.without_skipped, self.compat) if figures is not None]

    @property
    def micro_auc(self) -> float | None:
        """AUC over the frames of all videos together, of scores smoothed both ways; None where it is undefined."""
        return self._centred.result.micro_auc

    @property
    def macro_auc(self) -> float | None:
        """Mean AUC of the videos that hold normal and anomalous frames, of scores smoothed both ways."""
        return self._centred.result.macro_auc

    @property
    def _centred(self) -> FiguresRow:
        return next(row for row in self.rows if row.smoothing == "centred")

    def remarks(self) -> list[str]:
        """Plain sentences for the reader: every figure that is not above its best null score."""
        return [sentence for row in self.rows for sentence in row.remarks()]

    def to_dict(self) -> dict[str, object]:
        """Everything as plain dicts, lists, numbers and None, ready for JSON."""
        plain: dict[str, object] = _plain({**asdict(self), "remarks": self.remarks()})
        return plain

    def as_table(self) -> list[dict[str, TableCell]]:
        """One line per smoothing and score (`result` first, then the nulls), with the same columns in each."""
        return [
            {"smoothing": row.smoothing, "score": name, **asdict(figures)}
            for row in self.rows
            for name, figures in {"result": row.result, **row.nulls}.items()
        ]

    def to_frame(self) -> pd.DataFrame:
        """The lines of `as_table` as a table, indexed by smoothing and score: the result, and the nulls beside it."""
        import pandas as pd

        return pd.DataFrame(self.as_table()).set_index(["smoothing", "score"])

    def __repr__(self) -> str:
        auc = ", ".join(
            f"{kind}_auc={'undefined' if value is None else f'{value:.4f}'}"
            for kind, value in (("micro", self.micro_auc), ("macro", self.macro_auc))
        )
        return f"Evaluation({auc}, {self.num_videos} videos, {self.num_frames} frames)"

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html(float_format="{:.4f}".format, na_rep="undefined"))


def evaluate_tracks(
    scores: Mapping[str, Float64],
    labels: Mapping[str, LabelTrack],
    smoothing: float | Mapping[str, float | Smoothing],
    seed: int = 0,
    *,
    rates: float | Mapping[str, float] | None = None,
    levels: Mapping[SmoothingMode, Mapping[str, float]] | None = None,
    events: EventRules | None = None,
    regions: RegionPool | None = None,
    bootstrap: int = NUM_RESAMPLES,
    compat: str | None = None,
    skipped: tuple[int, int] = (0, 0),
    pixels: Mapping[str, PixelFigures] | None = None,
    method: str = "mulde",
) -> Evaluation:
    """Figures of the fused, unsmoothed scores: raw, and after causal and centred smoothing inside each video.

    scores: video -> (T,) float64, one per frame; labels: the same videos, T labels each; smoothing: sigma in frames, or
    more than that, of all videos or of each; seed: of the random null score and the bootstrap; rates: frames per
    second, without which there are no event figures; levels: smoothing -> name -> alarm level of the scores so
    smoothed, beside those read off the test labels; bootstrap: number of resamples; compat: name of a variant in
    `compat.VARIANTS`; skipped: frames at the start and at the end of each video whose scores stand for missing ones;
    pixels: figures of maps; method: a name.
    Raises LabelError when videos or lengths disagree, UsageError for a sigma or rate that is missing or bad, for levels
    without rates and for an unknown variant.
    """
    _check_same_videos(scores, labels)
    videos = sorted(scores)  # so that the order of the mapping changes nothing, the random draws included
    truth = {video: labels[video].anomalous for video in videos}
    smoothings = _smoothings(videos, smoothing)
    sigma = {video: each.sigma_frames for video, each in smoothings.items()}
    rate = None if rates is None else _rates(videos, rates)
    if levels and rate is None:
        raise UsageError("alarm levels without frame rates", expected="frames per second of each video", got="none")
    rules = EventRules() if events is None else events
    nulls = _null_scores({video: len(truth[video]) for video in videos}, seed)
    compared = _Compared(
        scores, nulls, truth, smoothings, rate, rules, levels or {}, draw_videos(len(videos), bootstrap, seed)
    )
    return Evaluation(
        num_videos=len(videos),
        num_frames=sum(len(anomalous) for anomalous in truth.values()),
        num_anomalous_frames=sum(int(anomalous.sum()) for anomalous in truth.values()),
        seed=seed,
        sigma_frames=sigma,
        rows=tuple(compared.row(mode) for mode in SMOOTHING_MODES),
        num_resamples=bootstrap,
        event_rules=rules,
        regions=None if regions is None else regions.figures(),
        compat=None if compat is None else compat_figures(compat, scores, nulls, truth, sigma),
        without_skipped=without_skipped(skipped, scores, nulls, truth, sigma) if any(skipped) else None,
        pixels=pixels or {},
        method=method,
    )


@dataclass(frozen=True)
class _Compared:
    """The checked arguments of `evaluate_tracks`, for the figures after one smoothing at a time; videos in the order of
    `truth`."""

    scores: Mapping[str, Float64]
    nulls: Mapping[str, Sequence[Mapping[str, Float64]]]
    truth: Mapping[str, Bool]
    smoothing: Mapping[str, Smoothing]
    rates: Mapping[str, float] | None
    rules: EventRules
    levels: Mapping[SmoothingMode, Mapping[str, float]]
    resamples: Int64

    def row(self, mode: SmoothingMode) -> FiguresRow:
        """The figures after one kind of smoothing."""
        result = self._smoothed(self.scores, mode)
        alarms: tuple[OperatingPoint, ...] = ()
        if self.rates is not None:
            first_draws = {name: self._smoothed(draws[0], mode) for name, draws in self.nulls.items()}
            alarms = _alarms(result, first_draws, self.rates, self.rules, self.levels.get(mode, {}))
        return FiguresRow(
            smoothing=mode,
            result=frame_figures(result),
            nulls={
                name: mean_figures([frame_figures(self._smoothed(draw, mode)) for draw in draws])
                for name, draws in self.nulls.items()
            },
            intervals=auc_intervals(result, self.resamples),
            alarms=alarms,
        )

    def _smoothed(self, scores: Mapping[str, Float64], mode: SmoothingMode) -> list[LabelledScores]:
        return [
            LabelledScores(video, self.smoothing[video](scores[video], mode), anomalous)
            for video, anomalous in self.truth.items()
        ]


def _null_scores(num_frames: Mapping[str, int], seed: int) -> dict[str, list[dict[str, Float64]]]:
    """Name -> its draws, each with scores for every video; `random` alone has more than one."""
    rng = np.random.default_rng(seed)
    random = [{video: null.random(n, rng) for video, n in num_frames.items()} for _ in range(NUM_RANDOM_DRAWS)]
    fixed = {name: [{video: make(n) for video, n in num_frames.items()}] for name, make in null.FIXED_NULLS.items()}
    return {"random": random, **fixed}


def _alarms(
    videos: Sequence[LabelledScores],
    nulls: Mapping[str, Sequence[LabelledScores]],
    rates: Mapping[str, float],
    rules: EventRules,
    levels: Mapping[str, float],
) -> tuple[OperatingPoint, ...]:
    """The event figures at the given levels and at those read off the test labels, the latter named so."""
    curve = FalseAlarmCurve.of(videos, rates, rules)
    oracle = {f"oracle {limit:g}/h": curve.lowest_level(limit) for limit in ORACLE_RATES_PER_HOUR}
    points = [
        operating_point(name, level, videos, rates, rules)
        for name, level in {**levels, **oracle}.items()
        if level is not None
    ]
    return with_null_recall(points, nulls, rates, rules)


def _check_same_videos(scores: Mapping[str, Float64], labels: Mapping[str, LabelTrack]) -> None:
    if not scores and not labels:
        raise LabelError("nothing to evaluate", expected="scores and labels of at least one video", got="none")
    for there, missing_in, which in ((labels, scores, "score"), (scores, labels, "label")):
        missing = sorted(set(there) - set(missing_in))
        if missing:
            raise LabelError(
                f"{len(missing)} of {len(there)} videos have no {which}s: {', '.join(missing[:5])}",
                hint="evaluate exactly the videos that have both",
            )


def _smoothings(videos: Sequence[str], smoothing: float | Mapping[str, float | Smoothing]) -> dict[str, Smoothing]:
    given: Mapping[str, float | Smoothing] = _per_video("smoothing sigma", videos, smoothing)
    return {v: each if isinstance(each, Smoothing) else Smoothing(float(each)) for v, each in given.items()}


def _per_video(what: str, videos: Sequence[str], values: T | Mapping[str, Any]) -> dict[str, T]:
    if not isinstance(values, Mapping):
        return dict.fromkeys(videos, values)
    missing = [video for video in videos if video not in values]
    if missing:
        raise UsageError(f"{what} per video", expected=f"one for each of {len(videos)}", got=f"none for {missing[0]}")
    return {video: values[video] for video in videos}


def _rates(videos: Sequence[str], rates: float | Mapping[str, float]) -> dict[str, float]:
    by_video = {video: float(rate) for video, rate in _per_video("frame rate", videos, rates).items()}
    for video, rate in by_video.items():
        if not (np.isfinite(rate) and rate > 0):
            raise UsageError(f"frame rate of {video}", expected="more than 0 frames per second", got=rate)
    return by_video


def _plain(value: Any) -> Any:
    """Tuples become lists, as in JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
