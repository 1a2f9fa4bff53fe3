"""The deformation pyramid: sizes, reach, and that it learns a shift that is asked of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from mulde.reconstruction.pyramid import Deformation, DeformationPyramid
from mulde.reconstruction.warping import compose, warp


def pyramid(max_px=(4.0, 2.0), **changes):
    torch.manual_seed(0)
    given = {"stride": 1, "coarse": (1, 2, 2), "fine": (1, 1), "cells": 8} | changes
    return DeformationPyramid(3, 8, max_px=max_px, **given)


@pytest.mark.parametrize(
    ("changes", "coarse_side", "fine_side"),
    [
        ({}, 8, 32),
        ({"coarse": (2, 2, 1)}, 8, 32),
        ({"stride": 2}, 4, 16),
        ({"coarse": (2, 2, 2, 1), "fine": (2, 1)}, 4, 16),
    ],
)
def test_strides_decide_how_many_offsets_each_head_has(changes, coarse_side, fine_side):
    net, image = pyramid(**changes), torch.rand(2, 3, 32, 32)
    sides = []
    for head in (net.coarse, net.fine):
        head.layers.register_forward_hook(lambda *call: sides.append(tuple(call[2].shape)))
    deformation = net(image)
    assert sides == [(2, 2, coarse_side, coarse_side), (2, 2, fine_side, fine_side)]
    assert deformation.coarse.shape == deformation.fine.shape == (2, 2, 32, 32)


def test_no_offset_is_longer_than_its_reach():
    net = pyramid(max_px=(5.0, 1.5))
    for head in (net.coarse, net.fine):
        torch.nn.init.constant_(head.layers[-1].bias, 100.0)  # tanh is 1
    coarse, fine = net(torch.rand(1, 3, 32, 32))
    np.testing.assert_allclose(coarse.detach().numpy(), 2 * 5.0 / 32, rtol=1e-6)
    np.testing.assert_allclose(fine.detach().numpy(), 2 * 1.5 / 32, rtol=1e-6)


def test_both_fields_together_are_composed_in_the_order_of_the_bending():
    coarse, fine = 0.1 * torch.randn(2, 1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    total = Deformation(coarse, fine).total()
    np.testing.assert_array_equal(total.numpy(), compose(coarse, fine).numpy())


def test_it_learns_to_bend_a_prototype_to_where_the_image_stands():
    """A disc stands up to three pixels beside that of the prototype; what is learnt is the shift."""
    side = 32
    y, x = torch.meshgrid(*[torch.arange(float(side))] * 2, indexing="ij")

    def disc(dx, dy):
        return torch.sigmoid(6 - torch.hypot(x - 16 - dx, y - 16 - dy))

    shifts = 6 * torch.rand(16, 2, generator=torch.Generator().manual_seed(0)) - 3
    images = torch.stack([disc(*shift) for shift in shifts])[:, None].expand(-1, 3, -1, -1)
    prototype = disc(0, 0).expand(16, 3, -1, -1)
    net = pyramid(stride=2, coarse=(2, 2, 1))
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(50):
        coarse, fine = net(images)
        error = functional.mse_loss(warp(warp(prototype, coarse), fine), images)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert error < 0.05 * functional.mse_loss(prototype, images)
    # On the disc's rim, and there along the radius, the offset is the shift, back to where the prototype has its value.
    total, found, expected = Deformation(*net(images)).total().detach() * (side - 1) / 2, [], []
    for field, (dx, dy) in zip(total.numpy(), shifts.numpy(), strict=True):
        for angle in np.arange(0, 6.28, 0.8):
            radius = np.array([np.cos(angle), np.sin(angle)])
            x, y = np.rint(16 + np.array([dx, dy]) + 6 * radius).astype(int)
            found.append(field[:, y, x] @ radius)
            expected.append(-np.array([dx, dy]) @ radius)
    assert np.corrcoef(found, expected)[0, 1] > 0.95
    assert np.abs(np.subtract(found, expected)).mean() < 0.5
