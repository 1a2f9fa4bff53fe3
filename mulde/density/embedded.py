"""Mixtures of low rank among many columns, with anomalies inside and outside their subspace, and their exact density.

A row is A z + noise: z of r numbers from K Gaussians, A (D, r) a random orthonormal embedding, noise the same in every
column. So the density is that of K factor analysers, known in closed form at every noise level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mulde.density.rows import Float64

NUM_MODES, RANK = 8, 8
NOISE = 0.05
"""Standard deviation of the noise in each column, where the centres of the modes spread by 1 along each axis."""
_WIDTHS = (0.55, 1.1)
"""Least and largest standard deviation of a mode along its axes; in D columns, divided by D^(1/4)."""
_DISPLACEMENT = 1.75
"""Of a row outside, in units of the noise; in D columns, times (2 (D - r))^(1/4)."""


@dataclass(frozen=True)
class FactorMixture:
    """An equal mixture of K Gaussians in D columns: centres (K, D), factors (K, D, r), noise (D,).

    The covariance of mode k is F_k F_k^T + diag(noise). Noise of level s only adds s^2 to `noise`, so q_s is known
    exactly; by the identities of Woodbury and Sylvester no matrix is larger than (r, r).
    """

    centres: Float64
    factors: Float64
    noise: Float64

    def standardised(self, mean: Float64, scale: Float64) -> FactorMixture:
        """The density of (x - mean) / scale, both (D,)."""
        return FactorMixture(
            (self.centres - mean) / scale, self.factors / scale[:, None], self.noise / np.square(scale)
        )

    def energy(self, x: Float64, s: float) -> Float64:
        """-log q_s of x (N, D): (N,)."""
        return -np.asarray(np.logaddexp.reduce(self._log_joint(x, s)[0], axis=0))

    def gradient(self, x: Float64, s: float) -> Float64:
        """d(-log q_s)/dx of x (N, D): (N, D), the pulls (F_k F_k^T + noise + s^2)^-1 (x - centre_k) towards the
        centres, weighted by their posterior."""
        joint, solved, scaled = self._log_joint(x, s)
        posterior = np.exp(joint - np.logaddexp.reduce(joint, axis=0))  # (K, N)
        weighted = _side_by_side(posterior[..., None] * solved)  # (N, K r)
        low_rank = weighted @ _side_by_side(scaled).T  # (N, K r) (K r, D)
        pull: Float64 = (x - posterior.T @ self.centres) / (self.noise + s**2) - low_rank
        return pull

    def _log_joint(self, x: Float64, s: float) -> tuple[Float64, Float64, Float64]:
        """log of (1/K) N(x; centre_k, covariance_k + s^2), (K, N).

        With V = noise + s^2, that inverse is V^-1 - V^-1 F (1 + F^T V^-1 F)^-1 F^T V^-1 (Woodbury); what it makes of
        x - centre_k but for the left V^-1 F comes second, (K, N, r), and V^-1 F third, (K, D, r).
        """
        variance = self.noise + s**2  # (D,)
        scaled = self.factors / variance[:, None]  # (K, D, r)
        inner = np.eye(self.factors.shape[2]) + self.factors.transpose(0, 2, 1) @ scaled  # (K, r, r)
        num_modes, _, rank = scaled.shape
        projected = (x @ _side_by_side(scaled)).reshape(len(x), num_modes, rank).transpose(1, 0, 2)  # (K, N, r)
        projected = projected - self.centres[:, None, :] @ scaled
        solved = projected @ np.linalg.inv(inner)
        weighted = self.centres / variance  # (K, D)
        apart = np.square(x) @ (1 / variance) - 2 * weighted @ x.T + (weighted * self.centres).sum(axis=1)[:, None]
        squares = apart - (projected * solved).sum(axis=2)  # (K, N)
        log_det = np.log(variance).sum() + np.linalg.slogdet(inner)[1]  # (K,)
        constant = math.log(len(self.centres)) + 0.5 * (len(variance) * math.log(2 * math.pi) + log_det)
        return -0.5 * squares - constant[:, None], solved, scaled


def _side_by_side(factors: Float64) -> Float64:
    """(K, D, r), or (K, N, r), as one matrix (D, K r)."""
    num_modes, columns, rank = factors.shape
    return factors.transpose(1, 0, 2).reshape(columns, num_modes * rank)


@dataclass(frozen=True)
class EmbeddedSet:
    """Rows (N, D) float64 and their exact density `truth`: normal ones to learn from (`train`), to decide when to stop
    (`heldout`) and to test with (`normal`), and two kinds of anomalies.

    inside: in the subspace, between two modes. outside: displaced at right angles to the subspace.
    """

    truth: FactorMixture
    train: Float64
    heldout: Float64
    normal: Float64
    inside: Float64
    outside: Float64


def draw_embedded_set(
    columns: int, num_train: int, num_heldout: int, num_test: int, seed: int = 0, rank: int = RANK
) -> EmbeddedSet:
    """A mixture of `rank` among more `columns`, drawn by the seed, and rows of it; `num_test` of each kind to test
    with, which are the same for any number of rows to learn from.

    Anomalies are about as hard to find in many columns as in few: the energy of normal rows varies by sqrt(D / 2)
    through the noise alone, so the squares of the distance between modes, in their widths, and of the displacement, in
    units of the noise, grow like the root of D. Raises ValueError unless 1 <= rank < columns.
    """
    if not 1 <= rank < columns:
        raise ValueError(f"a rank of 1 to {columns - 1} in {columns} columns, got {rank}")
    shape, of_train, of_heldout, of_test = np.random.default_rng(seed).spawn(4)
    basis = np.linalg.qr(shape.standard_normal((columns, rank)))[0]  # (D, r)
    latent_centres = shape.standard_normal((NUM_MODES, rank))
    axes = np.linalg.qr(shape.standard_normal((NUM_MODES, rank, rank)))[0]
    latent_factors = axes * np.geomspace(*_WIDTHS, rank) / columns**0.25  # (K, r, r)
    truth = FactorMixture(latent_centres @ basis.T, basis @ latent_factors, np.full(columns, NOISE**2))
    normal, to_displace = _draw(truth, num_test, of_test), _draw(truth, num_test, of_test)
    away = of_test.standard_normal((num_test, columns))
    away -= away @ basis @ basis.T
    distance = _DISPLACEMENT * NOISE * (2 * (columns - rank)) ** 0.25
    return EmbeddedSet(
        truth=truth,
        train=_draw(truth, num_train, of_train),
        heldout=_draw(truth, num_heldout, of_heldout),
        normal=normal,
        inside=_draw(truth, num_test, of_test, between=True),
        outside=to_displace + distance * away / np.linalg.norm(away, axis=1, keepdims=True),
    )


def _draw(truth: FactorMixture, num_rows: int, rng: np.random.Generator, between: bool = False) -> Float64:
    """Rows (N, D) of the mixture; between: as far from the centre of another mode as from that of their own."""
    num_modes, columns, rank = truth.factors.shape
    mode = rng.integers(num_modes, size=num_rows)
    centres = truth.centres[mode]
    if between:
        other = (mode + rng.integers(1, num_modes, size=num_rows)) % num_modes
        centres = (centres + truth.centres[other]) / 2
    latent = rng.standard_normal((num_rows, rank))
    rows = centres + np.sqrt(truth.noise) * rng.standard_normal((num_rows, columns))
    for k in range(num_modes):
        rows[mode == k] += latent[mode == k] @ truth.factors[k].T
    return rows
