import logging

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from mulde.density import mixture as module
from mulde.density.mixture import Mixture, fit_mixture
from mulde.errors import BundleError, FitError


def clusters(n=600, d=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.3, (n, d)) + rng.normal(0, 1, (5, d))[rng.integers(0, 5, n)]


@pytest.mark.parametrize("components", [1, 3, 5])
def test_scores_equal_scikit_learn(components):
    rows = clusters()
    model = GaussianMixture(components, random_state=0).fit(rows)
    ours = fit_mixture(rows, components, seed=0, what="test")
    there = clusters(300, seed=1) * 3
    np.testing.assert_allclose(ours.negative_log_likelihood(there), -model.score_samples(there), rtol=1e-10, atol=1e-9)


def test_likelihood_against_the_formula_with_dense_inverses():
    ours = fit_mixture(clusters(), 3, seed=0, what="test")
    x = clusters(20, seed=2)
    density = np.zeros(20)
    for weight, mean, cholesky in zip(ours.weights, ours.means, ours.precision_cholesky, strict=True):
        covariance = np.linalg.inv(cholesky @ cholesky.T)
        square = np.einsum("ni,ij,nj->n", x - mean, np.linalg.inv(covariance), x - mean)
        density += weight * np.exp(-square / 2) / np.sqrt(np.linalg.det(2 * np.pi * covariance))
    np.testing.assert_allclose(ours.negative_log_likelihood(x), -np.log(density), rtol=1e-8)


def test_far_away_is_finite_and_further_is_higher():
    ours = fit_mixture(clusters(), 5, seed=0, what="test")
    scores = ours.negative_log_likelihood(np.array([[10.0] * 4, [1e3] * 4, [1e6] * 4]))
    assert np.isfinite(scores).all()
    assert (np.diff(scores) > 0).all()
    assert ours.negative_log_likelihood(np.zeros((0, 4))).shape == (0,)


def test_collinear_columns():
    one = np.random.default_rng(0).normal(size=(500, 1))
    ours = fit_mixture(np.repeat(one, 16, axis=1), 5, seed=0, what="test")
    on_line, off_line = np.full((1, 16), 0.5), np.full((1, 16), 0.5) + np.eye(16)[0]
    assert ours.negative_log_likelihood(off_line) > ours.negative_log_likelihood(on_line) + 100


def test_reg_covar_is_raised_step_by_step_and_said(caplog):
    one = np.random.default_rng(0).normal(size=(500, 1)) * 1e6  # rounding of 1e12 hides 1e-6 on the diagonal
    with caplog.at_level(logging.WARNING):
        ours = fit_mixture(np.repeat(one, 16, axis=1), 2, seed=0, what="the test's mixture")
    assert "the test's mixture: covariance not invertible with reg_covar 1e-06" in caplog.text
    assert "reg_covar 1e-05" in caplog.text
    assert np.isfinite(ours.precision_cholesky).all()


def test_columns_beyond_help_are_refused():
    one = np.random.default_rng(0).normal(size=(100, 1)) * 1e12
    with pytest.raises(FitError, match=r"the test's mixture: .*none up to reg_covar 1 on rows of shape \(100, 9\)"):
        fit_mixture(np.repeat(one, 9, axis=1), 1, seed=0, what="the test's mixture")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (clusters(49), 4),
        (clusters(10), 1),
        (clusters(2), 1),
        (np.repeat(clusters(3), 100, axis=0), 3),
        (np.zeros((100, 4)), 1),
        (clusters(900, 300), 3),
        (clusters(2000, 900), 1),
    ],
)
def test_fewer_components_when_there_is_too_little_to_learn_from(rows, expected, caplog):
    ours = fit_mixture(rows, 5, seed=0, what="test")
    assert len(ours.weights) == expected
    assert f"test: {expected} instead of 5 components, for {len(rows)} rows of {rows.shape[1]} columns" in caplog.text
    assert np.isfinite(ours.negative_log_likelihood(rows)).all()


def test_one_row_is_one_gaussian_around_it():
    ours = fit_mixture(np.array([[1.0, 2.0]]), 5, seed=0, what="test")
    np.testing.assert_allclose(ours.means, [[1, 2]])
    np.testing.assert_allclose(ours.precision_cholesky[0], np.eye(2) * 1e3, rtol=1e-6, atol=1e-9)


def test_the_seed_decides_and_many_rows_are_thinned(monkeypatch, caplog):
    rows = clusters()
    a, b = (fit_mixture(rows, 5, seed=7, what="test") for _ in range(2))
    assert (a.means == b.means).all()
    monkeypatch.setattr(module, "MAX_FIT_ROWS", 200)
    with caplog.at_level(logging.INFO):
        thin = fit_mixture(rows, 5, seed=7, what="test")
    assert "test: fitted on 200 of 600 rows, drawn with seed 7" in caplog.text
    assert thin.means.shape == (5, 4)


def test_arrays_out_and_in():
    ours = fit_mixture(clusters(), 3, seed=0, what="test")
    again = Mixture.from_tensors(ours.tensors(), 4)
    x = clusters(50, seed=3)
    assert (again.negative_log_likelihood(x) == ours.negative_log_likelihood(x)).all()
    with pytest.raises(BundleError, match=r"means: expected float64 of shape \(3, 5\), got float64 of shape \(3, 4\)"):
        Mixture.from_tensors(ours.tensors(), 5)
