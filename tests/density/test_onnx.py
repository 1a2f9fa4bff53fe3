"""The exported graph, run by ONNX Runtime and by onnx's own evaluator, against the density it was made of."""

import json
import sys

import numpy as np
import pytest

from mulde import __version__
from mulde.density.onnx import to_onnx
from mulde.density.registry import build_density
from mulde.errors import UsageError

from .test_state import with_old_parts

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

NUM_NORMAL, NUM_ODD = 200, 100


def rows(n, d=5, seed=0):
    centres = np.random.default_rng(99).normal(0, 1, (4, d))
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 0.2, (n, d)) + centres[rng.integers(0, 4, n)]).astype(np.float32)


FAR = [rows(20, seed=4) * 1e4, np.full((1, 5), 3e38, np.float32), np.full((1, 5), -3e38, np.float32)]
TEST_ROWS = np.concatenate([rows(NUM_NORMAL, seed=2), rows(NUM_ODD, seed=3) + 2, *FAR])
"""Normal rows, odd ones, and some that are far beyond anything: the last two beyond the standardiser's limit."""


def fitted(kind="mulde", learn_from=None, *, layer_norm=False, sigma_everywhere=False, **settings):
    small = {"hidden": (32, 16, 16), "steps": 25, "batch_size": 64}
    density = build_density(kind, **small | settings)
    density.fit(rows(400) if learn_from is None else learn_from, heldout=None)
    parts = {"layer_norm": layer_norm, "sigma_everywhere": sigma_everywhere}
    return with_old_parts(density, rows(400), **parts) if any(parts.values()) else density


def run(model, there, *, optimise=True):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(["anomaly_score", "readings"], {"rows": there})


def readings_of(density, there):
    return density._readings(there)


NETWORKS = [
    {},
    {"layer_norm": True},
    {"sigma_everywhere": True},
    {"layer_norm": True, "sigma_everywhere": True, "hidden": (24,)},
    {"base": "none"},
    {"gaussians": 1},
    {"gaussians": 1, "indicator": "score_norm"},
    {"precision": "tf32"},
    {"indicator": "score_norm"},
    {"indicator": "score_norm", "hidden": (24,)},
    {"indicator": "score_norm", "layer_norm": True, "sigma_everywhere": True},
    {"kind": "msma"},
]
PLAIN = [
    *({"aggregate": "max", **network} for network in NETWORKS),
    {"aggregate": "mean"},
    {"aggregate": "median"},
    {"aggregate": "median", "num_scales": 5},
    {"aggregate": "median", "num_scales": 2},
    {"aggregate": "median", "num_scales": 1},
    {"aggregate": "mean", "kind": "msma"},
]


@pytest.mark.parametrize("settings", PLAIN, ids=str)
def test_scores_and_readings_are_ours(settings):
    density = fitted(**settings)
    model = to_onnx(density)
    onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
    scores, readings = run(model, TEST_ROWS)
    assert (scores.dtype, readings.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(readings, readings_of(density, TEST_ROWS), rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(scores, density.anomaly_score(TEST_ROWS), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"components": 1}, {"indicator": "score_norm"}, {"kind": "msma"}], ids=str)
def test_a_mixture_over_all_levels_is_ours_but_for_the_rounding_of_the_readings(settings):
    """Sixteen levels are almost collinear, and their mixture magnifies the last digits of float32, ours as much as the
    graph's. So: equal readings, the same scores from the same readings, and scores within 1e-4 of ours on rows like the
    training's, of their size on odd ones."""
    density = fitted(steps=100, **settings)
    scores, readings = run(to_onnx(density), TEST_ROWS)
    np.testing.assert_allclose(readings, readings_of(density, TEST_ROWS), rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(scores, density.aggregate_.score(readings), rtol=1e-9, atol=1e-9)
    ours = density.anomaly_score(TEST_ROWS)
    away = np.abs(scores - ours)
    np.testing.assert_array_less(away[:NUM_NORMAL], 1e-4)
    np.testing.assert_array_less(away, 1e-4 * np.maximum(1, np.abs(ours)))


@pytest.mark.parametrize("settings", [{}, {"kind": "msma"}, {"components": 1}], ids=str)
def test_a_mixture_over_a_few_levels_is_ours(settings):
    density = fitted(**{"num_scales": 2, "sigma_low": 0.2, **settings})
    there = TEST_ROWS[:NUM_NORMAL]
    scores, _ = run(to_onnx(density), there)
    ours = density.anomaly_score(there)
    np.testing.assert_array_less(np.abs(scores - ours), 1e-4 * max(1, ours.std()))


def test_columns_far_from_zero_keep_their_digits():
    offset, scale = np.float32([3e5, -1e4, 0, 1e3, 1e-20]), np.float32([1, 1e-2, 1e8, 10, 1e-25])
    learn_from, there = rows(400) * scale + offset, TEST_ROWS[:NUM_NORMAL] * scale + offset
    density = fitted(learn_from=learn_from, aggregate="max")
    scores, _ = run(to_onnx(density), there)
    np.testing.assert_allclose(scores, density.anomaly_score(there), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{"layer_norm": True}, {"indicator": "score_norm"}, {"aggregate": "median"}])
