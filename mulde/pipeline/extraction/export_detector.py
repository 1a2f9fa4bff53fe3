"""`mulde export-detector`: a detector in the format of a faster runtime."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from mulde.devices import choose_device
from mulde.errors import UsageError
from mulde.extractors.yolo import EXPORTS, export_network, locate


def export_detector(
    weights: str,
    format_: str,
    out: Path | None,
    *,
    int8: bool,
    half: bool,
    image_size: int,
    batch: int,
    data: str | None,
    device: str,
) -> Path:
    """Write the network in another format, whole or not at all, and return its path.

    Raises UsageError for a format or weights that cannot be used, MuldeError for an export that fails.
    """
    if format_ not in EXPORTS:
        raise UsageError(f"format {format_!r}", expected=f"one of {', '.join(EXPORTS)}")
    if int8 and half:
        raise UsageError("--int8 and --half", expected="one of them", got="both")
    source = locate(weights, "detector")
    target = out or source.with_name(source.stem + EXPORTS[format_])
    if target.exists():
        raise UsageError(f"{target}", expected="a place where nothing lies yet", hint="--out with another name")
    options = {"int8": int8, "half": half, "imgsz": image_size, "batch": batch, "data": data}
    with tempfile.TemporaryDirectory(prefix="mulde-export-") as folder:
        made = export_network(source, format_, Path(folder), device=choose_device(device), **options)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.move(made, partial)
        partial.rename(target)
    return target
