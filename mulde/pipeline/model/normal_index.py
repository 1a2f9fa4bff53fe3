"""The normal index that lies beside a model: rows that events are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mulde.density.standardise import Standardiser
from mulde.density.state import check_version
from mulde.errors import MuldeError, RecordError
from mulde.files import atomic_write
from mulde.parquet import METADATA_KEY, Kind, ParquetTable, finite, read_parquet, reading
from mulde.records import Float32, Float64, Int64
from mulde.store.store import BOX_COLUMNS
from mulde.typed import FileModel, validated

NORMAL_INDEX_FILE = "normal_moments.parquet"
"""The file's name, beside the model."""
SCHEMA_VERSION = 1
VALUES = "values_"
"""Before the name of a stream: the column with its rows."""
_HINT = "copy the file again, or train again"
_MAX_FOR_UNIT = 2000  # samples whose nearest one is looked for to learn the unit of distances


class _IndexFacts(FileModel):
    schema_: Any = Field(alias="schema")
    dims: dict[str, Annotated[int, Field(ge=1, le=2**20)]]


_KINDS: dict[str, Kind] = {
    "video": "text", "frame_index": "whole", "time_s": "number", **dict.fromkeys(BOX_COLUMNS, "number"),
    "track_id": "whole", "height": "whole", "width": "whole", "jpeg": "bytes",
}  # fmt: skip


@dataclass(frozen=True)
class NormalIndex:
    """M samples of the training videos. A sample is a box in a frame or, of frame-centric streams, a whole frame.

    video: M names; frame_index (M,) int64; time_s (M,) float64; box_xyxy (M, 4) float32 in pixels of frames of
    size_hw (M, 2) int64, NaN for whole frames; track_id (M,) int64, -1 for none; rows: by stream, the samples (n,) that
    have a row, rising, and these rows (n, D); jpegs: an Arrow column of encoded pictures, null where there is none.
    """

    video: tuple[str, ...]
    frame_index: Int64
    time_s: Float64
    box_xyxy: Float32
    track_id: Int64
    size_hw: Int64
    rows: Mapping[str, tuple[Int64, Float32]]
    jpegs: Any
    _spaces: dict[str, _Space] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def read(cls, path: Path) -> NormalIndex | None:
        """None where there is no such file. Raises MuldeError for one that is damaged or of a newer version."""
        if not path.is_file():
            return None
        with reading("normal index", path, hint=_HINT):
            table = read_parquet(path, _KINDS, others=lambda name: "lists" if name.startswith(VALUES) else None)
            facts = validated(table.facts, _IndexFacts, "facts")
        check_version(f"normal index {path}, schema version", facts.schema_, SCHEMA_VERSION)
        with reading("normal index", path, hint=_HINT):
            box_xyxy = np.stack([table.number[name] for name in BOX_COLUMNS], axis=1)
            finite("boxes", box_xyxy[~np.isnan(box_xyxy)])
            return cls(
                tuple(table.text["video"]),
                table.whole["frame_index"],
                finite("column time_s", table.number["time_s"]).astype(np.float64),
                box_xyxy.astype(np.float32),
                table.whole["track_id"],
                np.stack([table.whole[name] for name in ("height", "width")], axis=1),
                {name: _arrays(table, VALUES + name, dim) for name, dim in facts.dims.items()},
                table.arrow["jpeg"],
            )

    def write(self, path: Path) -> None:
        """As a Parquet file with the columns moment, video, frame_index, time_s, x0 to y1 (NaN for whole frames),
        track_id, height, width, jpeg, and for each stream a list `values_<stream>`, null where the sample has no row.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {
            "moment": np.arange(len(self)),
            "video": pa.array(self.video, pa.string()),
            "frame_index": self.frame_index,
            "time_s": self.time_s,
            **{name: self.box_xyxy[:, i] for i, name in enumerate(BOX_COLUMNS)},
            "track_id": self.track_id,
            "height": self.size_hw[:, 0],
            "width": self.size_hw[:, 1],
            "jpeg": self.jpegs,
            **{VALUES + name: _lists(len(self), *rows) for name, rows in self.rows.items()},
        }
        facts = {"schema": SCHEMA_VERSION, "dims": {name: values.shape[1] for name, (_, values) in self.rows.items()}}
        table = pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(facts)})
        with atomic_write(path) as partial:
            pq.write_table(table, partial, compression="zstd", write_page_checksum=True)

    def __len__(self) -> int:
        return len(self.video)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of the model, those without rows too."""
        return tuple(self.rows)

    def rows_of(self, stream: str) -> Int64:
        """The samples (n,) that have a row in the stream, rising. Raises MuldeError for a stream that is none."""
        return self._of(stream)[0]

    def values(self, stream: str) -> Float32:
        """The rows (n, D) of the samples `rows_of(stream)`, as the extractor made them."""
        return self._of(stream)[1]

    def nearest(self, stream: str, values: Float32, k: int) -> tuple[Int64, Float64]:
        """The k samples nearest to each row of values (N, D), nearest first: sample (N, k) and distance (N, k).

        Distances are Euclidean, in columns standardised by the samples; 1 is how far a sample usually (in the median)
        lies from the nearest one of another video or, where all are of one video, of another quarter of it. Fewer
        columns than k where fewer samples have a row in the stream, none where none has. Raises RecordError for values
        of another width.
        """
        rows = self.rows_of(stream)
        places, distance = self._space(stream, values).nearest(values, min(k, len(rows)))
        return rows[places], distance

    def distance(self, stream: str, a: Float32, b: Float32) -> Float64:
        """How far the rows of a (N, D) and b (N, D) or (1, D) lie apart, in the units of `nearest`: (N,).

        NaN where the stream has no samples to measure by.
        """
        space = self._space(stream, a, b)
        return space.distance(space.prepared(a), space.prepared(b))

    def jpeg(self, sample: int) -> bytes | None:
        """The picture of a sample: its box with a margin, or the whole frame; None where the video had none to give."""
        picture: bytes | None = self.jpegs[sample].as_py()
        return picture

    def _of(self, stream: str) -> tuple[Int64, Float32]:
        if stream not in self.rows:
            raise MuldeError("normal index", expected=f"a stream among {', '.join(self.rows)}", got=repr(stream))
        return self.rows[stream]

    def _space(self, stream: str, *given: Float32) -> _Space:
        """Where rows of the stream are compared, made when it is first asked for."""
        samples, values = self._of(stream)
        for rows in given:
            if rows.ndim != 2 or rows.shape[1] != values.shape[1]:
                width = f"rows of {values.shape[1]} numbers"
                raise RecordError(f"normal index, {stream}", expected=width, got=f"an array of shape {rows.shape}")
        if stream not in self._spaces:
            videos = np.unique([self.video[i] for i in samples], return_inverse=True)[1]
            self._spaces[stream] = _Space.of(values, _groups(videos, self.frame_index[samples]))
        return self._spaces[stream]


