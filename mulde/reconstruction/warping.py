"""Images bent by fields of offsets.

A field (N, 2, H, W) says for each pixel how far to the right (channel 0) and down (channel 1) of it the bent image
takes its value. Unit: half a side of the image, so from the middle of the first pixel to that of the last is 2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mulde.errors import MuldeError


def warp(image: Tensor, offsets: Tensor) -> Tensor:
    """`image` (N, C, H, W) bent by `offsets` (N, 2, H, W): bilinear, corners aligned.

    A place beyond the border is taken as the nearest one on it, as if clamped to [-1, 1]. Raises MuldeError for offsets
    that are not finite.
    """
    if not torch.isfinite(offsets).all():  # torch takes NaN for a place, and its gradient ends the process
        raise MuldeError("an image cannot be bent", expected="finite offsets", got="NaN or infinity")
    _, _, height, width = offsets.shape
    x, y = (torch.linspace(-1, 1, side, device=offsets.device, dtype=offsets.dtype) for side in (width, height))
    identity = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)  # (H, W, 2)
    places = identity + offsets.movedim(1, -1)
    bent: Tensor = functional.grid_sample(image, places, mode="bilinear", padding_mode="border", align_corners=True)
    return bent


def compose(first: Tensor, second: Tensor) -> Tensor:
    """The field that does in one go what `warp` by `first` and then by `second` does; (N, 2, H, W) each."""
    return second + warp(first, second)


def lengths(offsets: Tensor) -> Tensor:
    """How far each pixel is moved, (N, H, W), of `offsets` (N, 2, H, W), in the same unit."""
    moved: Tensor = torch.linalg.vector_norm(offsets, dim=1)
    return moved
