"""States of every version: read as what they meant, or refused by a sentence that names the version."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

from mulde import __version__
from mulde.density import state
from mulde.density.registry import build_density, density_from_state, find_density
from mulde.errors import BundleError, UsageError

SETTINGS_OF_1 = {  # the constructors' of version 1, but for the device
    "mulde": "hidden steps epochs batch_size lr schedule beta sigma_low sigma_high num_scales aggregate components "
    "eval_every patience seed",
    "mixture": "components seed",
    "neighbours": "neighbours max_rows seed",
}
SMALL = {
    "mulde": {
        **{"hidden": [4], "steps": 5, "batch_size": 8, "num_scales": 3, "aggregate": "max"},
        **{"base": "none", "spacing": "linear"},  # all that there was before version 4
    }
}
ROWS = np.random.default_rng(0).normal(size=(30, 2))


@pytest.fixture(params=list(SETTINGS_OF_1))
def kind(request):
    return request.param


@pytest.fixture
def fitted(kind):
    return build_density(kind, **SMALL.get(kind, {})).fit(ROWS)


def as_version_1(meta):
    """What version 1 would have written of this state: its own settings, no offset, one held-out loss."""
    settings = {name: meta["settings"][name] for name in SETTINGS_OF_1[meta["density"]].split()}
    learnt = {name: value for name, value in meta["learnt"].items() if name not in ("offset", "heldout_bands")}
    return meta | {"version": 1, "settings": settings, "learnt": learnt}


def test_a_state_of_version_1_scores_as_it_did_and_has_this_versions_settings(fitted):
    tensors, meta = fitted.state()
    again = density_from_state(tensors, as_version_1(meta))
    np.testing.assert_array_equal(again.anomaly_score(ROWS), fitted.anomaly_score(ROWS))
    assert again.settings() == fitted.settings()


def test_every_setting_that_version_1_lacked_has_a_meaning_for_it(kind):
    now = set(find_density(kind).setting_names())
    _, meta = build_density(kind, **SMALL.get(kind, {})).fit(ROWS).state()
    settings, _ = state.read_meta(as_version_1(meta), kind)
    assert set(settings) == now


def test_a_state_of_version_1_has_no_offset_and_says_so(fitted):
    tensors, meta = fitted.state()
    again = density_from_state(tensors, as_version_1(meta))
    assert again.offset_ is None
    for evaluator in (again.predict, again.decision_function):
        with pytest.raises(UsageError, match=r"expected an offset_, learnt by fit, got none, .* Try: fit it again"):
            evaluator(ROWS)
    _, stored_again = again.state()
    assert stored_again["version"] == state.VERSION
    assert density_from_state(tensors, stored_again).offset_ is None
    np.testing.assert_array_equal(again.fit(ROWS).predict(ROWS), fitted.predict(ROWS))


def test_a_newer_version_is_refused_by_name(fitted):
    tensors, meta = fitted.state()
    sentence = (
        f"stored density {fitted.kind}, version: expected one that mulde {__version__} reads, 1 or 2 or 3 or 4, got 5. "
        "Try: upgrade mulde, or train again with this one"
    )
    with pytest.raises(BundleError, match=re.escape(sentence)):
        density_from_state(tensors, meta | {"version": 5})


@pytest.mark.parametrize("version", [0, -1, None, "2", 1.5, [1]])
def test_what_is_no_version_is_refused(fitted, version):
    tensors, meta = fitted.state()
    with pytest.raises(
        BundleError, match=rf"reads, 1 or 2 or 3 or 4, got {re.escape(repr(version))}\. Try: train again$"
    ):
        density_from_state(tensors, meta | {"version": version})


@pytest.mark.parametrize("offset", ["0.5", [0.5], {}])
def test_an_offset_that_is_no_number_is_refused(fitted, offset):
    tensors, meta = fitted.state()
    with pytest.raises(BundleError, match="expected its offset, a number, got"):
        density_from_state(tensors, meta | {"learnt": meta["learnt"] | {"offset": offset}})


def test_a_state_of_this_version_without_its_offset_is_refused(fitted):
    tensors, meta = fitted.state()
    learnt = {name: value for name, value in meta["learnt"].items() if name != "offset"}
    with pytest.raises(BundleError, match="expected its offset, a number, got 'none'"):
        density_from_state(tensors, meta | {"learnt": learnt})


def test_what_read_meta_returns_is_a_copy(fitted):
    _, meta = fitted.state()
    settings, learnt = state.read_meta(meta, fitted.kind)
    settings.clear()
    learnt.clear()
    assert meta["settings"]
    assert meta["learnt"]


# --- versions 2 and 3, whose MULDE had more options ------------------------------------------------------------------

DATA = Path(__file__).resolve().parents[1] / "data"
GOLDEN = {"layer_norm": 2, "step": 2, "msma": 2, "sigma_everywhere": 3}
"""Densities that mulde 0.1 trained: a LayerNorm and s in every layer with whitening, dropout, clipping and a falling
rate; a stepwise rate; MSMA. By 0.2: s in every layer, with a running average of the weights. And their versions."""


def golden(name):
    """Tensors and JSON of one of them, the rows that were scored, and what they were scored with."""
    path = DATA / f"density-v{GOLDEN[name]}.safetensors"
    with safe_open(path, framework="np") as file:
        meta = json.loads(file.metadata()["metas"])[name]
    arrays = safetensors.numpy.load_file(path)
    tensors = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
    return tensors, meta, arrays["rows"], tensors.pop("scores"), tensors.pop("gradient")


def with_old_parts(density, there, *, layer_norm=False, sigma_everywhere=False):
    """The density as version 0.1 could have trained it: each hidden layer normalised, with some gain and shift; s in
    each later layer, with some weights."""
    tensors, meta = density.state()
    rng = np.random.default_rng(0)
    for i, width in enumerate(density.net_.hidden):
        if layer_norm:
            tensors[f"net.gains.{i}"] = (1 + 0.3 * rng.normal(size=width)).astype(np.float32)
            tensors[f"net.shifts.{i}"] = (0.3 * rng.normal(size=width)).astype(np.float32)
        if sigma_everywhere and i:
            tensors[f"net.sigma_weights.{i - 1}"] = (0.3 * rng.normal(size=width)).astype(np.float32)
    parts = {"layer_norm": layer_norm, "sigma_everywhere": sigma_everywhere}
    old = density_from_state(tensors, meta | {"learnt": meta["learnt"] | parts})
    old.aggregate_ = type(density.aggregate_).fit(
        density.aggregate_.name, old._readings(there), density.effective_options.components, 0
    )
    return old


@pytest.mark.parametrize("name", list(GOLDEN))
def test_a_density_of_an_earlier_version_scores_as_it_did(name):
    tensors, meta, there, scores, gradient = golden(name)
    assert meta["version"] == GOLDEN[name]
    density = density_from_state(tensors, meta)
    np.testing.assert_allclose(density.anomaly_score(there), scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(density.gradient(there), gradient, rtol=1e-5, atol=1e-5)
    assert set(density.settings()) == set(find_density(meta["density"]).setting_names())
    again = density_from_state(*density.state())
    np.testing.assert_array_equal(again.anomaly_score(there), density.anomaly_score(there))


@pytest.mark.parametrize("part", state.OLD_PARTS)
@pytest.mark.parametrize("value", [1, "true", None, []])
def test_a_part_that_is_no_truth_value_is_refused(part, value):
    tensors, meta, *_ = golden(part)
    with pytest.raises(BundleError, match=f"{part}: expected true or false"):
        density_from_state(tensors, meta | {"settings": meta["settings"] | {part: value}})
