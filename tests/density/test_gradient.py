"""Which columns and which noise levels make a row unusual, against finite differences and closed forms."""

import numpy as np
import pytest

from mulde.density import attribution, reading
from mulde.density.baselines import MahalanobisDensity, MixtureDensity
from mulde.density.msma import MsmaDensity
from mulde.density.registry import DENSITIES, build_density
from mulde.density.standardise import LIMIT
from mulde.errors import RecordError, UsageError

TINY = {"hidden": (32, 32), "steps": 60, "batch_size": 64, "lr": 5e-3}


def rows(n=300, d=4, seed=0):
    """Columns of unlike scales and means, of which the last goes with the first."""
    x = np.random.default_rng(seed).normal(size=(n, d)) * 10.0 ** np.arange(d) + 5
    x[:, -1] += x[:, 0]
    return x.astype(np.float32)


def build(name, **settings):
    return build_density(name, **(TINY if build_density(name).PRESETS else {}) | settings)


@pytest.fixture(scope="module")
def fitted():
    return {name: build(name).fit(rows()) for name in DENSITIES}


@pytest.fixture(params=list(DENSITIES))
def name(request):
    return request.param


@pytest.mark.parametrize("base", ["gaussians", "none"])
@pytest.mark.parametrize("options", [{}, {"indicator": "score_norm"}])
def test_of_mulde_it_is_the_slope_of_the_mean_energy_per_standard_deviation(base, options):
    density = build("mulde", sigma_low=0.1, base=base, **options).fit(rows())
    x, h = rows(20, seed=1).astype(np.float64), 0.02
    density.net_.double()  # for the differences alone
    slopes = np.empty(x.shape)
    for column, scale in enumerate(density.standardiser_.scale):
        step = np.zeros(x.shape[1])
        step[column] = h * scale
        ends = [mean_energies(density, x + sign * step) for sign in (1, -1)]
        slopes[:, column] = (ends[0] - ends[1]) / (2 * h)
    density.net_.float()
    found = density.gradient(x)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, slopes, rtol=1e-2, atol=1e-3 * np.abs(slopes).max())


def mean_energies(density, x):
    """The mean over the noise levels, level by level through the network's plain forward pass, in float64."""
    import torch

    z = (x - density.standardiser_.mean) / density.standardiser_.scale
    z = torch.from_numpy(z if density.axes_ is None else z @ density.axes_)
    with torch.no_grad():
        of_levels = [density.net_(z, torch.full((len(z), 1), float(s)).double()) for s in density.sigma_]
    return torch.stack(of_levels).mean(dim=0).numpy()


def test_of_msma_it_is_the_mean_of_its_network():
    """Of N(0, I) with noise s the network learns x / (1 + s^2)."""
    x = np.random.default_rng(0).normal(size=(4000, 2)).astype(np.float32)
    density = MsmaDensity(hidden=(32, 32), steps=600, num_scales=4, sigma_low=0.1, seed=0).fit(x)
    z = density.standardiser_.apply(x[np.linalg.norm(x, axis=1) < 2])
    expected = z * (1 / (1 + density.sigma_**2)).mean()
    found = density.gradient(x[np.linalg.norm(x, axis=1) < 2])
    assert np.abs(found - expected).mean() < 0.1
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.97


def test_of_a_single_gaussian_it_is_the_inverse_covariance_times_the_way_from_the_mean():
    x = rows(1000)
    density = MixtureDensity(components=1).fit(x)
    z = (x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)) / x.std(axis=0, ddof=1, dtype=np.float64)
    inverse = np.linalg.inv(np.cov(z.T, bias=True) + 1e-6 * np.eye(4))
    mean, std = x.mean(axis=0, dtype=np.float64), x.std(axis=0, ddof=1, dtype=np.float64)
    far = np.concatenate([x[:50], x[:5] + 1e4])
    np.testing.assert_allclose(density.gradient(far), (far - mean) / std @ inverse, rtol=1e-4, atol=1e-4)
    beyond = x[:5] * [1e30, 1, 1, 1]  # held at the limit of standardised values, where it is as steep as there
    held = np.clip((beyond - mean) / std, -LIMIT, LIMIT)
    np.testing.assert_allclose(density.gradient(beyond), held @ inverse, rtol=5e-3)


def test_of_the_mahalanobis_distance_it_has_length_1_in_its_own_metric():
    x = rows(1000)
    density = MahalanobisDensity().fit(x)
    z = density.standardiser_.apply(rows(50, seed=1)) - density.mean_
    inverse = density.factor_ @ density.factor_.T
    distance = np.sqrt(np.einsum("ni,ij,nj->n", z, inverse, z))
    np.testing.assert_allclose(
        density.gradient(rows(50, seed=1)), z @ inverse / distance[:, None], rtol=1e-4, atol=1e-4
    )