def _arrays(table: ParquetTable, column: str, dim: int) -> tuple[Int64, Float32]:
    """The places (n,) of a column of lists that are not null, and what is there (n, dim)."""
    lists = table.arrow[column]
    rows = np.flatnonzero(lists.is_valid().to_numpy(zero_copy_only=False))
    return rows, finite(column, lists.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), dim))


def _lists(num_samples: int, samples: Int64, values: Float32) -> Any:
    """Rows (n, D) of some samples (n,) as an Arrow column of lists (num_samples,), null where a sample has none."""
    import pyarrow as pa

    there = np.zeros(num_samples, np.bool_)
    there[samples] = True
    ends = np.concatenate([[0], np.cumsum(there)]) * values.shape[1]
    flat = pa.array(values.ravel(), pa.float32())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat, mask=pa.array(~there))


def _groups(videos: Int64, frame_index: Int64) -> Int64:
    """Which samples (M,) are as good as the same: those of one video or, of a single video, of one quarter of it."""
    if len(videos) == 0 or videos.min() != videos.max():
        return videos
    first, last = frame_index.min(), frame_index.max()
    return np.asarray(4 * (frame_index - first) // (last + 1 - first), np.int64)


@dataclass(frozen=True)
class _Space:
    """Standardised rows (M, D) of the samples in one stream, and the unit of their distances."""

    standardiser: Standardiser | None  # None: there are no rows
    rows: Float32
    unit: float
    index: Any = None  # scikit-learn's NearestNeighbors

    @classmethod
    def of(cls, values: Float32, groups: Int64) -> _Space:
        from sklearn.neighbors import NearestNeighbors

        if not len(values):
            return cls(None, values, np.nan)
        standardiser = Standardiser.fit(values)
        rows = standardiser.apply(values, np.float32)
        return cls(standardiser, rows, _unit(rows, groups), NearestNeighbors().fit(rows))

    def prepared(self, values: Float32) -> Float32:
        return values if self.standardiser is None else self.standardiser.apply(values, np.float32)

    def distance(self, a: Float32, b: Float32) -> Float64:
        """Of prepared rows."""
        return np.asarray(np.linalg.norm(a.astype(np.float64) - b, axis=1) / self.unit)

    def nearest(self, values: Float32, k: int) -> tuple[Int64, Float64]:
        """Places (N, k) in `rows` and distances (N, k)."""
        if not len(values) or k == 0:
            return np.zeros((len(values), k), np.int64), np.zeros((len(values), k))
        x = self.prepared(values)
        places = self.index.kneighbors(x, k, return_distance=False)
        # Distances by |x|^2 - 2xy + |y|^2, as scikit-learn has them, are not 0 for equal rows; these are.
        distance = np.stack([self.distance(x, self.rows[column]) for column in places.T], axis=1)
        order = np.argsort(distance, axis=1, kind="stable")
        return np.take_along_axis(places, order, axis=1), np.take_along_axis(distance, order, axis=1)


def _unit(rows: Float32, groups: Int64) -> float:
    """The median distance of a row (M, D) to the nearest one of another group (M,); 1 where there is no such thing."""
    from sklearn.metrics import pairwise_distances_chunked

    picked = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MAX_FOR_UNIT)).round().astype(np.int64))

    def nearest(distances: NDArray[Any], start: int) -> NDArray[Any]:
        group = groups[picked[start : start + len(distances)]]
        return np.asarray(np.where(group[:, None] == groups, np.inf, distances).min(axis=1))

    nearest_distances = np.concatenate(list(pairwise_distances_chunked(rows[picked], rows, reduce_func=nearest)))
    unit = float(np.median(nearest_distances))
    return unit if 0 < unit < np.inf else 1.0
