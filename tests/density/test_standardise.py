import numpy as np
import pytest

from mulde.density.standardise import LIMIT, Standardiser


def test_mean_and_unbiased_std_equal_numpy_in_float64():
    rows = np.random.default_rng(0).normal(3.0, 2.0, (20_001, 5)).astype(np.float32)
    fitted = Standardiser.fit(rows)
    np.testing.assert_allclose(fitted.mean, rows.astype(np.float64).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.scale, rows.astype(np.float64).std(axis=0, ddof=1), rtol=1e-12)
    out = fitted.apply(rows)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(out.std(axis=0, ddof=1), 1, rtol=1e-10)
    assert out.dtype == np.float64


def test_a_large_offset_costs_no_digits():
    steps = np.arange(10_000, dtype=np.float64)[:, None]
    fitted = Standardiser.fit(1e9 + steps)
    assert fitted.scale[0] == pytest.approx(steps.std(ddof=1), rel=1e-9)
    float32_sum_would_stall = Standardiser.fit(np.full((100_000, 1), 0.1, np.float32))
    assert float32_sum_would_stall.mean[0] == np.float32(0.1)


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3e5, 1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_column_has_scale_one_and_contributes_nothing(value, dtype):
    rows = np.full((997, 1), value, dtype)
    fitted = Standardiser.fit(rows)
    assert fitted.scale[0] == 1
    assert (fitted.apply(rows) == 0).all()


def test_rounding_noise_is_not_blown_up():
    rows = np.full((1000, 1), 0.1, np.float32)
    rows[::7] = np.nextafter(np.float32(0.1), np.float32(1))
    assert Standardiser.fit(rows).scale[0] == 1


def test_one_row():
    fitted = Standardiser.fit(np.array([[2.0, -3.0]], np.float32))
    assert fitted.mean.tolist() == [2, -3]
    assert fitted.scale.tolist() == [1, 1]


def test_float32_output_is_the_float64_one_rounded_and_the_ends_are_held():
    rows = np.array([[0.0], [1.0], [3e38]], np.float32)
    fitted = Standardiser(mean=np.array([0.5]), scale=np.array([1e-3]))
    assert (fitted.apply(rows, np.float32) == fitted.apply(rows).astype(np.float32)).all()
    assert fitted.apply(rows)[2, 0] == LIMIT
    assert fitted.apply(np.zeros((0, 1))).shape == (0, 1)
