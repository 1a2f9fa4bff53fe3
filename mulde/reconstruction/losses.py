"""Losses of reconstructions and of the fields of offsets that bend them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from mulde.reconstruction.warping import lengths


def gradient_difference(image: Tensor, target: Tensor) -> Tensor:
    """Mean of `gradient_map`."""
    return gradient_map(image, target).mean()


def gradient_map(image: Tensor, target: Tensor) -> Tensor:
    """Absolute difference (N, H, W) of the image gradients of two (N, C, H, W), across plus down.

    A gradient is what a pixel has more than its left or upper neighbour, summed over the channels; beyond the border
    is 0.
    """
    difference = (image - target).sum(dim=1)  # gradients are linear, so this has their difference
    across = difference - functional.pad(difference, (1, 0))[..., :-1]
    down = difference - functional.pad(difference, (0, 0, 1, 0))[..., :-1, :]
    return across.abs() + down.abs()


def roughness(offsets: Tensor, size: int) -> Tensor:
    """Mean absolute difference between an offset and the mean of its `size` x `size` - 1 neighbours.

    offsets: (N, 2, H, W); size: odd. Pixels whose neighbours are not all inside the image are left out, so that a shift
    of the whole image costs nothing. The authors' code sums both channels before it takes the absolute value, so that
    roughness of opposite sign cancels; here it does not.
    """
    border = size // 2
    num_neighbours = size * size - 1
    around = functional.avg_pool2d(offsets, size, stride=1) * (size * size / num_neighbours)
    inside = offsets[..., border : offsets.shape[2] - border, border : offsets.shape[3] - border]
    return (inside * (1 + 1 / num_neighbours) - around).abs().mean()


def mean_length(offsets: Tensor) -> Tensor:
    """Mean Euclidean length of offsets (N, 2, H, W)."""
    return lengths(offsets).mean()
