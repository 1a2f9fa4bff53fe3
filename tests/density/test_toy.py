"""The toy set: its exact answers are those of large draws, and a quickly trained network comes near them."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mulde.density.aggregate import AGGREGATES, Aggregate
from mulde.density.estimator import MuldeDensity
from mulde.density.toy import STD, draw_toy_set, toy_truth

# s, AUC of -log q_s, AUC of the score norm, lowest L_dsm, from draws of 5,000 points
METHOD_TABLE = [
    (0.001, 1.000, 0.997, 0.991),
    (0.0676, 1.000, 0.995, 0.709),
    (0.134, 1.000, 0.991, 0.379),
    (0.201, 1.000, 0.985, 0.217),
    (0.267, 1.000, 0.973, 0.143),
    (0.334, 1.000, 0.956, 0.138),
    (0.401, 1.000, 0.932, 0.192),
    (0.534, 1.000, 0.859, 0.375),
    (0.667, 1.000, 0.758, 0.471),
    (0.800, 0.997, 0.611, 0.498),
    (0.867, 0.872, 0.559, 0.493),
    (0.933, 0.532, 0.526, 0.458),
    (1.000, 0.473, 0.498, 0.449),
]


@pytest.fixture(scope="module")
def toy():
    return draw_toy_set(seed=0)


@pytest.fixture(scope="module")
def fitted(toy):
    small = MuldeDensity(hidden=(64, 64, 64), steps=900, lr=4e-3, seed=0)
    return small.fit(toy.train, heldout=draw_toy_set(seed=1, num_test=500).normal)


def auc(normal, anomalous):
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    return roc_auc_score(truth, np.concatenate([normal, anomalous]))


def test_the_set_is_as_described(toy):
    assert [len(toy.train), len(toy.normal), len(toy.anomalous)] == [10_000, 5_000, 5_000]
    assert toy.train.std(axis=0) == pytest.approx([2.011, 2.011], abs=0.03)
    assert (draw_toy_set(seed=0).train == toy.train).all()
    assert (draw_toy_set(seed=1).train != toy.train).all()


@pytest.mark.parametrize(("s", "energy_auc", "norm_auc", "least_loss"), METHOD_TABLE)
def test_exact_answers_reproduce_the_table(toy, s, energy_auc, norm_auc, least_loss):
    truth, scale = toy_truth(), np.sqrt(0.2121**2 + 2.8284**2 / 2)
    normal, anomalous = toy.normal / scale, toy.anomalous / scale
    assert auc(truth.energy(normal, s), truth.energy(anomalous, s)) == pytest.approx(energy_auc, abs=0.004)
    norms = [np.square(truth.gradient(x, s)).sum(axis=1) for x in (normal, anomalous)]
    assert auc(*norms) == pytest.approx(norm_auc, abs=0.01)
    assert truth.lowest_dsm_loss(s) == pytest.approx(least_loss, abs=0.02)


def test_exact_energy_is_a_density_and_its_gradient_is_its_slope():
    truth, s = toy_truth(), 0.2
    axis = np.linspace(-4, 4, 401)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert np.exp(-truth.energy(grid, s)).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=1e-6)
    x, step = grid[::5000], 1e-6
    for column, unit in enumerate(np.eye(2)):
        slope = (truth.energy(x + step * unit, s) - truth.energy(x - step * unit, s)) / (2 * step)
        np.testing.assert_allclose(truth.gradient(x, s)[:, column], slope, rtol=1e-5, atol=1e-5)


def test_the_learnt_energy_orders_the_toy_anomalies(toy, fitted):
    normal, anomalous = fitted.energies(toy.normal), fitted.energies(toy.anomalous)
    for i, s in enumerate(fitted.sigma_):
        if s <= 0.667:
            assert auc(normal[:, i], anomalous[:, i]) >= 0.98, s


@pytest.mark.parametrize("s", [0.0676, 0.2008, 0.4006])
def test_the_learnt_energy_follows_the_exact_one(toy, fitted, s):
    """On normal points, and on a grid where the density is above a thousandth of its maximum."""
    level = int(np.argmin(np.abs(fitted.sigma_ - s)))
    truth = toy_truth(fitted.standardiser_.mean, fitted.standardiser_.scale)
    axis = np.linspace(-5, 5, 101)
    x = np.concatenate([toy.normal, np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)])
    exact = truth.energy(fitted.standardiser_.apply(x), float(fitted.sigma_[level]))
    dense = exact < exact.min() + np.log(1e3)
    assert dense.sum() > 5_000
    assert np.corrcoef(fitted.energies(x)[dense, level], exact[dense])[0, 1] >= 0.97


def test_the_held_out_loss_is_near_its_minimum(fitted):
    truth = toy_truth()
    spread = np.geomspace(*fitted.sigma_[[0, -1]], 101)
    least = np.mean([truth.lowest_dsm_loss(float(s), num_nodes=40) for s in spread])
    assert least - 0.03 < fitted.trained_.heldout_loss < least + 0.06


def test_the_modes_score_lowest(fitted):
    """By the default reading, as by the exact density: the lowest of a grid lie within a standard deviation of one of
    the four modes, and every mode scores below all points that are four of them away from all modes."""
    axis = np.linspace(-5, 5, 201)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    modes = toy_truth(np.zeros(2), np.ones(2)).centres
    away = np.linalg.norm(grid[:, None] - modes, axis=2).min(axis=1)
    scores = fitted.anomaly_score(grid)
    assert (away[np.argsort(scores)[:20]] <= STD).all()
    assert fitted.anomaly_score(modes).max() < scores[away >= 4 * STD].min()


@pytest.mark.parametrize("name", AGGREGATES)
def test_every_aggregate_finds_the_anomalies(toy, fitted, name):
    aggregate = Aggregate.fit(name, fitted.energies(toy.train), 5, 0)
    assert auc(*(aggregate.score(fitted.energies(x)) for x in (toy.normal, toy.anomalous))) >= 0.98
