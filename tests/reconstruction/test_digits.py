"""The three networks of digits: seeds, what a skip and a deformation add, scores in pieces."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mulde.errors import FitError
from mulde.reconstruction import digits
from mulde.reconstruction.digits import SIDE, VARIANTS, DigitNet, DigitOptions, score_digits, train_digits
from mulde.reconstruction.losses import gradient_difference, mean_length, roughness

TINY = DigitOptions(width=4, num_codes=8, dim=8, pyramid_width=4, steps=6, batch_size=16)


def bars(number, seed=0):
    """Images (number, 1, 32, 32) of a bar that stands anywhere and leans a little."""
    generator = torch.Generator().manual_seed(seed)
    place, lean = torch.rand(2, number, 1, 1, generator=generator)
    y, x = torch.meshgrid(*[torch.arange(float(SIDE))] * 2, indexing="ij")
    middle = 10 + 12 * place + (lean - 0.5) * (y - 16)
    return torch.sigmoid(3 * (2.5 - (x - middle).abs()))[:, None] * ((y > 6) & (y < 26))


@pytest.fixture(scope="module")
def nets():
    return {variant: train_digits(variant, bars(48), TINY, seed=0) for variant in VARIANTS}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_seed_gives_the_same_bits(nets, variant):
    torch.rand(7)  # what was drawn before does not matter
    again, other = (train_digits(variant, bars(48), TINY, seed=seed).state_dict() for seed in (0, 1))
    for name, value in nets[variant].state_dict().items():
        assert torch.equal(value, again[name]), name
    assert not torch.equal(other["to_image.weight"], again["to_image.weight"])


def test_training_leaves_the_random_state_of_torch_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_digits("memory", bars(16), replace(TINY, steps=1), seed=0)
    assert torch.equal(torch.rand(3), expected)


def test_variants_differ_in_what_stands_beside_the_memory_alone():
    memory, skip, deformation = ({n: v.shape for n, v in DigitNet(k, TINY).state_dict().items()} for k in VARIANTS)
    assert {name for name in skip if skip[name] != memory[name]} == {"decoder.3.0.weight"}
    assert {name.split(".")[0] for name in deformation.keys() - memory.keys()} == {"pyramid"}
    assert all(deformation[name] == memory[name] for name in memory)


def test_what_a_memory_recalls_decides_all_but_what_the_skip_carries(nets):
    """Two images under one code have one reconstruction: not with a skip, and the reference with a deformation."""
    images = bars(4, seed=1)
    for variant, net in copy.deepcopy(nets).items():
        with torch.no_grad():
            net.memory.codebook[:] = 0.5  # all codes are alike
            made = net(images)
        assert torch.allclose(made.output, made.output[:1], atol=1e-5) == (variant == "memory")
        assert torch.allclose(made.reference, made.reference[:1], atol=1e-5) == (variant != "skip")


def test_scores_are_squared_error_and_mean_length_of_the_bending(nets, monkeypatch):
    images = bars(10, seed=2)
    for variant, net in nets.items():
        with torch.no_grad():
            made = net.eval()(images)
        read = score_digits(net.train(), images)
        assert not net.training
        expected = np.square(made.output.numpy() - images.numpy()).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(read.error.numpy(), expected, rtol=1e-5)
        assert (read.bending_px is None) == (variant != "deformation")
        if read.bending_px is not None:
            px = made.deformation.total().numpy() * (SIDE - 1) / 2
            np.testing.assert_allclose(read.bending_px.numpy(), np.hypot(px[:, 0], px[:, 1]).mean((1, 2)), rtol=1e-5)
        monkeypatch.setattr(digits, "_READ_AT_ONCE", 3)
        np.testing.assert_allclose(score_digits(net, images).error.numpy(), read.error.numpy(), rtol=1e-5)
        monkeypatch.undo()


def test_the_loss_is_the_sum_of_its_terms(nets):
    how = replace(TINY, gradient_weight=0.3, length_weight=0.7, roughness_weight=0.9)
    images = bars(5, seed=3)
    for variant in VARIANTS:
        torch.manual_seed(0)
        net = DigitNet(variant, how)
        made = net(images)
        expected = made.recall.loss + (made.output - images).square().mean()
        expected = expected + 0.3 * gradient_difference(made.output, images)
        if variant == "deformation":
            coarse, fine = made.deformation
            expected = expected + (made.bent[0] - images).square().mean()
            expected = expected + 0.3 / 4 * gradient_difference(made.bent[0], images)
            expected = expected + 0.7 * (mean_length(coarse) + mean_length(fine))
            expected = expected + 0.9 * (roughness(coarse, 7) + roughness(fine, 3))
        assert net.loss(made, images).item() == pytest.approx(expected.item(), rel=1e-6)


def test_fewer_images_than_a_batch_are_enough():
    errors = []
    train_digits("memory", bars(5), TINY, seed=0, progress=errors.append)
    assert len(errors) == TINY.steps
    assert all(0 < error < 1 for error in errors)


def test_batches_take_each_image_once_before_any_comes_again():
    drawn = digits._draw_batches(10, 3, seed=0)
    rounds = [torch.cat([next(drawn) for _ in range(3)]).tolist() for _ in range(4)]
    assert all(len(set(numbers)) == 9 for numbers in rounds)
    assert len({tuple(numbers) for numbers in rounds}) == 4


def test_a_loss_that_is_not_finite_ends_the_training():
    images = bars(16)
    images[3, 0, 5, 5] = math.nan
    with pytest.raises(FitError, match="the loss of the reconstruction is not finite"):
        train_digits("memory", images, TINY, seed=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_errors_fall_while_a_network_is_trained(variant):
    errors = []
    train_digits(variant, bars(48), replace(TINY, steps=30, lr=1e-2), seed=0, progress=errors.append)
    assert np.mean(errors[-3:]) < 0.5 * errors[0]
