"""Maps under a Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MAP_SIGMA = 4 / 256
"""Of the Gaussian over maps of images, in sides: 4 pixels of 256 (DMAD and others on MVTec AD)."""


def smoothed(maps: Tensor, sigma_px: float) -> Tensor:
    """Maps (N, M, H, W) under a Gaussian that is cut at four sigmas; beyond the border the edge goes on."""
    radius = max(int(4 * sigma_px + 0.5), 1)
    places = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-(places**2) / (2 * sigma_px**2))
    kernel = kernel / kernel.sum()
    flat = maps.flatten(0, 1)[:, None]
    flat = functional.conv2d(functional.pad(flat, (radius, radius, 0, 0), mode="replicate"), kernel[None, None, None])
    flat = functional.conv2d(
        functional.pad(flat, (0, 0, radius, radius), mode="replicate"), kernel[None, None, :, None]
    )
    return flat[:, 0].view_as(maps)
