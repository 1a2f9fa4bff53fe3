"""The Gaussians of the base against torch's own distributions, and how many of them held-out rows choose."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from mulde.density import base_fit
from mulde.density.base_fit import fit_base
from mulde.density.embedded import draw_embedded_set
from mulde.density.gaussians import GaussianBase
from mulde.density.mixture import Mixture
from mulde.errors import BundleError

LEVELS = torch.tensor([0.03, 0.3, 2.0], dtype=torch.float64)


def mixture(count=3, rank=2, seed=0):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(count, rank, rank))
    covariance = factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(rank)
    weights = np.arange(1, count + 1) / np.arange(1, count + 1).sum()
    precision_cholesky = np.linalg.cholesky(np.linalg.inv(covariance))
    return Mixture(weights, 3 * rng.normal(size=(count, rank)), precision_cholesky), covariance


def base_and_truth(columns=5):
    """A base of three Gaussians along two of the axes, and -log q_s of the same by torch: (N, D), s -> (N,)."""
    made, covariance = mixture()
    variance = np.linspace(4, 0.2, columns).astype(np.float32)
    rest = torch.tensor(variance[2:], dtype=torch.float64)
    means, first = torch.tensor(made.means), torch.tensor(covariance)

    def energy(x, s):
        noisy = MultivariateNormal(means, first + s**2 * torch.eye(2))
        several = MixtureSameFamily(Categorical(torch.tensor(made.weights)), noisy)
        one = MultivariateNormal(torch.zeros(columns - 2, dtype=torch.float64), torch.diag(rest + s**2))
        return -several.log_prob(x[:, :2]) - one.log_prob(x[:, 2:])

    return GaussianBase.of(made, variance).double(), energy


def points(n, columns, spread=3.0):
    return spread * torch.randn(n, columns, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_energy_is_that_of_the_gaussians_under_noise_but_for_a_constant_of_each_level():
    base, truth = base_and_truth()
    x = points(200, 5)
    energies = base.energies(x, LEVELS)
    for level, s in enumerate(LEVELS):
        gap = energies[:, level] - truth(x, s)
        torch.testing.assert_close(gap, gap[:1].expand_as(gap), rtol=0, atol=2e-4)  # it is kept in float32
        torch.testing.assert_close(base(x, s.expand(200, 1)), energies[:, level])


def test_the_gradient_is_that_of_the_energy():
    base, _ = base_and_truth()
    x, s = points(50, 5).requires_grad_(), torch.linspace(0.03, 2, 50, dtype=torch.float64)[:, None]
    (wanted,) = torch.autograd.grad(base(x, s).sum(), x)
    torch.testing.assert_close(base.gradient(x.detach(), s), wanted)
    together = base.gradients(x.detach(), LEVELS)
    for level, s in enumerate(LEVELS):
        torch.testing.assert_close(together[:, level], base.gradient(x.detach(), s.expand(50, 1)))


def test_one_gaussian_has_the_energy_of_its_variances_and_0_on_average():
    variance = torch.tensor([4.0, 1.0, 0.1])
    base = GaussianBase.single(variance.numpy()).double()
    x = points(200_000, 3, spread=1.0) * variance.sqrt()
    energies = base.energies(x, LEVELS)
    wanted = 0.5 * ((x.square() - variance)[:, :, None] / (variance[:, None] + LEVELS.square())).sum(dim=1)
    torch.testing.assert_close(energies, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(energies.mean(dim=0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=0.01)


def test_far_out_the_energy_grows_and_stays_finite():
    base, _ = base_and_truth()
    far = torch.full((1, 5), 1e6)
    energies = base.float().energies(torch.cat([far / 10, far]), LEVELS.float())
    assert energies.isfinite().all()
    assert (energies[1] > energies[0]).all()


# how many


def fitted(x, heldout, **options):
    variance = np.sort(x.var(axis=0))[::-1].astype(np.float32)
    return fit_base(x.astype(np.float32), heldout.astype(np.float32), variance, (0.03, 1.0), seed=0, **options)


def test_rows_of_one_gaussian_get_one_or_hardly_lose_by_more():
    rng = np.random.default_rng(0)
    x, heldout = (rng.normal(size=(n, 2)) * [2.0, 1.0] for n in (4000, 2000))
    base = fitted(x, heldout)
    single = GaussianBase.single(np.array([4.0, 1.0], np.float32))
    there = torch.from_numpy(rng.normal(size=(2000, 2)).astype(np.float32)) * torch.tensor([2.0, 1.0])
    gap = (base.energies(there, torch.tensor([0.1])) - single.energies(there, torch.tensor([0.1]))).std()
    assert gap < 0.2  # of energies that vary by 1


@pytest.mark.parametrize("modes", [3, 8])
def test_modes_far_apart_get_a_gaussian_each(modes):
    rng = np.random.default_rng(1)
    centres = 6 * np.stack(
        [np.cos(2 * np.pi * np.arange(modes) / modes), np.sin(2 * np.pi * np.arange(modes) / modes)], 1
    )

    def draw(n):
        return centres[rng.integers(modes, size=n)] + 0.3 * rng.normal(size=(n, 2))

    base = fitted(draw(3000), draw(1000))
    assert len(base.means) >= modes
    for centre in centres:
        assert np.abs(base.means.numpy() - centre).max(axis=1).min() < 0.1


def test_as_many_gaussians_and_axes_as_asked_for():
    rng = np.random.default_rng(2)
    x, heldout = rng.normal(size=(2000, 6)), rng.normal(size=(500, 6))
    base = fitted(x, heldout, gaussians=4, rank=3)
    assert (len(base.means), base.rank) == (4, 3)
    assert len(fitted(x, heldout, gaussians=1).means) == 1
    assert fitted(x, heldout, gaussians=4, rank=60).rank == 6


def test_fewer_than_were_asked_for_are_said(caplog):
    x = np.random.default_rng(2).normal(size=(60, 3))
    base = fitted(x, x, gaussians=50, rank=5)
    assert (len(base.means), base.rank) == (6, 3)
    assert "base: 6 instead of 50 Gaussians, for 60 rows along 3 axes" in caplog.text
    assert "base: Gaussians along 3 axes instead of 5: there are no more columns" in caplog.text


@pytest.mark.parametrize("count", [1, 2, 9])
def test_the_fewest_rows_are_fitted(count):
    x = np.random.default_rng(3).normal(size=(count, 3)).astype(np.float32)
    base = fit_base(x, None, np.ones(3, np.float32), (0.03, 1.0), seed=0)
    assert base.energies(torch.from_numpy(x), torch.tensor([0.5])).isfinite().all()


def test_more_rows_than_are_fitted_are_thinned_by_a_draw(monkeypatch):
    rng = np.random.default_rng(4)
    x = np.concatenate([rng.normal(size=(600, 1)) - 5, rng.normal(size=(600, 1)) + 5])
    monkeypatch.setattr(base_fit, "MAX_ROWS", 200)
    base = fitted(x, x[::3], gaussians=2)
    np.testing.assert_allclose(np.sort(base.means[:, 0].numpy()), [-5, 5], atol=0.4)
    np.testing.assert_allclose(base.log_weight.exp().numpy(), [0.5, 0.5], atol=0.1)


def test_few_rows_in_many_columns_find_the_modes():
    """Eight modes in eight of 128 directions, 300 rows: anomalies between two modes are told by the base alone."""
    from mulde.density.estimator import MuldeDensity

    drawn = draw_embedded_set(128, 300, 100, 500)
    scores = {}
    for count in (1, None):
        density = MuldeDensity(hidden=(8,), steps=1, gaussians=count).fit(drawn.train, heldout=drawn.heldout)
        normal, inside = density.anomaly_score(drawn.normal), density.anomaly_score(drawn.inside)
        scores[count] = (inside[:, None] > normal).mean()
    assert scores[1] < 0.6
    assert scores[None] > 0.9


# states


def test_a_base_comes_back_from_its_arrays_and_is_refused_otherwise():
    base, _ = base_and_truth()
    arrays = {f"b.{name}": buffer.numpy().astype(np.float32) for name, buffer in base.named_buffers()}
    again = GaussianBase.from_tensors(arrays, "b.", 5)
    x = points(10, 5).float()
    torch.testing.assert_close(again.energies(x, LEVELS.float()), base.float().energies(x, LEVELS.float()))
    for broken in (
        {"b.means": np.zeros((0, 2), np.float32)},
        {"b.means": np.zeros((3, 0), np.float32)},
        {"b.means": np.zeros((3, 6), np.float32)},
        {"b.spreads": -arrays["b.spreads"]},
        {"b.variance": np.zeros(5, np.float32)},
        {"b.axes": arrays["b.axes"] * np.nan},
    ):
        with pytest.raises(BundleError):
            GaussianBase.from_tensors(arrays | broken, "b.", 5)
