"""The network E(x, s) ~ -log q_s(x) + const, and its gradient in x in closed form (METHOD.md section 1)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

_INV_SQRT_2 = 1 / math.sqrt(2)
_INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


class _GeluSlope(torch.autograd.Function):
    """gelu'(h) = Phi(h) + h phi(h), with gelu''(h) = phi(h) (2 - h^2) for the backward pass."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        phi = torch.exp(-0.5 * h * h).mul_(_INV_SQRT_2PI)
        ctx.save_for_backward(h, phi)
        slope: Tensor = torch.erf(h * _INV_SQRT_2).add_(1).mul_(0.5).addcmul_(h, phi)
        return slope

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        h, phi = ctx.saved_tensors
        into_h: Tensor = upstream[0] * phi * (2 - h * h)
        return into_h


def gelu_slope(h: Tensor) -> Tensor:
    """Derivative of the exact GELU, elementwise; differentiable once more."""
    slope: Tensor = _GeluSlope.apply(h)
    return slope


class EnergyNet(nn.Module):
    """E(x, s) for x (N, D) and s (N, 1): concat(x, s) -> [Linear, GELU] for each width in `hidden` -> Linear to 1.

    Made with all weights 0; `initialise` draws them.
    """

    def __init__(self, num_features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        sizes = [num_features + 1, *hidden, 1]
        pairs = list(itertools.pairwise(sizes))
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(out, into)) for into, out in pairs])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(out)) for _, out in pairs])

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """torch's own initialisation of a Linear, U(-1/sqrt(fan in), 1/sqrt(fan in)), from the given generator."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            weight.uniform_(-bound, bound, generator=generator)
            bias.uniform_(-bound, bound, generator=generator)

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        """Energies (N,)."""
        return self.energy_and_gradient(x, s, num_gradient_rows=0)[0]

    def energy_and_gradient(self, x: Tensor, s: Tensor, num_gradient_rows: int | None = None) -> tuple[Tensor, Tensor]:
        """Energies (N,) of all rows and dE/dx (M, D) of the first M = `num_gradient_rows` rows (all unless given).

        With h_1 = W_1 [x, s] + b_1, h_i = W_i gelu(h_{i-1}) + b_i, E = w gelu(h_n) + b:
            delta_n = w * gelu'(h_n),  delta_{i-1} = (delta_i W_i) * gelu'(h_{i-1}),  dE/dx = delta_1 W_1[:, :D].
        No graph inside the graph: one ordinary backward pass through both results trains the network.
        """
        into_x, into_s = self.weights[0][:, :-1], self.weights[0][:, -1]  # (H, D), (H,)
        return self._from_first(x @ into_x.T + s * into_s + self.biases[0], num_gradient_rows)

    def energies(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Energies (N, L) of rows x (N, D) at each level of sigma (L,)."""
        into_x, into_s = self.weights[0][:, :-1], self.weights[0][:, -1]
        of_x = x @ into_x.T + self.biases[0]  # (N, H), the same for every level
        h = of_x[:, None, :] + sigma[None, :, None] * into_s  # (N, L, H)
        return self._from_first(h.flatten(0, 1), 0)[0].view(len(x), len(sigma))

    def _from_first(self, h: Tensor, num_gradient_rows: int | None) -> tuple[Tensor, Tensor]:
        """Energies and gradients from the first layer's output h_1 (N, H)."""
        m = len(h) if num_gradient_rows is None else num_gradient_rows
        inner, last = list(zip(self.weights, self.biases, strict=True))[1:-1], self.weights[-1]
        slopes = [gelu_slope(h[:m])] if m else []
        for weight, bias in inner:
            h = linear(gelu(h), weight, bias)
            if m:
                slopes.append(gelu_slope(h[:m]))
        energy = linear(gelu(h), last, self.biases[-1]).squeeze(1)  # (N,)
        if not m:
            return energy, h.new_empty(0, self.weights[0].shape[1] - 1)
        delta = last * slopes[-1]  # (M, H_n)
        for (weight, _), slope in zip(reversed(inner), reversed(slopes[:-1]), strict=True):
            delta = (delta @ weight) * slope
        return energy, delta @ self.weights[0][:, :-1]
