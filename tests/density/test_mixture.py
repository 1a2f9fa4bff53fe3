import logging
import re
import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from mulde.density import mixture as module
from mulde.density.mixture import CANDIDATES, Mixture, fit_mixture
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


@pytest.mark.parametrize("d", [1, 2, 5, 16, 17, 40])
@pytest.mark.parametrize("n", [1, 7, 3000])
def test_scores_equal_scikit_learn_for_any_shape(d, n):
    rng = np.random.default_rng(d)
    rows = rng.normal(size=(800, d)) @ rng.normal(size=(d, d)) / d
    model = GaussianMixture(2, random_state=0).fit(rows)
    ours = Mixture(model.weights_, model.means_, model.precisions_cholesky_)
    there = rng.normal(size=(n, d))
    np.testing.assert_allclose(ours.negative_log_likelihood(there), -model.score_samples(there), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 3, 100, 2048, 4999])
def test_sixteen_levels_score_the_same_to_the_last_bit_whatever_stands_beside(size):
    ours = fit_mixture(clusters(2000, 16), 5, seed=0, what="test")
    x = clusters(5000, 16, seed=1)
    whole = ours.negative_log_likelihood(x)
    for start in (0, 1700, 5000 - size):
        part = slice(start, start + size)
        assert (ours.negative_log_likelihood(x[part]) == whole[part]).all()
    assert (ours.negative_log_likelihood(x[::-1]) == whole[::-1]).all()


def test_rows_are_prepared_some_at_a_time_and_left_alone():
    ours = fit_mixture(clusters(600, 16), 2, seed=0, what="test")
    x = clusters(5000, 16).astype(np.float32)
    x.flags.writeable = False
    most = 0

    def double(rows):
        nonlocal most
        most = max(most, len(rows))
        return rows.astype(np.float64) * 2

    expected = ours.negative_log_likelihood(x.astype(np.float64) * 2)
    assert (ours.negative_log_likelihood(x, prepare=double) == expected).all()
    assert most < 5000


def test_scoring_many_rows_takes_no_memory_but_for_the_scores():
    ours = fit_mixture(clusters(600, 16), 2, seed=0, what="test")
    x = np.zeros((200_000, 16), np.float32)
    ours.negative_log_likelihood(x[:10])
    tracemalloc.start()
    ours.negative_log_likelihood(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000 * 8 * 1.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_scores_as_the_cpu_does():
    ours = fit_mixture(clusters(2000, 16), 5, seed=0, what="test")
    x = clusters(5000, 16, seed=1) * 3
    on_gpu = ours.negative_log_likelihood(x, "cuda")
    np.testing.assert_allclose(on_gpu, ours.negative_log_likelihood(x), rtol=1e-9, atol=1e-9)


def far_clusters(count, n=500, seed=0):
    """Well apart, so that the number of them is what makes new rows likeliest."""
    rng = np.random.default_rng(seed)
    centres = np.array([[20.0 * k, (-1) ** k * 15.0 * (k % 3)] for k in range(count)])
    return centres[rng.integers(0, count, n)] + rng.normal(size=(n, 2))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("given", [True, False])
def test_held_out_rows_choose_the_number_of_components(count, given, caplog):
    heldout = far_clusters(count, 300, seed=1) if given else None
    with caplog.at_level(logging.INFO):
        ours = fit_mixture(far_clusters(count), None, seed=0, what="the test's mixture", heldout=heldout)
    assert len(ours.weights) == count
    told = (
        rf"the test's mixture: {count} components, by the log-likelihood of {300 if given else 50} held-out rows \(1: -"
    )
    assert re.search(told, caplog.text)


def test_the_number_chosen_is_the_best_by_a_plain_search():
    rows, heldout = clusters(400), clusters(200, seed=1)
    means = {k: GaussianMixture(k, random_state=3).fit(rows).score(heldout) for k in CANDIDATES}
    ours = fit_mixture(rows, None, seed=3, what="test", heldout=heldout)
    assert len(ours.weights) == max(means, key=means.get)
    same = fit_mixture(rows, len(ours.weights), seed=3, what="test")
    assert (ours.means == same.means).all()  # fitted on the training rows, all of them and no others


def test_without_held_out_rows_a_tenth_chooses_and_all_rows_are_fitted():
    rows = far_clusters(3)
    a, b = (fit_mixture(rows, None, seed=4, what="test") for _ in range(2))
    assert (a.means == b.means).all()
    assert (a.means == fit_mixture(rows, 3, seed=4, what="test").means).all()
    assert (a.means == fit_mixture(rows, None, seed=4, what="test", heldout=rows[:0]).means).all()


@pytest.mark.parametrize(("gain", "expected"), [(0.0, 1), (1e-4, 1), (0.1, 5), (-0.1, 1)])
def test_ties_go_to_fewer_components(gain, expected, monkeypatch):
    def judged(self, rows):
        return np.full(len(rows), 7.0 - gain * len(self.weights))

    monkeypatch.setattr(Mixture, "negative_log_likelihood", judged)
    ours = fit_mixture(far_clusters(5, 59), None, seed=0, what="test", heldout=far_clusters(5, 9))
    assert len(ours.weights) == expected


@pytest.mark.parametrize("n", [1, 2, 9, 19, 45])
def test_the_choice_from_few_rows_keeps_to_what_they_can_carry(n):
    ours = fit_mixture(far_clusters(2, n), None, seed=0, what="test")
    assert len(ours.weights) <= max(1, n // 10)
    assert np.isfinite(ours.negative_log_likelihood(far_clusters(2, 10))).all()


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
    assert "test: 200 of 600 rows used, drawn with seed 7" in caplog.text
    assert thin.means.shape == (5, 4)


def test_arrays_out_and_in():
    ours = fit_mixture(clusters(), 3, seed=0, what="test")
    again = Mixture.from_tensors(ours.tensors(), 4)
    x = clusters(50, seed=3)
    assert (again.negative_log_likelihood(x) == ours.negative_log_likelihood(x)).all()
    with pytest.raises(BundleError, match=r"means: expected float64 of shape \(3, 5\), got float64 of shape \(3, 4\)"):
        Mixture.from_tensors(ours.tensors(), 5)
