"""The baselines, with the interface of MULDE: Gaussian mixture, nearest neighbours, Mahalanobis distance."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mulde.density.axes import shrunk_axes
from mulde.density.base import Density
from mulde.density.limits import Limits, check_choice
from mulde.density.mixture import Mixture, fit_mixture, score_in_torch, square_distance, thin
from mulde.density.rows import Float32, Float64, Meta, Progress, Rows, Tensors, parts
from mulde.density.state import take, under_prefix, with_prefix
from mulde.devices import choose_device
from mulde.errors import BundleError, UsageError

_log = logging.getLogger(__name__)

ENGINES = ("sklearn", "faiss")
_ROWS_AT_A_TIME = 4096
_SPARE = 8  # faiss searches in float32: as many more are fetched, and the nearest picked by their exact distances


class MixtureDensity(Density):
    """-log likelihood under a full-covariance Gaussian mixture on the standardised columns.

    components: most Gaussians in the mixture; fewer when the rows are few or the columns many, down to one, which is
    the Mahalanobis distance. None: the number that makes the held-out rows likeliest. device: where rows are scored.
    """

    kind: ClassVar[str] = "mixture"
    LIMITS: ClassVar[Limits] = {"contamination": (0.0, 0.5), "seed": (0, 2**32 - 1)}
    OPTIONAL: ClassVar[Limits] = {"components": (1, 1000)}

    def __init__(
        self, components: int | None = 5, contamination: float = 0.01, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.components = components
        self.contamination = contamination
        self.seed = seed
        self.device = device

    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None, checkpoint: Path | None) -> None:
        self.device_ = torch.device(choose_device(self.device))
        self.mixture_ = fit_mixture(
            rows, self.components, self.seed, "mixture of features", heldout, self.standardiser_.apply
        )

    def _score(self, rows: Rows) -> Float64:
        return self.mixture_.negative_log_likelihood(rows, self.device_, self.standardiser_.apply)

    def _tensors(self) -> Tensors:
        return with_prefix("mixture.", self.mixture_.tensors())

    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        self.device_ = torch.device(choose_device(self.device))
        self.mixture_ = Mixture.from_tensors(under_prefix("mixture.", tensors), self.n_features_in_)


class MahalanobisDensity(Density):
    """Mahalanobis distance under the covariance of the standardised training rows, shrunk as Ledoit and Wolf (2004)
    have it, so that few rows in many columns will do.

    A direction in which the rows do not vary counts as one of variance 1e-6. Rows beyond 50,000 are thinned by a seeded
    draw before the fit. device: where rows are scored.
    """

    kind: ClassVar[str] = "mahalanobis"
    LIMITS: ClassVar[Limits] = {"contamination": (0.0, 0.5), "seed": (0, 2**32 - 1)}

    def __init__(self, contamination: float = 0.01, seed: int = 0, device: str = "cpu") -> None:
        self.contamination = contamination
        self.seed = seed
        self.device = device

    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None, checkpoint: Path | None) -> None:
        self.device_ = torch.device(choose_device(self.device))
        self.mean_, variance, axes = shrunk_axes(self.standardiser_.apply(thin(rows, self.seed, "mahalanobis")))
        self.factor_: Float64 = axes / np.sqrt(variance)  # F F^T = inverse covariance

    def _score(self, rows: Rows) -> Float64:
        mean, factor = (torch.tensor(array, device=self.device_) for array in (self.mean_, self.factor_))
        return score_in_torch(
            lambda x: square_distance(x, mean, factor).sqrt(),
            rows,
            self.n_features_in_,
            self.device_,
            self.standardiser_.apply,
        )

    def _tensors(self) -> Tensors:
        return {"mean": self.mean_, "factor": self.factor_}

    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        self.device_ = torch.device(choose_device(self.device))
        d = self.n_features_in_
        self.mean_ = take(tensors, "mean", np.float64, (d,))
        self.factor_ = take(tensors, "factor", np.float64, (d, d))


class NeighbourDensity(Density):
    """Mean Euclidean distance to the k nearest training rows, on the standardised columns.

    neighbours: k, or all rows when there are fewer. max_rows: training rows beyond this many are thinned by a seeded
    draw. engine: sklearn, or faiss for many rows: its exact search, in float32 (`pip install "mulde[faiss]"`). device:
    not used; every density takes it. A training row that is scored finds itself at distance 0: calibrate on other rows.
    Without held-out rows, `offset_` is set by the distances of the training rows to the others among them.
    """

    kind: ClassVar[str] = "neighbours"
    LIMITS: ClassVar[Limits] = {
        "neighbours": (1, 1000),
        "max_rows": (1, 10**9),
        "contamination": (0.0, 0.5),
        "seed": (0, 2**32 - 1),
    }

    def __init__(
        self,
        neighbours: int = 1,
        max_rows: int = 50_000,
        engine: str = "sklearn",
        contamination: float = 0.01,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.neighbours = neighbours
        self.max_rows = max_rows
        self.engine = engine
        self.contamination = contamination
        self.seed = seed
        self.device = device

    def check_settings(self) -> None:
        """Raises UsageError for a setting that is out of its limits."""
        super().check_settings()
        check_choice("engine", self.engine, ENGINES)

    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None, checkpoint: Path | None) -> None:
        if len(rows) > self.max_rows:
            _log.info("neighbours: %d of %d rows kept, drawn with seed %d", self.max_rows, len(rows), self.seed)
            keep = np.random.default_rng(self.seed).choice(len(rows), self.max_rows, replace=False)
            rows = rows[np.sort(keep)]
        self._index(self.standardiser_.apply(rows, np.float32))

    def _index(self, rows: Float32) -> None:
        self.rows_ = rows
        self.index_ = _faiss_index(rows) if self.engine == "faiss" else _sklearn_index(rows)

    def _score(self, rows: Rows) -> Float64:
        out = np.empty(len(rows))
        for part in parts(len(rows), _ROWS_AT_A_TIME):
            out[part] = self._distances(rows[part], self.neighbours)[: self.neighbours].mean(axis=0)
        return out

    def _score_training(self, rows: Rows) -> Float64:
        k, out = self.neighbours, np.empty(len(rows))
        if len(self.rows_) == 1:
            return self._score(rows)
        for part in parts(len(rows), _ROWS_AT_A_TIME):
            distances = self._distances(rows[part], k + 1)
            others = distances[1 : k + 1].mean(axis=0)
            out[part] = np.where(distances[0] == 0, others, distances[:k].mean(axis=0))  # 0: itself
        return out

    def _distances(self, rows: Rows, count: int) -> Float64:
        """To at least `count` nearest training rows, or to all, nearest first: (count, n)."""
        x = self.standardiser_.apply(rows, np.float32)
        # Distances by |x|^2 - 2xy + |y|^2, as both engines have them, are not 0 for equal rows; these are.
        squares = [
            np.square(x.astype(np.float64) - self.rows_[column]).sum(axis=1) for column in self._nearest(x, count).T
        ]
        return np.sort(np.sqrt(squares), axis=0)

    def _nearest(self, x: Float32, count: int) -> NDArray[Any]:
        """Places in `rows_` of the `count` nearest, or some more, (n, count)."""
        nearest: NDArray[Any]
        if self.engine == "faiss":
            nearest = self.index_.search(x, min(count + _SPARE, len(self.rows_)))[1]
        else:
            nearest = self.index_.kneighbors(x, min(count, len(self.rows_)), return_distance=False)
        return nearest

    def _tensors(self) -> Tensors:
        return {"rows": self.rows_}

    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        rows = take(tensors, "rows", np.float32, (None, self.n_features_in_))
        if not len(rows):
            raise BundleError("stored density neighbours", expected="at least one row", got="none")
        self._index(rows)


def _sklearn_index(rows: Float32) -> Any:
    from sklearn.neighbors import NearestNeighbors

    return NearestNeighbors().fit(rows)


def _faiss_index(rows: Float32) -> Any:
    try:
        import faiss
    except ImportError as error:
        raise UsageError(
            "engine", expected="faiss to be installed", got="none", hint='pip install "mulde[faiss]", or engine sklearn'
        ) from error
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    return index
