"""A density in PyOD's manner, without PyOD: scores, threshold and labels of the training rows; 1 for outliers."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone

from mulde.density.base import Density, UnfittedError
from mulde.density.limits import check_number
from mulde.density.rows import Float64


class PyodDetector(BaseEstimator):  # type: ignore[misc]
    """Wraps a density as `pyod.models.base.BaseDetector` behaves.

    density: any, as it is before `fit`; a copy is fitted. contamination: share of the training rows that is labelled 1;
    that of the density is not used. After `fit`: density_, decision_scores_ (N,) of the training rows, higher = more
    abnormal, threshold_, labels_ (N,): 1 where the score is above the threshold.
    """

    def __init__(self, density: Density, contamination: float = 0.1) -> None:
        self.density = density
        self.contamination = contamination

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn from rows X (N, D); y is not looked at. Raises FitError, UsageError as `Density.fit`."""
        check_number("contamination", self.contamination, 0.0, 0.5)
        self.__dict__.pop("density_", None)  # a fit that fails leaves nothing half fitted
        density = clone(self.density).fit(X)
        self.decision_scores_ = density._score_training(density._rows_to_score(X))
        self.threshold_ = float(np.percentile(self.decision_scores_, 100 * (1 - self.contamination)))
        self.labels_ = (self.decision_scores_ > self.threshold_).astype(np.int64)
        self.density_ = density
        return self

    def decision_function(self, X: ArrayLike) -> Float64:
        """Scores of rows X (N, D): (N,), higher = more abnormal (scikit-learn's points the other way)."""
        if not hasattr(self, "density_"):
            raise UnfittedError("PyodDetector", expected="a fitted one", got="one before fit", hint="fit(X) first")
        scores: Float64 = self.density_.anomaly_score(X)
        return scores

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """1 for outliers, 0 for the others (N,)."""
        return (self.decision_function(X) > self.threshold_).astype(np.int64)

    def predict_proba(self, X: ArrayLike) -> Float64:
        """PyOD's "linear" rule: (N, 2), of which the second goes from 0 at the lowest training score to 1 at the
        highest, and the first is the rest."""
        scores = self.decision_function(X)
        low, high = self.decision_scores_.min(), self.decision_scores_.max()
        outlier = np.clip((scores - low) / ((high - low) or 1.0), 0, 1)
        return np.stack([1 - outlier, outlier], axis=1)

    def fit_predict(self, X: ArrayLike, y: object = None) -> NDArray[np.int64]:
        """The labels (N,) of the rows X (N, D) that are learnt from."""
        labels: NDArray[np.int64] = self.fit(X).labels_
        return labels
