"""What every density is: built from settings, fitted on rows, asked for scores, stored as arrays and JSON."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import validate_data

from mulde.density.attribution import central_differences
from mulde.density.limits import Limits, check_numbers
from mulde.density.rows import Float64, Meta, Progress, Rows, Tensors, check_rows
from mulde.density.standardise import Standardiser
from mulde.density.state import read_meta, under_prefix, with_prefix, write_meta
from mulde.errors import BundleError, FitError, RecordError, UsageError


class Density(OutlierMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """Learns which rows are normal, in scikit-learn's manner: the constructor stores, learnt names end in `_`.

    kind: its name in the registry. LIMITS: least and largest value of its numbers; whole numbers where both limits are.
    OPTIONAL: likewise, of those that may also be None. PRESETS: named sets of its settings. REMOVED: names that it once
    took, each with the reason why no more.
    After `fit`: n_features_in_, standardiser_, offset_.
    """

    kind: ClassVar[str]
    LIMITS: ClassVar[Limits]
    OPTIONAL: ClassVar[Limits] = {}
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    REMOVED: ClassVar[Mapping[str, str]] = {}
    contamination: float
    device: str
    n_features_in_: int
    standardiser_: Standardiser
    offset_: float | None

    @abstractmethod
    def __init__(self, *, contamination: float = 0.01, seed: int = 0, device: str = "cpu") -> None:
        """Store the settings as they are; `check_settings` and `fit` look at them."""

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        heldout: ArrayLike | None = None,
        progress: Progress | None = None,
        checkpoint: Path | None = None,
    ) -> Self:
        """Learn from rows X (N, D), N >= 1; y is not looked at.

        heldout (M, D): normal rows that are not in X, of other videos where there are videos; where they are of use
        they decide when to stop, and they set `offset_`, the score below which `predict` calls a row an outlier: a
        share `contamination` of them (without them, of X) lies there. checkpoint: a file from which a long training
        that was stopped goes on, and which it keeps up to date. Raises FitError for rows that cannot be learnt from or
        a training that diverges, UsageError for bad settings.
        """
        self.__dict__.pop("offset_", None)  # a fit that fails leaves nothing half fitted
        self.check_settings()
        rows = check_rows(X, "training rows", FitError)
        if 0 in rows.shape:
            raise FitError(
                "training rows",
                expected="at least one row and one column",
                got=f"shape {rows.shape}: {rows.shape[0]} sample(s), {rows.shape[1]} feature(s) (shape={rows.shape}) "
                "while a minimum of 1 is required.",
            )
        heldout_rows = None if heldout is None else check_rows(heldout, "held-out rows", FitError, rows.shape[1])
        heldout_rows = heldout_rows if heldout_rows is not None and len(heldout_rows) else None
        validate_data(self, X, reset=True, skip_check_array=True)  # learns n_features_in_, feature_names_in_
        self.standardiser_ = Standardiser.fit(rows)
        self._learn(rows, heldout_rows, progress, checkpoint)
        reference_scores = self._score_training(rows) if heldout_rows is None else self._score(heldout_rows)
        self.offset_ = -float(np.quantile(reference_scores, 1 - self.contamination))
        return self

    def anomaly_score(self, X: ArrayLike) -> Float64:
        """One score per row of X (N, D): (N,) float64, finite; higher = more anomalous.

        A row's score does not depend on the rows beside it. Raises RecordError for another number of columns than in
        training and for numbers that are not finite.
        """
        return self._score(self._rows_to_score(X))

    def score_samples(self, X: ArrayLike) -> Float64:
        """Minus the anomaly score (N,), as scikit-learn has it: lower = more anomalous."""
        return -self.anomaly_score(X)

    def decision_function(self, X: ArrayLike) -> Float64:
        """score_samples - offset_ (N,), as scikit-learn has it: below 0 for outliers.

        Raises UsageError for a density that was stored before offsets were (its `offset_` is None).
        """
        scores = self.score_samples(X)
        if self.offset_ is None:
            raise UsageError(
                type(self).__name__,
                expected="an offset_, learnt by fit",
                got="none, as in every state of version 1",
                hint="fit it again, or compare anomaly_score with a threshold of your own",
            )
        return scores - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """-1 for outliers, 1 for the others (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def gradient(self, X: ArrayLike) -> Float64:
        """How fast each row of X (N, D) gets more anomalous along each column: (N, D), per standard deviation of the
        column in training; here by central differences of the anomaly score. Raises as `anomaly_score` does."""
        return central_differences(self._score, self._rows_to_score(X), self.standardiser_)

    @property
    def noise_levels(self) -> Float64:
        """The levels (L,) at which rows are read, in standard deviations of the columns; none here: shape (0,)."""
        self._require_fit()
        return np.zeros(0)

    def level_excess(self, X: ArrayLike) -> Float64:
        """How many standard deviations of the training rows each row of X (N, D) reads above them at each of
        `noise_levels`: (N, L). Raises as `anomaly_score` does."""
        return np.zeros((len(self._rows_to_score(X)), 0))

    def state(self) -> tuple[Tensors, Meta]:
        """All that scoring needs: named arrays, and a dict that JSON can hold."""
        self._require_fit()
        tensors = with_prefix("standardise.", self.standardiser_.tensors()) | self._tensors()
        return tensors, write_meta(self.kind, self.settings(), {"offset": self.offset_, **self._learnt()})

    @classmethod
    def from_state(cls, tensors: Tensors, meta: Meta, device: str = "cpu") -> Self:
        """The fitted density of which `state` was taken: the same scores on the same device.

        Raises BundleError when an entry is missing or has another type, shape or value than expected, UsageError when
        this machine has no such device.
        """
        settings, learnt = read_meta(meta, cls.kind)
        if set(settings) != set(cls.setting_names()):
            raise BundleError(
                f"stored density {cls.kind}", expected=f"settings {sorted(cls.setting_names())}", got=sorted(settings)
            )
        try:
            self = cls(**settings, device=device)
            self.check_settings()
        except UsageError as error:
            raise BundleError(f"stored density {cls.kind}, {error}") from error
        self.standardiser_ = Standardiser.from_tensors(under_prefix("standardise.", tensors))
        self.n_features_in_ = len(self.standardiser_.mean)
        if not self.n_features_in_:
            raise BundleError(f"stored density {cls.kind}", expected="at least one column", got="none")
        offset = learnt.pop("offset", "none")
        if not (offset is None or (isinstance(offset, float) and math.isfinite(offset))):
            raise BundleError(f"stored density {cls.kind}", expected="its offset, a number", got=repr(offset))
        self._restore(tensors, learnt)
        self.offset_ = offset
        return self

    @classmethod
    def setting_names(cls) -> list[str]:
        """What the constructor takes by name, but for the device: that belongs to the machine."""
        return [name for name in inspect.signature(cls).parameters if name != "device"]

    def settings(self) -> dict[str, Any]:
        """The settings of the constructor by `setting_names`, as JSON holds them."""
        return {name: plain(getattr(self, name)) for name in self.setting_names()}

    def check_settings(self) -> None:
        """Raises UsageError for a setting that is out of its limits."""
        check_numbers(self, self.LIMITS, self.OPTIONAL)

    @abstractmethod
    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None, checkpoint: Path | None) -> None:
        """Learn from checked rows (N, D), as they came: `standardiser_` is ready."""

    @abstractmethod
    def _score(self, rows: Rows) -> Float64:
        """Scores (N,) of checked rows (N, D), N >= 0."""

    def _score_training(self, rows: Rows) -> Float64:
        """Scores (N,) of the rows that were learnt from, as if each were new where that makes a difference."""
        return self._score(rows)

    @abstractmethod
    def _tensors(self) -> Tensors:
        """The learnt arrays, but for the standardiser's."""

    @abstractmethod
    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        """Set what `_learn` learnt; `standardiser_` is ready."""

    def _learnt(self) -> Meta:
        return {}

    def _rows_to_score(self, X: ArrayLike) -> Rows:
        self._require_fit()
        has_names = hasattr(self, "feature_names_in_")
        if type(X) is np.ndarray and X.ndim == 2 and X.shape[1] == self.n_features_in_ and not has_names:
            return check_rows(X, "rows to score", RecordError)  # half a millisecond less, for each density and frame
        try:
            validate_data(self, X, reset=False, skip_check_array=True)
        except (ValueError, TypeError) as error:  # names or number of columns, unless X is no matrix at all
            check_rows(X, "rows to score", RecordError)
            shown = str(np.shape(X)[1]) if np.shape(X)[1] != self.n_features_in_ else "columns of other names"
            raise RecordError(
                "rows to score",
                expected=f"{self.n_features_in_} columns as in training",
                got=f"{shown} ({str(error).rstrip('.')})",
                hint="extract these rows with the settings that the density was trained on",
            ) from None
        return check_rows(X, "rows to score", RecordError)

    def _require_fit(self) -> None:
        if not hasattr(self, "offset_"):
            raise UnfittedError(
                type(self).__name__, expected="a fitted density", got="one before fit", hint="fit(X) first"
            )


class UnfittedError(UsageError, NotFittedError):  # type: ignore[misc]
    """A density that was asked for scores before `fit`."""


def plain(value: Any) -> Any:
    """Numbers of numpy as Python's, sequences as lists."""
    if isinstance(value, np.generic):
        return value.item()
    return [plain(item) for item in value] if isinstance(value, list | tuple | np.ndarray) else value
