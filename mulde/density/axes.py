"""The principal axes of standardised rows, and how far the rows spread along each: what the Gaussian base rests on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mulde.density.rows import Float32, Float64, Rows
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
        """Of rows (N, D), N >= 1, as they came, by `shrunk_axes`."""
        _, variance, axes = shrunk_axes(standardiser.apply(rows))
        # An axis has no sign of its own: one is fixed, whatever the library gives.
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(len(axes))])
        return cls(np.ascontiguousarray(axes[:, ::-1], np.float32), variance[::-1].astype(np.float32))


def shrunk_axes(x: Float64) -> tuple[Float64, Float64, Float64]:
    """Mean (D,) of rows (N, D), N >= 1, the variances (D,) along their principal axes, narrowest first and at least
    `MIN_VARIANCE`, and the axes (D, D), one per column.

    The covariance is shrunk towards a multiple of the identity by as much as its own noise asks for (Ledoit and Wolf,
    2004), so that fewer rows than columns will do.
    """
    from sklearn.covariance import LedoitWolf

    model = LedoitWolf(store_precision=False).fit(x if len(x) > 1 else np.repeat(x, 2, axis=0))  # it asks for two
    variance, axes = np.linalg.eigh(model.covariance_)
    return model.location_, np.maximum(variance, MIN_VARIANCE), axes
