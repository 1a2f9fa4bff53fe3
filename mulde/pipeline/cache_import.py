"""`mulde cache import`: features made elsewhere, checked against their videos and kept in the store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.errors import MuldeError, RecordError, UsageError
from mulde.extractors.base import digest
from mulde.files import output_path
from mulde.media import identity
from mulde.names import on_disk
from mulde.pipeline import store as tables
from mulde.pipeline.cache_export import plan_for
from mulde.pipeline.catalogue import note
from mulde.pipeline.extract import Failure
from mulde.pipeline.imported import PREFIX, imported_passport
from mulde.pipeline.plan import ExtractionPlan, decoder_facts
from mulde.pipeline.progress import Reporter
from mulde.pipeline.run import Outcome
from mulde.pipeline.sources import open_sources
from mulde.pipeline.store import BOX_COLUMNS, FeatureStore, Passport
from mulde.records import FeatureTable, Int64

_ROW_GROUP_BYTES = 2**26


def run_import(
    sources: Sequence[str],
    settings: Settings,
    name: str,
    folder: Path,
    store: Path,
    reporter: Reporter,
    *,
    replace: bool = False,
) -> Outcome:
    """Bring `<folder>/<video>.npy` or `.npz` of every video into the store, as the features `name`.

    .npy: (N, D) numbers, one row per frame of the video, or beside it `<video>.frames.npy` (N,) with the frame of each
    row, or `<video>.csv` with a column frame_index and, for rows of boxes, x0, y0, x1, y1 in pixels. .npz: `values`,
    `frame_index` and `boxes` (N, 4), the last two as they are needed. One bad video never stops the others.
    """
    if not folder.is_dir():
        raise UsageError(f"--from {folder}", expected="a folder with <video>.npy or <video>.npz")
    plan, _ = plan_for(settings, f"{PREFIX}{name}")
    opened = open_sources(sources)
    opened.report(reporter)
    videos = opened.videos
    outcome, features, dims = Outcome(), FeatureStore(store), dict[int, str]()
    with reporter.bar("import", len(videos), "videos") as advance:
        for video in videos:
            try:
                _bring_in(video, plan, name, folder, features, dims, reporter, replace=replace)
                outcome.done += 1
            except UsageError:
                raise
            except MuldeError as error:
                outcome.failures.append(Failure(video.name, str(error)))
                reporter.warn(f"{video.name}: {error}")
            advance(1)
    if outcome.done:
        usage = f"--set 'features.imported=[\"{name}\"]'"
        reporter.say(f"{outcome.done} videos with {next(iter(dims))} numbers per row; use them with {usage}")
    return outcome


def _bring_in(
    video: Video,
    plan: ExtractionPlan,
    name: str,
    folder: Path,
    store: FeatureStore,
    dims: dict[int, str],
    reporter: Reporter,
    *,
    replace: bool,
) -> None:
    """Store the features of one video. `dims`: the D of the first one and whose it is."""
    source, sha256 = _find(video, folder), identity(video.path)
    passport = imported_passport(name, sha256)
    with store.lock(sha256, lambda: reporter.say(f"{video.name}: another process is at it, waiting")):
        if passport in store and not replace:
            raise MuldeError(f"features {name} of this video are in the store already", hint="--replace")
        table = read_features(source, _frames_of(video, sha256, plan, store))
        first = next(iter(dims), table.dim)
        if table.dim != first:
            raise MuldeError(f"{source}", expected=f"rows of {first} numbers as for {dims[first]}", got=f"{table.dim}")
        dims.setdefault(first, video.name)
        _write(table, source, passport, store)
    note(store.root, sha256, dataset=video.dataset, video=video.name, path=video.path)


def _find(video: Video, folder: Path) -> Path:
    plain = [folder / f"{video.name}{suffix}" for suffix in (".npy", ".npz")]
    cut = [output_path(folder, video.name, suffix) for suffix in (".npy", ".npz")]
    found = [path for path in dict.fromkeys(map(on_disk, plain + cut)) if os.path.isfile(path)]
    if len(found) != 1:
        got = "nothing" if not found else " and ".join(path.name for path in found)
        raise MuldeError("features of this video", expected=f"{plain[0]} or {plain[1].name}", got=got)
    return found[0]


def _frames_of(video: Video, sha256: str, plan: ExtractionPlan, store: FeatureStore) -> Int64:
    """Frame indices (T,) of the video, from the store or, once, by decoding it."""
    with plan.open(video) as reader:
        passport = plan.passports(sha256, decoder_facts(reader, plan.video))["frames"]
        if passport not in store:
            with store.writer(passport, tables.FRAMES_SCHEMA) as append:
                for frames in reader:
                    append(tables.frames_to_arrow(frames.frame_index, frames.time_s))
    return tables.frames_from_arrow(store.read(passport))[0]


def read_features(source: Path, frame_index: Int64) -> FeatureTable:
    """Features in a `.npy` or `.npz` of a video with these frames (T,). Raises MuldeError saying what does not fit."""
    try:
        values, index, boxes = _read_npz(source) if source.suffix == ".npz" else _read_npy(source)
    except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
        raise MuldeError(f"{source} cannot be read ({type(error).__name__}: {error})") from None
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiu":
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
    with np.errstate(over="ignore"):  # what is too large for float32 is found not finite below
        numbers = np.ascontiguousarray(values, np.float32)
    try:
        return FeatureTable(numbers, rows, None if boxes is None else np.ascontiguousarray(boxes, np.float32))
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
    outside = np.flatnonzero(~np.isin(rows, frame_index))
    if outside.size:
        last = frame_index[-1] if frame_index.size else "none"
        raise MuldeError(
            f"frame index of {source}",
            expected=f"frames that the video has, 0 to {last}",
            got=f"{rows[outside[0]]} in row {outside[0]} ({outside.size} such rows)",
        )
    return rows


def _read_npz(source: Path) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    with np.load(source, allow_pickle=False) as file:
        return file["values"], file.get("frame_index"), file.get("boxes")


def _read_npy(source: Path) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    values = np.load(source, allow_pickle=False)
    frames, csv = source.with_suffix(".frames.npy"), source.with_suffix(".csv")
    if frames.is_file() and csv.is_file():
        raise ValueError(f"both {frames.name} and {csv.name} are beside it")
    if frames.is_file():
        return values, np.load(frames, allow_pickle=False), None
    if csv.is_file():
        return values, *_read_csv(csv)
    return values, None, None


def _read_csv(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    import pandas as pd

    table = pd.read_csv(path)
    present = [name for name in BOX_COLUMNS if name in table]
    if "frame_index" not in table or len(present) not in (0, 4):
        raise ValueError(f"{path.name} needs a column frame_index, and all or none of {', '.join(BOX_COLUMNS)}")
    return table["frame_index"].to_numpy(), table[present].to_numpy() if present else None


def _write(table: FeatureTable, source: Path, passport: Passport, store: FeatureStore) -> None:
    """Store the table; its file says besides where it came from, which is no part of its key."""
    arrow = tables.features_to_arrow(table)
    origin = {"mulde.source": str(source.resolve()), "mulde.source_sha256": digest(source)}
    num_rows = max(_ROW_GROUP_BYTES // (4 * table.dim), 1)
    with store.writer(passport, arrow.schema.with_metadata(origin)) as append:
        for start in range(0, max(len(table), 1), num_rows):
            append(arrow.slice(start, num_rows))
