"""The training loss (METHOD.md section 1, steps 2 to 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from mulde.density.energy import EnergyNet
from mulde.density.rows import parts


def dsm_per_row(gradient: Tensor, s: Tensor, z: Tensor) -> Tensor:
    """1/2 s^2 || g - (x' - x)/s^2 ||^2 per row (N,), for g = dE/dx (N, D) at x' = x + s z, s (N, 1), z (N, D).

    Written as 1/2 || s g - z ||^2, which is the same: (x' - x)/s^2 = z/s, and a division by s^2 = 1e-6 would cost
    digits.
    """
    return 0.5 * (s * gradient - z).square().sum(dim=1)


def training_loss(net: EnergyNet, x: Tensor, s: Tensor, z: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """The two terms of the loss, L_dsm and L_reg (scalars), for clean rows x (N, D), s (N, 1), z (N, D).

    Noisy and clean rows share one forward pass; only the noisy ones need a gradient.
    """
    n = len(x)
    energy, gradient = net.energy_and_gradient(torch.cat([x + s * z, x]), torch.cat([s, s]), num_gradient_rows=n)
    l_dsm = dsm_per_row(gradient, s, z).mean()  # step 4
    l_reg = 0.5 * beta * energy[n:].square().mean()  # step 5: at the clean x, with the same s
    return l_dsm, l_reg


def dsm_loss(net: EnergyNet, x: Tensor, s: Tensor, z: Tensor, rows_at_a_time: int = 1024) -> float:
    """L_dsm alone over clean rows x (N, D) with given noise, without gradients for training, in bounded memory."""
    total = 0.0
    with torch.inference_mode():
        for part in parts(len(x), rows_at_a_time):
            gradient = net.energy_and_gradient(x[part] + s[part] * z[part], s[part])[1]
            total += float(dsm_per_row(gradient, s[part], z[part]).double().sum())
    return total / len(x)
