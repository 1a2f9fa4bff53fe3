"""The toy set of four Gaussians (the public code of MULDE draws such a one), and its exact answers in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mulde.density.rows import Float64

STD = 0.2121
_FAR = 2.8284
_NORMAL_CENTRES = np.array([[_FAR, 0], [-_FAR, 0], [0, _FAR], [0, -_FAR]])
_MID, _OUT = 1.4142, 4.8083
_ANOMALOUS_CENTRES = np.array(
    [[_MID, _MID], [_MID, -_MID], [-_MID, _MID], [-_MID, -_MID], [0, 0], [_OUT, 0], [-_OUT, 0], [0, _OUT], [0, -_OUT]]
)


@dataclass(frozen=True)
class ToySet:
    """Points (N, 2) float64: `train` and `normal` from the four Gaussians, `anomalous` from nine others."""

    train: Float64
    normal: Float64
    anomalous: Float64


def draw_toy_set(seed: int = 0, num_train: int = 10_000, num_test: int = 5_000) -> ToySet:
    """`num_train` normal points to learn from, `num_test` normal and as many anomalous ones to test with."""
    rng = np.random.default_rng(seed)
    return ToySet(
        train=_draw(_NORMAL_CENTRES, num_train, rng),
        normal=_draw(_NORMAL_CENTRES, num_test, rng),
        anomalous=_draw(_ANOMALOUS_CENTRES, num_test, rng),
    )


def _draw(centres: Float64, num_points: int, rng: np.random.Generator) -> Float64:
    points: Float64 = centres[rng.integers(len(centres), size=num_points)] + STD * rng.standard_normal((num_points, 2))
    return points


@dataclass(frozen=True)
class GaussianTruth:
    """An equal mixture of K axis-aligned Gaussians in D columns: centres (K, D), one variance per column (D,).

    Noise of level s only adds s^2 to the variances, so q_s is known exactly.
    """

    centres: Float64
    variance: Float64

    def energy(self, x: Float64, s: float) -> Float64:
        """-log q_s of x (N, D): (N,)."""
        energy: Float64 = -np.logaddexp.reduce(self._log_joint(x, s), axis=1)
        return energy

    def gradient(self, x: Float64, s: float) -> Float64:
        """d(-log q_s)/dx of x (N, D): (N, D), the mean pull towards the centres, weighted by their posterior."""
        joint = self._log_joint(x, s)
        posterior = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])  # (N, K)
        pull: Float64 = (x - posterior @ self.centres) / (self.variance + s**2)
        return pull

    def lowest_dsm_loss(self, s: float, num_nodes: int = 80) -> float:
        """The lowest possible L_dsm at level s: 1/2 (D - s^2 E_{q_s} || grad log q_s ||^2), the variance of the noise
        that x' leaves open. By Gauss-Hermite quadrature, num_nodes^D nodes around each centre."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
        dim = len(self.variance)
        grid = np.stack(np.meshgrid(*[nodes] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
        weight = np.prod(np.stack(np.meshgrid(*[weights] * dim, indexing="ij"), axis=-1), axis=-1).ravel()
        std = np.sqrt(self.variance + s**2)
        norms = [
            np.average(np.square(self.gradient(centre + std * grid, s)).sum(axis=1), weights=weight)
            for centre in self.centres
        ]
        return 0.5 * (dim - s**2 * float(np.mean(norms)))

    def _log_joint(self, x: Float64, s: float) -> Float64:
        """log of (1/K) N(x; centre_k, variance + s^2), (N, K)."""
        variance = self.variance + s**2
        squares = (np.square(x[:, None, :] - self.centres) / variance).sum(axis=2)  # (N, K)
        constant = math.log(len(self.centres)) + 0.5 * float(np.log(2 * math.pi * variance).sum())
        joint: Float64 = -0.5 * squares - constant
        return joint


def toy_truth(mean: Float64 | None = None, scale: Float64 | None = None) -> GaussianTruth:
    """The truth of the toy set's normal points after (x - mean) / scale; by default that of the population."""
    population_scale = np.sqrt(STD**2 + np.square(_NORMAL_CENTRES).mean(axis=0))
    mean = np.zeros(2) if mean is None else mean
    scale = population_scale if scale is None else scale
    return GaussianTruth(centres=(_NORMAL_CENTRES - mean) / scale, variance=STD**2 / np.square(scale))
