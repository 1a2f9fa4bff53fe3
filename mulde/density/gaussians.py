"""The part of the energy that is known in closed form: that of Gaussians under noise (docs/method.md, "Density")."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from mulde.density.axes import MIN_VARIANCE
from mulde.density.mixture import Mixture
from mulde.density.rows import Float32, Tensors
from mulde.density.state import take, take_positive
from mulde.errors import BundleError


class GaussianBase(nn.Module):
    """-log q_s of K Gaussians along the first r principal axes of the rows, times one along each other axis.

    log_weight (K,), means (K, r), axes (K, r, r), one per column, and spreads (K, r), the variances along them;
    variance (D,) of the rows along all D principal axes, of which those from r on count here. Noise of level s only
    adds s^2 to every variance, so the energy is known at every level. A constant of each level, which no gradient sees,
    is left out: the mean energy of the Gaussians' own rows, were they far apart. So one Gaussian's energy is
    1/2 sum_d (x_d^2 - v_d) / (v_d + s^2), and 0 on average.
    """

    log_weight: Tensor
    means: Tensor
    axes: Tensor
    spreads: Tensor
    variance: Tensor

    def __init__(self, num_features: int, rank: int, num_gaussians: int) -> None:
        super().__init__()
        self.register_buffer("log_weight", torch.zeros(num_gaussians))
        self.register_buffer("means", torch.zeros(num_gaussians, rank))
        self.register_buffer("axes", torch.zeros(num_gaussians, rank, rank))
        self.register_buffer("spreads", torch.ones(num_gaussians, rank))
        self.register_buffer("variance", torch.ones(num_features))

    @classmethod
    def single(cls, variance: Float32) -> Self:
        """One Gaussian with these variances (D,) along the principal axes."""
        base = cls(len(variance), 1, 1)
        base.axes.fill_(1)
        base.spreads.fill_(float(variance[0]))
        base.variance.copy_(torch.from_numpy(variance))
        return base

    @classmethod
    def of(cls, mixture: Mixture, variance: Float32) -> Self:
        """variance (D,): of the rows along their principal axes, along the first of which the mixture lies."""
        base = cls(len(variance), mixture.means.shape[1], len(mixture.weights))
        factors = mixture.precision_cholesky
        precision, axes = np.linalg.eigh(factors @ factors.transpose(0, 2, 1))
        spreads = np.maximum(1 / precision, MIN_VARIANCE)
        arrays = (np.log(mixture.weights), mixture.means, axes, spreads, variance)
        for buffer, array in zip(base.buffers(), arrays, strict=True):
            buffer.copy_(torch.from_numpy(np.asarray(array, np.float32)))
        return base

    @classmethod
    def from_tensors(cls, tensors: Tensors, prefix: str, num_features: int) -> Self:
        """Raises BundleError when an array is missing, has another shape, or is of no Gaussian."""
        num_gaussians, rank = take(tensors, prefix + "means", np.float32, (None, None)).shape
        if not num_gaussians or not 1 <= rank <= num_features:
            expected = f"at least one Gaussian along 1 to {num_features} axes"
            raise BundleError("stored density, base", expected=expected, got=f"{num_gaussians} along {rank}")
        base = cls(num_features, rank, num_gaussians)
        positive = ("spreads", "variance")
        for name, buffer in base.named_buffers():
            read = take_positive if name in positive else take
            array = read(tensors, prefix + name, dtype=np.float32, shape=tuple(buffer.shape))
            buffer.copy_(torch.tensor(array))
        return base

    @property
    def rank(self) -> int:
        """Along how many of the principal axes the Gaussians differ."""
        return self.means.shape[1]

    @property
    def offsets(self) -> Tensor:
        """The means (K, r) along the Gaussians' own axes."""
        return torch.einsum("kr,krq->kq", self.means, self.axes)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Energies (N,) of coordinates x (N, D) at s (N, 1)."""
        _, log_joint, _ = self._joint(x, s)
        variance = self.variance[self.rank :]
        rest = ((x[:, self.rank :].square() - variance) / (variance + s.square())).sum(dim=1)
        return 0.5 * rest - torch.logsumexp(log_joint, dim=1) - self.constant(s[:, 0])

    def energies(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Energies (N, L) of coordinates x (N, D) at each level of sigma (L,)."""
        spreads = self.spreads[:, :, None] + sigma.square()  # (K, r, L)
        squares = torch.einsum("nkr,krl->nkl", self._along(x).square(), 1 / spreads)
        log_joint = self.log_weight[:, None] - 0.5 * (spreads.log().sum(dim=1) + squares)  # (N, K, L)
        precision = 1 / (self.variance[self.rank :, None] + sigma.square())  # (D - r, L)
        rest = x[:, self.rank :].square() @ precision - self.variance[self.rank :] @ precision
        return 0.5 * rest - torch.logsumexp(log_joint, dim=1) - self.constant(sigma)

    def gradient(self, x: Tensor, s: Tensor) -> Tensor:
        """dE/dx (N, D) at coordinates x (N, D) and s (N, 1)."""
        along, log_joint, spreads = self._joint(x, s)
        pull = torch.softmax(log_joint, dim=1)[:, :, None] * along / spreads  # (N, K, r)
        rest = x[:, self.rank :] / (self.variance[self.rank :] + s.square())
        return torch.cat([torch.einsum("nkq,krq->nr", pull, self.axes), rest], dim=1)

    def gradients(self, x: Tensor, sigma: Tensor) -> Tensor:
        """dE/dx (N, L, D) at coordinates x (N, D) and each level of sigma (L,)."""
        levels = sigma.repeat(len(x))[:, None]
        return self.gradient(x.repeat_interleave(len(sigma), dim=0), levels).view(len(x), len(sigma), x.shape[1])

    def constant(self, s: Tensor) -> Tensor:
        """What is left out of -log q_s at levels s (L,), (L,)."""
        spreads = self.spreads + s.square()[:, None, None]  # (L, K, r)
        own = 0.5 * (spreads.log() + self.spreads / spreads).sum(dim=2) - self.log_weight  # (L, K)
        return (self.log_weight.exp() * own).sum(dim=1)

    def _along(self, x: Tensor) -> Tensor:
        """Coordinates (N, K, r) of x (N, D) along the axes of each Gaussian, from its mean."""
        num_gaussians, rank = self.means.shape
        turned = x[:, :rank] @ self.axes.transpose(0, 1).reshape(rank, num_gaussians * rank)
        return turned.view(len(x), num_gaussians, rank) - self.offsets

    def _joint(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of x (N, D) at s (N, 1): `_along` (N, K, r), the log of weight times density (N, K) but for a constant, and
        the variances (N, K, r)."""
        along, spreads = self._along(x), self.spreads + s.square()[:, :, None]
        return along, self.log_weight - 0.5 * (spreads.log() + along.square() / spreads).sum(dim=2), spreads
