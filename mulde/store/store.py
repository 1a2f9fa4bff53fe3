"""The feature store: one Parquet file per video and kind, with a passport, written atomically.

A file lies at `<store>/<video content>/<kind>-<key>.parquet`. `kind` is `frames` (the decoded frames and their times),
`regions` (boxes), `tracks` (which boxes are one object) or the name of an extractor. The passport holds everything that
made the content; the key is its hash, so a changed setting looks for another file and never gets an old one. The
finished segments of an unfinished video lie beside it in *parts*, one file per segment of frames, and a later run
continues from them.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mulde.errors import StoreError, UsageError, cannot
from mulde.files import file_kind
from mulde.records import FeatureTable, Float64, Int64, Regions
from mulde.store.table_file import BOX_COLUMNS as BOX_COLUMNS
from mulde.store.table_file import FRAMES_SCHEMA as FRAMES_SCHEMA
from mulde.store.table_file import REGIONS_SCHEMA as REGIONS_SCHEMA
from mulde.store.table_file import TRACKS_SCHEMA as TRACKS_SCHEMA
from mulde.store.table_file import Footer, features_schema, read_footer, remove, verified, written
from mulde.store.table_file import Passport as Passport

LOCK_FILE = ".lock"
_ASK_S = 0.5
_PART = re.compile(r"(\d{9,12})-(\d{9,12})\.parquet")
_CHECKED = "checked"
"""Note of a part: its video was what it had been when it was hashed. Parts of version 0.1 lack it."""


class FeatureStore:
    """A folder of stored tables. Safe for several processes: files appear whole or not at all."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, passport: Passport) -> Path:
        return self.root / passport.video_sha256[:16] / f"{passport.kind}-{passport.key}.parquet"

    def __contains__(self, passport: Passport) -> bool:
        return self.path(passport).exists()

    def read(self, passport: Passport) -> pa.Table:
        """The whole stored table, its checksum verified.

        Raises StoreError for a file that is missing or damaged or whose passport differs, naming the field.
        """
        return pa.concat_tables(self.stream(passport))

    def check(self, passport: Passport) -> None:
        """Verify a file without holding more than a row group. Raises StoreError like `read`."""
        for _ in self.stream(passport):
            pass

    def stream(self, passport: Passport) -> Iterator[pa.Table]:
        """Yield the stored table row group by row group, an empty one first.

        Raises StoreError like `read`; a wrong checksum is only known at the end, so no row may be trusted before.
        """
        path = self.path(passport)
        try:
            yield from verified(path, passport)
        except FileNotFoundError:
            raise StoreError(f"no stored {passport.kind} at {path}", hint="mulde extract") from None

    def footer(self, passport: Passport) -> Footer:
        """What the footer of a stored table says. Raises StoreError."""
        path = self.path(passport)
        try:
            return read_footer(path)
        except FileNotFoundError:
            raise StoreError(f"no stored {passport.kind} at {path}", hint="mulde extract") from None

    def make_way(self, video_sha256: str) -> None:
        """Remove a file in the place of a video's folder, if possible."""
        folder = self.root / video_sha256[:16]
        with suppress(OSError):
            if os.path.lexists(folder) and not folder.is_dir():
                folder.unlink()

    def require_folder(self) -> None:
        """Raises UsageError where the path of the store is not a folder."""
        with suppress(OSError):
            mode = self.root.stat().st_mode
            if not stat.S_ISDIR(mode):
                got = "a file" if stat.S_ISREG(mode) else file_kind(mode)
                raise UsageError(
                    f"the feature store {self.root}", expected="a folder", got=got, hint="choose another --store"
                )

    @contextmanager
    def lock(
        self, video_sha256: str, waiting: Callable[[], None], gives_up: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Keep other processes from working on the same video.

        `waiting` is called once if another process holds the lock; `gives_up` is polled while waiting and, when true,
        ends it with StoreError. On a file system without locks every process works, so a video may be computed twice,
        which is harmless. Raises FileError for a store that cannot be written to.
        """
        from filelock import FileLock, Timeout

        path = self.root / video_sha256[:16] / LOCK_FILE
        _make_folder(path.parent)
        _clear_unless_file(path)
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            while not lock.is_locked:
                if gives_up():
                    raise StoreError(f"another process works in {path.parent}", hint="wait until it ends") from None
                with suppress(Timeout):
                    lock.acquire(timeout=_ASK_S)
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and not lacks_locks(error):
                raise cannot("written", path, error) from error
        try:
            yield
        finally:
            lock.release()

    def parts(self, passport: Passport) -> Path:
        """The folder with the parts of an unfinished table."""
        return self.path(passport).with_name(f".parts-{passport.kind}-{passport.key}")

    def finished(self, passport: Passport) -> list[int]:
        """The frame numbers up to which sound parts reach without a gap: 0, and the end of each part."""
        ends = [0]
        for start, stop, path in _listed(self.parts(passport)):
            if start != ends[-1] or not _is_whole(path, passport):
                break
            ends.append(stop)
        return ends

    def trim_parts(self, passport: Passport, num_frames: int) -> None:
        """Remove the parts that reach beyond the first `num_frames` frames, and all other entries of their folder."""
        kept = {path for _, stop, path in _listed(self.parts(passport)) if stop <= num_frames}
        for path in _entries(self.parts(passport)):
            if path not in kept and not path.name.startswith("."):  # hidden: another process writes it
                remove(path)

    def drop_parts(self, passport: Passport) -> None:
        """Remove all parts, once the table is finished."""
        with suppress(OSError):
            remove(self.parts(passport))

    def write_part(self, passport: Passport, start: int, stop: int, table: pa.Table) -> None:
        """Store the rows of the frames start:stop of an unfinished table; the video is known to be unchanged."""
        folder = self.parts(passport)
        _make_folder(folder)
        path = folder / f"{start:09d}-{stop:09d}.parquet"
        with written(path, passport, table.schema, {_CHECKED: True}) as append:
            append(table)

    def join_parts(self, passport: Passport, num_frames: int, notes: Mapping[str, Any] | None = None) -> None:
        """Join the parts to the finished table, one row group each, and remove them.

        Raises StoreError unless they cover `num_frames` frames: without locks another process may remove some.
        """
        parts = _listed(self.parts(passport))
        edges = [0, *(stop for _, stop, _ in parts)]
        if [start for start, _, _ in parts] != edges[:-1] or edges[-1] != num_frames:
            raise StoreError(
                f"parts of {passport.kind} in {self.parts(passport)} were changed by another process",
                expected=f"frames 0 to {num_frames} without a gap",
                got=f"ends at {edges[1:]}",
                hint="run the same command again",
            )
        paths = [path for _, _, path in parts]
        with self.writer(passport, pq.read_schema(paths[0]).remove_metadata(), notes) as append:
            for path in paths:
                append(pa.concat_tables(verified(path, passport)).combine_chunks())
        self.drop_parts(passport)

    @contextmanager
    def writer(
        self, passport: Passport, schema: pa.Schema, notes: Mapping[str, Any] | None = None
    ) -> Iterator[Callable[[pa.Table], None]]:
        """Yields a function that appends a table to the file, which replaces the stored one when the block succeeds.

        `notes` is JSON data to store with the table and may be filled until the block ends. Raises FileError where the
        file cannot be written.
        """
        path = self.path(passport)
        _make_folder(path.parent)
        with written(path, passport, schema, notes) as append:
            yield append


def _listed(folder: Path) -> list[tuple[int, int, Path]]:
    """First frame, end and path of each part in a folder, which may be missing."""
    named = [(_PART.fullmatch(path.name), path) for path in _entries(folder)]
    parts = [(int(match[1]), int(match[2]), path) for match, path in named if match]
    return sorted(part for part in parts if part[0] < part[1])


def _entries(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return list(folder.iterdir())
    return []


def _is_whole(path: Path, passport: Passport) -> bool:
    try:
        is_checked = read_footer(path).notes.get(_CHECKED) is True
        for _ in verified(path, passport):
            pass
    except (FileNotFoundError, StoreError):
        return False
    return is_checked


def _make_folder(path: Path) -> None:
    """Make a folder of the store; a file, link or pipe in its place is removed."""
    try:
        if os.path.lexists(path) and not path.is_dir():
            path.unlink()
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot("written", path, error) from error


def _clear_unless_file(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            remove(path)


def frames_to_arrow(frame_index: Int64, time_s: Float64) -> pa.Table:
    return pa.table({"frame_index": frame_index, "time_s": time_s}, schema=FRAMES_SCHEMA)


def frames_from_arrow(table: pa.Table) -> tuple[Int64, Float64]:
    """Frame indices (T,) int64 and their times (T,) float64 in seconds."""
    return table["frame_index"].to_numpy(), table["time_s"].to_numpy()


def tracks_to_arrow(frame_index: Int64, track_id: Int64) -> pa.Table:
    return pa.table({"frame_index": frame_index, "track_id": track_id}, schema=TRACKS_SCHEMA)


def regions_to_arrow(regions: Regions) -> pa.Table:
    boxes = dict(zip(BOX_COLUMNS, regions.box_xyxy.T, strict=True))
    return pa.table(
        {
            "frame_index": regions.frame_index,
            **boxes,
            "confidence": regions.confidence,
            "class_id": regions.class_id,
        },
        schema=REGIONS_SCHEMA,
    )


def regions_from_arrow(table: pa.Table) -> Regions:
    return Regions(
        _boxes(table),
        table["frame_index"].to_numpy(),
        table["confidence"].to_numpy(),
        table["class_id"].to_numpy(),
    )


def features_to_arrow(features: FeatureTable) -> pa.Table:
    object_centric = features.box_xyxy is not None
    boxes = dict(zip(BOX_COLUMNS, features.box_xyxy.T, strict=True)) if features.box_xyxy is not None else {}
    flat = pa.array(features.values.ravel(), pa.float32())
    values = pa.FixedSizeListArray.from_arrays(flat, features.dim)
    return pa.table(
        {"frame_index": features.frame_index, **boxes, "values": values},
        schema=features_schema(features.dim, object_centric),
    )


def features_from_arrow(table: pa.Table) -> FeatureTable:
    dim = table.schema.field("values").type.list_size
    flat = table["values"].combine_chunks().flatten().to_numpy()
    boxes = _boxes(table) if BOX_COLUMNS[0] in table.column_names else None
    return FeatureTable(flat.reshape(-1, dim), table["frame_index"].to_numpy(), boxes)


def _boxes(table: pa.Table) -> Any:
    return np.stack([table[name].to_numpy() for name in BOX_COLUMNS], axis=1)


def lacks_locks(error: Exception) -> bool:
    """Whether an error means that the file system has no locks."""
    return not isinstance(error, OSError) or error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
