"""The feature store: one Parquet file per (video, kind), with a passport, written atomically.

A file's place is `<store>/<video content>/<kind>-<key>.parquet`. `kind` is `frames` (the decoded frames and their
times), `regions` (boxes) or the name of an extractor. The passport says everything that made the content; its hash
is the key, so a changed setting looks for another file and can never be served an old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
_PASSPORT_KEY, _DIGEST_KEY = b"mulde", b"mulde.sha256"
_BOX_COLUMNS = ("x0", "y0", "x1", "y1")


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
        """The stored table, its checksums verified.

        Raises StoreError for a file that is missing or damaged or whose passport differs, naming the field.
        """
        path = self.path(passport)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table, metadata = file.read(), file.metadata.metadata
            stored = json.loads(metadata[_PASSPORT_KEY])
            digest = _Digest(table.schema)
            digest.update(table)
            if digest.hexdigest() != metadata[_DIGEST_KEY]:
                raise ValueError("its checksum differs")
        except FileNotFoundError:
            raise StoreError(f"no stored {passport.kind} at {path}", hint="mulde extract") from None
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"stored file {path} is damaged ({error})", hint="delete it: the next run makes it again"
            ) from None
        _compare(passport.as_dict(), stored, path)
        return table

    @contextmanager
    def writer(self, passport: Passport, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
        """Yields what appends a table to a file that takes its place when the block ends well, else vanishes."""
        path = self.path(passport)
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
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
    + [(name, pa.float32()) for name in _BOX_COLUMNS]
    + [("confidence", pa.float32()), ("class_id", pa.int64())]
)


def features_schema(dim: int, object_centric: bool) -> pa.Schema:
    """Columns of a feature table: frame_index, the box when there is one, values as a list of `dim` float32."""
    boxes = [(name, pa.float32()) for name in _BOX_COLUMNS] if object_centric else []
    return pa.schema([("frame_index", pa.int64()), *boxes, ("values", pa.list_(pa.float32(), dim))])


def frames_to_arrow(frame_index: Int64, time_s: Float64) -> pa.Table:
    return pa.table({"frame_index": frame_index, "time_s": time_s}, schema=FRAMES_SCHEMA)


def frames_from_arrow(table: pa.Table) -> tuple[Int64, Float64]:
    """Frame indices (T,) int64 and their times (T,) float64 in seconds."""
    return table["frame_index"].to_numpy(), table["time_s"].to_numpy()


def regions_to_arrow(regions: Regions) -> pa.Table:
    boxes = dict(zip(_BOX_COLUMNS, regions.box_xyxy.T, strict=True))
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
    boxes = dict(zip(_BOX_COLUMNS, features.box_xyxy.T, strict=True)) if features.box_xyxy is not None else {}
    flat = pa.array(features.values.ravel(), pa.float32())
    values = pa.FixedSizeListArray.from_arrays(flat, features.dim)
    return pa.table(
        {"frame_index": features.frame_index, **boxes, "values": values},
        schema=features_schema(features.dim, object_centric),
    )


def features_from_arrow(table: pa.Table) -> FeatureTable:
    dim = table.schema.field("values").type.list_size
    flat = table["values"].combine_chunks().flatten().to_numpy()
    boxes = _boxes(table) if _BOX_COLUMNS[0] in table.column_names else None
    return FeatureTable(flat.reshape(-1, dim), table["frame_index"].to_numpy(), boxes)


def _boxes(table: pa.Table) -> Any:
    return np.stack([table[name].to_numpy() for name in _BOX_COLUMNS], axis=1)
