"""A memory of prototypes: each cell of a feature map is replaced by the nearest of a few learnt codes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_COMMITMENT = 0.25


class Recall(NamedTuple):
    """What a memory made of a feature map.

    Attributes:
        codes: The nearest codes, (N, D, H, W); their gradient goes straight through to the features.
        nearest: Their numbers, (N, H, W) int64.
        loss: The mean squared error of codes against features, which moves the codes, plus a quarter of that of
            features against codes, which keeps the features near (VQ-VAE, van den Oord et al., 2017, equation 3).
    """

    codes: Tensor
    nearest: Tensor
    loss: Tensor


class Memory(nn.Module):
    """A codebook of `num_codes` vectors of `dim` numbers, drawn from U(-1/num_codes, 1/num_codes).

    `idle` (num_codes,) counts the training batches since each code was last the nearest of any cell.
    """

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__()
        self.codebook = nn.Parameter(torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))
        self.idle: Tensor
        self.register_buffer("idle", torch.zeros(num_codes, dtype=torch.int64))

    def forward(self, features: Tensor) -> Recall:
        """The code nearest to each cell of `features` (N, D, H, W), by Euclidean distance."""
        rows = features.movedim(1, -1)  # (N, H, W, D)
        with torch.no_grad():
            nearest = torch.cdist(rows.flatten(0, 2), self.codebook).argmin(dim=1)
        codes = self.codebook[nearest].view_as(rows)
        nearest = nearest.view(rows.shape[:-1])
        loss = functional.mse_loss(codes, rows.detach()) + _COMMITMENT * functional.mse_loss(rows, codes.detach())
        straight = rows + (codes - rows).detach()
        return Recall(straight.movedim(-1, 1), nearest, loss)

    @torch.no_grad()
    def renew(self, features: Tensor, nearest: Tensor, generator: torch.Generator, max_idle: int = 50) -> int:
        """To be called once after each training batch, with its features (N, D, H, W) and what was nearest to them.

        Codes that were not the nearest for more than `max_idle` batches are born again as features of this batch, drawn
        by `generator` (on the CPU). Returns how many.
        """
        self.idle += 1
        self.idle[nearest.flatten()] = 0
        dead = (self.idle > max_idle).nonzero()[:, 0]
        if len(dead):
            rows = features.movedim(1, -1).flatten(0, 2)
            drawn = torch.randint(len(rows), (len(dead),), generator=generator)
            self.codebook[dead] = rows[drawn.to(rows.device)]
            self.idle[dead] = 0
        return len(dead)
