"""Features that other programs made, from `.npy`, `.npz` and `.csv`. What a file claims to hold is checked before any
memory is taken for it; nothing in it is unpickled."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mulde.errors import MuldeError, RecordError
from mulde.records import FeatureTable, Int64
from mulde.store.table_file import BOX_COLUMNS, MAX_DIM

_MEMBERS = ("values.npy", "frame_index.npy", "boxes.npy")
_MAX_UNPACKED_BYTES, _MAX_EXPANSION = 2**28, 100
_MAX_CSV_BYTES_PER_ROW = 1000


def read_features(source: Path, frame_index: Int64) -> FeatureTable:
    """Features in a `.npy` or `.npz` of a video with these frames (T,). Raises MuldeError naming what does not fit."""
    try:
        values, index, boxes = _read_npz(source) if source.suffix == ".npz" else _read_npy(source)
    except Exception as error:  # numpy, zipfile and pandas raise many kinds for damaged files
        raise MuldeError(f"{source} cannot be read ({type(error).__name__}: {error})") from None
    if values.ndim != 2 or not 0 < values.shape[1] <= MAX_DIM or values.dtype.kind not in "fiu":
        raise MuldeError(
            f"values of {source}", expected="(N, D) numbers", got=f"{values.dtype.name} of shape {values.shape}"
        )
    if index is None:
        if len(values) != len(frame_index):
            raise MuldeError(
                f"{source}",
                expected=f"{len(frame_index)} rows, one per frame of the video",
                got=f"{len(values)}",
                hint=f"{source.with_suffix('.frames.npy').name} with the frame of each row",
            )
        index = frame_index
    rows = _checked_index(index, len(values), frame_index, source)
    if boxes is not None and boxes.dtype.kind not in "fiu":
        raise MuldeError(f"boxes of {source}", expected="(N, 4) numbers", got=boxes.dtype.name)
    with np.errstate(over="ignore"):  # values too large for float32 become infinite, which FeatureTable refuses
        numbers = np.ascontiguousarray(values, np.float32)
        corners = None if boxes is None else np.ascontiguousarray(boxes, np.float32)
    try:
        return FeatureTable(numbers, rows, corners)
    except (RecordError, ValueError) as error:
        raise MuldeError(f"{source}: {error}") from None


def _checked_index(index: NDArray[Any], num_rows: int, frame_index: Int64, source: Path) -> Int64:
    if index.shape != (num_rows,) or index.dtype.kind not in "iu":
        raise MuldeError(
            f"frame index of {source}",
            expected=f"{num_rows} whole numbers, one per row",
            got=f"{index.dtype.name} of shape {index.shape}",
        )
    rows = index.astype(np.int64)
    unknown = np.flatnonzero(~np.isin(rows, frame_index))
    if unknown.size:
        last = frame_index[-1] if frame_index.size else "none"
        raise MuldeError(
            f"frame index of {source}",
            expected=f"frames that the video has, 0 to {last}",
            got=f"{rows[unknown[0]]} in row {unknown[0]} ({unknown.size} such rows)",
        )
    return rows


def _read_npz(source: Path) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    with ZipFile(source) as archive:
        members = {name: info for info in archive.infolist() if (name := info.filename) in _MEMBERS}
        unpacked = sum(info.file_size for info in members.values())
        if unpacked > _MAX_UNPACKED_BYTES + _MAX_EXPANSION * source.stat().st_size:
            raise ValueError(f"it claims to unpack to {unpacked:,} bytes")
        arrays: dict[str, NDArray[Any]] = {}
        for name, info in members.items():
            with archive.open(info) as file:
                _check_claim(file, info.file_size)
            with archive.open(info) as file:
                arrays[name] = npy.read_array(file, allow_pickle=False)
    values, frame_index, boxes = _MEMBERS
    return arrays[values], arrays.get(frame_index), arrays.get(boxes)


def _read_npy(source: Path) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    values = _read_array(source)
    frames, csv = source.with_suffix(".frames.npy"), source.with_suffix(".csv")
    if frames.is_file() and csv.is_file():
        raise ValueError(f"both {frames.name} and {csv.name} are beside it")
    if frames.is_file():
        return values, _read_array(frames), None
    if csv.is_file():
        return values, *_read_csv(csv, len(values))
    return values, None, None


def _read_array(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        _check_claim(file, os.fstat(file.fileno()).st_size)
        file.seek(0)
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        return array


def _check_claim(file: IO[bytes], num_bytes: int) -> None:
    """Raises ValueError where the header names more numbers than the file has bytes for, or something else."""
    version = npy.read_magic(file)
    header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if header is None:
        raise ValueError(f"expected version 1 or 2 of the format, got {version}")
    shape, _, dtype = header(file)
    if dtype.kind not in "biufcUS":
        raise ValueError(f"expected numbers, got {dtype.name}")
    sizes = [int(size) for size in shape]
    count: int = math.prod(sizes)
    is_too_much = count * dtype.itemsize > num_bytes - file.tell() or (count and not dtype.itemsize)
    if min((0, *sizes)) < 0 or is_too_much:
        raise ValueError(f"its header claims shape {shape} of {dtype.name}, the file has {num_bytes:,} bytes")


def _read_csv(path: Path, num_rows: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    import pandas as pd

    if path.stat().st_size > _MAX_CSV_BYTES_PER_ROW * (num_rows + 1):
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes for {num_rows} rows")
    table = pd.read_csv(path)
    present = [name for name in BOX_COLUMNS if name in table]
    if "frame_index" not in table or len(present) not in (0, 4):
        raise ValueError(f"{path.name} needs a column frame_index, and all or none of {', '.join(BOX_COLUMNS)}")
    return table["frame_index"].to_numpy(), table[present].to_numpy() if present else None
