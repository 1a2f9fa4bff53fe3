"""The pyramid deformation module: a coarse and a fine field of offsets that an image asks for."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mulde.reconstruction.positions import Places, PositionBlock, normalised
from mulde.reconstruction.warping import compose


class Deformation(NamedTuple):
    """Two fields of offsets (N, 2, H, W), as `warping` takes them: the coarse one bends first, then the fine one."""

    coarse: Tensor
    fine: Tensor

    def total(self) -> Tensor:
        """The field that both are together, (N, 2, H, W)."""
        return compose(self.coarse, self.fine)


class Head(nn.Module):
    """3 x 3 convolutions of these strides, all with batch normalisation and ReLU but the last, to two channels in tanh.

    No offset is longer than `max_px` pixels of the image along either axis.
    """

    def __init__(self, in_channels: int, width: int, strides: tuple[int, ...], max_px: float) -> None:
        super().__init__()
        self.max_px = max_px
        *before, last = strides
        channels = [in_channels] + [width] * len(before)
        self.layers = nn.Sequential(
            *(
                normalised(nn.Conv2d(channels[i], width, 3, stride, 1, bias=False), width)
                for i, stride in enumerate(before)
            ),
            nn.Conv2d(channels[-1], 2, 3, last, 1),
        )

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Offsets (N, 2, *size) of an image of that height and width, from features (N, in_channels, h, w)."""
        height, width = size
        reach = 2 * self.max_px / torch.tensor([width, height], dtype=x.dtype, device=x.device)
        offsets = reach[:, None, None] * torch.tanh(self.layers(x))
        return functional.interpolate(offsets, size=size, mode="bilinear", align_corners=True)


class Trunk(nn.Module):
    """What all heads of a deformation read: two convolutions that know where they stand, of strides `stride` and 1, and
    a residual block. (N, in_channels, H, W) to (N, 2 width, H / stride, W / stride)."""

    def __init__(self, in_channels: int, width: int, stride: int, cells: int) -> None:
        super().__init__()
        self.convolutions = PositionBlock(in_channels, width, stride, cells)
        self.residual = nn.Sequential(
            nn.ReLU(),
            normalised(nn.Conv2d(width, width, 3, 1, 1, bias=False), width),
            nn.Conv2d(width, width, 1),
        )
        self.after = nn.BatchNorm2d(width)

    def forward(self, image: Tensor, places: Places | None = None) -> Tensor:
        a = self.convolutions(image, places)
        return torch.cat([self.after(a + self.residual(a)), a], dim=1)


class DeformationPyramid(nn.Module):
    """How an image is to be bent, from the image itself (DMAD, Liu et al., CVPR 2023, section 3.2): a coarse and a fine
    head on one trunk.

    Args:
        in_channels: Channels of the image.
        width: Channels of every layer.
        stride: Of the first convolution.
        coarse: Strides of the convolutions of the coarse head.
        fine: Likewise, of the fine head.
        max_px: The largest coarse and the largest fine offset along an axis, in pixels.
        cells: Cells of the position channels along a side.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        *,
        stride: int,
        coarse: tuple[int, ...],
        fine: tuple[int, ...],
        max_px: tuple[float, float],
        cells: int,
    ) -> None:
        super().__init__()
        self.trunk = Trunk(in_channels, width, stride, cells)
        self.coarse = Head(2 * width, width, coarse, max_px[0])
        self.fine = Head(2 * width, width, fine, max_px[1])

    def forward(self, image: Tensor, places: Places | None = None) -> Deformation:
        """The fields of images (N, in_channels, H, W), which are whole or lie at `places` of whole ones."""
        x, size = self.trunk(image, places), (image.shape[2], image.shape[3])
        return Deformation(self.coarse(x, size), self.fine(x, size))
