"""Position channels: what tells a convolution where it stands ("CoordConv")."""

from __future__ import annotations

from typing import NamedTuple

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


class Places(NamedTuple):
    """Which parts of larger images a batch shows, in shares of their sides.

    Attributes:
        corners: The upper left corners (N, 2), top and left: from 0 to 1 - `share`.
        share: The side of each part.
    """

    corners: Tensor
    share: float

    def channels(self, height: int, width: int, cells: int) -> Tensor:
        """The position channels (N, 4, height, width) of the parts, as cut out of those of the whole images."""
        rows, columns = round(height / self.share), round(width / self.share)
        whole = position_channels(rows, columns, cells)
        corners = torch.round(self.corners * torch.tensor([rows, columns])).long().tolist()
        return torch.stack([whole[:, top : top + height, left : left + width] for top, left in corners])


class PositionConv(nn.Module):
    """A 3 x 3 convolution without bias, of the input and its position channels: (N, in, H, W) to (N, out, H', W')."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, cells: int = _CELLS) -> None:
        super().__init__()
        self.cells = cells
        self.convolution = nn.Conv2d(in_channels + NUM_CHANNELS, out_channels, 3, stride, 1, bias=False)

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        """places: of x in the whole images; without them it is whole images."""
        height, width = x.shape[2:]
        if places is None:
            where = position_channels(height, width, self.cells).expand(len(x), -1, -1, -1)
        else:
            where = places.channels(height, width, self.cells)
        output: Tensor = self.convolution(torch.cat([x, where.to(x)], dim=1))
        return output


def normalised(convolution: nn.Module, channels: int) -> nn.Sequential:
    """A convolution to `channels` channels with batch normalisation and ReLU behind it."""
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())


class PositionBlock(nn.Module):
    """Two convolutions that know where they stand, the first of `stride`, each with batch normalisation and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, cells: int = _CELLS) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [PositionConv(in_channels, out_channels, stride, cells), PositionConv(out_channels, out_channels, 1, cells)]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(out_channels) for _ in self.convolutions])

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = torch.relu(norm(convolution(x, places)))
        return x
