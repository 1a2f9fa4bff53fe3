"""The closed-form gradient against autograd and finite differences."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from mulde.density.energy import EnergyNet, ScoreNet, gelu_and_slope
from mulde.density.gaussians import GaussianBase
from mulde.density.mixture import Mixture
from mulde.density.noise import sigma_levels


def make(num_features, hidden, dtype, seed=0, kind=EnergyNet, **options):
    if options.get("base"):
        options = options | {"base": two_gaussians(num_features), "noise_range": RANGE}
    net = kind(num_features, hidden, **options)
    generator = torch.Generator().manual_seed(seed)
    net.initialise(generator)
    with torch.no_grad():  # what they start as would hide that one is forgotten
        for vector in [*net.gains, *net.shifts, *net.sigma_weights]:
            vector.add_(0.3 * torch.randn(vector.shape, generator=generator))
    return net.to(dtype)


def two_gaussians(num_features):
    """Of one axis each."""
    means, factors = np.array([[-1.0], [2.0]]), np.array([[[1.0]], [[0.5]]])
    return GaussianBase.of(Mixture(np.array([0.3, 0.7]), means, factors), np.linspace(4, 0.1, num_features))


def plain_energy(net, x, s):
    """E(x, s) as the paper draws it, by torch's own layers, and with a base the energy of the Gaussians."""
    base = getattr(net, "base", None)
    if base is None:
        return plain_network(net, x, s)
    low, high = RANGE
    seen = x / (base.variance + high**2).sqrt()
    return base(x, s) + plain_network(net, seen, 2 * (s.log() - math.log(low)) / (math.log(high) - math.log(low)) - 1)


def plain_network(net, x, s):
    h = torch.cat([x, s], dim=1)
    for i, (weight, bias) in enumerate(list(zip(net.weights, net.biases, strict=True))[:-1]):
        h = functional.linear(h, weight, bias)
        if i and len(net.sigma_weights):
            h = h + s * net.sigma_weights[i - 1]
        if len(net.gains):
            h = functional.layer_norm(h, h.shape[1:], net.gains[i], net.shifts[i])
        h = functional.gelu(h)
    out = functional.linear(h, net.weights[-1], net.biases[-1])
    return out[:, 0] if isinstance(net, EnergyNet) else out


RANGE = (0.03, 2.0)
VARIANTS = [
    {},
    {"layer_norm": True},
    {"sigma_everywhere": True},
    {"layer_norm": True, "sigma_everywhere": True},
    {"base": True},
]


def points(n, d, dtype):
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(n, d, generator=generator, dtype=dtype)
    return x, torch.rand(n, 1, generator=generator, dtype=dtype)


def without_network(net):
    """The same energy with the network's part 0."""
    bare = copy.deepcopy(net)
    with torch.no_grad():
        bare.weights[-1].zero_()
        bare.biases[-1].zero_()
    return bare


