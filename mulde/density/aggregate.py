"""From the energies at L noise levels to one score per row (docs/method.md, equation 6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mulde.density.mixture import Mixture, fit_mixture
from mulde.density.rows import Float64, Rows, Tensors
from mulde.density.standardise import Standardiser
from mulde.density.state import under_prefix, with_prefix

LEVELS_REG_COVAR = 1e-3
"""Least variance, of standardised levels, that a mixture over them gives to any direction. The levels are almost
collinear; below this the mixture would listen to how float32 rounds, and another machine would score otherwise."""
AGGREGATES = ("max", "median", "mean", "mixture")


@dataclass(frozen=True)
class Aggregate:
    """One way to read an energy vector. Higher score = more anomalous.

    max, median: of the energies as they are. mean: after standardising each level by its mean and std over the
    rows that it was fitted on.
    mixture: -log p under a Gaussian mixture fitted on the standardised energies of the training rows (p is a density of
    the standardised vector; the constant that this leaves out changes no order).
    """

    name: str
    levels: Standardiser
    mixture: Mixture | None = None

    @classmethod
    def fit(
        cls, name: str, energies: Rows, components: int | None, seed: int, heldout: Rows | None = None
    ) -> Aggregate:
        """Learn from the energies (N, L) of normal rows, N >= 1; components: None lets those of held-out rows
        (M, L) choose, as `fit_mixture` does. Raises FitError if a mixture cannot be had."""
        levels = Standardiser.fit(energies)
        if name != "mixture":
            return cls(name, levels)
        what = "mixture over the noise levels"
        return cls(name, levels, fit_mixture(energies, components, seed, what, heldout, levels.apply, LEVELS_REG_COVAR))

    def score(self, energies: Rows, device: str | torch.device = "cpu") -> Float64:
        """energies (N, L) -> scores (N,) float64; a mixture is computed on the device."""
        if self.mixture is not None:
            return self.mixture.negative_log_likelihood(energies, device, self.levels.apply)
        if self.name == "mean":
            energies = self.levels.apply(energies)
        reductions: dict[str, Callable[..., Any]] = {"max": np.max, "median": np.median, "mean": np.mean}
        return np.asarray(reductions[self.name](energies, axis=1), dtype=np.float64)

    def tensors(self) -> Tensors:
        mixture = self.mixture.tensors() if self.mixture is not None else {}
        return with_prefix("levels.", self.levels.tensors()) | with_prefix("mixture.", mixture)

    @classmethod
    def from_tensors(cls, name: str, tensors: Tensors, num_scales: int) -> Aggregate:
        """Raises BundleError when an array is missing or has another shape."""
        levels = Standardiser.from_tensors(under_prefix("levels.", tensors), num_scales)
        if name != "mixture":
            return cls(name, levels)
        return cls(name, levels, Mixture.from_tensors(under_prefix("mixture.", tensors), num_scales))
