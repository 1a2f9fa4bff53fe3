import numpy as np
import pytest

from mulde.density.standardise import Standardiser
from mulde.density.whiten import Whitener


def rows(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, 5)) @ rng.normal(size=(5, 5))
    return Standardiser.fit(mixed).apply(mixed)


def test_whitened_columns_are_uncorrelated_with_variance_one():
    x = rows()
    white = x @ Whitener.fit(x, 1.0).matrix
    np.testing.assert_allclose(np.cov(white.T), np.eye(5), atol=1e-9)


def test_distances_become_those_of_mahalanobis():
    x = rows()
    white = x @ Whitener.fit(x, 1.0).matrix
    inverse = np.linalg.inv(np.cov(x.T))
    expected = np.einsum("ni,ij,nj->n", x, inverse, x)
    np.testing.assert_allclose(np.square(white).sum(axis=1), expected, rtol=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999, 1.0])
def test_the_fewest_components_that_hold_the_share(share):
    x = rows()
    variance = np.sort(np.linalg.eigvalsh(np.cov(x.T)))[::-1]
    matrix = Whitener.fit(x, share).matrix
    count = matrix.shape[1]
    assert variance[:count].sum() >= share * variance.sum() * (1 - 1e-9)
    assert count == 1 or variance[: count - 1].sum() < share * variance.sum()


@pytest.mark.parametrize("x", [np.zeros((1, 3)), np.zeros((40, 3)), np.ones((50, 1)) * np.arange(50)[:, None]])
def test_rows_without_spread_or_with_one_direction(x):
    collinear = np.repeat(x[:, :1], 3, axis=1)
    white = collinear @ Whitener.fit(collinear, 1.0).matrix
    assert np.isfinite(white).all()
    again = Whitener.from_tensors(Whitener.fit(collinear, 1.0).tensors(), 3)
    np.testing.assert_array_equal(collinear @ again.matrix, white)