def test_other_evaluators_agree(settings):
    from onnx.reference import ReferenceEvaluator

    model, there = to_onnx(fitted(**{"num_scales": 4, "aggregate": "max", **settings})), TEST_ROWS[:30]
    scores, readings = run(model, there)
    plain_scores, plain_readings = run(model, there, optimise=False)
    slow_scores, slow_readings = ReferenceEvaluator(model).run(["anomaly_score", "readings"], {"rows": there})
    np.testing.assert_allclose(plain_readings, readings, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(slow_readings, readings, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(plain_scores, scores, rtol=2e-5, atol=1e-5)
    np.testing.assert_allclose(slow_scores, scores, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("aggregate", ["max", "median", "mean", "mixture"])
@pytest.mark.parametrize("num_rows", [0, 1, 777])
def test_any_number_of_rows(aggregate, num_rows):
    density = fitted(aggregate=aggregate, num_scales=4, steps=5)
    scores, readings = run(to_onnx(density), rows(num_rows, seed=9))
    assert scores.shape == (num_rows,)
    assert readings.shape == (num_rows, 4)
    assert np.isfinite(scores).all()


def test_one_column_one_level_one_unit():
    density = fitted(learn_from=rows(50, 1), hidden=(1,), num_scales=1, steps=20, aggregate="mixture")
    there = rows(20, 1, seed=3)
    scores, _ = run(to_onnx(density), there)
    np.testing.assert_allclose(scores, density.anomaly_score(there), rtol=1e-4, atol=1e-4)


def test_the_first_layer_meets_the_data_once():
    graph = onnx.load_from_string(to_onnx(fitted(num_scales=7))).graph
    sizes = {constant.name: list(constant.dims) for constant in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("Gemm", "MatMul")]
    of_data = [node for node in products if sizes.get(node.input[1]) == [32, 5]]
    assert len(of_data) == 1
    assert [len(value.type.tensor_type.shape.dim) for value in graph.input] == [2]


@pytest.mark.parametrize("settings", [{}, {"indicator": "score_norm", "layer_norm": True}, {"kind": "msma"}], ids=str)
def test_nothing_is_computed_in_vain(settings):
    graph = onnx.load_from_string(to_onnx(fitted(num_scales=3, aggregate="median", **settings))).graph
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    made = [node.output[0] for node in graph.node] + [constant.name for constant in graph.initializer]
    assert set(made) <= used


def test_the_file_says_what_it_is():
    density = fitted(num_scales=3)
    model = onnx.load_from_string(to_onnx(density, {"stream": "velocity"}))
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said["mulde"] == model.producer_version == __version__
    assert said["direction"] == "anomaly_score: higher = more anomalous"
    assert said["stream"] == "velocity"
    assert json.loads(said["density"]) == density.state()[1]
    assert json.loads(said["sigma"]) == density.sigma_.tolist()


def test_the_same_density_gives_the_same_bytes():
    density = fitted(num_scales=3)
    assert to_onnx(density) == to_onnx(density)


@pytest.mark.parametrize("kind", ["mixture", "neighbours"])
def test_a_density_without_a_network_is_refused(kind):
    density = build_density(kind).fit(rows(50))
    with pytest.raises(UsageError, match=f"ONNX: expected a density with a network: mulde or msma, got {kind}"):
        to_onnx(density)


def test_what_cannot_be_repeated_is_refused():
    density = fitted(steps=2, reading_precision="bfloat16")
    with pytest.raises(UsageError, match="expected a density of reading_precision float32, got bfloat16"):
        to_onnx(density)
    with pytest.raises(UsageError, match="expected a fitted density, got one before fit"):
        to_onnx(build_density("mulde"))


def test_without_the_package_the_sentence_says_what_to_install(monkeypatch):
    density = fitted(steps=2)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r'expected the package onnx, got .*\. Try: pip install "mulde\[onnx\]"'):
        to_onnx(density)
