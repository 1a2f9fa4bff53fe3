"""Reads Parquet files that other people or damaged disks may have changed: within bounds, and checked for types."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mulde.errors import MuldeError, first_line
from mulde.files import parse_json
from mulde.records import Float32, Int64

Kind = Literal["whole", "number", "text", "lists", "bytes"]
METADATA_KEY = b"mulde"
MAX_BYTES = 2**32
"""Of what a table takes when it is unpacked, by its own account."""


@dataclass(frozen=True)
class ParquetTable:
    """The columns of a file by kind, without nulls except in `lists` and `bytes`, and its facts."""

    path: Path
    whole: dict[str, Int64]
    number: dict[str, NDArray[Any]]
    text: dict[str, list[str]]
    arrow: dict[str, Any]
    facts: Any
    num_rows: int

    def lists(self, name: str) -> list[Float32]:
        """The lists of a column, one array per row. Raises MuldeError for a null."""
        column = self.arrow[name]
        if column.null_count:
            raise MuldeError(f"column {name}", expected=_WORDS["lists"], got=f"{column.null_count} empty cells")
        flat = np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32)
        ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))
        return np.split(flat, ends[:-1]) if len(ends) else []


@contextmanager
def reading(what: str, path: Path, *, hint: str | None = None) -> Iterator[None]:
    """Any error inside the block becomes a MuldeError: `what` and the path cannot be read, and why."""
    import pyarrow as pa

    try:
        yield
    except (MuldeError, OSError, pa.ArrowException, KeyError, TypeError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise MuldeError(f"{what} {path} cannot be read ({reason})", hint=hint) from None


def read_parquet(
    path: Path,
    kinds: Mapping[str, Kind],
    *,
    others: Callable[[str], Kind | None] = lambda name: None,
    facts: bool = True,
    max_bytes: int = MAX_BYTES,
) -> ParquetTable:
    """Read the columns `kinds`, and others to which `others` gives a kind; float32 numbers stay float32.

    Call it in a block of `reading`: it raises MuldeError, or what the file system and Arrow raise, for a file that is
    no table, lacks a column, has other types or nulls, or claims to be larger than max_bytes; in these cases nothing is
    unpacked.
    """
    import pyarrow.parquet as pq

    if not stat.S_ISREG(path.stat().st_mode):
        raise MuldeError("no table", expected="a file", got="something else")
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        chosen = {name: kind for name in dict.fromkeys(schema.names) if (kind := kinds.get(name) or others(name))}
        if lacking := [name for name in kinds if name not in chosen]:
            raise MuldeError("columns", expected=f"a column {lacking[0]}", got=", ".join(schema.names))
        for name, kind in chosen.items():
            if schema.names.count(name) != 1 or not _is(kind, schema.field(name).type):
                raise MuldeError(f"column {name}", expected=_WORDS[kind], got=str(schema.field(name).type))
        _check_size(file.metadata, max_bytes)
        known = (schema.metadata or {}).get(METADATA_KEY)
    if facts and known is None:
        raise MuldeError("facts", expected="a file that mulde wrote", got="one without facts of mulde")
    words = [name for name, kind in chosen.items() if kind == "text"]
    table = pq.read_table(path, columns=list(chosen), read_dictionary=words, page_checksum_verification=True)
    arrays = {name: table[name].combine_chunks() for name in chosen}
    for name, kind in chosen.items():
        if kind in ("whole", "number", "text") and arrays[name].null_count:
            raise MuldeError(f"column {name}", expected=_WORDS[kind], got=f"{arrays[name].null_count} empty cells")
    return ParquetTable(
        path,
        {name: _whole(arrays[name]) for name, kind in chosen.items() if kind == "whole"},
        {name: _number(arrays[name]) for name, kind in chosen.items() if kind == "number"},
        {name: _text(arrays[name]) for name in words},
        {name: arrays[name] for name, kind in chosen.items() if kind in ("lists", "bytes")},
        parse_json(known.decode("utf-8"), "its facts") if known is not None and facts else None,
        table.num_rows,
    )


def column_kinds(path: Path) -> dict[str, Kind]:
    """The columns of whole numbers, numbers and text that a file of any program holds, in order; other columns are left
    out. Call it in a block of `reading`."""
    import pyarrow.parquet as pq

    if not stat.S_ISREG(path.stat().st_mode):
        raise MuldeError("no table", expected="a file", got="something else")
    kinds: tuple[Kind, ...] = ("whole", "number", "text")
    schema = pq.read_schema(path)
    return {field.name: kind for field in schema for kind in kinds if _is(kind, field.type)}


_WORDS = {
    "whole": "whole numbers", "number": "numbers", "text": "text", "lists": "lists of float32", "bytes": "bytes",
}  # fmt: skip


def _is(kind: Kind, arrow_type: Any) -> bool:
    import pyarrow as pa

    kinds = pa.types
    match kind:
        case "whole":
            return bool(kinds.is_integer(arrow_type))
        case "number":
            return bool(kinds.is_float32(arrow_type) or kinds.is_float64(arrow_type))
        case "text":
            return bool(kinds.is_string(arrow_type) or kinds.is_large_string(arrow_type))
        case "lists":
            return bool(kinds.is_list(arrow_type) and arrow_type.value_type == pa.float32())
        case "bytes":
            return bool(kinds.is_binary(arrow_type))


def _check_size(metadata: Any, max_bytes: int) -> None:
    """Refuse a table that is too large by its own metadata. Rows count too, as run lengths pack many values in few
    bytes."""
    total = 0
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        if row_group.num_rows < 0:
            raise MuldeError("rows", expected="their number", got=row_group.num_rows)
        for column in range(row_group.num_columns):
            chunk = row_group.column(column)
            if chunk.total_uncompressed_size < 0 or chunk.num_values < 0:
                raise MuldeError("sizes of columns", expected="sizes from 0 up", got="negative ones")
            total += max(chunk.total_uncompressed_size, 8 * chunk.num_values, 8 * row_group.num_rows)
    if total > max_bytes:
        raise MuldeError("its size", expected=f"at most {max_bytes:,} bytes unpacked", got=f"{total:,}")


def _whole(array: Any) -> Int64:
    import pyarrow as pa

    return np.asarray(array.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)


def _number(array: Any) -> NDArray[Any]:
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _text(array: Any) -> list[str]:
    """The cells; equal cells are one object."""
    words = array.dictionary.to_pylist()
    return [words[place] for place in array.indices.to_numpy(zero_copy_only=False).tolist()]


def finite(name: str, values: NDArray[Any], low: float = -1e30, high: float = 1e30) -> NDArray[Any]:
    """Return the values (N,) or (N, D). Raises MuldeError where one is outside `low` to `high`, or NaN."""
    with np.errstate(invalid="ignore"):
        bad = np.argwhere(~((values >= low) & (values <= high)))
    if bad.size:
        at = tuple(int(i) for i in bad[0])
        raise MuldeError(f"{name} at row {at[0]}", expected=f"a number from {low:g} to {high:g}", got=values[at])
    return values
