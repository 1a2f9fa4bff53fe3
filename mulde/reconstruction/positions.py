"""Position channels: what tells a convolution where it stands ("CoordConv")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NUM_CHANNELS = 4
_CELLS = 32


def position_channels(height: int, width: int, cells: int = _CELLS) -> Tensor:
    """Where each pixel stands, (4, height, width) float32.

    With p = i/(H - 1) for row i and b = floor(i/(H/cells))/(cells - 1), the place of its cell on a grid of `cells` by
    `cells`: 2(p - b) - 1 and 2b - 1 of the column, then of the row (DMAD, Liu et al., CVPR 2023, the authors' code).
    """
    (column, column_cell), (row, row_cell) = (_along(side, cells) for side in (width, height))
    shape = (height, width)
    across, down = ([line.expand(shape) for line in (column, column_cell)], [row[:, None], row_cell[:, None]])
    return torch.stack([*across, *(line.expand(shape) for line in down)])


def _along(side: int, cells: int) -> tuple[Tensor, Tensor]:
    """Both channels along one side, (side,) each; a side of a single pixel stands at 0."""
    place = torch.arange(side)
    p = place / max(side - 1, 1)
    b = torch.div(place * cells, side, rounding_mode="floor") / max(cells - 1, 1)
    return 2 * (p - b) - 1, 2 * b - 1


class PositionConv(nn.Module):
    """A 3 x 3 convolution without bias, of the input and its position channels: (N, in, H, W) to (N, out, H', W')."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, cells: int = _CELLS) -> None:
        super().__init__()
        self.cells = cells
        self.convolution = nn.Conv2d(in_channels + NUM_CHANNELS, out_channels, 3, stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        where = position_channels(x.shape[2], x.shape[3], self.cells).to(x)
        output: Tensor = self.convolution(torch.cat([x, where.expand(len(x), -1, -1, -1)], dim=1))
        return output


def normalised(convolution: nn.Module, channels: int) -> nn.Sequential:
    """A convolution to `channels` channels with batch normalisation and ReLU behind it."""
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())
