import logging

import numpy as np
import pytest

from mulde.density.baselines import MixtureDensity, NeighbourDensity


def rows(n=200, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32) * np.arange(1, d + 1, dtype=np.float32)


@pytest.mark.parametrize("k", [1, 3, 200, 500])
def test_neighbours_against_brute_force(k):
    learn, there = rows(), rows(40, seed=1)
    mean, std = learn.mean(axis=0, dtype=float), learn.std(axis=0, dtype=float, ddof=1)
    a, b = (there - mean) / std, (learn - mean) / std
    distance = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2))
    expected = np.sort(distance, axis=1)[:, :k].mean(axis=1)
    np.testing.assert_allclose(NeighbourDensity(neighbours=k).fit(learn).anomaly_score(there), expected, rtol=1e-5)


@pytest.mark.parametrize("d", [3, 600])
def test_a_training_row_is_at_distance_exactly_zero(d):
    learn = rows(100, d)
    assert (NeighbourDensity().fit(learn).anomaly_score(learn) == 0).all()


def test_many_rows_are_thinned_by_the_seed(caplog):
    with caplog.at_level(logging.INFO):
        a = NeighbourDensity(max_rows=50, seed=3).fit(rows())
    assert "neighbours: 50 of 200 rows kept, drawn with seed 3" in caplog.text
    assert a.rows_.shape == (50, 3)
    assert (a.rows_ == NeighbourDensity(max_rows=50, seed=3).fit(rows()).rows_).all()
    assert (a.rows_ != NeighbourDensity(max_rows=50, seed=4).fit(rows()).rows_).any()


def test_mixture_of_one_component_is_the_mahalanobis_distance():
    learn, there = rows(), rows(40, seed=1)
    centred = there - learn.mean(axis=0, dtype=float)
    covariance = np.cov(learn.T.astype(float), bias=True)
    square = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    scores = MixtureDensity(components=1).fit(learn).anomaly_score(there)
    np.testing.assert_allclose(2 * (scores - scores[0]), square - square[0], rtol=1e-4, atol=1e-4)


def test_mixture_of_wide_collinear_rows():
    """1280 columns that 300 rows cannot fill: no fall, and a row outside their span scores far higher."""
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(20, 1280))
    learn, there = ((rng.normal(size=(n, 20)) @ basis).astype(np.float32) for n in (300, 50))
    density = MixtureDensity().fit(learn)
    outside = there + rng.normal(size=(50, 1280)).astype(np.float32)
    assert density.anomaly_score(outside).min() > density.anomaly_score(there).max()
