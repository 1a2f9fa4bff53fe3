"""Losses against their formulas in loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulde.reconstruction.losses import gradient_difference, mean_length, roughness


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_gradient_difference_is_the_formula():
    image, target = random(2, 3, 5, 4), random(2, 3, 5, 4, seed=1)

    def gradient(pixels, n, i, j, di, dj):
        before = pixels[n, :, i - di, j - dj].sum() if i >= di and j >= dj else 0.0
        return float(pixels[n, :, i, j].sum() - before)

    across, down = (
        np.mean([
            abs(gradient(image, n, i, j, *step) - gradient(target, n, i, j, *step)) for n, i, j in np.ndindex(2, 5, 4)
        ])
        for step in ((0, 1), (1, 0))
    )  # fmt: skip
    assert gradient_difference(image, target).item() == pytest.approx(across + down, abs=1e-12)
    assert gradient_difference(image, image).item() == 0


@pytest.mark.parametrize("size", [3, 7])
def test_roughness_is_the_distance_from_the_mean_of_the_neighbours(size):
    offsets, border = random(2, 2, 9, 10), size // 2
    found = []
    for n, c, i, j in np.ndindex(2, 2, 9 - 2 * border, 10 - 2 * border):
        around = [
            float(offsets[n, c, i + di, j + dj])
            for di in range(size)
            for dj in range(size)
            if (di, dj) != (border, border)
        ]
        found.append(abs(float(offsets[n, c, i + border, j + border]) - np.mean(around)))
    assert roughness(offsets, size).item() == pytest.approx(np.mean(found), abs=1e-12)


def test_a_shift_and_a_ramp_are_not_rough():
    shift = torch.tensor([0.3, -0.2], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 9, 9)
    ramp = torch.linspace(0, 1, 9, dtype=torch.float64).expand(1, 2, 9, 9)
    for smooth in (shift, ramp, shift + ramp):
        assert roughness(smooth, 3).item() == pytest.approx(0, abs=1e-12)


def test_opposite_roughness_of_both_channels_does_not_cancel():
    rough = random(1, 1, 9, 9)
    both = torch.cat([rough, -rough], dim=1)
    assert roughness(both, 3).item() == pytest.approx(roughness(rough.expand(1, 2, 9, 9), 3).item())


def test_mean_length_is_euclidean_and_has_a_gradient_at_nothing():
    offsets = random(2, 2, 3, 4)
    expected = np.mean([np.hypot(*offsets[n, :, i, j].numpy()) for n, i, j in np.ndindex(2, 3, 4)])
    assert mean_length(offsets).item() == pytest.approx(expected)
    nothing = torch.zeros(1, 2, 3, 3, requires_grad=True)
    mean_length(nothing).backward()
    assert not nothing.grad.any()
