"""The network of frame prediction: what it sees of a crop, how the picture is composed, its loss in plain terms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from mulde.reconstruction.losses import gradient_difference, mean_length, roughness
from mulde.reconstruction.positions import Places
from mulde.reconstruction.prediction import PredictionNet
from mulde.reconstruction.predictor import _crop
from mulde.reconstruction.warping import warp


@pytest.fixture
def net() -> PredictionNet:
    torch.manual_seed(0)
    background = torch.rand(3, 64, 64) * 2 - 1
    return PredictionNet(background, width=2, num_codes=8, side_width=2, pyramid_width=4, max_px=(2, 3)).eval()


def test_the_frame_is_composed_of_what_is_bent_and_the_background(net):
    made = net(torch.rand(2, 12, 64, 64) * 2 - 1)
    coarse, fine = made.deformation
    mask = torch.full_like(made.reference, torch.nan)

    def keep(module, inputs, output):
        mask[:] = torch.sigmoid(output)

    net.to_mask.register_forward_hook(keep)
    torch.manual_seed(1)
    past = torch.rand(2, 12, 64, 64) * 2 - 1
    made = net(past)
    coarse, fine = made.deformation
    once, shown_once = warp(made.reference, coarse), warp(mask, coarse)
    twice, shown_twice = warp(once, fine), warp(shown_once, fine)
    for output, image, shown in ((made.coarse, once, shown_once), (made.fine, twice, shown_twice)):
        expected = image * shown + (1 - shown) * net.background
        np.testing.assert_allclose(output.detach().numpy(), expected.detach().numpy(), atol=1e-5)


def test_what_goes_around_the_memory_sends_no_gradient_back(net):
    """With codes, mask and pyramid cut off, nothing of the loss reaches the encoder."""
    made = net(torch.rand(1, 12, 64, 64))
    grads = torch.autograd.grad(made.reference.sum(), list(net.encoder[2].parameters()), allow_unused=True)
    through_memory = [g for g in grads if g is not None]  # straight through the codes alone
    net.memory.forward = lambda features: type(made.recall)(features.detach(), made.recall.nearest, made.recall.loss)
    cut = net(torch.rand(1, 12, 64, 64))
    assert through_memory
    grads = torch.autograd.grad(cut.reference.sum(), list(net.encoder[2].parameters()), allow_unused=True)
    assert all(g is None for g in grads)


def test_the_loss_is_the_sum_of_its_parts(net):
    past, frame = torch.rand(2, 12, 64, 64), torch.rand(2, 3, 64, 64)
    made = net(past)
    coarse, fine = made.deformation
    mse = functional.mse_loss
    expected = (
        mse(made.coarse, frame) + mse(made.fine, frame) + gradient_difference(made.fine, frame)
        + 0.25 * gradient_difference(made.coarse, frame) + made.recall.loss
        + 0.25 * (0.4 * mean_length(coarse) + 0.4 * mean_length(fine) + roughness(coarse, 7) + roughness(fine, 3))
        + mse(net.background.expand(2, -1, -1, -1), frame)
    )  # fmt: skip
    assert net.loss(made, frame).item() == pytest.approx(expected.item(), rel=1e-6)


def test_crops_are_squares_at_their_places():
    side = 64
    row, column = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    frame = np.stack([row, column, 0 * row], axis=-1).astype(np.uint8)
    clips = torch.from_numpy(np.tile(frame, (50, 5, 1, 1, 1)))
    squares, places = _crop(clips, 32, torch.Generator().manual_seed(0))
    assert squares.shape == (50, 5, 32, 32, 3)
    assert places is not None
    corners = squares[:, 0, 0, 0, :2]
    np.testing.assert_allclose(places.corners.numpy() * side, corners.numpy())
    assert places.share == 0.5
    assert {tuple(c) for c in corners.tolist()} <= {(y, x) for y in range(0, 33, 8) for x in range(0, 33, 8)}
    assert len({tuple(c) for c in corners.tolist()}) > 15
    np.testing.assert_array_equal(
        squares[..., 0] - corners[:, None, None, None, 0], np.broadcast_to(row[:32, :32], (50, 5, 32, 32))
    )
    whole, none = _crop(clips, 64, torch.Generator())
    assert whole is clips
    assert none is None


def test_a_crop_sees_its_part_of_the_background(net):
    places = Places(torch.tensor([[8, 16], [32, 0]]) / 64, 0.5)
    made = net(torch.rand(2, 12, 32, 32), places)
    expected = torch.stack([net.background[:, 8:40, 16:48], net.background[:, 32:64, 0:32]])
    np.testing.assert_array_equal(made.background.detach().numpy(), expected.detach().numpy())


def test_offsets_of_a_crop_are_as_long_in_pixels_as_those_of_a_frame(net):
    for head in (net.pyramid.coarse, net.pyramid.fine):
        torch.nn.init.constant_(head.layers[-1].bias, 100.0)  # tanh is 1
    for size, places in ((64, None), (32, Places(torch.zeros(1, 2), 0.5))):
        coarse, fine = net(torch.rand(1, 12, size, size), places).deformation
        np.testing.assert_allclose(coarse.detach().numpy() * size / 2, 2, rtol=1e-5)
        np.testing.assert_allclose(fine.detach().numpy() * size / 2, 3, rtol=1e-5)
