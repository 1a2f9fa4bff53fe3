"""Bending images: against loops over pixels, known shifts, and fields that undo each other.

Relatives looked for: sides that differ, several images and channels, places beyond the border, a field of zeros.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mulde.errors import MuldeError
from mulde.reconstruction.warping import compose, lengths, warp


def in_units(dx_px, dy_px, height, width):
    """A field (1, 2, H, W) that moves every pixel by so many pixels to the right and down."""
    field = torch.zeros(1, 2, height, width, dtype=torch.float64)
    field[:, 0], field[:, 1] = 2 * dx_px / (width - 1), 2 * dy_px / (height - 1)
    return field


def smooth_field(height, width, size, seed):
    """A smooth field of offsets that vanishes at the border, of at most `size` units."""
    generator = np.random.default_rng(seed)
    y, x = (np.linspace(0, math.pi, side) for side in (height, width))
    a, b = generator.uniform(-1, 1, 2)
    bump = np.sin(y)[:, None] ** 2 * np.sin(x) ** 2
    return torch.from_numpy(np.stack([size * a * bump, size * b * bump])[None])


def by_loops(image, offsets):
    """Bilinear reading of one image (C, H, W) at each pixel's place, clamped, written out."""
    channels, height, width = image.shape
    out = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            x = min(max(j + offsets[0, i, j] * (width - 1) / 2, 0), width - 1)
            y = min(max(i + offsets[1, i, j] * (height - 1) / 2, 0), height - 1)
            x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
            u, v = x - x0, y - y0
            for c in range(channels):
                top = (1 - u) * image[c, y0, x0] + u * image[c, y0, x0 + 1]
                bottom = (1 - u) * image[c, y0 + 1, x0] + u * image[c, y0 + 1, x0 + 1]
                out[c, i, j] = (1 - v) * top + v * bottom
    return out


def test_warp_is_bilinear_reading_written_out():
    generator = np.random.default_rng(0)
    images = generator.random((2, 3, 7, 5))
    offsets = generator.uniform(-1.5, 1.5, (2, 2, 7, 5))  # many places lie beyond the border
    bent = warp(torch.from_numpy(images), torch.from_numpy(offsets)).numpy()
    expected = np.stack([by_loops(*pair) for pair in zip(images, offsets, strict=True)])
    np.testing.assert_allclose(bent, expected, atol=1e-12)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, 0), (0, -2), (-4, 5)])
def test_a_known_shift_is_recovered(dx, dy):
    image = torch.rand(1, 2, 12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    bent = warp(image, in_units(dx, dy, 12, 16))
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (8, 8), (8, 8)), mode="edge")
    np.testing.assert_allclose(bent.numpy(), padded[..., 8 + dy : 20 + dy, 8 + dx : 24 + dx], atol=1e-12)


def test_the_shift_back_undoes_a_shift_inside_the_image():
    image = torch.rand(1, 1, 20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    there = in_units(3, -2, 20, 20)
    back = warp(warp(image, there), -there)
    np.testing.assert_allclose(back[..., 4:-4, 4:-4].numpy(), image[..., 4:-4, 4:-4].numpy(), atol=1e-12)


def test_the_inverse_of_a_smooth_field_undoes_it():
    """Found by fixed-point iteration: the inverse takes back what the field does at the place it leads to."""
    there = smooth_field(64, 64, 0.2, seed=1)
    back = torch.zeros_like(there)
    for _ in range(50):
        back = -warp(there, back)
    assert compose(there, back).abs().max() < 1e-3
    y, x = torch.meshgrid(*[torch.linspace(0, 6, 64, dtype=torch.float64)] * 2, indexing="ij")
    image = (torch.sin(x) * torch.cos(y))[None, None]
    assert (warp(image, there) - image).abs().max() > 0.2
    assert (warp(warp(image, there), back) - image).abs().max() < 0.02


def test_a_composed_field_bends_as_both_one_after_the_other():
    first, second = smooth_field(48, 40, 0.15, seed=2), smooth_field(48, 40, 0.1, seed=3)
    y, x = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in (48, 40))
    ramps = torch.stack([x.expand(48, 40), y[:, None].expand(48, 40)])[
        None
    ]  # linear, so reading between pixels is exact
    twice, once = warp(warp(ramps, first), second), warp(ramps, compose(first, second))
    np.testing.assert_allclose(once.numpy(), twice.numpy(), atol=1e-12)
    assert (warp(warp(ramps, second), first) - twice).abs().max() > 1e-3  # the order counts


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_offsets_that_are_not_finite_are_refused(wrong):
    offsets = torch.zeros(1, 2, 4, 4)
    offsets[0, 1, 2, 3] = wrong
    with pytest.raises(MuldeError, match="an image cannot be bent: expected finite offsets, got NaN or infinity"):
        warp(torch.zeros(1, 1, 4, 4), offsets)


def test_lengths_are_euclidean():
    field = torch.tensor([3.0, -4.0]).view(1, 2, 1, 1).expand(1, 2, 2, 3)
    np.testing.assert_array_equal(lengths(field).numpy(), np.full((1, 2, 3), 5.0))
