"""Frame-level figures over scored videos. Higher scores mean more anomalous; a figure that is undefined is None."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mulde.errors import LabelError, RecordError
from mulde.records import Bool, Float64


@dataclass(frozen=True)
class ScoredVideo:
    """One video's anomaly scores beside its labels: scores (T,) finite float64, anomalous (T,) bool.

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


def pool(videos: Sequence[ScoredVideo]) -> tuple[Float64, Bool]:
    """All frames of all videos, one after another: scores (N,), anomalous (N,)."""
    scores = [np.zeros(0), *(v.scores for v in videos)]
    anomalous = [np.zeros(0, np.bool_), *(v.anomalous for v in videos)]
    return np.concatenate(scores), np.concatenate(anomalous)


def roc_auc(scores: Float64, anomalous: Bool) -> float | None:
    """Chance that an anomalous frame scores above a normal one, ties counting half; None with one class only.

    scores (N,), anomalous (N,).
    """
    if not _has_both(anomalous):
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(anomalous, scores))


def micro_auc(videos: Sequence[ScoredVideo]) -> float | None:
    """ROC AUC over the frames of all videos together; None with one class only."""
    return roc_auc(*pool(videos))


def macro_auc(videos: Sequence[ScoredVideo]) -> tuple[float | None, int]:
    """Mean ROC AUC over the videos that hold both classes, and their number; (None, 0) when there are none."""
    per_video = [auc for v in videos if (auc := roc_auc(v.scores, v.anomalous)) is not None]
    return (float(np.mean(per_video)) if per_video else None), len(per_video)


def average_precision(videos: Sequence[ScoredVideo]) -> tuple[float | None, float | None]:
    """Average precision over all frames and its chance level, the share of anomalous frames.

    The first is None with one class only, the second without any frame.
    """
    scores, anomalous = pool(videos)
    chance = float(anomalous.mean()) if anomalous.size else None
    if not _has_both(anomalous):
        return None, chance
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(anomalous, scores)), chance


def equal_error_rate(videos: Sequence[ScoredVideo]) -> float | None:
    """Error rate where false positives and misses are equally frequent, interpolated on the micro ROC.

    None with one class only.
    """
    scores, anomalous = pool(videos)
    if not _has_both(anomalous):
        return None
    from sklearn.metrics import roc_curve

    false_positive_rate, true_positive_rate, _ = roc_curve(anomalous, scores)
    surplus = false_positive_rate - (1.0 - true_positive_rate)  # rises strictly from -1 to 1
    return float(np.interp(0.0, surplus, false_positive_rate))


def _has_both(anomalous: Bool) -> bool:
    return bool(anomalous.any() and not anomalous.all())
