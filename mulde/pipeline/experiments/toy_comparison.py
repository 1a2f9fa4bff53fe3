"""Learnt against exact on the toy set: AUC, correlation and loss per noise level, aggregates, promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from mulde.density.aggregate import AGGREGATES, Aggregate
from mulde.density.energy import EnergyNet
from mulde.density.estimator import MuldeDensity
from mulde.density.reading import rows_at_a_time
from mulde.density.rows import Float64, parts
from mulde.density.toy import GaussianTruth
from mulde.evaluation.metrics import roc_auc

INDICATORS = {"energy": "energy", "score_norm": "score norm"}
SHOWN_AGGREGATES: dict[str, tuple[str, int | None]] = {
    **{name: (name, None) for name in AGGREGATES if name != "mixture"},
    **{f"mixture {k}": ("mixture", k) for k in (1, 3, 5)},
}
"""Name shown: name in `AGGREGATES`, number of Gaussians."""
_DENSE = 1e-3
_NUM_DRAWS = 4  # of noise per held-out point, which makes the loss of 5,000 points certain to about 0.005
_MAX_SIGMA, _AUC_MARGIN, _MIN_AUC, _MIN_CORRELATION = 0.667, 0.01, 0.995, 0.99
_CORRELATION_SIGMAS = (0.067, 0.2, 0.4)


class Field(Protocol):
    """An energy over standardised columns, learnt or exact."""

    def energy(self, x: Float64, s: float) -> Float64:
        """E of x (N, D) at noise level s: (N,)."""
        ...

    def gradient(self, x: Float64, s: float) -> Float64:
        """dE/dx of x (N, D) at noise level s: (N, D)."""
        ...


class LearntField:
    """The energy that a fitted density learnt, of rows that are standardised already, at any noise level."""

    def __init__(self, density: MuldeDensity) -> None:
        self._net, self._device, self._axes = cast(EnergyNet, density.net_), density.device_, density.axes_

    def energy(self, x: Float64, s: float) -> Float64:
        return self._read(x, lambda rows: self._net.energies(rows, rows.new_tensor([s]))[:, 0])

    def gradient(self, x: Float64, s: float) -> Float64:
        along = self._read(x, lambda rows: self._net.gradient(rows, rows.new_full((len(rows), 1), s)))
        return along if self._axes is None else along @ self._axes.T

    def _read(self, x: Float64, read: Callable[[Tensor], Tensor]) -> Float64:
        rows = torch.from_numpy((x if self._axes is None else x @ self._axes).astype(np.float32))
        with torch.inference_mode():
            pieces = [read(rows[p].to(self._device)).cpu() for p in parts(len(x), rows_at_a_time(self._net, 1))]
        values: Float64 = torch.cat(pieces).double().numpy()
        return values


@dataclass(frozen=True)
class Plane:
    """Standardised points (N, 2): those learnt from, other normal ones, both kinds of test points, a square grid."""

    train: Float64
    heldout: Float64
    normal: Float64
    anomalous: Float64
    grid: Float64


@dataclass(frozen=True)
class LevelRow:
    """Learnt against exact at one noise level.

    AUC of both indicators on the test points; correlation of the energies on the held-out points and those grid points
    whose density is above a thousandth of the largest; L_dsm of the held-out points, of both under the same draw of
    the noise, and the least that there is.
    """

    sigma: float
    energy_auc_learnt: float
    energy_auc_exact: float
    score_norm_auc_learnt: float
    score_norm_auc_exact: float
    correlation: float
    dsm_loss_learnt: float
    dsm_loss_exact: float
    dsm_loss_least: float


@dataclass(frozen=True)
class AggregateRow:
    """AUC of one aggregate of each indicator on the test points."""

    aggregate: str
    energy_auc_learnt: float
    energy_auc_exact: float
    score_norm_auc_learnt: float
    score_norm_auc_exact: float


@dataclass(frozen=True)
class Promise:
    """What is promised, what was found, and whether the promise is kept."""

    promise: str
    found: str
    kept: bool


@dataclass(frozen=True)
class Comparison:
    """A row per noise level, a row per aggregate, and what they mean for the promises."""

    levels: list[LevelRow]
    aggregates: list[AggregateRow]
    promises: list[Promise]


def compare(learnt: Field, exact: GaussianTruth, plane: Plane, sigma: Sequence[float], seed: int) -> Comparison:
    """Both energies read at each noise level of sigma (L,); `seed`: of the mixtures and of the held-out noise."""
    fields: dict[str, Field] = {"learnt": learnt, "exact": exact}
    aucs = {
        f"{indicator}_auc_{kind}": _aucs(field, indicator, plane, sigma, seed)
        for indicator in INDICATORS
        for kind, field in fields.items()
    }
    noised = np.tile(plane.heldout, (_NUM_DRAWS, 1))
    z = np.random.default_rng(seed).standard_normal(noised.shape)
    levels = [
        LevelRow(
            sigma=s,
            **{column: at_levels[i] for column, (at_levels, _) in aucs.items()},
            correlation=_correlation(learnt, exact, plane, s),
            dsm_loss_learnt=dsm_loss(learnt, noised, z, s),
            dsm_loss_exact=dsm_loss(exact, noised, z, s),
            dsm_loss_least=exact.lowest_dsm_loss(s),
        )
        for i, s in enumerate(sigma)
    ]
    aggregates = [
        AggregateRow(aggregate=name, **{column: of_aggregates[i] for column, (_, of_aggregates) in aucs.items()})
        for i, name in enumerate(SHOWN_AGGREGATES)
    ]
    return Comparison(levels, aggregates, evaluator(levels, aggregates))


def _aucs(
    field: Field, indicator: str, plane: Plane, sigma: Sequence[float], seed: int
) -> tuple[list[float], list[float]]:
    """AUC at each noise level, and of each of `SHOWN_AGGREGATES`."""
    train, normal, anomalous = (
        read_field(field, indicator, x, sigma) for x in (plane.train, plane.normal, plane.anomalous)
    )
    fitted = [Aggregate.fit(name, train, components, seed) for name, components in SHOWN_AGGREGATES.values()]
    return (
        [auc_of(*at_level) for at_level in zip(normal.T, anomalous.T, strict=True)],
        [auc_of(aggregate.score(normal), aggregate.score(anomalous)) for aggregate in fitted],
    )


def read_field(field: Field, indicator: str, x: Float64, sigma: Sequence[float]) -> Float64:
    """An indicator of x (N, D) at each noise level of sigma (L,): (N, L)."""
    if indicator == "energy":
        return np.stack([field.energy(x, s) for s in sigma], axis=1)
    return np.stack([np.square(field.gradient(x, s)).sum(axis=1) for s in sigma], axis=1)


def auc_of(normal: Float64, anomalous: Float64) -> float:
    """Of the scores of normal and of anomalous points, each (N,)."""
    auc = roc_auc(np.concatenate([normal, anomalous]), np.repeat([False, True], [len(normal), len(anomalous)]))
    return math.nan if auc is None else auc


def _correlation(learnt: Field, exact: Field, plane: Plane, s: float) -> float:
    """Of the two energies; a constant between them does not matter to it."""
    on_points, on_grid = exact.energy(plane.heldout, s), exact.energy(plane.grid, s)
    dense = on_grid < min(on_points.min(), on_grid.min()) - np.log(_DENSE)
    x = np.concatenate([plane.heldout, plane.grid[dense]])
    return float(np.corrcoef(learnt.energy(x, s), np.concatenate([on_points, on_grid[dense]]))[0, 1])


def dsm_loss(field: Field, x: Float64, z: Float64, s: float) -> float:
    """L_dsm at level s of clean points x (N, D) under noise z (N, D) (docs/method.md, equation 3)."""
    return 0.5 * float(np.square(s * field.gradient(x + s * z, s) - z).sum(axis=1).mean())


def evaluator(levels: Sequence[LevelRow], aggregates: Sequence[AggregateRow]) -> list[Promise]:
    """The promises of `mulde toy`, each with the figure that comes nearest to breaking it."""
    small = [row for row in levels if row.sigma <= _MAX_SIGMA + 1e-9]
    gap, at = max((abs(row.energy_auc_learnt - row.energy_auc_exact), row.sigma) for row in small)
    least_auc, aggregate = min((row.energy_auc_learnt, row.aggregate) for row in aggregates)
    sigma = np.array([row.sigma for row in levels])
    nearest = [levels[int(np.abs(sigma - s).argmin())] for s in _CORRELATION_SIGMAS]
    least_correlation, worst = min((row.correlation, row.sigma) for row in nearest)
    sigmas = ", ".join(f"{s:g}" for s in _CORRELATION_SIGMAS)
    return [
        Promise(
            f"AUC of the energy within {_AUC_MARGIN:g} of the exact one at every sigma up to {_MAX_SIGMA:g}",
            f"largest difference {gap:.4f}, at sigma {at:.3g}",
            gap <= _AUC_MARGIN,
        ),
        Promise(
            f"AUC of every aggregate of the energy at least {_MIN_AUC:g}",
            f"least {least_auc:.4f}, {aggregate}",
            least_auc >= _MIN_AUC,
        ),
        Promise(
            f"correlation with the exact energy at least {_MIN_CORRELATION:g} at sigma {sigmas}",
            f"least {least_correlation:.4f}, at sigma {worst:.3g}",
            least_correlation >= _MIN_CORRELATION,
        ),
    ]
