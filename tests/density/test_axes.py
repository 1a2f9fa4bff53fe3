import numpy as np
import pytest

from mulde.density.axes import MIN_VARIANCE, PrincipalAxes
from mulde.density.standardise import Standardiser


def rows(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    return 5 + rng.normal(size=(n, 5)) @ rng.normal(size=(5, 5))


def fit(x):
    return PrincipalAxes.fit(x, Standardiser.fit(x))


def test_the_axes_are_orthonormal_and_the_coordinates_uncorrelated_with_their_variances():
    x, axes = rows(), fit(rows())
    np.testing.assert_allclose(axes.matrix.T @ axes.matrix, np.eye(5), atol=1e-6)
    along = Standardiser.fit(x).apply(x) @ axes.matrix
    np.testing.assert_allclose(np.cov(along.T), np.diag(axes.variance), atol=0.01)
    assert (np.diff(axes.variance) <= 0).all()


def test_few_rows_in_many_columns_are_drawn_towards_equal_variances():
    """40 rows of 200 independent columns: their own covariance has 40 variances near 5 and 160 of 0; the truth is 1."""
    axes = fit(np.random.default_rng(0).normal(size=(40, 200)))
    np.testing.assert_allclose(axes.variance, 1, atol=0.25)


def test_an_axis_has_one_sign_whatever_the_order_of_the_rows():
    x = rows()
    np.testing.assert_allclose(fit(x).matrix, fit(x[::-1]).matrix, atol=1e-4)


@pytest.mark.parametrize("x", [np.zeros((1, 3)), np.zeros((40, 3)), np.repeat(np.arange(50.0)[:, None], 3, axis=1)])
def test_rows_without_spread_or_with_one_direction(x):
    axes = fit(x)
    assert np.isfinite(axes.matrix).all()
    assert (axes.variance >= np.float32(MIN_VARIANCE)).all()
