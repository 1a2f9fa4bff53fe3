"""Frame ranges of normal videos that are not learnt from: a CSV, as the audit writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mulde.errors import UsageError
from mulde.files import read_csv, whole_number
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.training_record import FrameRange
from mulde.records import Bool, Int64, spans

CHOICE = "leave_out"
"""The column of the table that a person fills in."""
_COLUMNS = ("video", "start_frame", "end_frame")
_YES = frozenset({"yes", "y", "true", "1", "x"})
_NO = frozenset({"", "no", "n", "false", "0"})
_MAX_NAMES = 5

Range = tuple[int, int]


@dataclass(frozen=True)
class Exclusions:
    """Frames that are neither learnt from nor calibrated on: video -> half-open ranges, in order, with gaps between."""

    ranges: Mapping[str, tuple[Range, ...]] = field(default_factory=dict)

    def ranges_of(self, video: str) -> tuple[Range, ...]:
        return self.ranges.get(video, ())

    def as_record(self) -> list[FrameRange]:
        """What a model and a run keep of it."""
        return [
            FrameRange(video=video, start_frame=start, end_frame=end)
            for video, ranges in self.ranges.items()
            for start, end in ranges
        ]

    @classmethod
    def of_record(cls, record: Sequence[FrameRange]) -> Exclusions:
        """From what `as_record` gave."""
        ranges: dict[str, tuple[Range, ...]] = {}
        for entry in record:
            ranges[entry.video] = (*ranges.get(entry.video, ()), (entry.start_frame, entry.end_frame))
        return cls(ranges)


def kept(frame_index: Int64, ranges: Sequence[Range]) -> Bool:
    """Which of the frames (T,) lie in none of the ranges, as `Exclusions` holds them."""
    starts, ends = np.array(ranges, np.int64).reshape(-1, 2).T
    inside = np.searchsorted(starts, frame_index, "right") > np.searchsorted(ends, frame_index, "right")
    return np.asarray(~inside, np.bool_)


def read_exclusions(path: Path, videos: Sequence[StoredVideo]) -> Exclusions:
    """The rows of a CSV with video, start_frame and end_frame (0-based, half-open).

    With a column leave_out, only rows with yes, true, 1 or x in it count. Raises UsageError for a file that cannot be
    read, a video that is not among `videos`, a bad range, or no row at all.
    """
    num_frames = {stored.video.name: stored.end_frame for stored in videos}
    excluded: dict[str, Bool] = {}
    for line, cells in _chosen_rows(path):
        video, start, end = _range(f"{path} line {line}", cells, num_frames)
        excluded.setdefault(video, np.zeros(num_frames[video], np.bool_))[start:end] = True
    return Exclusions({video: tuple(spans(flags)) for video, flags in sorted(excluded.items())})


def check_exclusions(path: Path) -> None:
    """Refuse what `read_exclusions` cannot read whatever the videos are, before hours go into their features."""
    _chosen_rows(path)


def _chosen_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The cells of the rows that are to be excluded, each with its line."""
    table = read_csv(path, error=UsageError)
    if not set(_COLUMNS) <= set(table.columns):
        got = ",".join(table.columns) or "an empty file"
        raise UsageError(f"--exclude {path}: header", expected=",".join(_COLUMNS), got=got)
    rows = [
        (line, {name: cell.strip() for name, cell in cells.items() if name in (*_COLUMNS, CHOICE)})
        for line, cells in table.rows
    ]
    chosen = [(line, cells) for line, cells in rows if _is_chosen(f"{path} line {line}", cells)]
    if not chosen:
        wanted = f"rows with {CHOICE}=yes" if CHOICE in table.columns else "a row per frame range"
        raise UsageError(f"--exclude {path}", expected=wanted, got=f"none among {len(rows)} rows")
    return chosen


def _is_chosen(source: str, cells: Mapping[str, str]) -> bool:
    word = cells.get(CHOICE, "yes").lower()
    if word not in _YES | _NO:
        raise UsageError(f"{source}: {CHOICE}", expected="yes, or nothing", got=repr(word))
    return word in _YES


def _range(source: str, cells: Mapping[str, str], num_frames: Mapping[str, int]) -> tuple[str, int, int]:
    video = cells["video"]
    if video not in num_frames:
        known = sorted(num_frames)
        more = f" and {len(known) - _MAX_NAMES} more" if len(known) > _MAX_NAMES else ""
        expected = f"a training video ({', '.join(known[:_MAX_NAMES])}{more})"
        raise UsageError(f"{source}: video", expected=expected, got=repr(video))
    try:
        start, end = whole_number(cells["start_frame"]), whole_number(cells["end_frame"])
    except ValueError:
        got = f"{cells['start_frame']!r} and {cells['end_frame']!r}"
        raise UsageError(f"{source}: range of {video}", expected="two whole frame numbers", got=got) from None
    if not 0 <= start < end <= num_frames[video]:
        expected = f"0 <= start_frame < end_frame <= {num_frames[video]}"
        raise UsageError(f"{source}: range of {video}", expected=expected, got=f"{start} and {end}")
    return video, start, end
