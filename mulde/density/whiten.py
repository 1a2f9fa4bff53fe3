"""PCA whitening of standardised columns: uncorrelated, of variance 1, so that noise weighs the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mulde.density.rows import Float64, Rows, Tensors, parts
from mulde.density.state import take


@dataclass(frozen=True)
class Whitener:
    """matrix (D, K): rows (N, D) @ matrix have K uncorrelated columns of variance 1."""

    matrix: Float64

    @classmethod
    def fit(cls, rows: Rows, share: float) -> Whitener:
        """Keep the fewest principal components of standardised rows (N, D) that hold `share` of the variance."""
        covariance = np.zeros((rows.shape[1], rows.shape[1]))
        for part in parts(len(rows)):
            wide = rows[part].astype(np.float64)
            covariance += wide.T @ wide / max(len(rows) - 1, 1)
        variance, axes = np.linalg.eigh(covariance)  # in increasing order
        variance, axes = np.maximum(variance[::-1], 0), axes[:, ::-1]
        total = variance.sum()
        if total == 0:  # one row, or equal rows
            return cls(np.eye(rows.shape[1]))
        count = int(np.searchsorted(np.cumsum(variance), share * total * (1 - 1e-12))) + 1
        count = max(1, min(count, int((variance > 1e-9 * variance[0]).sum())))
        return cls(axes[:, :count] / np.sqrt(variance[:count]))

    def tensors(self) -> Tensors:
        return {"matrix": self.matrix}

    @classmethod
    def from_tensors(cls, tensors: Tensors, num_columns: int) -> Whitener:
        """Raises BundleError when the array is missing or has another shape."""
        return cls(take(tensors, "matrix", np.float64, (num_columns, None)))
