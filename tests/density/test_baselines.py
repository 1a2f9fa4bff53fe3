import logging
import sys

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from mulde.density.baselines import MahalanobisDensity, MixtureDensity, NeighbourDensity
from mulde.errors import UsageError


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


@pytest.mark.parametrize("given", [True, False])
def test_mixture_may_choose_its_number_of_components(given):
    rng = np.random.default_rng(0)
    learn, held = (rng.normal(size=(n, 3)) + 30.0 * rng.integers(0, 3, (n, 1)) for n in (600, 300))
    density = MixtureDensity(components=None).fit(learn, heldout=held if given else None)
    assert len(density.mixture_.weights) == 3
    assert density.settings()["components"] is None
    again = MixtureDensity.from_state(*density.state())
    assert (again.anomaly_score(held) == density.anomaly_score(held)).all()


@pytest.mark.parametrize("bad", [0, 1001, 2.5, "x", True])
def test_bad_numbers_of_components_are_refused(bad):
    with pytest.raises(UsageError, match="components: expected a whole number from 1 to 1000"):
        MixtureDensity(components=bad).fit(rows())


def standardised(x, learn):
    return (x - learn.mean(axis=0, dtype=float)) / learn.std(axis=0, dtype=float, ddof=1)


@pytest.mark.parametrize(("n", "d"), [(200, 3), (300, 17), (40, 90)])
def test_mahalanobis_against_scikit_learn_and_the_formula(n, d):
    learn, there = rows(n, d), rows(40, d, seed=1) * 2
    model = LedoitWolf().fit(standardised(learn, learn))
    scores = MahalanobisDensity().fit(learn).anomaly_score(there)
    x = standardised(there, learn)
    np.testing.assert_allclose(np.square(scores), model.mahalanobis(x), rtol=1e-8)
    inverse = np.linalg.inv(model.covariance_)
    slow = [np.sqrt((row - model.location_) @ inverse @ (row - model.location_)) for row in x]
    np.testing.assert_allclose(scores, slow, rtol=1e-8)


def test_mahalanobis_of_many_rows_is_the_distance_under_their_covariance():
    """Where shrinkage has nothing to do, units and correlation fall out: two columns against the textbook."""
    rng = np.random.default_rng(0)
    learn = rng.multivariate_normal([5, -3], [[4, 1.5], [1.5, 1]], size=40_000)
    there = np.array([[5.0, -3.0], [7.0, -3.0], [5.0, 0.0], [1.0, -5.0]])
    inverse = np.linalg.inv([[4, 1.5], [1.5, 1]])
    expected = [np.sqrt((row - [5, -3]) @ inverse @ (row - [5, -3])) for row in there]
    np.testing.assert_allclose(MahalanobisDensity().fit(learn).anomaly_score(there), expected, rtol=0.03, atol=0.03)


def test_mahalanobis_notices_what_leaves_the_span_of_wide_rows():
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(20, 1280))
    learn, there = ((rng.normal(size=(n, 20)) @ basis).astype(np.float32) for n in (300, 50))
    density = MahalanobisDensity().fit(learn)
    outside = there + rng.normal(size=(50, 1280)).astype(np.float32)
    assert density.anomaly_score(outside).min() > density.anomaly_score(there).max()


def test_mahalanobis_of_equal_rows_counts_from_them():
    density = MahalanobisDensity().fit(np.full((40, 3), 2.0))
    assert density.anomaly_score(np.full((1, 3), 2.0)) == 0
    np.testing.assert_allclose(density.anomaly_score(np.array([[2.0, 2.0, 2.5]])), 0.5 / np.sqrt(1e-6))


@pytest.mark.parametrize("kind", [MixtureDensity, MahalanobisDensity])
def test_a_device_that_is_not_there_is_refused(kind):
    with pytest.raises(UsageError, match="device 'cuda:77' cannot be used"):
        kind(device="cuda:77").fit(rows())


