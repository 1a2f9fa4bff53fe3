"""One suite for every density in the registry."""

import json

import numpy as np
import pytest
import safetensors.numpy
import torch

from mulde.density.registry import DENSITIES, build_density, density_from_state, find_density
from mulde.errors import BundleError, FitError, RecordError, UsageError

_TINY = {"hidden": (16, 16), "steps": 30, "batch_size": 64, "lr": 5e-3}
SMALL = {"mulde": _TINY, "msma": _TINY}
"""Settings for those that would take long; all others are built as they are."""


def rows(n=300, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 0.2, (n, d)) + rng.normal(0, 1, (4, d))[rng.integers(0, 4, n)]).astype(np.float32)


def build(name, **settings):
    return build_density(name, **SMALL.get(name, {}) | settings)


@pytest.fixture(params=list(DENSITIES))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted():
    return {name: build(name).fit(rows(), heldout=rows(50, seed=1)) for name in DENSITIES}


def test_scores_are_one_finite_float64_per_row_and_far_rows_score_higher(name, fitted):
    density = fitted[name]
    near, far = density.anomaly_score(rows(100, seed=2)), density.anomaly_score(rows(100, seed=2) + 30)
    assert near.shape == (100,)
    assert near.dtype == np.float64
    assert np.isfinite(near).all()
    assert near.max() < far.min()


def test_shuffled_rows_have_shuffled_scores(name, fitted):
    x = rows(333, seed=2)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_allclose(
        fitted[name].anomaly_score(x)[order], fitted[name].anomaly_score(x[order]), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_pieces_equal_the_whole(name, fitted, size):
    x = rows(200, seed=2)
    whole = fitted[name].anomaly_score(x)
    pieces = np.concatenate([fitted[name].anomaly_score(x[i : i + size]) for i in range(0, len(x), size)])
    np.testing.assert_allclose(pieces, whole, rtol=1e-9, atol=1e-9)


def test_no_rows_have_no_scores(name, fitted):
    assert fitted[name].anomaly_score(np.zeros((0, 5), np.float32)).shape == (0,)


def test_rows_are_left_as_they_were_and_scoring_twice_is_the_same(name, fitted):
    x = rows(50)
    before = x.copy()
    assert (fitted[name].anomaly_score(x) == fitted[name].anomaly_score(x)).all()
    assert (x == before).all()


def test_same_seed_same_scores_and_global_random_state_is_left_alone(name, fitted):
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    again = build(name).fit(rows(), heldout=rows(50, seed=1))
    assert (again.anomaly_score(rows(50, seed=2)) == fitted[name].anomaly_score(rows(50, seed=2))).all()
    assert (np.random.get_state()[1] == numpy_state).all()
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_a_stored_density_scores_exactly_the_same(name, fitted, tmp_path):
    tensors, meta = fitted[name].state()
    safetensors.numpy.save_file(tensors, tmp_path / "state.safetensors", metadata={"mulde": json.dumps(meta)})
    loaded = safetensors.numpy.load_file(tmp_path / "state.safetensors")
    again = density_from_state(loaded, json.loads(json.dumps(meta)))
    x = rows(100, seed=2) * 2
    assert type(again) is type(fitted[name])
    assert (again.anomaly_score(x) == fitted[name].anomaly_score(x)).all()
    assert again.settings() == fitted[name].settings()
    assert again.state()[1] == meta


@pytest.mark.parametrize(
    "learn_from",
    [
        pytest.param(rows(1), id="one row"),
        pytest.param(rows(10), id="10 rows"),
        pytest.param(rows(300, 1), id="one column"),
        pytest.param(rows(1, 1), id="one number"),
        pytest.param(np.full((40, 5), 0.1, np.float32), id="all rows equal"),
        pytest.param(np.tile(rows(3), (30, 1)), id="duplicate rows"),
        pytest.param(rows() * np.array([1, 0, 1, 0, 1], np.float32), id="constant columns"),
        pytest.param(rows(300, 1) * np.ones((1, 20), np.float32), id="collinear columns"),
        pytest.param(rows(30, 90), id="fewer rows than columns"),
        pytest.param(rows() * np.array([1e-30, 1e30, 1, 1e-6, 1e6], np.float32), id="columns of very different size"),
        pytest.param(rows().astype(np.float64), id="float64"),
        pytest.param((rows() * 100).astype(np.int64), id="integers"),
    ],
)
def test_odd_training_rows_have_a_defined_outcome(name, learn_from):
    density = build(name).fit(learn_from, heldout=learn_from[:0])
    beyond = np.full((1, learn_from.shape[1]), 3e38, np.float32)
    for there in (learn_from, learn_from + 1, beyond, -beyond):
        scores = density.anomaly_score(there)
        assert scores.shape == (len(there),)
        assert np.isfinite(scores).all()


def test_a_constant_column_that_changes_is_noticed(name):
    learn_from = rows()
    learn_from[:, 2] = 4.0
    density = build(name, **({"steps": 300} if name in SMALL else {})).fit(learn_from)
    changed = learn_from.copy()
    changed[:, 2] = 14.0
    assert np.median(density.anomaly_score(changed)) > np.quantile(density.anomaly_score(learn_from), 0.99)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (
            np.zeros((3, 4)),
            r"rows to score: expected 5 columns as in training, got 4 \(X has 4 features.*\)\. Try: extract",
        ),
        (np.zeros(5), r"rows to score: expected a matrix of numbers \(rows, columns\), got float64 of shape \(5,\)"),
        (np.full((9, 5), "a"), r"expected a matrix of numbers .* got <U1 of shape \(9, 5\)"),
        (np.array([[0, 0, 0, 0, 0], [0, 0, 0, np.nan, 0.0]]), r"expected finite numbers, got nan in row 1, column 3"),
        (np.array([[0, -np.inf, 0, 0, 0.0]]), r"expected finite numbers, got -inf in row 0, column 1"),
        (np.array([[0, 0, 1e39, 0, 0.0]]), r"expected finite numbers, got 1e\+39 in row 0, column 2"),
    ],
)
def test_bad_rows_to_score_are_refused_in_a_sentence(name, fitted, bad, sentence):
    with pytest.raises(RecordError, match=sentence):
        fitted[name].anomaly_score(bad)


