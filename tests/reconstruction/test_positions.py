"""Position channels in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from mulde.reconstruction.positions import Places, PositionConv, position_channels


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


def test_a_part_has_the_channels_of_its_place_in_the_whole():
    whole, corners = position_channels(32, 32, 8), [(8, 16), (0, 0), (16, 4)]
    places = Places(torch.tensor(corners) / 32, 0.5)
    expected = torch.stack([whole[:, top : top + 16, left : left + 16] for top, left in corners])
    np.testing.assert_array_equal(places.channels(16, 16, 8).numpy(), expected.numpy())
    quarter = position_channels(8, 8, 8)  # of a feature map at a quarter of the side
    expected = torch.stack([quarter[:, top // 4 : top // 4 + 4, left // 4 : left // 4 + 4] for top, left in corners])
    np.testing.assert_array_equal(places.channels(4, 4, 8).numpy(), expected.numpy())


def test_a_convolution_of_a_part_is_the_part_of_the_convolution():
    torch.manual_seed(0)
    layer, image = PositionConv(2, 3, cells=8), torch.rand(1, 2, 32, 32)
    part = layer(image[:, :, 8:24, 4:20], Places(torch.tensor([[8, 4]]) / 32, 0.5))
    inner = (..., slice(1, -1), slice(1, -1))  # whose neighbours are all inside
    np.testing.assert_allclose(
        part[inner].detach().numpy(), layer(image)[:, :, 8:24, 4:20][inner].detach().numpy(), atol=1e-5
    )