def test_it_points_along_the_column_that_is_far_out(name):
    x = np.random.default_rng(0).normal(size=(2000, 2)).astype(np.float32)
    settings = {"hidden": (64, 64), "steps": 500, "sigma_low": 0.1} if name in ("mulde", "msma") else {}
    density = build(name, **settings).fit(x)
    far = 20.0 if name == "neighbours" else 4.0  # where every row is about as far across
    for sign in (1, -1):
        along, across = density.gradient(np.array([[sign * far, 0.1]], np.float32))[0]
        assert sign * along > 0.3
        assert abs(across) < 0.35 * abs(along)


def test_far_out_where_float32_has_no_digits_for_small_steps_a_distance_still_has_slope_1(fitted):
    x = np.array([[1e5, 0, 0, 0]])
    np.testing.assert_allclose(np.linalg.norm(fitted["neighbours"].gradient(x)), 1, rtol=1e-3)


@pytest.mark.parametrize("size", [1, 7])
def test_pieces_equal_the_whole(name, fitted, size, monkeypatch):
    x = rows(12, seed=2)
    whole = fitted[name].gradient(x), fitted[name].level_excess(x)
    pieces = [
        (fitted[name].gradient(x[i : i + size]), fitted[name].level_excess(x[i : i + size])) for i in range(0, 12, size)
    ]
    for at_once, in_pieces in zip(whole, zip(*pieces, strict=True), strict=True):
        np.testing.assert_allclose(np.concatenate(in_pieces), at_once, rtol=1e-9, atol=1e-9)
    monkeypatch.setattr(attribution, "_NUMBERS_AT_A_TIME", 24)  # 3 of the 4 columns of one row
    monkeypatch.setattr(reading, "_MAX_ROWS", 4)
    np.testing.assert_allclose(fitted[name].gradient(x), whole[0], rtol=1e-4, atol=1e-5)


def test_no_rows_and_rows_of_another_width(name, fitted):
    density = fitted[name]
    assert density.gradient(np.zeros((0, 4))).shape == (0, 4)
    assert density.level_excess(np.zeros((0, 4))).shape == (0, len(density.noise_levels))
    for ask in (density.gradient, density.level_excess):
        with pytest.raises(RecordError, match="expected 4 columns as in training, got 3"):
            ask(np.zeros((1, 3)))


def test_before_fit_it_is_a_sentence(name):
    for ask in (lambda d: d.gradient(rows()), lambda d: d.level_excess(rows()), lambda d: d.noise_levels):
        with pytest.raises(UsageError, match=r"expected a fitted density, got one before fit"):
            ask(build(name))


def test_levels_of_training_rows_have_mean_0_and_deviation_1(fitted):
    excess = fitted["mulde"].level_excess(rows())
    assert excess.dtype == np.float64
    np.testing.assert_allclose(excess.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(excess.std(axis=0, ddof=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["mulde", "msma"])
def test_excess_counts_standard_deviations_of_the_training_rows_at_each_level(name, fitted):
    density, x = fitted[name], rows(20, seed=1) + 30
    readings = [density.energies if name == "mulde" else lambda x: np.sqrt(density.score_norms(x))][0]
    normal = readings(rows()).astype(np.float64)
    expected = (readings(x) - normal.mean(axis=0)) / normal.std(axis=0, ddof=1)
    assert expected.shape == (20, 16)
    np.testing.assert_allclose(density.level_excess(x), expected, rtol=1e-5, atol=1e-5)
    levels = np.geomspace(0.03, 1, 16) if name == "mulde" else np.linspace(1e-3, 1, 16)
    np.testing.assert_array_equal(density.noise_levels, levels)


@pytest.mark.parametrize("name", ["mixture", "neighbours", "mahalanobis"])
def test_densities_without_levels_have_none(name, fitted):
    assert fitted[name].noise_levels.shape == (0,)
    assert fitted[name].level_excess(rows(7)).shape == (7, 0)


def test_a_stored_density_has_the_same_gradients(name, fitted):
    from mulde.density.registry import density_from_state

    again = density_from_state(*fitted[name].state())
    assert (again.gradient(rows(10, seed=3)) == fitted[name].gradient(rows(10, seed=3))).all()
    assert (again.level_excess(rows(10, seed=3)) == fitted[name].level_excess(rows(10, seed=3))).all()
