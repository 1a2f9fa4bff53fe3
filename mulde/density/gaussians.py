"""The closed-form part of the energy: that of a few Gaussians under noise (docs/method.md, "Density")."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from mulde.density.axes import MIN_VARIANCE
from mulde.density.mixture import Mixture, affordable_components, fit_components
from mulde.density.noise import fixed_noise
from mulde.density.rows import Float32, Tensors
from mulde.density.state import take, take_positive

_log = logging.getLogger(__name__)

RANKS = (8, 32, 128)
"""Numbers of principal axes along which the Gaussians may differ."""
COMPONENTS = (1, 2, 3, 5, 8, 13, 21, 34)
"""Numbers of Gaussians. Of both, held-out rows choose."""
_MAX_FIT_ROWS, _NUM_DRAWS, _SEED = 10_000, 4096, 20240617
NUM_STARTS = 2
_PATIENCE = 3  # numbers of Gaussians in a row that are no gain end the search


class GaussianBase(nn.Module):
    """-log q_s of K Gaussians along the first r principal axes of the rows, and of one along each other axis.

    log_weight (K,), means (K, r), axes (K, r, r), one per column, and spreads (K, r), the variances along them;
    variance (D,) of the rows along all D axes, of which those from r on count. Noise of level s only adds s^2 to every
    variance, so the energy is known in closed form at every level. A constant at each level, which no gradient sees,
    makes it about 0 on average, exactly for one Gaussian.
    """

    log_weight: Tensor
    means: Tensor
    axes: Tensor
    spreads: Tensor
    variance: Tensor

    def __init__(self, num_features: int, rank: int, num_components: int) -> None:
        super().__init__()
        shapes = {"log_weight": (num_components,), "means": (num_components, rank),
                  "axes": (num_components, rank, rank), "spreads": (num_components, rank),
                  "variance": (num_features,)}  # fmt: skip
        for name, shape in shapes.items():
            self.register_buffer(name, torch.ones(shape))

    @classmethod
    def of(cls, mixture: Mixture, variance: Float32) -> Self:
        """variance (D,): of the rows along their principal axes, of which the mixture is one of the first."""
        base = cls(len(variance), mixture.means.shape[1], len(mixture.weights))
        inverse = mixture.precision_cholesky @ mixture.precision_cholesky.transpose(0, 2, 1)
        precision, axes = np.linalg.eigh(inverse)
        arrays = (np.log(mixture.weights), mixture.means, axes, np.maximum(1 / precision, MIN_VARIANCE), variance)
        for name, array in zip(("log_weight", "means", "axes", "spreads", "variance"), arrays, strict=True):
            getattr(base, name).copy_(torch.from_numpy(np.asarray(array, np.float32)))
        return base

    @property
    def rank(self) -> int:
        return self.means.shape[1]

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Energies (N,) of coordinates x (N, D) at s (N, 1)."""
        _, log_joint, _ = self._joint(x, s)
        rest, variance = x[:, self.rank :], self.variance[self.rank :]
        tail = 0.5 * ((rest.square() - variance) / (variance + s.square())).sum(dim=1)
        constant = self._constant(s[:, 0])
        return tail - torch.logsumexp(log_joint, dim=1) - constant

    def energies(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Energies (N, L) of coordinates x (N, D) at each level of sigma (L,)."""
        spreads = self.spreads[:, :, None] + sigma.square()  # (K, r, L)
        log_weight = self.log_weight[:, None] - 0.5 * spreads.log().sum(dim=1)  # (K, L)
        squares = torch.einsum("nkr,krl->nkl", self._along(x).square(), 1 / spreads)
        precision = 1 / (self.variance[self.rank :, None] + sigma.square())  # (D - r, L)
        tail = x[:, self.rank :].square() @ precision - self.variance[self.rank :] @ precision
        return 0.5 * tail - torch.logsumexp(log_weight - 0.5 * squares, dim=1) - self._constant(sigma)

    def gradient(self, x: Tensor, s: Tensor) -> Tensor:
        """dE/dx (N, D) of coordinates x (N, D) at s (N, 1)."""
        along, log_joint, spreads = self._joint(x, s)
        pull = torch.softmax(log_joint, dim=1)[:, :, None] * along / spreads  # (N, K, r)
        first = torch.einsum("nkq,krq->nr", pull, self.axes)
        return torch.cat([first, x[:, self.rank :] / (self.variance[self.rank :] + s.square())], dim=1)

    def gradients(self, x: Tensor, sigma: Tensor) -> Tensor:
        """dE/dx (N, L, D) of coordinates x (N, D) at each level of sigma (L,)."""
        rows = x.repeat_interleave(len(sigma), dim=0)
        return self.gradient(rows, sigma.repeat(len(x))[:, None]).view(len(x), len(sigma), x.shape[1])

    def _along(self, x: Tensor) -> Tensor:
        """Coordinates (N, K, r) of x (N, D) along the axes of each Gaussian, from its mean."""
        num_components, rank = self.means.shape
        turned = x[:, :rank] @ self.axes.transpose(0, 1).reshape(rank, num_components * rank)
        offset = torch.einsum("kr,krq->kq", self.means, self.axes)
        return turned.view(len(x), num_components, rank) - offset

    def _joint(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates (N, K, r), log of weight times density but for constants (N, K), and the variances (N, K, r)."""
        along, spreads = self._along(x), self.spreads + s.square()[:, :, None]
        return along, self.log_weight - 0.5 * (spreads.log() + along.square() / spreads).sum(dim=2), spreads

    def _constant(self, s: Tensor) -> Tensor:
        """The mean energy (L,) of rows of the Gaussians at levels s (L,), were they far apart."""
        spreads = self.spreads + s.square()[:, None, None]  # (L, K, r)
        apart = 0.5 * (spreads.log() + self.spreads / spreads).sum(dim=2) - self.log_weight
        return (self.log_weight.exp() * apart).sum(dim=1)


def fit_base(
    x: Float32, heldout: Float32 | None, variance: Float32, noise_range: tuple[float, float], seed: int,
    rank: int | None = None, components: int | None = None,
) -> GaussianBase:  # fmt: skip
    """The base of rows x (N, D) along their principal axes, widest first; variance (D,) along each.

    Of the ranks and the numbers of Gaussians that are not given, those with the lowest denoising loss on held-out rows
    (M, D) are taken, or on a seeded tenth of the rows.
    """
    rng = np.random.default_rng(seed)
    if heldout is None:
        order = rng.permutation(len(x))
        cut = min(math.ceil(len(x) / 10), len(x) - 1)
        heldout, x = (x[order[:cut]], x[order[cut:]]) if cut else (x, x)
    if len(x) > _MAX_FIT_ROWS:
        x = x[np.sort(rng.permutation(len(x))[:_MAX_FIT_ROWS])]
    draws = torch.from_numpy(heldout[np.arange(_NUM_DRAWS) % len(heldout)] if len(heldout) <= _NUM_DRAWS
                             else heldout[np.linspace(0, len(heldout) - 1, _NUM_DRAWS).astype(int)])  # fmt: skip
    s, z = fixed_noise(len(draws), draws.shape[1], *noise_range, _SEED)
    noisy = draws + s * z

    def loss(base: GaussianBase) -> float:
        return float((0.5 * (s * base.gradient(noisy, s) - z).square().sum(dim=1)).mean())

    best, lowest = None, math.inf
    for r in [rank] if rank is not None else sorted({min(r, x.shape[1]) for r in RANKS}):
        before, num_worse = lowest, 0
        for k in COMPONENTS if components is None else [components]:
            first = np.asarray(x[:, :r], np.float64)
            if (k > affordable_components(first, k) and components is None) or num_worse == _PATIENCE:
                break
            starts = [GaussianBase.of(fit_components(first, k, seed + i, "base", noise_range[0] ** 2), variance) for i in range(NUM_STARTS if k > 1 else 1)]
            for base in starts:
                base.loss = loss(base)
            base = min(starts, key=lambda b: b.loss)
            _log.info("base r %d k %d loss %.4f", r, k, base.loss)
            best_here = base.loss < lowest
            num_worse = 0 if best_here else num_worse + 1
            if best_here:
                best, lowest = base, base.loss
        if lowest == before:
            break
    return best
