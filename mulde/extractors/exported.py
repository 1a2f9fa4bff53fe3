"""Networks exported to ONNX or OpenVINO, in place of those of a library. The one file that imports onnxruntime."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from mulde.devices import choose_threads
from mulde.errors import UsageError, first_line
from mulde.extractors.networks import INTERPOLATIONS, Loaded, Preprocessing
from mulde.extractors.openvino_network import OpenVinoNetwork
from mulde.extractors.signals import signal_stack_kept
from mulde.records import Float32

log = logging.getLogger(__name__)

_METADATA = ("size_px", "mean", "std", "interpolation")
"""What a file can say of the pictures that its network expects: metadata of ONNX, which OpenVINO keeps."""


def load_exported(path: Path, default: Preprocessing | None, device: str) -> Loaded:
    """The network in a file .onnx or .xml, or in an OpenVINO folder, ready to run; its output is the row.

    It takes one tensor (n, 3, S, S), or (n, 3, T, S, S) of clips, float32 or float16, n free or 1, and gives one
    (n, D) or (n, D, 1, 1). What it expects of a picture is what its metadata says, a fixed S above all, else what
    `default` has. ONNX with weights in other files is not supported: they would lie outside the digest.
    Raises UsageError for a missing package and for a network that is not so.
    """
    kind = _Onnx if path.suffix == ".onnx" else _OpenVino
    try:
        network = kind(path, device)
    except ImportError as error:
        raise UsageError(
            f"weights {path} need the package {error.name!r}, which cannot be imported",
            hint=f'pip install "mulde[{"onnx" if kind is _Onnx else "openvino"}]"',
        ) from error
    except UsageError:
        raise
    except Exception as error:  # both libraries raise many kinds for a file that they cannot read
        raise UsageError(
            f"weights {path} cannot be loaded",
            expected="an exported network with its weights inside (ONNX), or .xml and .bin (OpenVINO)",
            got=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
        ) from error
    frames = default.frames if default is not None else 1
    size_px = _size(path, network.input_shape, frames)
    expects = _expects(path, network.metadata, default, size_px)
    batch_size = network.input_shape[0]

    def run(batch: torch.Tensor) -> torch.Tensor:
        inputs = batch.cpu().contiguous().numpy().astype(np.float16 if network.is_half else np.float32, copy=False)
        parts = [inputs] if batch_size is None else np.split(inputs, len(inputs))
        outputs = np.concatenate([network(part) for part in parts])
        return torch.from_numpy(outputs.reshape(outputs.shape[:2]).astype(np.float32, copy=False))

    return run, expects, _width(path, run, expects)


class _OpenVino:
    """An OpenVINO network as `load_exported` sees it."""

    def __init__(self, path: Path, device: str) -> None:
        with signal_stack_kept():
            self._network = OpenVinoNetwork(
                path,
                choose_threads(device),
                INFERENCE_NUM_THREADS=choose_threads("cpu"),
                INFERENCE_PRECISION_HINT="f32",  # else bfloat16 where a CPU has it, and other rows than elsewhere
            )
        model = self._network.model
        _check_counts(path, len(model.inputs), len(model.outputs))
        shape, kind = model.inputs[0].partial_shape, model.inputs[0].element_type.get_type_name()
        sides = [None if side.is_dynamic else side.get_length() for side in shape] if shape.rank.is_static else []
        self.input_shape, self.is_half = _checked_input(path, sides, {"f32": False, "f16": True}.get(kind), kind)
        keys = [key for key in _METADATA if model.has_rt_info(["framework", key])]
        self.metadata = {key: str(model.get_rt_info(["framework", key]).value) for key in keys}

    def __call__(self, inputs: Any) -> Float32:
        return self._network(inputs)


class _Onnx:
    """An ONNX network as `load_exported` sees it."""

    def __init__(self, path: Path, device: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(1, choose_threads("cpu") // choose_threads(device))
        options.log_severity_level = 4
        providers = ["CPUExecutionProvider"]
        if device.startswith("cuda") and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        with TemporaryDirectory() as nothing:  # where weights in other files would be looked for
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", nothing)
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=providers)
        if self._session.get_providers()[0] == "CPUExecutionProvider" and device != "cpu":
            log.warning("%s runs on the CPU: onnxruntime has no provider for %s here", path, device)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        _check_counts(path, len(inputs), len(outputs))
        self._name, kind = inputs[0].name, inputs[0].type
        sides = [side if isinstance(side, int) and side > 0 else None for side in inputs[0].shape]
        is_half = {"tensor(float)": False, "tensor(float16)": True}.get(kind)
        self.input_shape, self.is_half = _checked_input(path, sides, is_half, kind)
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, inputs: Any) -> Float32:
        output: Float32 = self._session.run(None, {self._name: inputs})[0]
        return output


def _check_counts(path: Path, num_inputs: int, num_outputs: int) -> None:
    if (num_inputs, num_outputs) != (1, 1):
        raise UsageError(f"network {path}", expected="one input and one output", got=f"{num_inputs} and {num_outputs}")


def _checked_input(
    path: Path, shape: list[int | None], is_half: bool | None, kind: str
) -> tuple[list[int | None], bool]:
    if is_half is None:
        raise UsageError(f"input of the network {path}", expected="float32 or float16", got=kind)
    if len(shape) not in (4, 5) or shape[0] not in (None, 1) or shape[1] not in (None, 3):
        raise UsageError(
            f"input of the network {path}",
            expected="(n, 3, S, S) for pictures or (n, 3, T, S, S) for clips, n free or 1",
            got=_as_text(shape),
        )
    return shape, is_half


def _as_text(shape: list[int | None]) -> str:
    return f"({', '.join('free' if side is None else str(side) for side in shape)})"


def _size(path: Path, shape: list[int | None], frames: int) -> int | None:
    """The fixed side of the pictures, None where the network takes any."""
    *_, height, width = shape
    num_frames = shape[2] if len(shape) == 5 else 1
    if height != width or (num_frames or frames) != frames or (len(shape) == 5) != (frames > 1):
        raise UsageError(
            f"input of the network {path}",
            expected="squares" if frames == 1 else f"clips of {frames} squares",
            got=_as_text(shape),
        )
    return height


def _expects(path: Path, metadata: Mapping[str, str], default: Preprocessing | None, size: int | None) -> Preprocessing:
    given = {key: _value(path, key, metadata[key]) for key in _METADATA if key in metadata}
    if size is not None and given.setdefault("size_px", size) != size:
        raise UsageError(f"metadata of {path}", expected=f"size_px={size} as its input has", got=given["size_px"])
    if default is not None:
        return replace(default, **given)
    if missing := [key for key in _METADATA[:3] if key not in given]:
        raise UsageError(f"network {path}", expected="size_px, mean and std in its metadata", got=f"no {missing[0]}")
    return Preprocessing(**given)


def _value(path: Path, key: str, text: str) -> Any:
    """A value of the metadata, held to its type and range."""
    try:
        if key == "interpolation":
            value: Any = text.strip().lower()
            is_sound = value in INTERPOLATIONS
        elif key == "size_px":
            value = int(text)
            is_sound = 1 <= value <= 4096
        else:
            value = tuple(float(number) for number in json.loads(f"[{text.strip().strip('[]()')}]"))
            is_sound = len(value) == 3 and bool(np.isfinite(value).all()) and (key == "mean" or min(value) > 0)
    except (ValueError, TypeError):
        is_sound = False
    if not is_sound:
        wanted = {
            "size_px": "a number of pixels, 1 to 4096",
            "interpolation": f"one of {', '.join(filter(None, INTERPOLATIONS))}",
        }.get(key, "three numbers for red, green and blue from 0 to 1, as 0.485, 0.456, 0.406")
        raise UsageError(f"{key} in the metadata of {path}", expected=wanted, got=repr(text[:100]))
    return value


def _width(path: Path, run: Callable[[torch.Tensor], torch.Tensor], expects: Preprocessing) -> int:
    """How many numbers the network gives for a picture, by two blank ones."""
    clip = () if expects.frames == 1 else (expects.frames,)
    blank = torch.zeros(2, 3, *clip, expects.size_px, expects.size_px)
    try:
        output = run(blank)
    except Exception as error:  # both libraries raise many kinds
        raise UsageError(
            f"network {path} gives no row for a picture of {expects.size_px} x {expects.size_px} pixels",
            expected="an output (n, D): pooled, without its classifier",
            got=first_line(error),
        ) from error
    if len(output) != 2:
        raise UsageError(f"network {path}", expected="a row for each of 2 pictures", got=f"{len(output)} rows")
    return int(output.shape[1])
