"""One stored table: written with a footer that describes it, and read only within bounds that can be true.

Reading a path yields a sound table or raises StoreError, for any content.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mulde.digests import fingerprint
from mulde.errors import StoreError, cannot, first_line
from mulde.files import atomic_write, file_kind, parse_json
from mulde.nested import differences

SCHEMA_VERSION = 1
BOX_COLUMNS = ("x0", "y0", "x1", "y1")
_PASSPORT_KEY, _DIGEST_KEY, _NOTES_KEY = b"mulde", b"mulde.sha256", b"mulde.notes"
_MAX_JSON_BYTES = 2**20
MAX_DIM = 2**20
_ROW_GROUP_BYTES, _MAX_ROW_GROUP_BYTES = 2**28, 2**29
_MAX_EXPANSION = 1000
"""Bytes of rows to bytes on disk, of whole files: features compress to a tenth at most."""
_ERRORS_OF_DAMAGE = (errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EOVERFLOW, errno.ESPIPE)
"""That a damaged footer, or a link, leads to; others are of the disk."""
_SHA256 = re.compile(r"[0-9a-f]{64}")

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


class UnreadableError(StoreError):
    """A stored file that the disk failed to read, or of a newer version: the file itself may be sound."""


@dataclass(frozen=True)
class Passport:
    """Everything that made a stored file, as JSON data: equal passports mean equal content."""

    kind: str
    video_sha256: str
    made_by: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA_VERSION, "kind": self.kind, "video_sha256": self.video_sha256, **self.made_by}

    @property
    def key(self) -> str:
        return fingerprint(self.as_dict())[:16]


@dataclass(frozen=True)
class Footer:
    """The footer of a stored table. `passport` is that of `Passport.as_dict`; `notes` are JSON data that do not
    identify it; `digest` is the checksum of the rows."""

    passport: dict[str, Any]
    notes: dict[str, Any] = field(compare=False)
    digest: bytes
    num_rows: int

    @property
    def kind(self) -> str:
        return str(self.passport["kind"])

    @property
    def video_sha256(self) -> str:
        return str(self.passport["video_sha256"])

    @property
    def made_by(self) -> dict[str, Any]:
        return {k: v for k, v in self.passport.items() if k not in ("schema", "kind", "video_sha256")}

    @property
    def key(self) -> str:
        return fingerprint(self.passport)[:16]


def read_footer(path: Path) -> Footer:
    """Raises FileNotFoundError, UnreadableError where the disk is at fault, and StoreError for all other errors."""
    with _opened(path) as (_, footer):
        return footer


def verified(path: Path, passport: Passport | None = None) -> Iterator[pa.Table]:
    """Yield the table at `path` row group by row group, an empty one first; it is sound if no error is raised.

    Raises what `read_footer` raises, and StoreError for a wrong checksum (at the end) and for a passport that differs
    from `passport`, naming the field.
    """
    with _opened(path) as (file, footer):
        if passport is not None:
            _compare(passport.as_dict(), footer.passport, path)
        digest = _Digest(file.schema_arrow)
        yield file.schema_arrow.empty_table()
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            digest.update(table)
            yield table
        if digest.hexdigest() != footer.digest:
            raise ValueError("its checksum differs")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[pq.ParquetFile, Footer]]:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"expected a file, got {file_kind(status.st_mode)}")
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file, _footer(path, file, status.st_size)
    except (FileNotFoundError, StoreError):
        raise
    except NotADirectoryError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
    except Exception as error:  # pyarrow raises whatever a damaged file leads to
        number = getattr(error, "errno", None)
        if isinstance(error, MemoryError) or (number and number not in _ERRORS_OF_DAMAGE):
            raise UnreadableError(f"stored file {path} cannot be read ({first_line(error)})") from None
        raise StoreError(
            f"stored file {path} is damaged ({first_line(error)})", hint="delete it; the next run makes it again"
        ) from None


def _footer(path: Path, file: pq.ParquetFile, num_bytes: int) -> Footer:
    """The footer of a file whose claimed rows fit its size. Raises ValueError and others."""
    metadata: Mapping[bytes, bytes] = file.metadata.metadata or {}
    passport = _json(metadata, _PASSPORT_KEY, "its passport")
    if not (isinstance(passport.get("kind"), str) and _SHA256.fullmatch(str(passport.get("video_sha256")))):
        raise ValueError("its passport names no kind or video")
    version = passport.get("schema")
    if isinstance(version, int) and version > SCHEMA_VERSION and fingerprint(passport)[:16] in path.name:
        raise UnreadableError(f"stored file {path} was made by a newer version of mulde")
    if version != SCHEMA_VERSION:
        raise ValueError(f"expected version {SCHEMA_VERSION} of its form, got {version!r:.20}")
    row_bytes = _row_bytes(passport["kind"], file.schema_arrow)
    total = 0
    for i in range(file.num_row_groups):
        group = file.metadata.row_group(i)
        claimed = max(group.num_rows * row_bytes, group.total_byte_size)
        total += claimed
        if group.num_rows < 0 or claimed > _MAX_ROW_GROUP_BYTES:
            raise ValueError(f"expected at most {_MAX_ROW_GROUP_BYTES:,} bytes in a row group, got {claimed:,}")
    if total > _MAX_ROW_GROUP_BYTES + _MAX_EXPANSION * num_bytes:
        raise ValueError(f"its {num_bytes:,} bytes claim {total:,} bytes of rows")
    return Footer(passport, _notes(metadata), metadata[_DIGEST_KEY], file.metadata.num_rows)


def _json(metadata: Mapping[bytes, bytes], key: bytes, about: str) -> dict[str, Any]:
    if key not in metadata:
        raise ValueError(f"{about} is missing")
    if len(metadata[key]) > _MAX_JSON_BYTES:
        raise ValueError(f"{about} is too long")
    data = parse_json(metadata[key].decode(), about)
    if not isinstance(data, dict):
        raise TypeError(f"{about} is no mapping")
    return data


def _notes(metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Notes carry a checksum of their own, because that of the rows does not cover them. Older versions wrote none."""
    if _NOTES_KEY not in metadata:
        return {}
    digest, _, text = metadata[_NOTES_KEY].partition(b" ")
    if hashlib.sha256(text).hexdigest().encode() != digest:
        raise ValueError("the checksum of its notes differs")
    return _json({_NOTES_KEY: text}, _NOTES_KEY, "its notes")


