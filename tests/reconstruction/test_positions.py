"""Position channels in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from mulde.reconstruction.positions import PositionConv, position_channels


@pytest.mark.parametrize(("height", "width", "cells"), [(64, 32, 32), (16, 16, 8), (10, 7, 4), (4, 4, 8), (1, 3, 2)])
def test_channels_are_the_formula_at_every_pixel(height, width, cells):
    expected = np.zeros((4, height, width))
    for i in range(height):
        for j in range(width):
            for channel, index, side in ((0, j, width), (2, i, height)):
                p = index / (side - 1) if side > 1 else 0.0
                b = np.floor(index / (side / cells)) / (cells - 1)
                expected[channel : channel + 2, i, j] = 2 * (p - b) - 1, 2 * b - 1
    np.testing.assert_allclose(position_channels(height, width, cells).numpy(), expected, atol=1e-6)


def test_the_published_grid_has_32_cells():
    row_cells = position_channels(256, 256)[3, :, 0]
    np.testing.assert_allclose(row_cells.unique().numpy(), 2 * np.arange(32) / 31 - 1, atol=1e-6)
    assert (row_cells[:8] == -1).all()
    assert (row_cells[-8:] == 1).all()


def test_a_convolution_sees_the_image_and_where_it_stands():
    torch.manual_seed(0)
    layer, x = PositionConv(2, 5, stride=2, cells=4), torch.rand(3, 2, 8, 8)
    kernel = layer.convolution.weight  # (5, 2 + 4, 3, 3)
    of_image = functional.conv2d(x, kernel[:, :2], stride=2, padding=1)
    of_place = functional.conv2d(position_channels(8, 8, 4)[None], kernel[:, 2:], stride=2, padding=1)
    np.testing.assert_allclose(layer(x).detach().numpy(), (of_image + of_place).detach().numpy(), atol=1e-5)
    assert layer.convolution.bias is None
