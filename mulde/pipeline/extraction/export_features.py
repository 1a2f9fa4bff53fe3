"""`mulde cache export`: the stored features of many videos in one file for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.sources import open_sources
from mulde.errors import Failure, MuldeError, StoreError, UsageError
from mulde.files import atomic_write
from mulde.media import content_hash
from mulde.names import valid_text
from mulde.pipeline.extraction.given_boxes import imported_digest
from mulde.pipeline.extraction.plan import ExtractionPlan, decoder_facts
from mulde.pipeline.extraction.video import Extracted, StoredVideo, look_up
from mulde.pipeline.outcome import Outcome
from mulde.progress import Reporter
from mulde.settings_file import load_settings
from mulde.store import store as tables
from mulde.store.imported import PREFIX
from mulde.store.store import FeatureStore

SUFFIXES = (".npy", ".parquet")


@dataclass(frozen=True)
class _Part:
    """One video, and the number of rows of `dim` numbers that the store has for it."""

    stored: StoredVideo
    num_rows: int
    dim: int


def plan_for(settings: Settings, features: str) -> tuple[ExtractionPlan, str]:
    """A plan for only these features (the name of an extractor, or `imported-NAME`), and the name of their stream.

    Raises UsageError for a name that is neither.
    """
    name = features.removeprefix(PREFIX)
    extractors, imported = ([], [name]) if features.startswith(PREFIX) else ([name], [])
    changes = [f"features.extractors={extractors!r}", f"features.imported={imported!r}"]
    return ExtractionPlan(load_settings(overrides=changes, base=settings), "cpu"), name


def run_export(
    sources: Sequence[str], settings: Settings, extractor: str, out: Path, store: Path, reporter: Reporter
) -> Outcome:
    """Write the features of one extractor that the store has for the videos of the sources under these settings.

    `<out>.parquet`: video, split, frame_index, box and track_id where there are any, values as a list of D float32 as
    in the store. `<out>.npy`: (N, D) float32, with the other columns beside it in `<out>.index.parquet`. Nothing is
    computed: a video whose features are missing or damaged is among the failures.
    """
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}", expected=f"a name that ends in {' or '.join(SUFFIXES)}")
    opened = open_sources(sources)
    opened.report(reporter)
    videos = opened.videos
    plan, stream = plan_for(settings, extractor)
    outcome, parts = Outcome(), list[_Part]()
    with reporter.bar("look up", len(videos), "videos") as advance:
        for video in videos:
            try:
                part = _part(video, stream, plan, FeatureStore(store))
                _check_same_dim(part, parts)
            except UsageError:
                raise
            except MuldeError as error:
                outcome.failures.append(Failure(video.name, str(error)))
                reporter.warn(f"{video.name}: {error}")
            else:
                parts.append(part)
            advance(1)
    outcome.done = len(parts)
    if parts:
        write = _write_npy if out.suffix == ".npy" else _write_parquet
        with reporter.bar("export", len(parts), "videos") as advance:
            write(parts, stream, out, lambda: advance(1))
        rows = sum(p.num_rows for p in parts)
        reporter.say(f"{out}: {rows} rows of {parts[0].dim} numbers from {len(parts)} videos")
    return outcome


def _part(video: Video, stream: str, plan: ExtractionPlan, store: FeatureStore) -> _Part:
    """A video with sound stored features; all checksums are verified before anything is written.

    Raises StoreError where features are missing or damaged, VideoError for a video that cannot be opened.
    """
    with plan.open(video) as reader:
        extracted = Extracted(
            content_hash(video.path), decoder_facts(reader, plan.video), reader.rate, reader.size_hw, computed=False
        )
    boxes_sha256 = imported_digest(video, extracted.sha256, plan, store)
    made = plan.passports(extracted.sha256, extracted.decoder, boxes_sha256=boxes_sha256)
    for kind in (stream, "regions", "tracks") if "tracks" in made else (stream,):
        if kind in made:
            store.check(made[kind])
    stored = look_up(video, extracted, plan, store)
    if stream in plan.imported:
        store.check(stored.passports[stream])
    with pq.ParquetFile(store.path(stored.passports[stream])) as file:
        return _Part(stored, file.metadata.num_rows, file.schema_arrow.field("values").type.list_size)


def _check_same_dim(part: _Part, parts: Sequence[_Part]) -> None:
    if parts and part.dim != parts[0].dim:
        raise StoreError(
            f"stored features of {part.stored.video.name}",
            expected=f"rows of {parts[0].dim} numbers as in {parts[0].stored.video.name}",
            got=f"{part.dim}",
        )


def _tables(parts: Sequence[_Part], stream: str, done: Callable[[], None]) -> Iterator[pa.Table]:
    """The table of each video, with its name and split as the first columns and its tracks after the boxes."""
    for part in parts:
        video, features = part.stored.video, part.stored.features(stream)
        if len(features) != part.num_rows:
            raise StoreError(
                f"stored features of {video.name} changed in the meantime", hint="run the same command again"
            )
        table = tables.features_to_arrow(features)
        if features.track_id is not None:
            table = table.add_column(table.num_columns - 1, "track_id", pa.array(features.track_id))
        for column, text in (("split", video.split), ("video", video.name)):
            names = pa.DictionaryArray.from_arrays(np.zeros(len(table), np.int32), [valid_text(text)])
            table = table.add_column(0, column, names)
        yield table
        done()


def _write_parquet(parts: Sequence[_Part], stream: str, out: Path, done: Callable[[], None]) -> None:
    with atomic_write(out) as partial, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for table in _tables(parts, stream, done):
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(partial, table.schema, compression="zstd"))
            writer.write_table(table)


def _write_npy(parts: Sequence[_Part], stream: str, out: Path, done: Callable[[], None]) -> None:
    num_rows, dim = sum(p.num_rows for p in parts), parts[0].dim
    with atomic_write(out.with_suffix(".index.parquet")) as index, atomic_write(out) as partial, ExitStack() as stack:
        values = (
            np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=(num_rows, dim)) if num_rows else None
        )
        if values is None:  # nothing can be mapped
            np.save(partial, np.zeros((0, dim), np.float32))
        writer: pq.ParquetWriter | None = None
        start = 0
        for table in _tables(parts, stream, done):
            columns = table.drop_columns(["values"])
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(index, columns.schema, compression="zstd"))
            writer.write_table(columns)
            if values is not None:
                flat = table["values"].combine_chunks().flatten().to_numpy()
                values[start : start + len(table)] = flat.reshape(-1, dim)
            start += len(table)
        if values is not None:
            values.flush()
        del values  # a mapped file cannot be moved everywhere
