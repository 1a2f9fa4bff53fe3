"""Mixtures of low rank among many columns: their exact density against the dense formula, and what is drawn of them."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from mulde.density.embedded import NOISE, RANK, FactorMixture, draw_embedded_set


def random_mixture(modes=3, columns=5, rank=2):
    rng = np.random.default_rng(0)
    return FactorMixture(
        centres=rng.normal(size=(modes, columns)),
        factors=rng.normal(size=(modes, columns, rank)),
        noise=rng.uniform(0.05, 0.4, columns),
    )


def dense_energy(mixture, x, s):
    """The same, written out with covariances (D, D)."""
    density = np.zeros(len(x))
    for centre, factor in zip(mixture.centres, mixture.factors, strict=True):
        covariance = factor @ factor.T + np.diag(mixture.noise) + s**2 * np.eye(len(centre))
        density += multivariate_normal(centre, covariance).pdf(x) / len(mixture.centres)
    return -np.log(density)


@pytest.mark.parametrize("s", [0.0, 0.001, 0.3, 2.0])
@pytest.mark.parametrize(("modes", "columns", "rank"), [(3, 5, 2), (1, 1, 1), (4, 6, 6), (2, 3, 0)])
def test_energy_is_that_of_the_dense_formula(modes, columns, rank, s):
    mixture = random_mixture(modes, columns, rank)
    x = np.random.default_rng(1).normal(size=(50, columns))
    np.testing.assert_allclose(mixture.energy(x, s), dense_energy(mixture, x, s), rtol=1e-9, atol=1e-9)
    assert mixture.energy(x[:0], s).shape == (0,)


@pytest.mark.parametrize("s", [0.01, 0.5])
def test_gradient_is_the_slope_of_the_energy(s):
    mixture, step = random_mixture(), 1e-6
    x = np.random.default_rng(1).normal(size=(20, 5))
    gradient = mixture.gradient(x, s)
    for column, unit in enumerate(np.eye(5)):
        slope = (dense_energy(mixture, x + step * unit, s) - dense_energy(mixture, x - step * unit, s)) / (2 * step)
        np.testing.assert_allclose(gradient[:, column], slope, rtol=1e-5, atol=1e-5)
    assert mixture.gradient(x[:0], s).shape == (0, 5)


def test_one_mode_of_full_rank_is_a_sphere():
    columns, width, noise, s = 4, 0.7, 0.2, 0.5
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(columns, columns)))[0]
    centre = np.arange(columns, dtype=float)
    sphere = FactorMixture(centre[None], width * rotation[None], np.full(columns, noise**2))
    x, variance = np.random.default_rng(1).normal(size=(30, columns)), width**2 + noise**2 + s**2
    energy = np.square(x - centre).sum(axis=1) / (2 * variance) + columns / 2 * np.log(2 * np.pi * variance)
    np.testing.assert_allclose(sphere.energy(x, s), energy, rtol=1e-12)
    np.testing.assert_allclose(sphere.gradient(x, s), (x - centre) / variance, rtol=1e-9, atol=1e-12)


def test_standardising_the_density_is_standardising_the_rows():
    """Up to the constant log of the volume, without noise of a level, which is of the standardised columns."""
    mixture, mean, scale = random_mixture(), np.arange(5.0), np.array([0.5, 1, 2, 3, 4])
    x = np.random.default_rng(1).normal(size=(20, 5))
    moved = mixture.standardised(mean, scale)
    np.testing.assert_allclose(moved.energy((x - mean) / scale, 0), mixture.energy(x, 0) - np.log(scale).sum())
    np.testing.assert_allclose(moved.energy((x - mean) / scale, 0.3), dense_energy(moved, (x - mean) / scale, 0.3))


def test_normal_rows_have_the_moments_of_the_density():
    drawn = draw_embedded_set(12, num_train=200_000, num_heldout=0, num_test=0, rank=2)
    truth = drawn.truth
    centred = truth.centres - truth.centres.mean(axis=0)
    between = centred.T @ centred / len(centred)
    within = (truth.factors @ truth.factors.transpose(0, 2, 1)).mean(axis=0) + np.diag(truth.noise)
    np.testing.assert_allclose(drawn.train.mean(axis=0), truth.centres.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(np.cov(drawn.train.T), between + within, atol=0.02)


def test_what_is_drawn_depends_on_the_seed_and_tests_stay_the_same_for_any_number_of_rows():
    first, again = (draw_embedded_set(16, 30, 10, 20, seed=1) for _ in range(2))
    fewer, other = draw_embedded_set(16, 5, 3, 20, seed=1), draw_embedded_set(16, 30, 10, 20, seed=2)
    for name in ("train", "heldout", "normal", "inside", "outside"):
        assert (getattr(first, name) == getattr(again, name)).all()
        assert not (getattr(first, name) == getattr(other, name)).any()
    for name in ("normal", "inside", "outside"):
        assert (getattr(first, name) == getattr(fewer, name)).all()
    assert [len(fewer.train), len(fewer.heldout), len(fewer.normal)] == [5, 3, 20]
    assert not {tuple(row) for row in first.train} & {tuple(row) for row in (*first.heldout, *first.normal)}


def test_anomalies_lie_where_their_names_say():
    columns = 200
    drawn = draw_embedded_set(columns, 0, 0, 4000)
    basis = np.linalg.svd(drawn.truth.centres, full_matrices=False)[2]  # (r, D): as many modes as the rank
    assert basis.shape == (RANK, columns)
    rest = {
        name: np.square(x - x @ basis.T @ basis).sum(axis=1).mean() / NOISE**2
        for name, x in (("normal", drawn.normal), ("inside", drawn.inside), ("outside", drawn.outside))
    }
    assert rest["normal"] == pytest.approx(columns - RANK, abs=2)
    assert rest["inside"] == pytest.approx(columns - RANK, abs=2)
    assert rest["outside"] == pytest.approx(columns - RANK + 1.75**2 * np.sqrt(2 * (columns - RANK)), abs=4)
    nearest = {
        name: np.linalg.norm(((x[:, None] - drawn.truth.centres) @ basis.T), axis=2).min(axis=1).mean()
        for name, x in (("normal", drawn.normal), ("inside", drawn.inside), ("outside", drawn.outside))
    }
    assert nearest["outside"] == pytest.approx(nearest["normal"], rel=0.05)
    assert nearest["inside"] > 1.5 * nearest["normal"]


def count_auc(normal, anomalous):
    """The share of pairs in which the anomaly has the higher score."""
    pairs = np.sign(anomalous[:, None] - normal)
    return ((pairs + 1) / 2).mean()


@pytest.mark.parametrize("columns", [64, 512, 1280])
def test_both_kinds_are_hard_but_not_too_hard_in_any_number_of_columns(columns):
    drawn = draw_embedded_set(columns, 0, 0, 1000)
    normal, inside, outside = (drawn.truth.energy(x, 0) for x in (drawn.normal, drawn.inside, drawn.outside))
    assert 0.88 < count_auc(normal, inside) < 0.99
    assert 0.94 < count_auc(normal, outside) < 0.99


@pytest.mark.parametrize("rank", [0, 16])
def test_a_rank_that_leaves_no_subspace_or_no_outside_is_refused(rank):
    with pytest.raises(ValueError, match="a rank of 1 to 15 in 16 columns, got"):
        draw_embedded_set(16, 1, 1, 1, rank=rank)