SHAPES = [(1, (8,)), (3, (16, 8)), (2, (7, 9, 11)), (40, (64, 64, 64, 64))]


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize(("num_features", "hidden"), SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_energy_and_gradient_equal_autograd(num_features, hidden, dtype, tolerance, options):
    net = make(num_features, hidden, dtype, **options)
    x, s = points(50, num_features, dtype)
    x.requires_grad_()
    expected = plain_energy(net, x, s)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), x)
    torch.testing.assert_close(net(x.detach(), s), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(net.gradient(x.detach(), s), expected_gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", VARIANTS)
def test_noisy_and_clean_rows_equal_two_plain_passes(options):
    net = make(3, (16, 8), torch.float64, **options)
    x, s = points(50, 3, torch.float64)
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    noisy = (x + s * z).requires_grad_()
    (expected,) = torch.autograd.grad(plain_energy(net, noisy, s).sum(), noisy)
    gradient, energy = net.noisy_and_clean(x, s, z)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)
    own = plain_energy(net, x, s) - plain_energy(without_network(net), x, s)
    torch.testing.assert_close(energy, own, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(net.gradient(x, s, z), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize(("num_features", "hidden"), SHAPES)
def test_gradient_equals_finite_differences(num_features, hidden, options):
    net = make(num_features, hidden, torch.float64, **options)
    x, s = points(5, num_features, torch.float64)
    step = 1e-5
    numeric = torch.stack(
        [
            (plain_energy(net, x + step * unit, s) - plain_energy(net, x - step * unit, s)) / (2 * step)
            for unit in torch.eye(num_features, dtype=torch.float64)
        ],
        dim=1,
    )
    torch.testing.assert_close(net.gradient(x, s), numeric, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("options", [v for v in VARIANTS if "base" not in v])
def test_the_score_network_is_its_own_gradient(options):
    net = make(3, (16, 8), torch.float64, kind=ScoreNet, **options)
    x, s = points(20, 3, torch.float64)
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(net.gradient(x, s), plain_energy(net, x, s))
    gradient, energy = net.noisy_and_clean(x, s, z)
    torch.testing.assert_close(gradient, plain_energy(net, x + s * z, s))
    assert (energy == 0).all()
    sigma = torch.tensor([0.1, 0.7], dtype=torch.float64)
    norms = torch.stack([plain_energy(net, x, v.expand(20, 1)).square().sum(1) for v in sigma], dim=1)
    torch.testing.assert_close(net.score_norms(x, sigma), norms)


@pytest.mark.parametrize("s", [1e-3, 0.1, 1.0])
def test_bfloat16_follows_float32_and_keeps_the_smallest_noise(s):
    """x' - x is 1e-3 beside values of 2: bfloat16 has steps of 8e-3 there, so a rounded x' would lose it."""
    exact, rough = make(8, (256, 256), torch.float32), make(8, (256, 256), torch.float32, precision=torch.bfloat16)
    x, _ = points(500, 8, torch.float32)
    z = torch.randn(500, 8, generator=torch.Generator().manual_seed(2))
    level = torch.full((500, 1), s)
    for net in (exact, rough):
        net.requires_grad_(False)
    for a, b in zip(rough.noisy_and_clean(x, level, z), exact.noisy_and_clean(x, level, z), strict=True):
        assert a.dtype == torch.float32
        assert float((a - b).norm() / b.norm()) < 0.01
    moved = exact._of_noise(z).mul(s)
    of_rounded = (x + s * z).bfloat16().float() @ exact.weights[0][:, :-1].T - exact._of_data(x) + exact.biases[0]
    assert float((rough._of_noise(z).float().mul(s) - moved).norm() / moved.norm()) < 0.01
    if s == 1e-3:
        assert float((of_rounded - moved).norm() / moved.norm()) > 0.5


@pytest.mark.parametrize("num_slopes", [0, 40, 101])
def test_gelu_its_slope_and_their_derivatives(num_slopes):
    h = torch.linspace(-6, 6, 101, dtype=torch.float64)[:, None].requires_grad_()
    activations, slopes = gelu_and_slope(h, num_slopes)
    plain = functional.gelu(h)
    (plain_slope,) = torch.autograd.grad(plain.sum(), h, create_graph=True)
    torch.testing.assert_close(activations, plain)
    torch.testing.assert_close(slopes, plain_slope[:num_slopes])
    into = [torch.rand(101, 1, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(2)]
    loss = (activations * into[0]).sum() + (slopes * into[1][:num_slopes]).sum()
    plain_loss = (plain * into[0]).sum() + (plain_slope * into[1])[:num_slopes].sum()
    torch.testing.assert_close(torch.autograd.grad(loss, h), torch.autograd.grad(plain_loss, h))


@pytest.mark.parametrize("options", VARIANTS)
def test_levels_at_once_equal_one_level_after_another(options):
    net = make(3, (16, 8), torch.float64, **options)
    x, _ = points(10, 3, torch.float64)
    sigma = torch.from_numpy(sigma_levels(1e-3, 1.0, 16))
    one_by_one = torch.stack([plain_energy(net, x, s.expand(10, 1)) for s in sigma], dim=1)
    torch.testing.assert_close(net.energies(x, sigma), one_by_one)
    norms = torch.stack([net.gradient(x, s.expand(10, 1)).square().sum(1) for s in sigma], dim=1)
    torch.testing.assert_close(net.score_norms(x, sigma), norms)


def test_initialisation_is_that_of_torch_linear_and_needs_no_global_state():
    before = torch.get_rng_state()
    net = make(99, (2000,), torch.float32)
    assert torch.equal(torch.get_rng_state(), before)
    weight = net.weights[0].detach()
    assert weight.abs().max() <= 0.1
    assert float(weight.std()) == pytest.approx(float(torch.nn.Linear(100, 2000).weight.detach().std()), rel=0.02)
    assert not torch.equal(weight, make(99, (2000,), torch.float32, seed=1).weights[0])
