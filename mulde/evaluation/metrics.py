"""Frame-level figures over scored videos. Higher scores mean more anomalous; a figure that is undefined is None.

scikit-learn has all of them and is what the tests compare with. Here one sort serves AUC, AP and EER together, because
an evaluation ranks the frames nine times for each smoothing and scikit-learn sorts and checks again for each figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mulde.errors import LabelError, RecordError
from mulde.records import Bool, Float64, Int64


@dataclass(frozen=True)
class Figures:
    """Frame-level figures in 0..1; None where undefined.

    micro_auc, average_precision (chance: the share of anomalous frames), equal_error_rate: over all frames together;
    macro_auc: mean over the num_macro_videos videos that hold both classes; macro_padded_auc: see `padded_auc`.
    """

    micro_auc: float | None
    macro_auc: float | None
    num_macro_videos: int
    macro_padded_auc: float | None
    average_precision: float | None
    average_precision_chance: float | None
    equal_error_rate: float | None


@dataclass(frozen=True)
class LabelledScores:
    """Anomaly scores and labels of one video: scores (T,) finite float64, anomalous (T,) bool.

    Raises LabelError when the lengths disagree, RecordError when a score is not finite.
    """

    video: str
    scores: Float64
    anomalous: Bool

    def __post_init__(self) -> None:
        if self.scores.shape != self.anomalous.shape or self.scores.ndim != 1:
            raise LabelError(
                f"labels of {self.video} do not fit its scores",
                expected=f"one label for each of {self.scores.size} scored frames",
                got=f"{self.anomalous.size} labels",
                hint="label exactly the frames that the video decodes to",
            )
        bad = np.flatnonzero(~np.isfinite(self.scores))
        if bad.size:
            raise RecordError(
                f"scores of {self.video}", expected="finite numbers", got=f"{self.scores[bad[0]]} at frame {bad[0]}"
            )


def pool(videos: Sequence[LabelledScores]) -> tuple[Float64, Bool]:
    """All frames of all videos, one after another: scores (N,), anomalous (N,)."""
    scores = [np.zeros(0), *(v.scores for v in videos)]
    anomalous = [np.zeros(0, np.bool_), *(v.anomalous for v in videos)]
    return np.concatenate(scores), np.concatenate(anomalous)


@dataclass(frozen=True)
class Counts:
    """How many frames are at or above each distinct score, highest first: the ROC and PR curves before division.

    scores (K,) falling strictly; normal (K,) and anomalous (K,) int64, rising to the frames of each class.
    """

    scores: Float64
    normal: Int64
    anomalous: Int64

    @classmethod
    def of(cls, scores: Float64, anomalous: Bool) -> Counts:
        """From scores (N,) and anomalous (N,) in any order."""
        order = np.argsort(-scores)
        ordered, hits = scores[order], np.cumsum(anomalous[order], dtype=np.int64)
        last = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], scores.size > 0))  # of each group of equal scores
        return cls(ordered[last], last + 1 - hits[last], hits[last])

    @property
    def defined(self) -> bool:
        """Whether there are frames of both classes."""
        return bool(self.scores.size and self.normal[-1] and self.anomalous[-1])

    def roc_auc(self) -> float | None:
        """Chance that an anomalous frame scores above a normal one, ties counting half."""
        if not self.defined:
            return None
        false, true = np.concatenate([[0], self.normal]), np.concatenate([[0], self.anomalous])
        twice_wins = int(np.sum(np.diff(false) * (true[1:] + true[:-1])))  # whole numbers: nothing is rounded
        return twice_wins / (2 * int(false[-1]) * int(true[-1]))

    def average_precision(self) -> float | None:
        """Precision at each threshold times the recall gained there, summed."""
        if not self.defined:
            return None
        gained = np.diff(self.anomalous, prepend=0) / self.anomalous[-1]
        return float(np.sum(gained * self.anomalous / (self.anomalous + self.normal)))

    def equal_error_rate(self) -> float | None:
        """Error rate where false positives and misses are equally frequent, interpolated on the ROC."""
        if not self.defined:
            return None
        false = np.concatenate([[0.0], self.normal / self.normal[-1]])
        missed = 1.0 - np.concatenate([[0.0], self.anomalous / self.anomalous[-1]])
        return float(np.interp(0.0, false - missed, false))  # the surplus rises strictly from -1 to 1


def roc_auc(scores: Float64, anomalous: Bool) -> float | None:
    """Chance that an anomalous frame scores above a normal one, ties counting half; None with one class only.

    scores (N,), anomalous (N,).
    """
    return Counts.of(scores, anomalous).roc_auc()


def padded_auc(auc: float | None, num_normal: int, num_anomalous: int) -> float | None:
    """The AUC of a video after a normal frame below all others and an anomalous one above all others are added.

    auc: without them. Publications average this over videos (so does the public code of Reiss & Hoshen,
    arXiv 2212.00789, with the scores 0 and the largest float), because it is defined for videos of one class: it is 1
    there, whatever the scores. None without any frame.
    """
    if not num_normal + num_anomalous:
        return None
    wins = (auc or 0.0) * num_normal * num_anomalous + num_normal + num_anomalous + 1
    return wins / ((num_normal + 1) * (num_anomalous + 1))


def frame_figures(videos: Sequence[LabelledScores]) -> Figures:
    """Every figure of the videos; pooled frames and each video are sorted once."""
    scores, anomalous = pool(videos)
    pooled = Counts.of(scores, anomalous)
    per_video = [(roc_auc(v.scores, v.anomalous), int((~v.anomalous).sum()), int(v.anomalous.sum())) for v in videos]
    defined = [auc for auc, _, _ in per_video if auc is not None]
    padded = [value for scored in per_video if (value := padded_auc(*scored)) is not None]
    return Figures(
        micro_auc=pooled.roc_auc(),
        macro_auc=_mean(defined),
        num_macro_videos=len(defined),
        macro_padded_auc=_mean(padded) if defined else None,
        average_precision=pooled.average_precision(),
        average_precision_chance=float(anomalous.mean()) if anomalous.size else None,
        equal_error_rate=pooled.equal_error_rate(),
    )


def mean_figures(draws: Sequence[Figures]) -> Figures:
    """The mean of each figure over scores of the same frames; counts, and what is undefined, depend on labels alone."""

    def mean(name: str) -> float | None:
        values = [getattr(draw, name) for draw in draws]
        return None if values[0] is None else float(np.mean(values))

    return Figures(
        micro_auc=mean("micro_auc"),
        macro_auc=mean("macro_auc"),
        num_macro_videos=draws[0].num_macro_videos,
        macro_padded_auc=mean("macro_padded_auc"),
        average_precision=mean("average_precision"),
        average_precision_chance=draws[0].average_precision_chance,
        equal_error_rate=mean("equal_error_rate"),
    )


def mean_and_std(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation of what is defined; None without a value, and without a second one."""
    defined = [value for value in values if value is not None]
    std = float(np.std(defined, ddof=1)) if len(defined) > 1 else None
    return _mean(defined), std


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
