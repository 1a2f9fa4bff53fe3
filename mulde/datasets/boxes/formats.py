"""Boxes and tracks from files of other programs: MOTChallenge text, COCO JSON, Parquet (docs/data.md).

Nothing is guessed: what a row says that cannot be true is refused with the row, what lies outside of the picture is cut
or left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.datasets.boxes.coco import read_coco
from mulde.datasets.boxes.rows import MAX_BOXES, BoxRows, too_many
from mulde.errors import MuldeError, VideoError
from mulde.files import read_text
from mulde.filetypes import suffix_of
from mulde.parquet import Kind, read_parquet, reading
from mulde.records import BoxesAlone, Float32, Float64, Int64, Regions

SUFFIXES = (".txt", ".json", ".parquet")
_MAX_TEXT_BYTES, _MAX_TABLE_BYTES = 2**28, 2**30
_MOT = "frame,id,left,top,width,height[,conf,...] in numbers"
_MOT_COLUMNS_WITH_CLASS = 9
_CORNERS = ("x0", "y0", "x1", "y1")
_OPTIONAL: Mapping[str, Kind] = {"confidence": "number", "class_id": "whole", "track_id": "whole"}
_CHANGES = {
    "cut": "cut at the edge of the frame",
    "outside": "outside of the frame, left out",
    "flat": "without area, left out",
    "not_finite": "not finite, left out",
    "undecoded": "in frames that cannot be decoded, left out",
    "twice": "of a track that has a surer box in the same frame, left out",
    "confidence": "with a confidence outside of 0 to 1, which is brought to its end",
}


@dataclass(frozen=True)
class GivenBoxes:
    """The boxes of one video. track_id (N,) int64: -1 on no track; `changes`: how many rows the file had (`rows`), and
    how many of them were cut or left out, by the keys that `changes_text` knows."""

    regions: Regions
    track_id: Int64
    changes: Mapping[str, int] = field(default_factory=dict)


def read_boxes(path: Path, video: BoxesAlone) -> GivenBoxes:
    """The boxes of a file, sorted by frame, cut to the frame. `video`: what they belong to, with or without pixels.

    Raises VideoError for a file that cannot be understood, and for frames that the video does not have.
    """
    suffix = suffix_of(path.name)
    try:
        if suffix == ".txt":
            rows = _read_mot(path)
        elif suffix == ".json":
            rows = read_coco(path, video.size_hw)
        elif suffix == ".parquet":
            rows = _read_parquet(path)
        else:
            raise VideoError(f"{path}", expected=f"a file of boxes, {' or '.join(SUFFIXES)}", got=suffix or "no suffix")
    except VideoError:
        raise
    except MuldeError as error:
        raise VideoError(error.problem, expected=error.expected, got=error.got, hint=error.hint) from None
    return _checked(path, rows, video)


def changes_text(changes: Iterable[Mapping[str, int]]) -> str:
    """What was changed of the boxes of several videos, in one line; empty where nothing was."""
    several = list(changes)
    total = {key: sum(int(one.get(key, 0)) for one in several) for key in ("rows", *_CHANGES)}
    parts = [f"{total[key]:,} {words}" for key, words in _CHANGES.items() if total[key]]
    return f"of {total['rows']:,} boxes {'; '.join(parts)}" if parts else ""


def _read_mot(path: Path) -> BoxRows:
    """MOTChallenge text. Of lines with 9 columns the eighth is the class, counted from 1 (pedestrian), as in MOT16."""
    text = read_text(path, max_bytes=_MAX_TEXT_BYTES, error=VideoError)
    if text.count("\n") > MAX_BOXES:
        raise too_many(path)
    numbered = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not numbered:
        return BoxRows.empty()
    number, first = numbered[0]
    num_columns = first.count(",") + 1
    if num_columns < 6:
        raise VideoError(f"{path} line {number}", expected=_MOT, got=repr(first[:60]))
    used = (*range(min(num_columns, 7)), *((7,) if num_columns == _MOT_COLUMNS_WITH_CLASS else ()))
    try:
        table = np.loadtxt([line for _, line in numbered], delimiter=",", usecols=used, ndmin=2, comments=None)
    except (ValueError, IndexError):
        raise _bad_line(path, numbered, used) from None
    frame, track, left, top, width, height = table.T[:6]
    confidence = table[:, 6] if num_columns >= 7 else np.ones(len(table))
    class_id = table[:, 7] - 1 if num_columns == _MOT_COLUMNS_WITH_CLASS else np.zeros(len(table))
    corners = np.stack([left, top, left + width, top + height], axis=1)
    return BoxRows(frame, track, corners, np.where(confidence == -1, 1.0, confidence), class_id)


def _bad_line(path: Path, numbered: Iterable[tuple[int, str]], used: tuple[int, ...]) -> VideoError:
    for number, line in numbered:
        cells = line.split(",")
        try:
            for column in used:
                float(cells[column])
        except (ValueError, IndexError):
            return VideoError(f"{path} line {number}", expected=_MOT, got=repr(line[:60]))
    return VideoError(f"{path}", expected=f"lines {_MOT}", got="something else")


def _read_parquet(path: Path) -> BoxRows:
    """A table with the columns of boxes that mulde writes: frame_index, x0, y0, x1, y1, and where there are any
    confidence, class_id, track_id."""
    kinds: dict[str, Kind] = {"frame_index": "whole", **dict.fromkeys(_CORNERS, "number")}
    with reading("boxes", path):
        table = read_parquet(path, kinds, others=_OPTIONAL.get, facts=False, max_bytes=_MAX_TABLE_BYTES)
    if table.num_rows > MAX_BOXES:
        raise too_many(path)

    def column(name: str, default: float) -> Float64:
        known: NDArray[Any] | None = table.whole.get(name, table.number.get(name))
        return np.full(table.num_rows, default) if known is None else known.astype(np.float64)

    corners = np.stack([column(name, 0) for name in _CORNERS], axis=1)
    return BoxRows(
        column("frame_index", 0), column("track_id", -1), corners, column("confidence", 1), column("class_id", 0)
    )


def _checked(path: Path, rows: BoxRows, video: BoxesAlone) -> GivenBoxes:
    """The rows as records. Raises VideoError for numbers that cannot be true."""
    if len(rows) > MAX_BOXES:
        raise too_many(path)
    frame_index = _frames(path, rows.frame, video)
    track_id = np.maximum(_whole(path, "track id", rows.track_id), -1)
    class_id = _whole(path, "class", rows.class_id)
    keep = np.isfinite(rows.corners).all(axis=1) & np.isfinite(rows.confidence)
    changes = {"rows": len(rows), "not_finite": int((~keep).sum())}
    with np.errstate(invalid="ignore", over="ignore"):
        is_flat = keep & ((rows.corners[:, 2:] <= rows.corners[:, :2]).any(axis=1))
        keep &= ~is_flat
        inside, was_cut = _cut(rows.corners, video.size_hw)
    is_outside = keep & (inside[:, 2:] <= inside[:, :2]).any(axis=1)
    keep &= ~is_outside
    confidence = np.clip(np.nan_to_num(rows.confidence), 0, 1)
    is_doubled = _doubled(frame_index, track_id, confidence, keep)
    keep &= ~is_doubled
    changes |= {
        "flat": int(is_flat.sum()),
        "outside": int(is_outside.sum()),
        "twice": int(is_doubled.sum()),
        "cut": int((was_cut & keep).sum()),
        "confidence": int(((confidence != rows.confidence) & keep).sum()),
    }
    kept = np.flatnonzero(keep)
    kept = kept[np.argsort(frame_index[kept], kind="stable")]
    regions = Regions(inside[kept], frame_index[kept], confidence[kept].astype(np.float32), class_id[kept])
    return GivenBoxes(regions, track_id[kept], {key: count for key, count in changes.items() if count})


def _frames(path: Path, frame: Float64, video: BoxesAlone) -> Int64:
    """Frame indices (N,) from 0. Raises VideoError for a frame that the video does not have."""
    first, last = video.first_frame, video.first_frame + video.num_frames - 1
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~((frame >= first) & (frame <= last) & (frame == np.floor(frame))))
    if bad.size:
        rows = f" ({len(bad):,} such rows)" if len(bad) > 1 else ""
        other = 1 - first
        hint = None
        if frame.min() >= other and frame.max() <= other + video.num_frames - 1:
            hint = f"first_frame {other}: all of its frames are there when they count from {other}"
        raise VideoError(
            f"{path}: frame of row {bad[0] + 1}",
            expected=f"a whole number from {first} to {last}, of {video.num_frames:,} frames that count from {first}",
            got=f"{frame[bad[0]]:.17g}{rows}",
            hint=hint,
        )
    return frame.astype(np.int64) - first


def _whole(path: Path, what: str, values: Float64) -> Int64:
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(~((np.abs(values) < 2**53) & (values == np.floor(values))))
    if bad.size:
        raise VideoError(f"{path}: {what} of row {bad[0] + 1}", expected="a whole number", got=f"{values[bad[0]]:.17g}")
    return values.astype(np.int64)


def _cut(corners: Float64, size_hw: tuple[int, int]) -> tuple[Float32, NDArray[np.bool_]]:
    """Boxes (N, 4) inside the frame, and which (N,) were not."""
    height, width = size_hw
    inside = np.clip(np.nan_to_num(corners), 0, [width, height, width, height])
    return inside.astype(np.float32), (inside != corners).any(axis=1)


def _doubled(frame_index: Int64, track_id: Int64, confidence: Float64, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows (N,) are of a track that has a surer box, or an earlier one as sure, in the same frame."""
    doubled = np.zeros(len(frame_index), np.bool_)
    tracked = np.flatnonzero(keep & (track_id >= 0))
    order = tracked[np.lexsort([-confidence[tracked], track_id[tracked], frame_index[tracked]])]
    same = (np.diff(frame_index[order]) == 0) & (np.diff(track_id[order]) == 0)
    doubled[order[1:][same]] = True
    return doubled