@pytest.mark.parametrize(
    ("bad", "heldout", "sentence"),
    [
        (np.zeros((0, 5)), None, r"training rows: expected at least one row and one column, got shape \(0, 5\)"),
        (np.zeros((5, 0)), None, r"training rows: expected at least one row and one column, got shape \(5, 0\)"),
        (np.array([[0.0], [np.nan]]), None, r"training rows: expected finite numbers, got nan in row 1, column 0"),
        (np.zeros((9, 2)), np.zeros((9, 3)), r"held-out rows: expected 2 columns as in training, got 3"),
    ],
)
def test_bad_training_rows_are_refused_in_a_sentence(name, bad, heldout, sentence):
    density = build(name)
    with pytest.raises(FitError, match=sentence):
        density.fit(bad, heldout=heldout)
    with pytest.raises(UsageError, match="expected a fitted density, got one before fit"):
        density.anomaly_score(rows(3))


def test_a_fit_that_fails_leaves_nothing_to_score_with(name):
    density = build(name).fit(rows())
    with pytest.raises(FitError):
        density.fit(rows() * np.nan)
    with pytest.raises(UsageError, match="expected a fitted density, got one before fit"):
        density.anomaly_score(rows())


def test_a_density_before_fit_says_so(name):
    with pytest.raises(UsageError, match=r"expected a fitted density, got one before fit\. Try: fit\(X\) first"):
        build(name).anomaly_score(rows())
    with pytest.raises(UsageError, match="expected a fitted density"):
        build(name).state()


def test_a_damaged_state_names_the_entry(name, fitted):
    tensors, meta = fitted[name].state()
    for entry, array in tensors.items():
        without = {key: value for key, value in tensors.items() if key != entry}
        with pytest.raises(BundleError, match=entry.rsplit(".", maxsplit=1)[-1]):
            density_from_state(without, meta)
        for wrong in (array.astype(np.int32), array[None], np.full_like(array, np.nan)):
            with pytest.raises(BundleError, match=r"expected .*, got "):
                density_from_state(tensors | {entry: wrong}, meta)
    for change in ({"version": 99}, {"density": "other"}, {"settings": None}, {"settings": {"seed": 0}}, {"learnt": 3}):
        with pytest.raises(BundleError, match=r"stored density"):
            density_from_state(tensors, meta | change)
    with pytest.raises(BundleError, match=r"seed: expected a whole number from 0 to .*, got -1"):
        density_from_state(tensors, meta | {"settings": meta["settings"] | {"seed": -1}})


def test_limits_hold(name):
    kind = find_density(name)
    limits = kind.LIMITS | (kind.OPTIONS.LIMITS if hasattr(kind, "OPTIONS") else {})
    for setting, (low, high) in limits.items():
        for bad in (low - 1, high * 2 + 1, "x", None, True):
            with pytest.raises(UsageError, match=rf"{setting}: expected a .*number from {low:g} to"):
                build(name, **{setting: bad})


def test_unknown_names_are_answered_with_the_known():
    with pytest.raises(UsageError, match=f"density: expected one of {', '.join(DENSITIES)}, got 'kde'"):
        build_density("kde")
    with pytest.raises(
        UsageError, match=r"density mixture: expected settings among components, contamination, seed, got depth"
    ):
        build_density("mixture", depth=3)
    with pytest.raises(BundleError, match=f"expected one of {', '.join(DENSITIES)}, got None"):
        density_from_state({}, {})
