"""The noise levels: drawn log-uniformly to train, evenly spaced to read (docs/method.md, equations 1 and 5)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from mulde.density.rows import Float64

SPACINGS = ("linear", "log")


def log_uniform(u: Tensor, low: float, high: float) -> Tensor:
    """s = exp(U(ln low, ln high)) for u uniform in 0..1 (equation 1)."""
    return torch.exp(math.log(low) + u * (math.log(high) - math.log(low)))


def sigma_levels(low: float, high: float, num_scales: int, spacing: str = "linear") -> Float64:
    """The L levels at which the energy is read, (L,) float64, spaced as one of `SPACINGS` says, both ends included."""
    space = np.geomspace if spacing == "log" else np.linspace
    return np.asarray(space(low, high, num_scales), dtype=np.float64)


def draw_noise(
    num_rows: int, num_columns: int, low: float, high: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One s (N, 1) per row and z ~ N(0, I) (N, D), float32, on the generator's device."""
    device = generator.device
    u = torch.rand(num_rows, 1, generator=generator, device=device)
    z = torch.randn(num_rows, num_columns, generator=generator, device=device)
    return log_uniform(u, low, high), z


def fixed_noise(num_rows: int, num_columns: int, low: float, high: float, seed: int) -> tuple[Tensor, Tensor]:
    """As `draw_noise`, on the CPU, with the s spread evenly over the range: for a loss compared from step to step."""
    generator = torch.Generator().manual_seed(seed)
    u = (torch.randperm(num_rows, generator=generator) + 0.5) / num_rows
    z = torch.randn(num_rows, num_columns, generator=generator)
    return log_uniform(u[:, None], low, high), z
