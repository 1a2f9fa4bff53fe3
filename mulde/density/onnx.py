"""A fitted density as one ONNX graph: standardise, network at all levels, aggregate (docs/method.md, "Density").

The graph is written node by node from what was learnt, beside `energy.py` and `aggregate.py`, whose steps it repeats in
their order; no tracing, so nothing of torch's exporter is needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mulde import __version__
from mulde.density.aggregate import Aggregate
from mulde.density.base import Density
from mulde.density.energy import NORM_EPS, EnergyNet, Network
from mulde.density.estimator import MuldeDensity
from mulde.density.gaussians import GaussianBase
from mulde.density.mixture import Mixture
from mulde.density.msma import MsmaDensity
from mulde.density.rows import Float32, Float64
from mulde.density.standardise import LIMIT, Standardiser
from mulde.errors import UsageError

OPSET, IR_VERSION = 17, 8
"""Of 2022, so that most runtimes in use read it."""
EXPORTABLE = (MuldeDensity.kind, MsmaDensity.kind)
_FLOAT, _DOUBLE = 1, 11  # TensorProto.DataType

Value = str | NDArray[Any]


@dataclass
class _Graph:
    """Nodes and constants in the making. Values go by name."""

    nodes: list[tuple[str, list[str], str, dict[str, Any]]] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)

    def op(self, kind: str, *inputs: Value, output: str = "", **attributes: Any) -> str:
        """Add a node; an input that is an array becomes a constant. Returns the name of its output."""
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append((kind, [self._named(value) for value in inputs], output, attributes))
        return output

    def _named(self, value: Value) -> str:
        if isinstance(value, str):
            return value
        name = f"constant_{len(self.constants)}"
        self.constants[name] = value
        return name


def to_onnx(density: Density, metadata: Mapping[str, str] | None = None) -> bytes:
    """The density as an ONNX file: rows (n, D) float32 -> anomaly_score (n,) float64, readings (n, L) float32.

    readings: the indicator at the L levels, what the aggregate takes. n is free. Standardising and the aggregate are
    computed in float64, all else in float32. Rows are not checked; they must be finite. metadata:
    entries to add to the file's own. Raises UsageError for a density that is not fitted, has no network or reads it in
    fewer digits, and without the package onnx.
    """
    if not isinstance(density, MuldeDensity):
        raise UsageError("ONNX", expected=f"a density with a network: {' or '.join(EXPORTABLE)}", got=density.kind)
    precision = density.effective_options.reading_precision
    if precision != "float32":  # readings then depend on where it rounds, and a mixture magnifies that
        raise UsageError(
            "ONNX",
            expected="a density of reading_precision float32",
            got=precision,
            hint="fit it so; it may still train in bfloat16",
        )
    _, meta = density.state()
    graph = _Graph()
    prepared = _prepared(graph, "rows", density)
    readings = _readings(graph, prepared, density)
    graph.op("Identity", readings, output="readings")
    wide = graph.op("Cast", readings, to=_DOUBLE)
    graph.op("Identity", _aggregated(graph, wide, density.aggregate_, len(density.sigma_)), output="anomaly_score")
    entries = {
        "mulde": __version__,
        "density": json.dumps(meta),
        "sigma": json.dumps(density.sigma_.tolist()),
        "direction": "anomaly_score: higher = more anomalous",
    }
    return _serialised(graph, density.n_features_in_, len(density.sigma_), entries | dict(metadata or {}))


def _standardised(graph: _Graph, wide: str, standardiser: Standardiser) -> str:
    """float64 -> float64, as `Standardiser.apply`."""
    share = graph.op("Div", graph.op("Sub", wide, standardiser.mean), standardiser.scale)
    return graph.op("Clip", share, np.array(-LIMIT), np.array(LIMIT))


def _prepared(graph: _Graph, rows: str, density: MuldeDensity) -> str:
    """Rows as the network takes them, (n, K) float32."""
    x = _standardised(graph, graph.op("Cast", rows, to=_DOUBLE), density.standardiser_)
    if density.axes_ is not None:
        kind = _FLOAT if density.axes_.dtype == np.float32 else _DOUBLE
        x = graph.op("MatMul", graph.op("Cast", x, to=kind), density.axes_)
    return graph.op("Cast", x, to=_FLOAT)


@dataclass(frozen=True)
class _Layer:
    """Names of what the way back needs of one hidden layer, (n, L, H) or (n, L, 1), as in `energy.py`."""

    h: str
    cdf: str  # Phi(h)
    centred: str = ""
    rstd: str = ""


def _readings(graph: _Graph, x: str, density: MuldeDensity) -> str:
    """The indicator (n, L) float32 of prepared rows (n, K)."""
    net, sigma = density.net_, density.sigma_.astype(np.float32)
    layers = _hidden(graph, x, net, _array(net.noise_input(torch.from_numpy(sigma))))
    if isinstance(net, EnergyNet) and density.effective_options.indicator == "score_norm":
        return _sum_of_squares(graph, _with_base_gradient(graph, net, _gradient(graph, net, layers), x, sigma))
    activations = _activations(graph, layers[-1])
    last = graph.op("Add", graph.op("MatMul", activations, _array(net.weights[-1]).T), _array(net.biases[-1]))
    if isinstance(net, EnergyNet):
        return _with_base(graph, net, graph.op("Squeeze", last, np.array([2])), x, sigma)
    return graph.op("Sqrt", _sum_of_squares(graph, last))  # of MSMA


def _with_base(graph: _Graph, net: EnergyNet, energies: str, x: str, sigma: Float32) -> str:
    """Energies (n, L) with those of the Gaussians, as `GaussianBase.energies`."""
    if net.base is None:
        return energies
    precision = _rest(net.base, sigma)  # (D, L)
    rest = graph.op("MatMul", graph.op("Mul", x, x), precision.astype(np.float32))
    constant = _array(net.base.constant(torch.from_numpy(sigma))) + 0.5 * (_array(net.base.variance) @ precision)
    log_joint = _log_joint(graph, net.base, _along(graph, net.base, x), sigma)  # (n, K, L)
    log_sum = _log_sum_exp(graph, log_joint, 1)
    base = graph.op("Sub", graph.op("Mul", rest, _number(0.5)), graph.op("Add", log_sum, constant.astype(np.float32)))
    return graph.op("Add", energies, base)


def _with_base_gradient(graph: _Graph, net: EnergyNet, gradient: str, x: str, sigma: Float32) -> str:
    """Gradients (n, L, D) with those of the Gaussians, as `GaussianBase.gradients`."""
    if net.base is None:
        return gradient
    (num_gaussians, rank), (num_columns,) = net.base.means.shape, net.base.variance.shape
    along = _along(graph, net.base, x)  # (n, K r)
    share = graph.op("Softmax", _log_joint(graph, net.base, along, sigma), axis=1)  # (n, K, L)
    share = graph.op("Unsqueeze", graph.op("Transpose", share, perm=[0, 2, 1]), np.array([3]))  # (n, L, K, 1)
    spreads = _array(net.base.spreads) + np.square(sigma)[:, None, None]  # (L, K, r)
    of_all = graph.op("Reshape", along, np.array([-1, 1, num_gaussians, rank]))
    pull = graph.op("Mul", share, graph.op("Div", of_all, spreads))  # (n, L, K, r)
    pull = graph.op("Reshape", pull, np.array([0, 0, num_gaussians * rank]))
    back = np.zeros((num_gaussians * rank, num_columns), np.float32)
    back[:, :rank] = _array(net.base.axes).transpose(0, 2, 1).reshape(-1, rank)
    rest = graph.op("Mul", graph.op("Unsqueeze", x, np.array([1])), _rest(net.base, sigma).T.astype(np.float32))
    return graph.op("Add", gradient, graph.op("Add", graph.op("MatMul", pull, back), rest))


def _rest(base: GaussianBase, sigma: Float32) -> Float64:
    """1 / variance (D, L) of the axes along which the Gaussians do not differ; 0 for the others."""
    precision = 1 / (_array(base.variance).astype(np.float64)[:, None] + np.square(sigma))
    precision[: base.rank] = 0
    return precision


def _along(graph: _Graph, base: GaussianBase, x: str) -> str:
    """Coordinates (n, K r) of x (n, D) along the axes of each Gaussian, from its mean."""
    turn = np.zeros((len(base.variance), base.means.numel()), np.float32)
    turn[: base.rank] = _array(base.axes).transpose(1, 0, 2).reshape(base.rank, -1)
    return graph.op("Sub", graph.op("MatMul", x, turn), _array(base.offsets).reshape(-1))


def _log_joint(graph: _Graph, base: GaussianBase, along: str, sigma: Float32) -> str:
    """The log of weight times density (n, K, L) but for a constant, of coordinates (n, K r)."""
    num_gaussians, rank = base.means.shape
    spreads = _array(base.spreads)[:, :, None] + np.square(sigma)  # (K, r, L)
    precision = np.zeros((num_gaussians, rank, num_gaussians, len(sigma)), np.float32)
    for k in range(num_gaussians):
        precision[k, :, k] = 1 / spreads[k]
    flat = precision.reshape(num_gaussians * rank, num_gaussians * len(sigma))
    squares = graph.op("MatMul", graph.op("Mul", along, along), flat)
    squares = graph.op("Reshape", squares, np.array([-1, num_gaussians, len(sigma)]))
    constant = _array(base.log_weight)[:, None] - 0.5 * np.log(spreads).sum(axis=1)  # (K, L)
    return graph.op("Sub", constant, graph.op("Mul", squares, _number(0.5)))


def _hidden(graph: _Graph, x: str, net: Network, level: Float32) -> list[_Layer]:
    """The hidden layers from first to last; the first layer's data part is computed once. level (L,): how the noise
    levels enter the network."""
    h = graph.op("Gemm", x, np.ascontiguousarray(_array(net.data_weight())), _array(net.biases[0]), transB=1)
    of_noise = level[:, None] * _array(net.weights[0])[:, -1]
    h = graph.op("Add", graph.op("Unsqueeze", h, np.array([1])), of_noise)
    layers: list[_Layer] = []
    for i in range(len(net.hidden)):
        if i:
            a = _activations(graph, layers[-1])
            h = graph.op("Add", graph.op("MatMul", a, _array(net.weights[i]).T), _array(net.biases[i]))
            if len(net.sigma_weights):
                h = graph.op("Add", h, level[:, None] * _array(net.sigma_weights[i - 1]))
        centred = rstd = ""
        if len(net.gains):
            h = graph.op("Sub", h, _mean(graph, h))
            variance = _mean(graph, graph.op("Mul", h, h))
            rstd = graph.op("Reciprocal", graph.op("Sqrt", graph.op("Add", variance, _number(NORM_EPS))))
            centred = graph.op("Mul", h, rstd)
            h = graph.op("Add", graph.op("Mul", centred, _array(net.gains[i])), _array(net.shifts[i]))
        erf = graph.op("Erf", graph.op("Mul", h, _number(1 / math.sqrt(2))))
        cdf = graph.op("Mul", graph.op("Add", erf, _number(1)), _number(0.5))
        layers.append(_Layer(h, cdf, centred, rstd))
    return layers


def _activations(graph: _Graph, layer: _Layer) -> str:
    """gelu(h) = h Phi(h), (n, L, H)."""
    return graph.op("Mul", layer.h, layer.cdf)


def _gradient(graph: _Graph, net: Network, layers: list[_Layer]) -> str:
    """dE/dx (n, L, K), layer by layer backwards, as `EnergyNet` does it."""
    delta: Value = _array(net.weights[-1])
    for i in reversed(range(len(layers))):
        layer = layers[i]
        phi = graph.op("Exp", graph.op("Mul", graph.op("Mul", layer.h, layer.h), _number(-0.5)))
        phi = graph.op("Mul", phi, _number(1 / math.sqrt(2 * math.pi)))
        delta = graph.op("Mul", graph.op("Add", layer.cdf, graph.op("Mul", layer.h, phi)), delta)
        if layer.centred:
            delta = graph.op("Mul", delta, _array(net.gains[i]))
            along = graph.op("Mul", layer.centred, _mean(graph, graph.op("Mul", delta, layer.centred)))
            delta = graph.op("Sub", graph.op("Sub", delta, _mean(graph, delta)), along)
            delta = graph.op("Mul", delta, layer.rstd)
        weight = _array(net.weights[i] if i else net.data_weight())
        delta = graph.op("MatMul", delta, np.ascontiguousarray(weight))
    return str(delta)


def _aggregated(graph: _Graph, readings: str, aggregate: Aggregate, num_scales: int) -> str:
    """Readings (n, L) float64 -> scores (n,) float64."""
    if aggregate.name == "max":
        return graph.op("ReduceMax", readings, axes=[1], keepdims=0)
    if aggregate.name == "median":
        half = num_scales // 2 + 1
        lower = graph.op("TopK", readings, np.array([half]), axis=1, largest=0, sorted=1)
        middle = graph.op("Slice", lower, np.array([half - 2 + num_scales % 2]), np.array([half]), np.array([1]))
        return graph.op("ReduceMean", middle, axes=[1], keepdims=0)
    levels = _standardised(graph, readings, aggregate.levels)
    if aggregate.mixture is None:
        return graph.op("ReduceMean", levels, axes=[1], keepdims=0)
    return _negative_log_likelihood(graph, levels, aggregate.mixture)


def _negative_log_likelihood(graph: _Graph, rows: str, mixture: Mixture) -> str:
    """-log p (n,) of rows (n, L) float64, as `Mixture.negative_log_likelihood`."""
    log_det = np.log(np.diagonal(mixture.precision_cholesky, axis1=1, axis2=2)).sum(axis=1)
    constant = np.log(mixture.weights) + log_det - 0.5 * mixture.means.shape[1] * math.log(2 * math.pi)  # (K,)
    away = graph.op("Sub", graph.op("Unsqueeze", rows, np.array([0])), mixture.means[:, None, :])  # (K, n, L)
    distance = _sum_of_squares(graph, graph.op("MatMul", away, mixture.precision_cholesky))  # (K, n)
    log_p = graph.op("Sub", constant[:, None], graph.op("Mul", distance, np.array([0.5])))
    return graph.op("Neg", _log_sum_exp(graph, log_p, 0))


def _log_sum_exp(graph: _Graph, value: str, axis: int) -> str:
    top = graph.op("ReduceMax", value, axes=[axis], keepdims=1)  # far out, every term of the sum would be 0
    total = graph.op("ReduceSum", graph.op("Exp", graph.op("Sub", value, top)), np.array([axis]), keepdims=1)
    return graph.op("Squeeze", graph.op("Add", graph.op("Log", total), top), np.array([axis]))


def _mean(graph: _Graph, value: str) -> str:
    return graph.op("ReduceMean", value, axes=[-1], keepdims=1)


def _sum_of_squares(graph: _Graph, value: str) -> str:
    """(A, B, C) -> (A, B)."""
    return graph.op("ReduceSum", graph.op("Mul", value, value), np.array([2]), keepdims=0)


def _number(value: float) -> Float32:
    return np.array([value], np.float32)


def _array(parameter: Any) -> Float32:
    """A torch parameter as an array."""
    array: Float32 = parameter.detach().cpu().numpy()
    return array


def _serialised(graph: _Graph, num_columns: int, num_scales: int, metadata: Mapping[str, str]) -> bytes:
    try:
        from onnx import helper, numpy_helper
    except ModuleNotFoundError as error:
        raise UsageError(
            "export to ONNX", expected="the package onnx", got=str(error), hint='pip install "mulde[onnx]"'
        ) from None
    nodes = [
        helper.make_node(kind, inputs, [output, "indices"] if kind == "TopK" else [output], **attributes)
        for kind, inputs, output, attributes in graph.nodes
    ]
    made = helper.make_graph(
        nodes,
        "mulde",
        inputs=[helper.make_tensor_value_info("rows", _FLOAT, ["n", num_columns])],
        outputs=[
            helper.make_tensor_value_info("anomaly_score", _DOUBLE, ["n"]),
            helper.make_tensor_value_info("readings", _FLOAT, ["n", num_scales]),
        ],
        initializer=[numpy_helper.from_array(np.asarray(a), name) for name, a in graph.constants.items()],
    )
    model = helper.make_model(
        made, producer_name="mulde", producer_version=__version__, ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )  # fmt: skip
    helper.set_model_props(model, dict(metadata))
    return bytes(model.SerializeToString(deterministic=True))
