"""The loss against a slow, obvious one: a sample at a time, by double backward."""

import math

import numpy as np
import pytest
import torch

from mulde.density.noise import draw_noise, fixed_noise, log_uniform, sigma_levels
from mulde.density.objective import dsm_per_row, dsm_rows, loss_per_row
from mulde.density.toy import STD, draw_toy_set, toy_truth

from .test_energy import VARIANTS, make, plain_energy, without_network


def slow_loss(net, x, s, z, beta):
    dsm, reg = [], []
    for xi, si, zi in zip(x, s, z, strict=True):
        noisy = (xi + si * zi).detach().requires_grad_()
        energy = plain_energy(net, noisy[None], si[None])
        (g,) = torch.autograd.grad(energy.sum(), noisy, create_graph=True)
        target = (noisy.detach() - xi) / si**2
        dsm.append(0.5 * si**2 * sum((g[j] - target[j]) ** 2 for j in range(len(xi))))
        base = plain_energy(without_network(net), xi[None], si[None])  # 0 without a base
        reg.append(0.5 * beta * (plain_energy(net, xi[None], si[None]) - base) ** 2)
    return torch.stack(dsm).mean(), torch.stack(reg).mean()


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("hidden", [(12,), (12, 10), (8, 9, 10)])
def test_loss_and_parameter_gradients_equal_the_slow_ones(hidden, options):
    net = make(3, hidden, torch.float64, **options)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(17, 3, generator=generator, dtype=torch.float64)
    s, z = (t.double() for t in draw_noise(17, 3, 1e-3, 1.0, generator))
    ours = [rows.mean() for rows in loss_per_row(net, x, s, z, beta=0.1)]
    slow = slow_loss(net, x, s, z, beta=0.1)
    parameters = list(net.parameters())
    for a, b in zip(ours, slow, strict=True):
        torch.testing.assert_close(a, b.squeeze(), rtol=1e-9, atol=1e-12)
    of_ours = torch.autograd.grad(sum(ours), parameters)
    of_slow = torch.autograd.grad(sum(t.squeeze() for t in slow), parameters)
    for a, b in zip(of_ours, of_slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)
    rows = dsm_rows(net, x, s, z, rows_at_a_time=5)
    assert rows.shape == (17,)
    assert float(rows.mean()) == pytest.approx(float(slow[0].detach()), rel=1e-9)


def test_dsm_sums_over_the_columns():
    one = dsm_per_row(torch.zeros(2, 1), torch.ones(2, 1), torch.ones(2, 1))
    many = dsm_per_row(torch.zeros(2, 50), torch.ones(2, 1), torch.ones(2, 50))
    assert one.tolist() == [0.5, 0.5]
    assert many.tolist() == [25, 25]


@pytest.mark.parametrize("s", [0.001, 0.0676, 0.201, 0.334, 0.667, 1.0])
def test_the_exact_energy_reaches_the_least_loss_and_a_shifted_one_does_not(s):
    truth = toy_truth()
    rng = np.random.default_rng(0)
    clean = draw_toy_set(seed=1, num_train=60_000, num_test=1).train / np.sqrt(STD**2 + 2.8284**2 / 2)
    z = rng.standard_normal(clean.shape)
    gradient = truth.gradient(clean + s * z, s)
    level = torch.full((len(z), 1), s, dtype=torch.float64)
    losses = dsm_per_row(torch.from_numpy(gradient), level, torch.from_numpy(z))
    assert float(losses.mean()) == pytest.approx(
        truth.lowest_dsm_loss(s), abs=4 * float(losses.std()) / math.sqrt(len(z))
    )
    worse = dsm_per_row(torch.from_numpy(gradient + 0.3 / s), level, torch.from_numpy(z))
    assert float(worse.mean()) > truth.lowest_dsm_loss(s) + 0.05


def test_sigma_is_log_uniform_and_the_levels_are_linear():
    u = torch.linspace(0, 1, 5)
    torch.testing.assert_close(log_uniform(u, 1e-4, 1.0), torch.tensor([1e-4, 1e-3, 1e-2, 1e-1, 1.0]))
    s, z = draw_noise(40_000, 2, 1e-3, 1.0, torch.Generator().manual_seed(0))
    assert s.shape == (40_000, 1)
    assert z.shape == (40_000, 2)
    log_s = s.log10()[:, 0]
    assert float(log_s.mean()) == pytest.approx(-1.5, abs=0.02)
    assert float((log_s < -2).float().mean()) == pytest.approx(1 / 3, abs=0.01)
    assert float(z.std()) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(sigma_levels(0.001, 1.0, 16), [0.001 + 0.0666 * i for i in range(16)])
    assert sigma_levels(0.001, 1.0, 1).tolist() == [0.001]
    np.testing.assert_allclose(sigma_levels(0.001, 1.0, 4, "log"), [0.001, 0.01, 0.1, 1.0])


def test_fixed_noise_is_the_same_every_time_and_covers_the_range_evenly():
    s, z = fixed_noise(1000, 3, 1e-3, 1.0, seed=4)
    again, z_again = fixed_noise(1000, 3, 1e-3, 1.0, seed=4)
    assert torch.equal(s, again)
    assert torch.equal(z, z_again)
    in_thirds = torch.histc(s.log10(), bins=3, min=-3, max=0)
    assert (in_thirds - 1000 / 3).abs().max() < 1
