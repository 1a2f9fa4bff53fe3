"""A density that mulde does not know, as somebody would add it: this file, and one line in the registry."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from mulde.density.base import Density
from mulde.density.limits import Limits
from mulde.density.rows import Float64, Meta, Progress, Rows, Tensors
from mulde.density.state import take


class NormDensity(Density):
    """The `order`-norm of the way from the median, on the standardised columns."""

    kind: ClassVar[str] = "norm"
    LIMITS: ClassVar[Limits] = {"order": (1, 10), "contamination": (0.0, 0.5), "seed": (0, 2**32 - 1)}

    def __init__(self, order: int = 2, contamination: float = 0.01, seed: int = 0, device: str = "cpu") -> None:
        self.order = order
        self.contamination = contamination
        self.seed = seed
        self.device = device

    def _learn(self, rows: Rows, heldout: Rows | None, progress: Progress | None, checkpoint: Path | None) -> None:
        self.median_: Float64 = np.median(self.standardiser_.apply(rows), axis=0)

    def _score(self, rows: Rows) -> Float64:
        return np.asarray(np.linalg.norm(self.standardiser_.apply(rows) - self.median_, self.order, axis=1))

    def _tensors(self) -> Tensors:
        return {"median": self.median_}

    def _restore(self, tensors: Tensors, learnt: Meta) -> None:
        self.median_ = take(tensors, "median", np.float64, (self.n_features_in_,))
