"""How many Gaussians the base has, and along how many axes: held-out rows choose (docs/method.md, "Density")."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mulde.density.gaussians import GaussianBase
from mulde.density.heldout import fixed_draws
from mulde.density.mixture import affordable_components, fit_components
from mulde.density.objective import dsm_per_row
from mulde.density.rows import Float32, Float64

_log = logging.getLogger(__name__)

RANKS = (8, 32, 128)
"""Along how many of the principal axes Gaussians may differ; all, where there are fewer."""
GAUSSIANS = (2, 3, 5, 8, 13, 21, 34)
"""How many there may be, beside one."""
MAX_ROWS = 10_000
"""Rows beyond this many are thinned by a seeded draw before the fits."""
_STARTS = (2, 1)  # of each fit along the fewest axes, and along more: it ends in one of many optima
_PATIENCE = 3  # this many numbers of Gaussians without a gain end the search


def fit_base(
    x: Float32,
    heldout: Float32 | None,
    variance: Float32,
    noise_range: tuple[float, float],
    seed: int,
    *,
    gaussians: int | None = None,
    rank: int | None = None,
) -> GaussianBase:
    """The base of rows x (N, D) along their principal axes, widest first, with these variances (D,).

    Of the numbers of Gaussians and of axes that are not given, those with the lowest denoising loss (equation 3) on
    held-out rows (M, D) under noise of this range are taken; without such rows, on a seeded tenth of the rows. More
    axes are tried as long as they are a gain, with about as many Gaussians as were best along fewer. Fewer Gaussians
    than were asked for are fitted where the rows are too few or too wide for them.
    """
    single = GaussianBase.single(variance)
    if gaussians == 1:
        return single
    rng = np.random.default_rng(seed)
    if heldout is None:
        order, tenth = rng.permutation(len(x)), math.ceil(len(x) / 10)
        x, heldout = (x[order[tenth:]], x[order[:tenth]]) if len(x) > tenth else (x, x)
    if len(x) > MAX_ROWS:
        x = x[np.sort(rng.choice(len(x), MAX_ROWS, replace=False))]
    loss = _loss_on(heldout, noise_range)
    best = _Tried(loss(single), single)
    counts: Sequence[int] = GAUSSIANS if gaussians is None else (gaussians,)
    if rank is not None and rank > x.shape[1]:
        _log.warning("base: Gaussians along %d axes instead of %d: there are no more columns", x.shape[1], rank)
    ranks = sorted({min(r, x.shape[1]) for r in (RANKS if rank is None else [rank])})
    for is_wider, r in enumerate(ranks):
        some = x[:, :r].astype(np.float64)
        found = _best_of(some, variance, counts, loss, [seed + i for i in range(_STARTS[is_wider > 0])], noise_range[0])
        if found is None or (found.loss >= best.loss and (is_wider or gaussians is None)):
            break
        best = found
        if gaussians is None:
            place = GAUSSIANS.index(len(best.base.means))
            counts = GAUSSIANS[max(place - 1, 0) : place + 2]
    _log.info("base: %d Gaussians along %d axes, held-out loss %.4g", len(best.base.means), best.base.rank, best.loss)
    return best.base


class _Tried(NamedTuple):
    loss: float
    base: GaussianBase


def _best_of(
    x: Float64,
    variance: Float32,
    counts: Sequence[int],
    loss: Callable[[GaussianBase], float],
    seeds: Sequence[int],
    sigma_low: float,
) -> _Tried | None:
    """The best fit to x (N, r) of more and more Gaussians, each number from several starts; None where the rows are too
    few for any. A single number is lowered to what the rows are enough for."""
    best, num_worse = None, 0
    for count in counts:
        affordable = affordable_components(x, count)
        if affordable < count:
            if len(counts) > 1:
                break
            _log.warning("base: %d instead of %d Gaussians, for %d rows along %d axes", affordable, count, *x.shape)
        # Finer than the lowest noise level nothing is seen.
        fits = [fit_components(x, affordable, seed, "base", sigma_low**2) for seed in seeds]
        tried = min((_Tried(loss(base), base) for base in (GaussianBase.of(fit, variance) for fit in fits)),
                    key=lambda one: one.loss)  # fmt: skip
        num_worse += 1
        if best is None or tried.loss < best.loss:
            best, num_worse = tried, 0
        if num_worse == _PATIENCE:
            break
    return best


def _loss_on(heldout: Float32, noise_range: tuple[float, float]) -> Callable[[GaussianBase], float]:
    """The mean of L_dsm on held-out rows (M, D), under the same noise for every base."""
    x, s, z = fixed_draws(torch.from_numpy(heldout), *noise_range)
    noisy = x + s * z
    return lambda base: float(dsm_per_row(base.gradient(noisy, s), s, z).double().mean())
