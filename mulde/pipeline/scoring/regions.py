"""Scores of single boxes: one table per video, beside the scores of its frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mulde.errors import MuldeError
from mulde.files import atomic_write
from mulde.filetypes import is_hidden
from mulde.images import MAX_PIXELS
from mulde.names import output_path
from mulde.parquet import METADATA_KEY, Kind, finite, read_parquet, reading
from mulde.pipeline.extraction.tracking import row_keys
from mulde.pipeline.model.calibration import combine
from mulde.records import FeatureTable, Float64, Int64, RegionScores
from mulde.store.store import BOX_COLUMNS
from mulde.typed import FileModel, VideoName, distinct, validated

STREAM_PREFIX = "score_"


@dataclass(frozen=True)
class ScoredRows:
    """The rows of one object-centric stream with their calibrated scores (N,); `floor` is for boxes without a row."""

    table: FeatureTable
    scores: Float64
    floor: float


def region_scores(video: str, size_hw: tuple[int, int], streams: Mapping[str, ScoredRows], how: str) -> RegionScores:
    """The boxes that any stream has a row for, each with its score in every stream and their combination.

    Rows belong to the same box when frame and corners are equal to the last bit. Needs at least one stream.
    """
    tables = [rows.table for rows in streams.values()]
    box_xyxy = np.concatenate([_boxes(table) for table in tables])
    frame_index = np.concatenate([table.frame_index for table in tables])
    track_id = np.concatenate([_tracks(table) for table in tables])
    _, first, box_of_row = np.unique(row_keys(frame_index, box_xyxy), return_index=True, return_inverse=True)
    order = np.argsort(frame_index[first], kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    box_of_row, first = place[box_of_row], first[order]
    scores: dict[str, Float64] = {}
    start = 0
    for name, rows in streams.items():
        scores[name] = np.full(len(first), np.nan)
        scores[name][box_of_row[start : start + len(rows.table)]] = rows.scores
        start += len(rows.table)
    # A box without a row in a stream has nothing unusual there: it gets the lowest score of a normal frame.
    filled = {name: np.where(np.isnan(values), streams[name].floor, values) for name, values in scores.items()}
    return RegionScores(
        video, size_hw, box_xyxy[first], frame_index[first], combine(filled, how), track_id[first], scores
    )


def repeated_regions(regions: RegionScores, frame_index: Int64, source_frame: Int64) -> RegionScores:
    """The boxes of every frame of frame_index (T,): each frame takes those of source_frame (T,), an earlier frame or
    itself."""
    first, last = (np.searchsorted(regions.frame_index, source_frame, side=side) for side in ("left", "right"))
    num_rows = last - first
    rows = np.arange(num_rows.sum()) - np.repeat(np.cumsum(num_rows) - num_rows - first, num_rows)
    return replace(
        regions,
        box_xyxy=regions.box_xyxy[rows],
        frame_index=np.repeat(frame_index, num_rows),
        anomaly_score=regions.anomaly_score[rows],
        track_id=regions.track_id[rows],
        streams={name: values[rows] for name, values in regions.streams.items()},
    )


def _boxes(table: FeatureTable) -> np.ndarray:
    if table.box_xyxy is None:
        raise MuldeError("scores of boxes", expected="rows with boxes", got="a frame-centric table")
    return table.box_xyxy


def _tracks(table: FeatureTable) -> np.ndarray:
    return np.full(len(table), -1, np.int64) if table.track_id is None else table.track_id


def region_columns(regions: RegionScores) -> dict[str, NDArray[Any]]:
    """The columns of a table of boxes: frame_index, x0, y0, x1, y1, track_id, anomaly_score, score_<stream>..."""
    return {
        "frame_index": regions.frame_index,
        **{name: regions.box_xyxy[:, i] for i, name in enumerate(BOX_COLUMNS)},
        "track_id": regions.track_id,
        "anomaly_score": regions.anomaly_score,
        **{f"{STREAM_PREFIX}{name}": values for name, values in regions.streams.items()},
    }


def write_regions(regions: RegionScores, folder: Path) -> Path:
    """Write `<folder>/<video>.parquet` with the columns of `region_columns`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = region_columns(regions)
    facts = {"video": regions.video, "size_hw": regions.size_hw}
    path = _path(folder, regions.video)
    with atomic_write(path) as partial:
        pq.write_table(pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(facts)}), partial)
    return path


def read_regions(folder: Path) -> dict[str, RegionScores]:
    """All tables below a folder, by video; none is an ordinary value. Raises MuldeError for one that is damaged."""
    tables = [_read_one(path) for path in tables_below(folder)]
    distinct((regions.video for regions in tables), f"videos of the tables in {folder}")
    return {regions.video: regions for regions in tables}


def tables_below(folder: Path) -> list[Path]:
    """The finished Parquet files below a folder, in order of their paths."""
    return sorted(path for path in folder.rglob("*.parquet") if not is_hidden(path.name))


def stream_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of single streams among the columns of a table, by stream."""
    return {k.removeprefix(STREAM_PREFIX): v for k, v in columns.items() if k.startswith(STREAM_PREFIX)}


def read_regions_of(folder: Path, video: str) -> RegionScores | None:
    """The table of one video; None where it has none. Raises MuldeError for one that is damaged."""
    path = _path(folder, video)
    return _read_one(path) if path.is_file() else None


def _path(folder: Path, video: str) -> Path:
    return output_path(folder, video, ".parquet")


class _RegionFacts(FileModel):
    video: VideoName
    size_hw: Annotated[list[Annotated[int, Field(ge=1, le=2**17)]], Field(min_length=2, max_length=2)]


_COLUMNS: dict[str, Kind] = {
    "frame_index": "whole", **dict.fromkeys(BOX_COLUMNS, "number"), "track_id": "whole", "anomaly_score": "number",
}  # fmt: skip


def _read_one(path: Path) -> RegionScores:
    with reading("table of boxes", path, hint="mulde score"):
        table = read_parquet(path, _COLUMNS, others=lambda name: "number" if name.startswith(STREAM_PREFIX) else None)
        facts = validated(table.facts, _RegionFacts, "facts")
        height, width = facts.size_hw
        if height * width > MAX_PIXELS:
            raise MuldeError("facts: size_hw", expected=f"at most {MAX_PIXELS:,} pixels", got=f"{height} x {width}")
        corners = np.stack([finite(f"column {name}", table.number[name]) for name in BOX_COLUMNS], axis=1)
        streams = {name: values.astype(np.float64) for name, values in stream_columns(table.number).items()}
        for name, values in streams.items():
            finite(f"column {STREAM_PREFIX}{name}", values[~np.isnan(values)])  # NaN: the stream has no row for the box
        return RegionScores(
            facts.video,
            (height, width),
            corners.astype(np.float32),
            table.whole["frame_index"],
            finite("column anomaly_score", table.number["anomaly_score"]).astype(np.float64),
            table.whole["track_id"],
            streams,
        )
