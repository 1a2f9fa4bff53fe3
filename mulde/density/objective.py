"""The training loss (docs/method.md, equations 2 to 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from mulde.density.energy import EnergyNet, ScoreNet
from mulde.density.rows import parts

Net = EnergyNet | ScoreNet


def dsm_per_row(gradient: Tensor, s: Tensor, z: Tensor) -> Tensor:
    """1/2 s^2 || g - (x' - x)/s^2 ||^2 per row (N,), for g = dE/dx (N, D) at x' = x + s z, s (N, 1), z (N, D).

    Written as 1/2 || s g - z ||^2, which is the same: (x' - x)/s^2 = z/s, and a division by s^2 = 1e-6 would cost
    digits.
    """
    return 0.5 * (s * gradient - z).square().sum(dim=1)


def loss_per_row(net: Net, x: Tensor, s: Tensor, z: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The two terms of the loss, L_dsm and L_reg, per row (N,), for clean rows x (N, D), s (N, 1), z (N, D)."""
    gradient, energy = net.noisy_and_clean(x, s, z)
    return dsm_per_row(gradient, s, z), 0.5 * beta * energy.square()  # equations 3 and 4


def dsm_rows(net: Net, x: Tensor, s: Tensor, z: Tensor, rows_at_a_time: int = 1024) -> Tensor:
    """L_dsm alone per row (N,) float64, without gradients for training, in bounded memory."""
    out = torch.empty(len(x), dtype=torch.float64, device=x.device)
    with torch.inference_mode(), net.cast_once():
        for part in parts(len(x), rows_at_a_time):
            out[part] = dsm_per_row(net.gradient(x[part], s[part], z[part]), s[part], z[part]).double()
    return out