@pytest.mark.parametrize("k", [1, 4, 500])
@pytest.mark.parametrize(("n", "d"), [(3000, 3), (2000, 114), (3, 5), (1, 2)])
def test_faiss_finds_the_same_neighbours(k, n, d):
    pytest.importorskip("faiss")
    learn = np.concatenate([rows(n, d), rows(max(n // 10, 1), d)])  # with copies
    there = np.concatenate([rows(300, d, seed=1), learn[:50]])
    plain, fast = (NeighbourDensity(neighbours=k, engine=engine).fit(learn) for engine in ("sklearn", "faiss"))
    np.testing.assert_allclose(fast.anomaly_score(there), plain.anomaly_score(there), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(fast.offset_, plain.offset_, rtol=1e-4, atol=1e-4)
    again = NeighbourDensity.from_state(*fast.state())
    assert again.engine == "faiss"
    assert (again.anomaly_score(there) == fast.anomaly_score(there)).all()
    assert set(fast.state()[0]) == {"standardise.mean", "standardise.scale", "rows"}


def test_faiss_tells_rows_apart_that_float32_products_confuse():
    """Small bunches far from the mean: |x|^2 - 2xy + |y|^2 loses in float32 what sets their rows apart."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    bunches = np.repeat(10 * rng.normal(size=(40, 40)), 6, axis=0)
    learn, there = (
        np.concatenate([bunches + 1e-3 * rng.normal(size=bunches.shape), rng.normal(size=(4000, 40))]) for _ in range(2)
    )
    plain, fast = (NeighbourDensity(engine=engine).fit(learn, heldout=learn[:9]) for engine in ("sklearn", "faiss"))
    np.testing.assert_allclose(fast.anomaly_score(there), plain.anomaly_score(there), rtol=1e-4)


def test_faiss_that_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(
        UsageError, match=r'engine: expected faiss to be installed, .* Try: pip install "mulde\[faiss\]"'
    ):
        NeighbourDensity(engine="faiss").fit(rows())
    NeighbourDensity().fit(rows())


def test_unknown_engines_are_answered_with_the_known():
    with pytest.raises(UsageError, match="engine: expected one of sklearn, faiss, got 'annoy'"):
        NeighbourDensity(engine="annoy").fit(rows())


@pytest.mark.parametrize("k", [1, 3, 500])
def test_without_held_out_rows_the_offset_is_that_of_each_row_to_the_others(k):
    learn = rows()
    x = standardised(learn, learn)
    distance = np.sort(np.sqrt(((x[:, None] - x[None]) ** 2).sum(axis=2)), axis=1)[:, 1 : k + 1].mean(axis=1)
    density = NeighbourDensity(neighbours=k, contamination=0.2).fit(learn)
    np.testing.assert_allclose(density.offset_, -np.quantile(distance, 0.8), rtol=1e-5)
    assert 0.7 < (density.predict(rows(2000, seed=1)) == 1).mean() < 0.9 or k == 500


def test_thinned_neighbours_judge_the_rows_left_out_as_new_ones():
    learn = rows(2000)
    density = NeighbourDensity(max_rows=300, contamination=0.2).fit(learn)
    x = standardised(learn, learn)
    distance = np.sort(np.sqrt(((x[:, None] - density.rows_[None]) ** 2).sum(axis=2)), axis=1)
    kept = (distance[:, 0] < 1e-6).astype(int)
    assert kept.sum() == 300
    expected = -np.quantile(distance[np.arange(2000), kept], 0.8)
    np.testing.assert_allclose(density.offset_, expected, rtol=1e-5)


@pytest.mark.parametrize("engine", ["sklearn", "faiss"])
def test_one_row_is_the_neighbour_of_all(engine):
    pytest.importorskip(engine)
    density = NeighbourDensity(neighbours=3, engine=engine).fit(rows(1))
    assert density.offset_ == 0
    np.testing.assert_allclose(density.anomaly_score(rows(1) + np.array([[3, 0, 4]])), [5], rtol=1e-5)
