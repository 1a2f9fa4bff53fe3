"""The memory: nearest codes by brute force, the gradient that goes straight through, losses, codes born again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulde.reconstruction.memory import Memory


def drawn(num_codes=7, dim=4, shape=(3, 5, 6), seed=0, spread=1.0):
    """A memory with codes spread like the features (N, D, H, W) that come with it."""
    generator = torch.Generator().manual_seed(seed)
    memory = Memory(num_codes, dim)
    memory.codebook.data = spread * torch.randn(num_codes, dim, generator=generator)
    n, h, w = shape
    return memory, torch.randn(n, dim, h, w, generator=generator)


@pytest.mark.parametrize("num_codes", [1, 7, 100])
def test_each_cell_gets_the_nearest_code(num_codes):
    memory, features = drawn(num_codes)
    recall = memory(features)
    codebook = memory.codebook.detach().numpy().astype(np.float64)
    for n, i, j in np.ndindex(3, 5, 6):
        cell = features[n, :, i, j].numpy().astype(np.float64)
        nearest = min(range(num_codes), key=lambda k: np.square(codebook[k] - cell).sum())
        assert recall.nearest[n, i, j] == nearest
        np.testing.assert_allclose(recall.codes[n, :, i, j].detach().numpy(), codebook[nearest], atol=1e-6)


def test_the_gradient_of_the_codes_goes_straight_to_the_features():
    memory, features = drawn()
    features.requires_grad_()
    weights = torch.randn_like(features)
    (memory(features).codes * weights).sum().backward()
    np.testing.assert_array_equal(features.grad.numpy(), weights.numpy())
    assert memory.codebook.grad is None or not memory.codebook.grad.any()


def test_the_loss_moves_codes_to_features_and_features_to_codes_a_quarter_as_much():
    memory, features = drawn()
    features.requires_grad_()
    recall = memory(features)
    codebook, cells = memory.codebook.detach().numpy(), features.detach().movedim(1, -1).reshape(-1, 4).numpy()
    nearest = recall.nearest.flatten().numpy()
    distance = codebook[nearest] - cells  # (cells, D)
    assert recall.loss.item() == pytest.approx(1.25 * np.square(distance).mean(), rel=1e-5)
    recall.loss.backward()
    towards = np.zeros_like(codebook)
    np.add.at(towards, nearest, 2 * distance / distance.size)
    np.testing.assert_allclose(memory.codebook.grad.numpy(), towards, atol=1e-6)
    of_cells = features.grad.movedim(1, -1).reshape(-1, 4).numpy()
    np.testing.assert_allclose(of_cells, -0.25 * 2 * distance / distance.size, atol=1e-7)


def test_codes_start_within_their_share():
    torch.manual_seed(0)
    codebook = Memory(50, 40).codebook.detach()
    assert codebook.abs().max() <= 1 / 50
    assert codebook.std().item() == pytest.approx(1 / 50 / 3**0.5, rel=0.05)


def test_codes_that_nothing_is_near_are_born_again_as_features():
    memory, features = drawn()
    memory.codebook.data[5:] = 1000.0
    generator, before = torch.Generator().manual_seed(3), memory.codebook.detach().clone()
    used = set(memory(features).nearest.unique().tolist())
    assert not used & {5, 6}
    for _ in range(4):
        assert memory.renew(features, memory(features).nearest, generator, max_idle=4) == 0
    np.testing.assert_array_equal(memory.codebook.detach().numpy(), before.numpy())
    assert memory.renew(features, memory(features).nearest, generator, max_idle=4) == 7 - len(used)
    cells = {tuple(cell) for cell in features.movedim(1, -1).reshape(-1, 4).tolist()}
    codes = [tuple(code) for code in memory.codebook.tolist()]
    for number in range(7):
        assert (codes[number] == tuple(before[number].tolist())) == (number in used)
        assert (codes[number] in cells) == (number not in used)
    assert not memory.idle.any()


def test_births_depend_on_the_generator_alone():
    codebooks = []
    for seed in (1, 1, 2):
        memory, features = drawn()
        memory.codebook.data[5:] = 1000.0
        torch.manual_seed(len(codebooks))
        memory.renew(features, memory(features).nearest, torch.Generator().manual_seed(seed), max_idle=0)
        codebooks.append(memory.codebook.detach().numpy())
    np.testing.assert_array_equal(codebooks[0], codebooks[1])
    assert (codebooks[0] != codebooks[2]).any()


def test_idle_batches_are_kept_with_the_weights():
    memory, features = drawn()
    memory.renew(features, torch.tensor([0]), torch.Generator())
    again = Memory(7, 4)
    again.load_state_dict(memory.state_dict())
    assert again.idle.tolist() == [0, 1, 1, 1, 1, 1, 1]
