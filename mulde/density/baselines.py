"""The yardsticks, with the interface of MULDE: a Gaussian mixture and nearest neighbours on standardised columns."""

from __future__ import annotations

import logging
from typing import ClassVar

import numpy as np

from mulde.density.base import Density, Limits
from mulde.density.mixture import Mixture, fit_mixture
from mulde.density.rows import Float64, Meta, Progress, Rows, Tensors, parts
from mulde.density.state import take, under_prefix, with_prefix

_log = logging.getLogger(__name__)


class MixtureDensity(Density):
    """-log likelihood under a full-covariance Gaussian mixture on the standardised columns.

    components: most Gaussians in the mixture; fewer when the rows are few or the columns many, down to one, which is
    the Mahalanobis distance. device: not used; every density takes it.
    """

    kind: ClassVar[str] = "mixture"
    LIMITS: ClassVar[Limits] = {"components": (1, 1000), "seed": (0, 2**32 - 1)}

    def __init__(self, components: int = 5, seed: int = 0, device: str = "cpu") -> None:
        self.components = components
        self.seed = seed
        self.device = device

    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None) -> None:
        self.mixture_ = fit_mixture(self.standardiser_.apply(rows), self.components, self.seed, "mixture of features")

    def _score(self, rows: Rows) -> Float64:
        out = np.empty(len(rows))
        for part in parts(len(rows)):
            out[part] = self.mixture_.negative_log_likelihood(self.standardiser_.apply(rows[part]))
        return out

    def _tensors(self) -> Tensors:
        return with_prefix("mixture.", self.mixture_.tensors())

    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        self.mixture_ = Mixture.from_tensors(under_prefix("mixture.", tensors), len(self.standardiser_.mean))


class NeighbourDensity(Density):
    """Mean Euclidean distance to the k nearest training rows, on the standardised columns.

    neighbours: k, or all rows when there are fewer. max_rows: training rows beyond this many are thinned by a seeded
    draw. device: not used; every density takes it. A training row finds itself at distance 0: calibrate on other rows.
    """

    kind: ClassVar[str] = "neighbours"
    LIMITS: ClassVar[Limits] = {"neighbours": (1, 1000), "max_rows": (1, 10**9), "seed": (0, 2**32 - 1)}

    def __init__(self, neighbours: int = 1, max_rows: int = 50_000, seed: int = 0, device: str = "cpu") -> None:
        self.neighbours = neighbours
        self.max_rows = max_rows
        self.seed = seed
        self.device = device

    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None) -> None:
        if len(rows) > self.max_rows:
            _log.info("neighbours: %d of %d rows kept, drawn with seed %d", self.max_rows, len(rows), self.seed)
            keep = np.random.default_rng(self.seed).choice(len(rows), self.max_rows, replace=False)
            rows = rows[np.sort(keep)]
        self._index(self.standardiser_.apply(rows, np.float32))

    def _index(self, rows: Rows) -> None:
        from sklearn.neighbors import NearestNeighbors

        self.rows_ = rows
        self.index_ = NearestNeighbors(n_neighbors=min(self.neighbours, len(rows))).fit(rows)

    def _score(self, rows: Rows) -> Float64:
        out = np.empty(len(rows))
        for part in parts(len(rows), 1024):
            x = self.standardiser_.apply(rows[part], np.float32)
            nearest = self.index_.kneighbors(x, return_distance=False)  # (n, k)
            # Its own distances come from |x|^2 - 2xy + |y|^2, which is not 0 for equal rows; these are.
            squares = [np.square(x.astype(np.float64) - self.rows_[column]).sum(axis=1) for column in nearest.T]
            out[part] = np.sqrt(squares).mean(axis=0)
        return out

    def _tensors(self) -> Tensors:
        return {"rows": self.rows_}

    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        self._index(take(tensors, "rows", np.float32, (None, len(self.standardiser_.mean))))
