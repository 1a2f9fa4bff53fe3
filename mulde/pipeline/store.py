"""The feature store: one Parquet file per (video, kind), with a passport, written atomically.

A file's place is `<store>/<video content>/<kind>-<key>.parquet`. `kind` is `frames` (the decoded frames and their
times), `regions` (boxes), `tracks` (which boxes are one object) or the name of an extractor. The passport says
everything that made the content; its hash is the key, so a changed setting looks for another file and can never be
served an old one. What is finished of a video that is not lies beside it in *parts*, one file per segment of frames,
from which a later run goes on.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mulde.config import fingerprint
from mulde.errors import StoreError
from mulde.records import FeatureTable, Float64, Int64, Regions

SCHEMA_VERSION = 1
LOCK_FILE = ".lock"
_PASSPORT_KEY, _DIGEST_KEY = b"mulde", b"mulde.sha256"
_ASK_S = 0.5
BOX_COLUMNS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Passport:
    """What made a stored file: JSON data under which the content is always the same."""

    kind: str
    video_sha256: str
    made_by: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA_VERSION, "kind": self.kind, "video_sha256": self.video_sha256, **self.made_by}

    @property
    def key(self) -> str:
        return fingerprint(self.as_dict())[:16]


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
        """The stored table row group by row group, an empty one first. Raises StoreError like `read`, at the end for a
        checksum that differs: so nothing of it is to be trusted before."""
        path = self.path(passport)
        try:
            yield from verified(path, passport)
        except FileNotFoundError:
            raise StoreError(f"no stored {passport.kind} at {path}", hint="mulde extract") from None

    @contextmanager
    def lock(
        self, video_sha256: str, waiting: Callable[[], None], gives_up: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Keeps other processes from working on the same video. `waiting` is called once if another one has it;
        `gives_up` is asked now and then, and ends the waiting with StoreError.

        On a file system without locks everybody works: then a video may be computed twice, and nothing worse.
        """
        from filelock import FileLock, Timeout

        path = self.root / video_sha256[:16] / LOCK_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            while not lock.is_locked:
                if gives_up():
                    raise StoreError(f"another process works in {path.parent}", hint="wait for its end") from None
                with suppress(Timeout):
                    lock.acquire(timeout=_ASK_S)
        except (NotImplementedError, OSError) as error:
            if not lacks_locks(error):
                raise
        try:
            yield
        finally:
            lock.release()

    def parts(self, passport: Passport) -> Path:
        """The folder of what is finished of a table that is not."""
        return self.path(passport).with_name(f".parts-{passport.kind}-{passport.key}")

    def finished(self, passport: Passport) -> list[int]:
        """How many frames from the start sound parts reach: 0, and the end of each part behind another."""
        ends = [0]
        for start, stop, path in sorted(_listed(self.parts(passport))):
            if start != ends[-1] or not _is_whole(path, passport):
                break
            ends.append(stop)
        return ends

    def trim_parts(self, passport: Passport, num_frames: int) -> None:
        """Drop the parts that reach behind the first `num_frames` frames."""
        for _, stop, path in _listed(self.parts(passport)):
            if stop > num_frames:
                path.unlink()

    def drop_parts(self, passport: Passport) -> None:
        """Drop all parts, as of a table that is finished."""
        shutil.rmtree(self.parts(passport), ignore_errors=True)

    def write_part(self, passport: Passport, start: int, stop: int, table: pa.Table) -> None:
        """Keep the rows of the frames start:stop of a table that is not finished."""
        folder = self.parts(passport)
        folder.mkdir(parents=True, exist_ok=True)
        with _written(folder / f"{start:09d}-{stop:09d}.parquet", passport, table.schema) as append:
            append(table)

    def join_parts(self, passport: Passport, num_frames: int) -> None:
        """Make the finished table of its parts, which then go; a row group for each.

        Raises StoreError unless they are those of `num_frames` frames: without locks another process may take some.
        """
        found = sorted(_listed(self.parts(passport)))
        edges = [0, *(stop for _, stop, _ in found)]
        if [start for start, _, _ in found] != edges[:-1] or edges[-1] != num_frames:
            raise StoreError(
                f"parts of {passport.kind} in {self.parts(passport)} were changed meanwhile",
                expected=f"frames 0 to {num_frames} without a gap",
                got=f"ends at {edges[1:]}",
                hint="the same command again",
            )
        paths = [path for _, _, path in found]
        with self.writer(passport, pq.read_schema(paths[0]).remove_metadata()) as append:
            for path in paths:
                append(pq.read_table(path))
        self.drop_parts(passport)

    @contextmanager
    def writer(self, passport: Passport, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
        """Yields what appends a table to a file that takes its place when the block ends well, else vanishes."""
        path = self.path(passport)
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        with _written(path, passport, schema) as append:
            yield append


def verified(path: Path, passport: Passport | None = None) -> Iterator[pa.Table]:
    """The table at `path` row group by row group, an empty one first; all is sound when it ends without an error.

    Raises FileNotFoundError, and StoreError for a damaged file or, naming the field, a passport that is not `passport`.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            metadata = file.metadata.metadata
            stored = json.loads(metadata[_PASSPORT_KEY])
            if passport is not None:
                _compare(passport.as_dict(), stored, path)
            digest = _Digest(file.schema_arrow)
            yield file.schema_arrow.empty_table()
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                digest.update(table)
                yield table
            if digest.hexdigest() != metadata[_DIGEST_KEY]:
                raise ValueError("its checksum differs")
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise StoreError(
            f"stored file {path} is damaged ({error})", hint="delete it: the next run makes it again"
        ) from None


@contextmanager
def _written(path: Path, passport: Passport, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    partial = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    digest = _Digest(schema)
    try:
        with pq.ParquetWriter(partial, schema, compression="zstd", write_page_checksum=True) as writer:

            def append(table: pa.Table) -> None:
                digest.update(table)
                writer.write_table(table)

            yield append
            writer.add_key_value_metadata(
                {_PASSPORT_KEY: json.dumps(passport.as_dict(), sort_keys=True), _DIGEST_KEY: digest.hexdigest()}
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _listed(folder: Path) -> list[tuple[int, int, Path]]:
    """First frame, end and path of each part in a folder, which need not be there."""
    names = [(path.stem.partition("-"), path) for path in folder.glob("[0-9]*.parquet")]
    return [(int(start), int(stop), path) for (start, _, stop), path in names]


def _is_whole(path: Path, passport: Passport) -> bool:
    try:
        for _ in verified(path, passport):
            pass
    except (FileNotFoundError, StoreError):
        return False
    return True


class _Digest:
    """Checksum of a table's columns, the same however the rows were cut into pieces."""

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = {f"{field.name}:{_type_name(field.type)}": hashlib.sha256() for field in schema}

    def update(self, table: pa.Table) -> None:
        for column, total in zip(table.columns, self._columns.values(), strict=True):
            for chunk in column.chunks:
                flat = chunk.flatten() if pa.types.is_fixed_size_list(chunk.type) else chunk
                total.update(np.ascontiguousarray(flat.to_numpy()).data)

    def hexdigest(self) -> bytes:
        whole = hashlib.sha256()
        for name, total in self._columns.items():
            whole.update(f"{name}={total.hexdigest()};".encode())
        return whole.hexdigest().encode()


def _type_name(kind: pa.DataType) -> str:
    # Parquet renames the items of a list, so the name of the list type does not survive the way to disk.
    return f"{kind.value_type}[{kind.list_size}]" if pa.types.is_fixed_size_list(kind) else str(kind)


def _compare(expected: Mapping[str, Any], stored: Mapping[str, Any], path: Path, prefix: str = "") -> None:
    for name in sorted(expected.keys() | stored.keys()):
        want, have = expected.get(name), stored.get(name)
        if isinstance(want, dict) and isinstance(have, dict):
            _compare(want, have, path, f"{prefix}{name}.")
        elif want != have:
            raise StoreError(f"stored file {path} was made otherwise: {prefix}{name}", expected=want, got=have)


def _remove_leftovers(path: Path) -> None:
    """Delete partial files of `path` left by processes of this machine that are no longer alive."""
    for leftover in path.parent.glob(f".{path.name}.{socket.gethostname()}.*"):
        pid = leftover.name.rsplit(".", 2)[-2]
        if not (pid.isdigit() and _alive(int(pid))):
            leftover.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


FRAMES_SCHEMA = pa.schema([("frame_index", pa.int64()), ("time_s", pa.float64())])
REGIONS_SCHEMA = pa.schema(
    [("frame_index", pa.int64())]
    + [(name, pa.float32()) for name in BOX_COLUMNS]
    + [("confidence", pa.float32()), ("class_id", pa.int64())]
)


TRACKS_SCHEMA = pa.schema([("frame_index", pa.int64()), ("track_id", pa.int64())])


def features_schema(dim: int, object_centric: bool) -> pa.Schema:
    """Columns of a feature table: frame_index, the box when there is one, values as a list of `dim` float32."""
    boxes = [(name, pa.float32()) for name in BOX_COLUMNS] if object_centric else []
    return pa.schema([("frame_index", pa.int64()), *boxes, ("values", pa.list_(pa.float32(), dim))])


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
    """Whether a lock could not be had because the file system has none."""
    return not isinstance(error, OSError) or error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
