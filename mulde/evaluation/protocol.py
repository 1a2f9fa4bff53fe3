"""The evaluation protocol: the same figures for a result and for scores that never look at the video.

It reports and chooses nothing: labels are opened here, so whatever is picked by these figures is picked on test labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mulde.errors import LabelError, UsageError
from mulde.evaluation import metrics, null
from mulde.evaluation.metrics import ScoredVideo
from mulde.evaluation.smoothing import SMOOTHING_MODES, SmoothingMode, smooth
from mulde.records import Bool, Float64, LabelTrack

NUM_RANDOM_DRAWS = 5  # one smoothed draw strays by several points on a small set; the mean of a few does not
TableCell = str | float | int | None


@dataclass(frozen=True)
class Figures:
    """Frame-level figures in 0..1; None where undefined (see metrics)."""

    micro_auc: float | None
    macro_auc: float | None
    num_macro_videos: int
    average_precision: float | None
    average_precision_chance: float | None
    equal_error_rate: float | None


@dataclass(frozen=True)
class Row:
    """The figures of a result and of each null score, all after the same smoothing."""

    smoothing: SmoothingMode
    result: Figures
    nulls: Mapping[str, Figures]

    def remarks(self) -> Iterator[str]:
        """A sentence for each kind of AUC in which the result is not above its best null score."""
        for kind in ("micro", "macro"):
            value = getattr(self.result, f"{kind}_auc")
            if value is None:
                continue
            best_name = max(self.nulls, key=lambda name: getattr(self.nulls[name], f"{kind}_auc"))
            best = getattr(self.nulls[best_name], f"{kind}_auc")
            if value <= best:
                yield (
                    f"{self.smoothing}: {kind} AUC {value:.3f} is not above the {best_name} score ({best:.3f}), "
                    "which never looks at the video."
                )


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_tracks` found. sigma_frames is the smoothing of each video, in frames."""

    num_videos: int
    num_frames: int
    num_anomalous_frames: int
    seed: int
    sigma_frames: Mapping[str, float]
    rows: tuple[Row, ...]

    def remarks(self) -> list[str]:
        """Plain sentences for the reader: every figure that is not above its best null score."""
        return [sentence for row in self.rows for sentence in row.remarks()]

    def to_dict(self) -> dict[str, object]:
        """Everything as plain dicts, lists, numbers and None, ready for JSON."""
        return {**asdict(self), "rows": [asdict(row) for row in self.rows], "remarks": self.remarks()}

    def as_table(self) -> list[dict[str, TableCell]]:
        """One line per smoothing and score (`result` first, then the nulls), with the same columns in each."""
        return [
            {"smoothing": row.smoothing, "score": name, **asdict(figures)}
            for row in self.rows
            for name, figures in {"result": row.result, **row.nulls}.items()
        ]


def evaluate_tracks(
    scores: Mapping[str, Float64],
    labels: Mapping[str, LabelTrack],
    sigma_frames: float | Mapping[str, float],
    seed: int = 0,
) -> Evaluation:
    """Figures of the fused, unsmoothed scores: raw, and after causal and centred smoothing inside each video.

    scores: video -> (T,) float64, one per frame; labels: the same videos, T labels each; sigma_frames: one number of
    frames for all videos or one per video; seed: of the random null score.
    Raises LabelError when videos or lengths disagree, UsageError for a sigma that is missing or bad.
    """
    _check_same_videos(scores, labels)
    videos = sorted(scores)  # so that the order of the mapping changes nothing, the random draws included
    truth = {video: labels[video].anomalous for video in videos}
    sigma = _sigma_per_video(videos, sigma_frames)
    num_frames = {video: len(truth[video]) for video in videos}

    fixed = {name: {video: make(num_frames[video]) for video in videos} for name, make in null.FIXED_NULLS.items()}
    rng = np.random.default_rng(seed)
    draws = [{video: null.random(num_frames[video], rng) for video in videos} for _ in range(NUM_RANDOM_DRAWS)]

    def figures(raw: Mapping[str, Float64], mode: SmoothingMode) -> Figures:
        smoothed = {video: smooth(raw[video], sigma[video], mode) for video in videos}
        return _figures(_paired(smoothed, truth))

    rows = tuple(
        Row(
            smoothing=mode,
            result=figures(scores, mode),
            nulls={
                "random": _mean([figures(draw, mode) for draw in draws]),
                **{name: figures(raw, mode) for name, raw in fixed.items()},
            },
        )
        for mode in SMOOTHING_MODES
    )
    return Evaluation(
        num_videos=len(videos),
        num_frames=sum(num_frames.values()),
        num_anomalous_frames=sum(int(anomalous.sum()) for anomalous in truth.values()),
        seed=seed,
        sigma_frames=sigma,
        rows=rows,
    )


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


def _sigma_per_video(videos: Sequence[str], sigma_frames: float | Mapping[str, float]) -> dict[str, float]:
    if not isinstance(sigma_frames, Mapping):
        return dict.fromkeys(videos, float(sigma_frames))
    missing = [video for video in videos if video not in sigma_frames]
    if missing:
        raise UsageError(
            "smoothing sigma per video", expected=f"one for each of {len(videos)}", got=f"none for {missing[0]}"
        )
    return {video: float(sigma_frames[video]) for video in videos}


def _paired(scores: Mapping[str, Float64], truth: Mapping[str, Bool]) -> list[ScoredVideo]:
    return [ScoredVideo(video, scores[video], truth[video]) for video in truth]


def _figures(videos: Sequence[ScoredVideo]) -> Figures:
    macro, num_macro_videos = metrics.macro_auc(videos)
    precision, chance = metrics.average_precision(videos)
    return Figures(
        micro_auc=metrics.micro_auc(videos),
        macro_auc=macro,
        num_macro_videos=num_macro_videos,
        average_precision=precision,
        average_precision_chance=chance,
        equal_error_rate=metrics.equal_error_rate(videos),
    )


def _mean(draws: Sequence[Figures]) -> Figures:
    """The mean of each figure; whether one is defined, and the counts, depend on the labels and so never differ."""

    def mean(name: str) -> float | None:
        values = [getattr(draw, name) for draw in draws]
        return None if values[0] is None else float(np.mean(values))

    return Figures(
        micro_auc=mean("micro_auc"),
        macro_auc=mean("macro_auc"),
        num_macro_videos=draws[0].num_macro_videos,
        average_precision=mean("average_precision"),
        average_precision_chance=draws[0].average_precision_chance,
        equal_error_rate=mean("equal_error_rate"),
    )
