import logging

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from mulde.density.aggregate import AGGREGATES, Aggregate
from mulde.density.options import MuldeOptions


def energies(n=400, num_scales=16, seed=0):
    """Almost collinear, as energies at neighbouring levels are, each level with its own scale and offset."""
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(n, 1)), rng.normal(size=(n, num_scales))
    return ((shared + 1e-4 * own) * np.linspace(1, 5, num_scales) + np.linspace(-9, 30, num_scales)).astype(np.float32)


def test_max_and_median_are_of_the_energies_as_they_are():
    x = energies()
    assert (Aggregate.fit("max", x, 5, 0).score(x) == [max(row) for row in x.tolist()]).all()
    middle = [(sorted(row)[7] + sorted(row)[8]) / 2 for row in x.tolist()]
    np.testing.assert_allclose(Aggregate.fit("median", x, 5, 0).score(x), middle, rtol=1e-6)


def test_mean_is_of_columns_standardised_with_training_statistics():
    x, there = energies(), energies(50, seed=1) + 3
    wide = x.astype(np.float64)
    expected = ((there - wide.mean(axis=0)) / wide.std(axis=0, ddof=1)).mean(axis=1)
    np.testing.assert_allclose(Aggregate.fit("mean", x, 5, 0).score(there), expected, rtol=1e-9)


def test_mixture_is_scikit_learn_on_standardised_energies():
    x, there = energies(), energies(50, seed=1)
    wide = x.astype(np.float64)
    mean, std = wide.mean(axis=0), wide.std(axis=0, ddof=1)
    model = GaussianMixture(3, reg_covar=1e-3, random_state=0).fit((wide - mean) / std)
    ours = Aggregate.fit("mixture", x, 3, 0).score(there)
    np.testing.assert_allclose(ours, -model.score_samples((there - mean) / std), rtol=1e-6)


@pytest.mark.parametrize("given", [True, False])
def test_the_number_of_components_may_be_chosen_by_held_out_energies(given, caplog):
    """Two bunches of rows, far apart at every level but not in the level's own noise."""
    rng = np.random.default_rng(0)
    x, held = (rng.normal(size=(n, 8)) + 40.0 * rng.integers(0, 2, (n, 1)) for n in (500, 300))
    with caplog.at_level(logging.INFO):
        fitted = Aggregate.fit("mixture", x, None, 0, held if given else None)
    assert f"2 components, by the log-likelihood of {300 if given else 50} held-out rows" in caplog.text
    assert len(fitted.mixture.weights) == 2
    again = Aggregate.fit("mixture", x, 2, 0)
    assert (fitted.score(held) == again.score(held)).all()


def test_held_out_energies_change_nothing_where_the_number_is_given():
    x, held = energies(), energies(50, seed=1)
    for name in AGGREGATES:
        assert (Aggregate.fit(name, x, 3, 0, held).score(held) == Aggregate.fit(name, x, 3, 0).score(held)).all()


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("n", [1, 2, 10, 400])
@pytest.mark.parametrize("num_scales", [1, 16])
def test_any_number_of_rows_and_levels(name, n, num_scales):
    x = energies(n, num_scales)
    fitted = Aggregate.fit(name, x, 5, 0)
    for there in (x, x[:0], np.concatenate([x, x + 1e5])):
        scores = fitted.score(there)
        assert scores.shape == (len(there),)
        assert scores.dtype == np.float64
        assert np.isfinite(scores).all()
    again = Aggregate.from_tensors(name, fitted.tensors(), num_scales)
    assert (again.score(x) == fitted.score(x)).all()


@pytest.mark.parametrize("name", [name for name in AGGREGATES if name != "mixture"])
def test_energy_added_at_any_level_never_lowers_the_score(name):
    """What a density of the levels cannot promise: there, less energy than usual is as unlikely as more."""
    assert MuldeOptions().aggregate != "mixture"
    x, rng = energies(), np.random.default_rng(1)
    fitted = Aggregate.fit(name, x, 5, 0)
    there = energies(300, seed=2) + rng.normal(0, 20, (300, 16)).astype(np.float32)
    for added in (1e-3, 1.0, 1e3):
        for level in range(16):
            more = there.copy()
            more[:, level] += np.float32(added)
            assert (fitted.score(more) >= fitted.score(there)).all()


def test_a_mixture_over_the_levels_lowers_the_score_where_it_should_not():
    x = energies()
    fitted = Aggregate.fit("mixture", x, 1, 0)
    low = np.float32(x.mean(axis=0) - 5 * x.std(axis=0))[None]
    assert fitted.score(low) > fitted.score(x.mean(axis=0)[None])


@pytest.mark.parametrize("name", AGGREGATES)
def test_higher_energies_at_all_levels_score_higher(name):
    x = energies()
    fitted = Aggregate.fit(name, x, 5, 0)
    up = np.linspace(1, 5, 16, dtype=np.float32) * 20
    assert fitted.score(x + up).min() > fitted.score(x).max()
