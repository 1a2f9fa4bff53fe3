"""The score network: on one Gaussian the score is known, and so are its norms."""

import numpy as np
import pytest

from mulde.density.msma import MsmaDensity
from mulde.density.toy import draw_toy_set
from mulde.errors import UsageError

from .test_toy import auc


def test_the_score_of_a_gaussian_is_learnt():
    """Of N(0, I) with noise s: dE/dx = x / (1 + s^2)."""
    x = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32)
    density = MsmaDensity(hidden=(64, 64), steps=800, num_scales=4, sigma_low=0.1, seed=0).fit(x)
    near = x[np.linalg.norm(x, axis=1) < 2]
    norms = np.linalg.norm(density.standardiser_.apply(near), axis=1)
    for i, s in enumerate(density.sigma_):
        expected = norms / (1 + s**2)
        assert np.corrcoef(np.sqrt(density.score_norms(near)[:, i]), expected)[0, 1] > 0.97
        assert np.abs(np.sqrt(density.score_norms(near)[:, i]) - expected).mean() < 0.1


def test_it_finds_the_toy_anomalies():
    toy = draw_toy_set(seed=0)
    density = MsmaDensity(hidden=(64, 64, 64), steps=900, seed=0).fit(toy.train)
    assert auc(density.anomaly_score(toy.normal), density.anomaly_score(toy.anomalous)) > 0.97


def test_settings_are_those_that_it_has():
    assert "beta" not in MsmaDensity().settings()
    with pytest.raises(UsageError, match=r"expected a density with an energy, got a score\. Try: score_norms"):
        MsmaDensity().energies(np.zeros((1, 2)))
