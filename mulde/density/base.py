"""What every density is: built from settings, fitted on rows, asked for scores, stored as arrays and JSON."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from mulde.density.rows import Float64, Meta, Progress, Rows, Tensors, check_rows
from mulde.density.standardise import Standardiser
from mulde.density.state import read_meta, under_prefix, with_prefix, write_meta
from mulde.errors import BundleError, FitError, RecordError, UsageError

Limits = dict[str, tuple[float, float]]


class Density(ABC):
    """Learns which rows are normal. The constructor only stores its settings; learnt names end in `_`.

    kind: its name in the registry. LIMITS: least and largest value of its numbers; whole numbers where both limits are.
    """

    kind: ClassVar[str]
    LIMITS: ClassVar[Limits]
    device: str
    n_features_in_: int
    standardiser_: Standardiser

    @abstractmethod
    def __init__(self, *, seed: int = 0, device: str = "cpu") -> None:
        """Store the settings as they are; `check_settings` and `fit` look at them."""

    def fit(self, X: ArrayLike, heldout: ArrayLike | None = None, progress: Progress | None = None) -> Self:
        """Learn from rows X (N, D), N >= 1; `heldout` (M, D) are normal rows that are not in X, used if of use.

        Raises FitError for rows that cannot be learnt from or a training that diverges, UsageError for bad settings.
        """
        self.__dict__.pop("n_features_in_", None)  # a fit that fails leaves nothing half fitted
        self.check_settings()
        rows = check_rows(X, "training rows", FitError)
        if 0 in rows.shape:
            raise FitError("training rows", expected="at least one row and one column", got=f"shape {rows.shape}")
        held = None if heldout is None else check_rows(heldout, "held-out rows", FitError, rows.shape[1])
        self.standardiser_ = Standardiser.fit(rows)
        self._learn(rows, held if held is not None and len(held) else None, progress)
        self.n_features_in_ = rows.shape[1]
        return self

    def anomaly_score(self, X: ArrayLike) -> Float64:
        """One score per row of X (N, D): (N,) float64, finite; higher = more anomalous.

        A row's score does not depend on the rows beside it. Raises RecordError for another number of columns than in
        training and for numbers that are not finite.
        """
        return self._score(self._rows_to_score(X))

    def state(self) -> tuple[Tensors, Meta]:
        """All that scoring needs: named arrays, and a dict that JSON can hold."""
        self._require_fit()
        tensors = with_prefix("standardise.", self.standardiser_.tensors()) | self._tensors()
        return tensors, write_meta(self.kind, self.settings(), self._learnt())

    @classmethod
    def from_state(cls, tensors: Tensors, meta: Meta, device: str = "cpu") -> Self:
        """The fitted density of which `state` was taken: the same scores on the same device.

        Raises BundleError when an entry is missing or has another type, shape or value than expected, UsageError when
        this machine has no such device.
        """
        settings, learnt = read_meta(meta, cls.kind)
        self = cls(device=device)
        if set(settings) != set(self.settings()):
            raise BundleError(
                f"stored density {cls.kind}", expected=f"settings {sorted(self.settings())}", got=f"{sorted(settings)}"
            )
        for name, value in settings.items():
            setattr(self, name, value)
        try:
            self.check_settings()
        except UsageError as error:
            raise BundleError(f"stored density {cls.kind}, {error}") from error
        self.standardiser_ = Standardiser.from_tensors(under_prefix("standardise.", tensors))
        self._restore(tensors, learnt)
        self.n_features_in_ = len(self.standardiser_.mean)
        return self

    def settings(self) -> dict[str, Any]:
        """The constructor's settings as JSON holds them, but for the device: that belongs to the machine."""
        names = [name for name in inspect.signature(type(self)).parameters if name != "device"]
        return {name: _plain(getattr(self, name)) for name in names}

    def check_settings(self) -> None:
        """Raises UsageError for a setting that is out of its limits."""
        for name, (low, high) in self.LIMITS.items():
            check_number(name, getattr(self, name), low, high)

    @abstractmethod
    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None) -> None:
        """Learn from checked rows (N, D), as they came: `standardiser_` is ready."""

    @abstractmethod
    def _score(self, rows: Rows) -> Float64:
        """Scores (N,) of checked rows (N, D), N >= 0."""

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
        return check_rows(X, "rows to score", RecordError, self.n_features_in_)

    def _require_fit(self) -> None:
        if not hasattr(self, "n_features_in_"):
            raise UsageError(
                type(self).__name__, expected="a fitted density", got="one before fit", hint="fit(X) first"
            )


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Raises UsageError unless low <= value <= high, and a whole number where both limits are."""
    whole = isinstance(low, int) and isinstance(high, int)
    fits = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not fits or not low <= value <= high:
        number = "a whole number" if whole else "a number"
        raise UsageError(name, expected=f"{number} from {low:g} to {high:g}", got=repr(value))


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's, sequences as lists."""
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(item) for item in value] if isinstance(value, list | tuple | np.ndarray) else value
