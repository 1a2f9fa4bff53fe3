"""The principal axes of standardised rows, and how far the rows spread along each: what the Gaussian base rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mulde.density.rows import Float32, Rows
from mulde.density.standardise import Standardiser

MIN_VARIANCE = 1e-6
"""Of standardised rows along any axis: collinear columns leave some without spread."""


@dataclass(frozen=True)
class PrincipalAxes:
    """matrix (D, D) float32: rows (N, D) @ matrix are their coordinates along the axes, widest first; variance (D,)
    float32 of each, at least `MIN_VARIANCE`."""

    matrix: Float32
    variance: Float32

    @classmethod
    def fit(cls, rows: Rows, standardiser: Standardiser) -> PrincipalAxes:
        """Of rows (N, D), N >= 1, as they came. The covariance is shrunk towards a multiple of the identity by as much
        as its own noise asks for (Ledoit and Wolf, 2004), so that fewer rows than columns will do."""
        from sklearn.covariance import ledoit_wolf

        x = standardiser.apply(rows)
        covariance, _ = ledoit_wolf(x if len(x) > 1 else np.repeat(x, 2, axis=0), assume_centered=True)
        variance, axes = np.linalg.eigh(covariance)  # in increasing order
        largest = np.abs(axes).argmax(
            axis=0
        )  # an axis has no sign of its own: one is fixed, whatever the library gives
        axes = axes * np.sign(axes[largest, np.arange(len(axes))])
        return cls(
            np.ascontiguousarray(axes[:, ::-1], np.float32),
            np.maximum(variance[::-1], MIN_VARIANCE).astype(np.float32),
        )
