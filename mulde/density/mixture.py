"""A full-covariance Gaussian mixture that does not fall over: fitted by scikit-learn, scored in torch."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mulde.density.rows import Float64, Rows, Tensors, parts
from mulde.density.state import take, take_positive
from mulde.errors import BundleError, FitError

_log = logging.getLogger(__name__)

MAX_FIT_ROWS = 50_000
"""Rows beyond this many are thinned by a seeded draw before the fit."""
CANDIDATES = (1, 2, 3, 5, 8, 13, 21)
"""Numbers of components among which held-out rows choose."""
_TIE = 0.02  # nats per row: numbers of components closer than this to the best are as good, and the fewest are taken
_REG_COVAR = tuple(10.0**k for k in range(-6, 1))
_MIN_ROWS_PER_COMPONENT = 10
_MAX_FLOPS_PER_ITERATION = 1e10  # of expectation-maximisation: about half a second on two cores
_NUMBERS_AT_A_TIME = {"cpu": 2**15, "cuda": 2**22}

Prepare = Callable[[Rows], Float64]
"""Rows (n, D) as they came -> as the mixture takes them, (n, D) float64: some rows at a time, so all need not fit."""


def _as_they_are(rows: Rows) -> Float64:
    return np.asarray(rows, np.float64)


@dataclass(frozen=True)
class Mixture:
    """K Gaussians over D columns: weights (K,), means (K, D), precision_cholesky (K, D, D), all float64.

    precision_cholesky[k] is upper triangular, P P^T = inverse covariance, as scikit-learn keeps it.
    """

    weights: Float64
    means: Float64
    precision_cholesky: Float64

    def negative_log_likelihood(
        self, rows: Rows, device: str | torch.device = "cpu", prepare: Prepare = _as_they_are
    ) -> Float64:
        """-log p(x) of prepared rows (N, D) -> (N,) float64, computed in float64 on the device, some rows at a time."""
        log_det = np.log(np.diagonal(self.precision_cholesky, axis1=1, axis2=2)).sum(axis=1)  # (K,) of each P
        constant = np.log(self.weights) + log_det - 0.5 * self.means.shape[1] * math.log(2 * math.pi)
        log_weight, means, factors = (
            torch.tensor(array, device=device) for array in (constant[:, None], self.means, self.precision_cholesky)
        )

        def score(x: Tensor) -> Tensor:
            squares = [square_distance(x, mean, factor) for mean, factor in zip(means, factors, strict=True)]
            return -torch.logsumexp(log_weight - 0.5 * torch.stack(squares), dim=0)  # over (K, n)

        return score_in_torch(score, rows, self.means.shape[1], device, prepare)

    def tensors(self) -> Tensors:
        return {
            "weights": self.weights,
            "means": self.means,
            "precision_cholesky": self.precision_cholesky,
        }

    @classmethod
    def from_tensors(cls, tensors: Tensors, num_columns: int) -> Mixture:
        """Raises BundleError when an array is missing, has another shape, or is of no covariance."""
        weights = take_positive(tensors, "weights", (None,))
        if not len(weights):
            raise BundleError("stored density, weights", expected="at least one Gaussian", got="none")
        means = take(tensors, "means", np.float64, (len(weights), num_columns))
        factors = take(tensors, "precision_cholesky", np.float64, (len(weights), num_columns, num_columns))
        take_positive({"diagonal": np.diagonal(factors, axis1=1, axis2=2)}, "diagonal", means.shape)
        return cls(weights, means, factors)


def square_distance(x: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """Squared Mahalanobis distance of x (n, D) to mean (D,), (n,); factor (D, D): F F^T = inverse covariance."""
    return ((x - mean) @ factor).square().sum(dim=1)


def score_in_torch(
    score: Callable[[Tensor], Tensor],
    rows: Rows,
    num_columns: int,
    device: str | torch.device = "cpu",
    prepare: Prepare = _as_they_are,
) -> Float64:
    """score, (n, D) float64 on the device -> (n,), of all rows (N, D) once they are prepared: (N,) float64.

    Always the same number of rows at a time, the last ones padded: products of other sizes round differently. So a
    row's score does not depend, to the last bit, on the rows beside it where D is a multiple of 8, as 16 levels are;
    elsewhere memory alignment may change the last digit.
    """
    fits = _NUMBERS_AT_A_TIME.get(torch.device(device).type, 2**15) // num_columns
    size = 2 ** int(math.log2(max(fits, 32)))
    out, chunk = np.empty(len(rows)), np.zeros((size, num_columns))
    for part in parts(len(rows), size):
        count = part.stop - part.start
        chunk[:count] = prepare(rows[part])
        out[part] = score(torch.from_numpy(chunk).to(device))[:count].cpu().numpy()
    return out


def fit_mixture(
    rows: Rows,
    components: int | None,
    seed: int,
    what: str,
    heldout: Rows | None = None,
    prepare: Prepare = _as_they_are,
    min_reg_covar: float = _REG_COVAR[0],
) -> Mixture:
    """Fit on rows (N, D), N >= 1, that `prepare` standardises; `what` names the mixture in messages.

    components: fewer are used when the rows are too few or too wide for them. None: the number among CANDIDATES that
    makes held-out rows (M, D) likeliest; without such rows, a seeded tenth of the rows, and all are then fitted with
    that number. reg_covar starts at `min_reg_covar`, 1e-6 unless given, and grows tenfold until the
    covariances can be inverted. All such changes and
    choices are logged. One row gives one Gaussian around it with variance reg_covar. Raises FitError when even
    reg_covar 1 does not help.
    """
    x = prepare(thin(rows, seed, what))
    if components is None:
        if heldout is not None:
            heldout = prepare(thin(heldout, seed, f"{what}, held-out rows")) if len(heldout) else None
        return _fit_likeliest(x, seed, what, heldout, min_reg_covar)
    num_components = affordable_components(x, components)
    if num_components < components:
        shape = f"{len(x)} rows of {x.shape[1]} columns"
        _log.warning("%s: %d instead of %d components, for %s", what, num_components, components, shape)
    return fit_components(x, num_components, seed, what, min_reg_covar)


def thin(rows: Rows, seed: int, what: str) -> Rows:
    """The rows (N, D), or MAX_FIT_ROWS of them, drawn with the seed and in their order."""
    if len(rows) <= MAX_FIT_ROWS:
        return rows
    _log.info("%s: %d of %d rows used, drawn with seed %d", what, MAX_FIT_ROWS, len(rows), seed)
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), MAX_FIT_ROWS, replace=False))]


def _fit_likeliest(rows: Float64, seed: int, what: str, heldout: Float64 | None, min_reg_covar: float) -> Mixture:
    learn, evaluator = rows, heldout
    if evaluator is None:
        is_heldout = np.random.default_rng(seed).permutation(len(rows)) < math.ceil(len(rows) / 10)
        learn, evaluator = rows[~is_heldout], rows[is_heldout]
    max_components = affordable_components(learn, CANDIDATES[-1])
    fits = {
        count: fit_components(learn, count, seed, what, min_reg_covar)
        for count in CANDIDATES
        if count <= max_components and len(learn)
    }
    likelihoods = {count: -fit.negative_log_likelihood(evaluator).mean() for count, fit in fits.items()}
    best = min((k for k, value in likelihoods.items() if value >= max(likelihoods.values()) - _TIE), default=1)
    shown = ", ".join(f"{count}: {value:.4g}" for count, value in likelihoods.items())
    _log.info("%s: %d components, by the log-likelihood of %d held-out rows (%s)", what, best, len(evaluator), shown)
    return fits[best] if heldout is not None else fit_components(rows, best, seed, what, min_reg_covar)


def fit_components(rows: Float64, num_components: int, seed: int, what: str, min_reg_covar: float) -> Mixture:
    """`num_components` Gaussians on rows (N, D), N >= 1; otherwise as `fit_mixture`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if len(rows) == 1:
        rows = np.repeat(rows, 2, axis=0)  # scikit-learn asks for two
    for reg_covar in (value for value in _REG_COVAR if value >= min_reg_covar):
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


def affordable_components(rows: Float64, components: int) -> int:
    """At most `components`, such that each has rows to learn from, starts at a row of its own, and time allows."""
    n, d = rows.shape
    enough_rows = n // max(_MIN_ROWS_PER_COMPONENT, d)
    enough_time = int(_MAX_FLOPS_PER_ITERATION / (4 * n * d**2 + 2 * d**3))
    num_components: int = max(1, min(components, enough_rows, enough_time, _count_distinct(rows, components)))
    return num_components


def _count_distinct(rows: Float64, at_most: int) -> int:
    count = 0
    while len(rows) and count < at_most:
        rows = rows[(rows != rows[0]).any(axis=1)]
        count += 1
    return count
