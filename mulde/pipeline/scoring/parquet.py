"""Scores of rows that lie in a Parquet file, however many: read piece by piece, never held whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mulde.density.base import Density
from mulde.errors import StoreError
from mulde.files import atomic_write
from mulde.progress import Advance
from mulde.records import Float32

SCORE_COLUMN = "anomaly_score"
_BYTES_AT_A_TIME = 2**26


def score_parquet(
    density: Density, source: Path, target: Path, column: str = "values", advance: Advance | None = None
) -> int:
    """Score every row of a Parquet file; write `target`, a Parquet file with one column, `anomaly_score`.

    column: lists of D float32, as the feature store keeps them. Memory holds one piece of 64 MB, and of the file, which
    is mapped, one row group. Returns the number of rows. Raises StoreError for a file that cannot be read so,
    RecordError for rows that do not fit the density.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 0
    schema = pa.schema([(SCORE_COLUMN, pa.float64())])
    with atomic_write(target) as partial, pq.ParquetWriter(partial, schema) as writer:
        for rows in _pieces(source, column):
            writer.write_table(pa.table({SCORE_COLUMN: density.anomaly_score(rows)}, schema=schema))
            count += len(rows)
            if advance is not None:
                advance(len(rows))
    return count


def _pieces(source: Path, column: str) -> Iterator[Float32]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source, memory_map=True) as file:
            num_groups, kind = file.num_row_groups, file.schema_arrow.field(column).type
        if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
            raise StoreError(f"{source}, column {column}", expected="lists of float32, all as long", got=str(kind))
        size = max(_BYTES_AT_A_TIME // (4 * kind.list_size), 1)
        for group in range(num_groups):
            # Reopened for each group, which releases what was mapped of the last one.
            with pq.ParquetFile(source, memory_map=True) as file:
                for batch in file.iter_batches(size, row_groups=[group], columns=[column]):
                    yield np.asarray(batch.column(0).flatten()).reshape(-1, kind.list_size)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise StoreError(
            f"{source} cannot be read ({error})", expected=f"a Parquet file with a column {column}"
        ) from None
