"""What only MULDE has: presets, levels, devices, bounded memory."""

import tracemalloc

import numpy as np
import pytest

from mulde.density.axes import PrincipalAxes
from mulde.density.estimator import MuldeDensity
from mulde.density.options import PRESETS, MsmaOptions, MuldeOptions
from mulde.density.registry import build_density
from mulde.density.standardise import Standardiser
from mulde.errors import BundleError, UsageError

TINY = {"hidden": (16, 16), "steps": 30, "batch_size": 64}


def rows(n=200, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    return MuldeDensity(**TINY).fit(rows())


def test_options_come_as_a_record_or_by_name():
    by_name = MuldeDensity(steps=400, hidden=[8, 8])
    assert by_name.options == MuldeOptions(steps=400, hidden=(8, 8))
    assert MuldeDensity(by_name.options, lr=1e-3).options == MuldeOptions(steps=400, hidden=(8, 8), lr=1e-3)
    assert MuldeDensity().effective_options == MuldeOptions()
    assert by_name.get_params() == {"options": by_name.options, "contamination": 0.01, "seed": 0, "device": "cpu"}
    assert repr(by_name) == "MuldeDensity(options=MuldeOptions(hidden=(8, 8), steps=400))"


def test_another_reading_of_a_training_is_what_a_fit_with_it_gives():
    heldout, new = rows(seed=1), rows(seed=2)
    trained = MuldeDensity(**TINY).fit(rows(), heldout=heldout)
    for changes in (
        {"aggregate": "max"},
        {"aggregate": "median", "num_scales": 5},
        {"aggregate": "mixture", "components": None},
        {"spacing": "linear"},
    ):
        read = trained.with_reading(rows(), heldout, **changes)
        fit = MuldeDensity(**TINY, **changes).fit(rows(), heldout=heldout)
        np.testing.assert_array_equal(read.anomaly_score(new), fit.anomaly_score(new))
        assert (read.offset_, read.settings()) == (fit.offset_, fit.settings())
    assert trained.effective_options.aggregate == MuldeOptions().aggregate  # as it was
    at_one_level = MuldeDensity(**TINY, num_scales=1).fit(rows(), heldout=heldout)
    read = at_one_level.with_reading(rows(), heldout, num_scales=16)
    np.testing.assert_array_equal(read.anomaly_score(new), trained.anomaly_score(new))
    with pytest.raises(UsageError, match=r"options of a reading: expected aggregate, .*, spacing, got lr"):
        trained.with_reading(rows(), lr=1e-3)


def test_set_params_takes_options_by_name():
    density = MuldeDensity(steps=400).set_params(lr=1e-3, seed=3)
    assert density.options == MuldeOptions(steps=400, lr=1e-3)
    assert density.seed == 3
    with pytest.raises(UsageError, match="lr: expected a number from 1e-09 to 10, got 0"):
        density.set_params(lr=0)


def test_options_of_another_density_are_refused():
    with pytest.raises(UsageError, match="options: expected MuldeOptions or None, got MsmaOptions"):
        MuldeDensity(MsmaOptions()).fit(rows())


@pytest.mark.parametrize("name", ["layer_norm", "dropout", "clip_gradient", "compile", "ema", "sigma_everywhere"])
def test_an_option_that_left_is_refused_by_name(name):
    why = "the running average of the weights gained nothing" if name == "ema" else "no measured result uses"
    sentence = f"got {name}, which there is no more. Try: leave it out: {why}"
    with pytest.raises(UsageError, match=f"MuldeOptions: expected settings among hidden, steps, .*{sentence}"):
        MuldeDensity(**{name: True})
    with pytest.raises(UsageError, match=f"density mulde: expected settings among hidden, steps, .*{sentence}"):
        build_density("mulde", **{name: True})


def test_presets():
    assert MuldeDensity(**PRESETS["fast"]).options is None  # the defaults
    wanted = {"hidden": [4096, 4096], "lr": 4e-5, "batch_size": 2048, "epochs": 1000, "beta": 0.1, "num_scales": 16}
    assert wanted.items() <= MuldeDensity(**PRESETS["paper"]).settings().items()


@pytest.mark.parametrize(
    ("steps", "epochs", "expected"),
    [(20, None, 20), (None, 3, 3 * 4), (20, 3, 12), (5, 3, 5)],
)
def test_steps_and_epochs_are_both_upper_bounds(steps, epochs, expected):
    density = MuldeDensity(**TINY | {"steps": steps, "epochs": epochs}).fit(rows(200))  # 4 batches of 64 hold 200 rows
    assert density.trained_.num_steps == expected


def test_energies_have_a_column_per_level(fitted):
    assert fitted.sigma_.shape == (16,)
    energies = fitted.energies(rows(70))
    assert energies.shape == (70, 16)
    assert fitted.energies(rows(0)).shape == (0, 16)
    single = fitted.energies(rows(70)[13:14])
    assert (single[0] == energies[13]).all()  # to the last bit, whatever rows stand beside it


def test_scoring_takes_memory_for_a_batch_not_for_all(fitted):
    x = rows(40_000)
    fitted.anomaly_score(x[:100])
    tracemalloc.start()
    fitted.anomaly_score(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 40_000 * 16 * 4  # float32 energies, and a few arrays of their size


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": None}, r"steps, epochs: expected a number for at least one of them, got None for both"),
        ({"steps": 0}, r"steps: expected a whole number from 1 to 1e\+09, got 0"),
        ({"steps": 2.5}, r"steps: expected a whole number from 1 to 1e\+09, got 2\.5"),
        ({"sigma_low": 2.0, "sigma_high": 1.0}, r"sigma_low: expected at most sigma_high 1, got 2"),
        ({"hidden": ()}, r"hidden: expected 1 to 64 widths, got none"),
        ({"hidden": 8}, r"hidden: expected a list of widths, got 8"),
        ({"hidden": (8, 0)}, r"hidden: expected a whole number from 1 to 1e\+06, got 0"),
        ({"aggregate": "sum"}, r"aggregate: expected one of max, median, mean, mixture, got 'sum'"),
        ({"schedule": "saw"}, r"schedule: expected one of constant, linear, got 'saw'"),
    ],
)
def test_options_that_do_not_fit_are_refused_when_they_are_made(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        MuldeDensity(**TINY | settings)


@pytest.mark.parametrize("device", ["cuda:77", "toaster"])
def test_a_device_that_is_not_there_is_refused_at_fit(device):
    with pytest.raises(UsageError, match=rf"device '{device}' cannot be used \(.+\)\. Try: use cpu or auto"):
        MuldeDensity(**TINY, device=device).fit(rows())


def test_auto_device_is_resolved_and_not_stored():
    density = MuldeDensity(**TINY, device="auto").fit(rows())
    assert density.device_.type in ("cpu", "cuda")
    assert "device" not in density.state()[1]["settings"]


def test_a_refit_starts_anew():
    density = MuldeDensity(**TINY).fit(rows(seed=5) * 3)
    density.fit(rows())
    assert (density.anomaly_score(rows(20)) == MuldeDensity(**TINY).fit(rows()).anomaly_score(rows(20))).all()


def test_numpy_numbers_are_taken_and_stored_as_plain_ones():
    density = MuldeDensity(hidden=[8, 8], steps=np.int64(3), lr=np.float64(1e-3), seed=np.int64(1)).fit(rows())
    settings = density.state()[1]["settings"]
    assert {name: type(settings[name]) for name in ("steps", "lr", "seed")} == {"steps": int, "lr": float, "seed": int}


def test_a_state_with_other_learnt_facts_is_refused(fitted):
    tensors, meta = fitted.state()
    with pytest.raises(BundleError, match="num_steps"):
        MuldeDensity.from_state(tensors, meta | {"learnt": {"offset": 0.0, "epochs": 3}})


@pytest.mark.parametrize(
    "options",
    [
        {"base": "none"},
        {"spacing": "linear", "aggregate": "mixture"},
        {"schedule": "constant"},
        {"precision": "bfloat16"},
        {"precision": "tf32"},
        {"indicator": "score_norm"},
        {"components": None},
        {"num_scales": 1, "aggregate": "max"},
    ],
    ids=str,
)
def test_every_option_trains_scores_and_is_stored(options):
    """Far rows score higher with each, and the stored density scores exactly as the one that was stored."""
    density = MuldeDensity(**TINY | {"steps": 150} | options).fit(rows(), heldout=rows(50, seed=1))
    near, far = density.anomaly_score(rows(100, seed=2)), density.anomaly_score(rows(100, seed=2) * 0.1 + 9)
    assert np.median(near) < np.median(far)
    again = MuldeDensity.from_state(*density.state())
    assert (again.anomaly_score(rows(100, seed=2)) == near).all()


def test_score_norms_are_the_squared_slope_of_the_energies():
    density = MuldeDensity(**TINY | {"steps": 100}, num_scales=3).fit(rows())
    x, step = rows(20, seed=1).astype(np.float64), 1e-2
    slopes = [
        (density.energies(x + step * unit) - density.energies(x - step * unit)) / (2 * step)
        * density.standardiser_.scale[column]
        for column, unit in enumerate(np.eye(3))
    ]  # fmt: skip
    np.testing.assert_allclose(density.score_norms(x), np.square(slopes).sum(axis=0), rtol=0.05, atol=1e-3)


def test_with_the_base_an_untrained_network_is_the_mahalanobis_distance():
    """One step at a vanishing learning rate leaves the network's part as it was drawn, which is small beside it."""
    x, there = rows(4000).astype(np.float64), 3 * rows(200, seed=3).astype(np.float64)
    options = {"steps": 1, "lr": 1e-9, "gaussians": 1, "sigma_low": 1e-3, "sigma_high": 1e-3, "num_scales": 1}
    density = MuldeDensity(**TINY | options).fit(x)
    away = there - x.mean(axis=0)
    distance = np.einsum("ni,ij,nj->n", away, np.linalg.inv(np.cov(x.T)), away)
    assert np.corrcoef(density.energies(there)[:, 0], distance)[0, 1] > 0.999


@pytest.mark.parametrize(("spread", "high"), [(1.0, 1.0), (7.0, 3.5)])
def test_the_highest_noise_is_half_the_spread_along_the_widest_axis_and_at_least_1(spread, high):
    """Standardised, n columns that are one number and its noise have a spread of sqrt(n) along their widest axis."""
    columns = round(spread**2)
    x = np.random.default_rng(0).normal(size=(400, 1)) + 1e-3 * np.random.default_rng(1).normal(size=(400, columns))
    assert MuldeDensity(**TINY).fit(x).sigma_[-1] == pytest.approx(high, rel=0.02)
    assert MuldeDensity(**TINY, base="none").fit(x).sigma_[-1] == 1


def test_mixing_the_columns_by_a_rotation_changes_nothing_that_the_network_sees():
    """Standardised columns of equal spread, so that standardising does not undo the rotation."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3)) @ np.diag([3.0, 1.0, 0.3])
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    seen = []
    for mixed in (x, x @ turn):
        scale = np.ones(3)
        axes = PrincipalAxes.fit(mixed, Standardiser(mixed.mean(axis=0), scale))
        seen.append(np.abs((mixed - mixed.mean(axis=0)) @ axes.matrix))  # the sign of an axis is a convention
    np.testing.assert_allclose(*seen, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("indicator", ["energy", "score_norm"])
def test_held_out_rows_set_the_scale_of_the_mean(indicator):
    """Energies of rows that were learnt from are too low, by the more the fewer there are."""
    held = rows(50, seed=1)
    density = MuldeDensity(**TINY, indicator=indicator).fit(rows(), heldout=held)
    read = (density.energies(held) if indicator == "energy" else density.score_norms(held)).astype(np.float64)
    mean = (read - read.mean(axis=0)) / read.std(axis=0, ddof=1)
    np.testing.assert_allclose(density.anomaly_score(held), mean.mean(axis=1), atol=1e-9)


def test_predict_calls_its_share_of_the_held_out_rows_outliers():
    held = rows(1000, seed=1)
    density = MuldeDensity(**TINY, contamination=0.05).fit(rows(), heldout=held)
    assert (density.predict(held) == -1).sum() == 50
    assert ((density.decision_function(held) < 0) == (density.predict(held) == -1)).all()
    np.testing.assert_array_equal(density.score_samples(held), -density.anomaly_score(held))


@pytest.mark.parametrize("share", [0, 10**18])
def test_rows_stay_on_the_host_where_the_device_is_too_small_and_nothing_changes(monkeypatch, share):
    from mulde.density import devices

    monkeypatch.setattr(devices, "memory_at_hand", lambda device: share)
    density = MuldeDensity(**TINY).fit(rows())
    assert (density.anomaly_score(rows(20)) == MuldeDensity(**TINY).fit(rows()).anomaly_score(rows(20))).all()
