"""The formats of detectors and pose networks that are loaded, and which of them the user has to trust."""

from __future__ import annotations

import os
from pathlib import Path

from mulde.errors import UsageError

_FOLDER = "_openvino_model"
FORMATS = (".pt", ".onnx", _FOLDER, ".torchscript", ".engine")
"""Ends of the names of weights; Ultralytics goes by the name as well."""
_HOLDS_CODE = {".torchscript": "TorchScript", ".engine": "TensorRT"}
"""Formats whose files run what they hold when they are loaded. A .pt file is read as tensors and known classes."""
TRUST = "MULDE_TRUST_WEIGHTS"
"""Environment variable that allows them: 1, as `--trust-weights` sets it. Worker processes inherit it."""


def is_exported(path: Path | None) -> bool:
    """Whether a path, if any, is that of a network exported to ONNX or OpenVINO."""
    return path is not None and (path.suffix in (".onnx", ".xml") or (path.is_dir() and any(path.glob("*.xml"))))


def openvino_pair(path: Path) -> tuple[Path, Path]:
    """The .xml of an OpenVINO network, in a folder or by its own path, and the .bin beside it."""
    found = sorted(path.glob("*.xml")) if path.is_dir() else [path]
    if len(found) != 1 or not found[0].with_suffix(".bin").is_file():
        raise UsageError(
            f"OpenVINO network {path}", expected="one .xml and the .bin of the same name", got=f"{len(found)} .xml"
        )
    return found[0], found[0].with_suffix(".bin")


def check_format(path: Path, what: str) -> None:
    """Raises UsageError for weights in a format that is not loaded, or that can run code unless the user trusts it."""
    ending = next((ending for ending in FORMATS if path.name.lower().endswith(ending)), None)
    if ending is None or path.is_dir() != (ending == _FOLDER):
        raise UsageError(
            f"{what} weights {path}",
            expected=f"a file .pt, .onnx, .torchscript or .engine, or a folder whose name ends in {_FOLDER}",
            got="a folder" if path.is_dir() else f"a file {path.suffix or 'without such an ending'}",
        )
    if ending == ".pt" and str(path) != str(path).strip().replace("'", ""):
        raise UsageError(
            f"{what} weights {path}",
            expected="a path without apostrophes, which Ultralytics takes out",
            hint="the same file at another path",
        )
    if ending in _HOLDS_CODE and os.environ.get(TRUST) != "1":
        raise UsageError(
            f"{what} weights {path}: {_HOLDS_CODE[ending]} files can run any code when they are loaded",
            hint="--trust-weights if you trust whoever made the file, else weights as .pt, .onnx or OpenVINO",
        )
