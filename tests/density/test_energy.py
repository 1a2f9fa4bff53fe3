"""The closed-form gradient against autograd and finite differences."""

import pytest
import torch
from torch.nn import functional

from mulde.density.energy import EnergyNet, gelu_slope
from mulde.density.noise import sigma_levels


def make(num_features, hidden, dtype, seed=0):
    net = EnergyNet(num_features, hidden)
    net.initialise(torch.Generator().manual_seed(seed))
    return net.to(dtype)


def plain_energy(net, x, s):
    """E(x, s) as the paper draws it, by torch's own layers."""
    h = torch.cat([x, s], dim=1)
    for weight, bias in list(zip(net.weights, net.biases, strict=True))[:-1]:
        h = functional.gelu(functional.linear(h, weight, bias))
    return functional.linear(h, net.weights[-1], net.biases[-1])[:, 0]


def points(n, d, dtype):
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(n, d, generator=generator, dtype=dtype)
    return x, torch.rand(n, 1, generator=generator, dtype=dtype)


SHAPES = [(1, (8,)), (3, (16, 8)), (2, (7, 9, 11)), (40, (64, 64, 64, 64))]


@pytest.mark.parametrize(("num_features", "hidden"), SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_energy_and_gradient_equal_autograd(num_features, hidden, dtype, tolerance):
    net = make(num_features, hidden, dtype)
    x, s = points(50, num_features, dtype)
    x.requires_grad_()
    expected = plain_energy(net, x, s)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), x)
    energy, gradient = net.energy_and_gradient(x.detach(), s)
    torch.testing.assert_close(energy, expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=tolerance)
    torch.testing.assert_close(net(x.detach(), s), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("num_features", "hidden"), SHAPES)
def test_gradient_equals_finite_differences(num_features, hidden):
    net = make(num_features, hidden, torch.float64)
    x, s = points(5, num_features, torch.float64)
    step = 1e-5
    numeric = torch.stack(
        [
            (plain_energy(net, x + step * unit, s) - plain_energy(net, x - step * unit, s)) / (2 * step)
            for unit in torch.eye(num_features, dtype=torch.float64)
        ],
        dim=1,
    )
    torch.testing.assert_close(net.energy_and_gradient(x, s)[1], numeric, rtol=0, atol=1e-8)


def test_gradient_of_the_first_rows_only():
    net = make(3, (16, 8), torch.float64)
    x, s = points(10, 3, torch.float64)
    energy, gradient = net.energy_and_gradient(x, s)
    some_energy, some = net.energy_and_gradient(x, s, num_gradient_rows=4)
    torch.testing.assert_close(some_energy, energy)
    torch.testing.assert_close(some, gradient[:4])


def test_slope_of_gelu_and_its_derivative():
    h = torch.linspace(-6, 6, 101, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(functional.gelu(h).sum(), h, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), h)
    ours = gelu_slope(h)
    torch.testing.assert_close(ours, slope)
    torch.testing.assert_close(torch.autograd.grad(ours.sum(), h)[0], second)


def test_energies_over_the_levels_equal_one_level_after_another():
    net = make(3, (16, 8), torch.float64)
    x, _ = points(10, 3, torch.float64)
    sigma = torch.from_numpy(sigma_levels(1e-3, 1.0, 16))
    one_by_one = torch.stack([plain_energy(net, x, s.expand(10, 1)) for s in sigma], dim=1)
    torch.testing.assert_close(net.energies(x, sigma), one_by_one)


def test_initialisation_is_that_of_torch_linear_and_needs_no_global_state():
    before = torch.get_rng_state()
    net = make(99, (2000,), torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    weight = net.weights[0].detach()
    assert weight.abs().max() <= 0.1
    assert float(weight.std()) == pytest.approx(float(torch.nn.Linear(100, 2000).weight.detach().std()), rel=0.02)
    assert not torch.equal(weight, make(99, (2000,), torch.float32, seed=1).weights[0])