def _row_bytes(kind: str, schema: pa.Schema) -> int:
    """Bytes of a row in memory. Raises ValueError where the columns are not those of this kind of table."""
    expected = {"frames": FRAMES_SCHEMA, "regions": REGIONS_SCHEMA, "tracks": TRACKS_SCHEMA}.get(kind)
    dim = 1
    if expected is None:
        values = schema.field("values").type
        dim = values.list_size if pa.types.is_fixed_size_list(values) else 0
        if not 0 < dim <= MAX_DIM:
            raise ValueError(f"expected lists of 1 to {MAX_DIM:,} values, got {values}")
        expected = features_schema(dim, BOX_COLUMNS[0] in schema.names)
    if _columns(schema) != _columns(expected):
        raise ValueError(f"expected the columns {', '.join(expected.names)}, got {', '.join(schema.names):.100}")
    return 8 * len(expected) + 4 * dim


@contextmanager
def written(
    path: Path, passport: Passport, schema: pa.Schema, notes: Mapping[str, Any] | None = None
) -> Iterator[Callable[[pa.Table], None]]:
    """Yields a function that appends a table to a file, which replaces anything at `path` when the block succeeds.

    `notes` may be filled until the block ends. Raises FileError, which names `path`, where it cannot be written.
    """
    digest = _Digest(schema)
    rows = max(_ROW_GROUP_BYTES // _row_bytes(passport.kind, schema), 1)
    if path.is_dir():
        with _writing(path):
            remove(path)
    with atomic_write(path) as partial:
        with _writing(path):
            writer = pq.ParquetWriter(partial, schema, compression="zstd", write_page_checksum=True)

        def append(table: pa.Table) -> None:
            digest.update(table)
            with _writing(path):
                writer.write_table(table, row_group_size=rows)

        try:
            yield append
            writer.add_key_value_metadata(_key_values(passport, digest, notes or {}))
        finally:
            with _writing(path):
                writer.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot("written", path, error) from error


def _key_values(passport: Passport, digest: _Digest, notes: Mapping[str, Any]) -> dict[bytes, bytes]:
    made = {_PASSPORT_KEY: json.dumps(passport.as_dict(), sort_keys=True).encode(), _DIGEST_KEY: digest.hexdigest()}
    if notes:
        text = json.dumps(notes, sort_keys=True).encode()
        made[_NOTES_KEY] = hashlib.sha256(text).hexdigest().encode() + b" " + text
    return made


def remove(path: Path) -> None:
    """Remove anything at a path: a file, a link, a pipe, or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class _Digest:
    """Checksum of a table's columns, the same however the rows were cut into pieces."""

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = {column: hashlib.sha256() for column in _columns(schema)}

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


def _columns(schema: pa.Schema) -> list[str]:
    return [f"{field.name}:{_type_name(field.type)}" for field in schema]


def _type_name(kind: pa.DataType) -> str:
    # Parquet renames the items of a list, so the name of the list type does not survive the way to disk.
    return f"{kind.value_type}[{kind.list_size}]" if pa.types.is_fixed_size_list(kind) else str(kind)


def _compare(expected: Mapping[str, Any], stored: Mapping[str, Any], path: Path) -> None:
    for name, wanted, stored_value in differences(expected, stored):
        raise StoreError(f"stored file {path} was made with other settings: {name}", expected=wanted, got=stored_value)
