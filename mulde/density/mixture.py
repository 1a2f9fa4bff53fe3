"""A full-covariance Gaussian mixture that does not fall over: fitted by scikit-learn, scored here from plain arrays."""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass

import numpy as np

from mulde.density.rows import Float64, Tensors, parts
from mulde.density.state import take
from mulde.errors import FitError

_log = logging.getLogger(__name__)

MAX_FIT_ROWS = 50_000
"""Rows beyond this many are thinned by a seeded draw before the fit."""
_REG_COVAR = tuple(10.0**k for k in range(-6, 1))
_MIN_ROWS_PER_COMPONENT = 10
_MAX_FLOPS_PER_ITERATION = 1e10  # of expectation-maximisation: about half a second on two cores


@dataclass(frozen=True)
class Mixture:
    """K Gaussians over D columns: weights (K,), means (K, D), precision_cholesky (K, D, D), all float64.

    precision_cholesky[k] is upper triangular, P P^T = inverse covariance, as scikit-learn keeps it.
    """

    weights: Float64
    means: Float64
    precision_cholesky: Float64

    def negative_log_likelihood(self, rows: Float64) -> Float64:
        """-log p(x) of rows (N, D) -> (N,) float64."""
        out = np.empty(len(rows))
        log_det = np.log(np.diagonal(self.precision_cholesky, axis1=1, axis2=2)).sum(axis=1)  # (K,) of each P
        constant = np.log(self.weights) + log_det - 0.5 * rows.shape[1] * math.log(2 * math.pi)
        for part in parts(len(rows)):
            distance = [  # squared Mahalanobis distances to each centre, K times (n,)
                np.square((rows[part] - mean) @ cholesky).sum(axis=1)
                for mean, cholesky in zip(self.means, self.precision_cholesky, strict=True)
            ]
            out[part] = -np.logaddexp.reduce(constant - 0.5 * np.stack(distance, axis=1), axis=1)
        return out

    def tensors(self) -> Tensors:
        return {
            "weights": self.weights,
            "means": self.means,
            "precision_cholesky": self.precision_cholesky,
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors, num_columns: int) -> Mixture:
        """Raises BundleError when an array is missing or has another shape."""
        weights = take(tensors, "weights", np.float64, (None,))
        means = take(tensors, "means", np.float64, (len(weights), num_columns))
        shape = (len(weights), num_columns, num_columns)
        return cls(weights, means, take(tensors, "precision_cholesky", np.float64, shape))


def fit_mixture(rows: Float64, components: int, seed: int, what: str) -> Mixture:
    """Fit on standardised rows (N, D) float64, N >= 1; `what` names the mixture in messages.

    Fewer components are used when the rows are too few or too wide for `components`; reg_covar starts at 1e-6 and
    grows tenfold until the covariances can be inverted. Each such change is logged. One row gives one Gaussian around
    it with variance reg_covar. Raises FitError when even reg_covar 1 does not help.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    rows = _thin(rows, seed, what)
    num_components = _affordable_components(rows, components, what)
    if len(rows) == 1:
        rows = np.repeat(rows, 2, axis=0)  # scikit-learn asks for two
    for reg_covar in _REG_COVAR:
        model = GaussianMixture(num_components, covariance_type="full", reg_covar=reg_covar, random_state=seed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(rows)
        except ValueError:  # "ill-defined empirical covariance"
            _log.warning("%s: covariance not invertible with reg_covar %g", what, reg_covar)
            continue
        if not model.converged_:
            _log.info("%s: stopped after %d iterations, still improving", what, model.n_iter_)
        return Mixture(model.weights_, model.means_, model.precisions_cholesky_)
    raise FitError(
        what,
        expected="a covariance that can be inverted",
        got=f"none up to reg_covar {_REG_COVAR[-1]:g} on rows of shape {rows.shape}",
        hint="another aggregate or density, or features of fewer columns",
    )


def _thin(rows: Float64, seed: int, what: str) -> Float64:
    if len(rows) <= MAX_FIT_ROWS:
        return rows
    _log.info("%s: fitted on %d of %d rows, drawn with seed %d", what, MAX_FIT_ROWS, len(rows), seed)
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), MAX_FIT_ROWS, replace=False))]


def _affordable_components(rows: Float64, components: int, what: str) -> int:
    """At most `components`, such that each has rows to learn from, starts at a row of its own, and time allows."""
    n, d = rows.shape
    enough_rows = n // max(_MIN_ROWS_PER_COMPONENT, d)
    enough_time = int(_MAX_FLOPS_PER_ITERATION / (4 * n * d**2 + 2 * d**3))
    num_components: int = max(1, min(components, enough_rows, enough_time, _count_distinct(rows, components)))
    if num_components < components:
        shape = f"{n} rows of {d} columns"
        _log.warning("%s: %d instead of %d components, for %s", what, num_components, components, shape)
    return num_components


def _count_distinct(rows: Float64, at_most: int) -> int:
    count = 0
    while len(rows) and count < at_most:
        rows = rows[(rows != rows[0]).any(axis=1)]
        count += 1
    return count
