"""Standardisation of the columns (docs/method.md, "Density"): mean and unbiased std of the training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mulde.density.rows import Float64, Rows, Tensors, parts
from mulde.density.state import take, take_positive

LIMIT = 1e6
"""Standardised values are held within +-LIMIT, so that every finite row gets a finite score."""


@dataclass(frozen=True)
class Standardiser:
    """Per-column mean (D,) and scale (D,), float64. A constant column has scale 1, and so has a single row."""

    mean: Float64
    scale: Float64

    @classmethod
    def fit(cls, rows: Rows) -> Standardiser:
        """Learn from rows (N, D), N >= 1; sums in float64, some rows at a time."""
        # Differences from the first row are exactly 0 in a constant column; x - mean would leave rounding noise there.
        origin = rows[0].astype(np.float64)
        shift, squares = np.zeros_like(origin), np.zeros_like(origin)
        for part in parts(len(rows)):
            shift += (rows[part] - origin).sum(axis=0) / len(rows)
        for part in parts(len(rows)):
            squares += np.square(rows[part] - origin - shift).sum(axis=0)
        std = np.sqrt(squares / max(len(rows) - 1, 1))
        # A column that varies by less than one rounding step of its own numbers carries no information.
        largest = np.maximum(rows.max(axis=0), -rows.min(axis=0)).astype(np.float64)
        informative = std > np.finfo(rows.dtype).eps * largest
        return cls(mean=origin + shift, scale=np.where(informative, std, 1.0))

    def apply(self, rows: Rows, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """(rows - mean) / scale within +-LIMIT, (N, D); computed in float64, returned as `dtype`."""
        out = np.empty(rows.shape, dtype)
        for part in parts(len(rows)):
            out[part] = np.clip((rows[part] - self.mean) / self.scale, -LIMIT, LIMIT)
        return out

    def tensors(self) -> Tensors:
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def from_tensors(cls, tensors: Tensors, num_columns: int | None = None) -> Standardiser:
        """Raises BundleError when an array is missing or has another shape."""
        mean = take(tensors, "mean", np.float64, (num_columns,))
        return cls(mean, take_positive(tensors, "scale", mean.shape))
