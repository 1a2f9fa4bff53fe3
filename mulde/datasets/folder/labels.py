"""Labels of own footage: ranges in a csv, arrays, masks. Every refusal names the file, the place in it and numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from mulde.datasets.base import Video, listing
from mulde.datasets.labels.ground_truth import track_from_masks, track_from_ranges
from mulde.datasets.labels.label_files import flags_track, read_npy, track_from_inclusive
from mulde.datasets.labels.mat_files import read_mat, variables
from mulde.datasets.tree import frame_folders, visible_files
from mulde.errors import LabelError
from mulde.files import read_csv, whole_number
from mulde.filetypes import list_frames
from mulde.names import on_disk, valid_text
from mulde.records import Bool, LabelTrack

# People round to whole seconds: a range may end so much after the video does.
MAX_ROUNDING_S = 1
_MATLAB_NUMBERS = {
    "double",
    "single",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}
_DECIMAL = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})([eE][+-]?[0-9]{1,2})?|[0-9]{1,18}/[0-9]{1,18}")
_NUMBERS = {
    "start_frame": "whole numbers start_frame and end_frame (0-based, end_frame is the first frame after the range)",
    "start_s": "numbers start_s and end_s (seconds) and, where there is one, a frame_rate above 0",
}


class FolderLabels(Protocol):
    """One kind of labels, read once. `named`: place in the files -> video; `faults`: what cannot be understood."""

    named: dict[str, str]
    faults: list[LabelError]

    def track(self, video: Video, num_frames: int) -> LabelTrack | None: ...

    def source(self, video: Video, num_frames: int) -> str: ...


@dataclass(frozen=True)
class LabelRow:
    """A line of labels.csv: a half-open range in frames, or in seconds with the frame rate where the line has one."""

    line: int
    video: str
    start: Fraction
    end: Fraction
    in_seconds: bool = False
    frame_rate: Fraction | None = None


class CsvLabels:
    """labels.csv; a video that it does not name is wholly normal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows, self.faults = _read_csv(path)
        self.named = {f"{path.name} line {row.line}": row.video for row in self.rows}

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        anomalous = np.zeros(num_frames, np.bool_)
        for row in self._of(video):
            source = f"{self.path.name} line {row.line}"
            start, end = _frames_of(row, video, num_frames, source)
            anomalous |= track_from_ranges(video.name, [(start, end)], num_frames, source).anomalous
        return LabelTrack(video.name, anomalous)

    def source(self, video: Video, num_frames: int) -> str:
        return f"{self.path.name}: {len(self._of(video))} ranges"

    def _of(self, video: Video) -> list[LabelRow]:
        return [row for row in self.rows if row.video == video.name] if video.split == "test" else []


def _frames_of(row: LabelRow, video: Video, num_frames: int, source: str) -> tuple[int, int]:
    """The frames of a row: those whose time lies in start_s <= time < end_s; it is frame / rate in even steps."""
    if not row.in_seconds:
        return int(row.start), int(row.end)
    rate = row.frame_rate or video.frame_rate
    if rate is None:
        raise LabelError(
            f"{source}: range of {video.name} in seconds",
            expected="a frame rate to turn them into frames",
            got="none, and the video does not know it either",
            hint="a column frame_rate (frames per second), or start_frame and end_frame",
        )
    start, end, length_s = math.ceil(row.start * rate), math.ceil(row.end * rate), num_frames / rate
    if video.time_s is not None and row.frame_rate is None:
        start, end = (int(np.searchsorted(video.time_s, float(time_s) - 1e-9)) for time_s in (row.start, row.end))
        length_s = Fraction(float(video.time_s[-1])) + 1 / rate
    last_s = length_s + MAX_ROUNDING_S
    if not 0 <= row.start < row.end <= last_s or start >= min(end, num_frames):
        raise LabelError(
            f"{source}: range of {video.name}",
            expected=f"0 <= start_s < end_s <= {float(length_s):.3f}, with a frame between them"
            f" ({num_frames} frames, {float(rate):g} per second)",
            got=f"start_s {float(row.start):g}, end_s {float(row.end):g}",
        )
    return start, min(end, num_frames)


def _read_csv(path: Path) -> tuple[list[LabelRow], list[LabelError]]:
    try:
        table = read_csv(path, error=LabelError)
    except LabelError as error:
        return [], [error]
    header = table.columns
    # Where both are there the frames count: they are exact.
    pairs = [pair for pair in (("start_frame", "end_frame"), ("start_s", "end_s")) if {"video", *pair} <= set(header)]
    if not pairs:
        expected = "video,start_frame,end_frame or video,start_s,end_s"
        return [], [LabelError(f"{path}: header", expected=expected, got=",".join(header) or "an empty file")]
    rows: list[LabelRow] = []
    faults: list[LabelError] = []
    for line, cells in table.rows:
        try:
            rows.append(_parse_row(path, line, cells, *pairs[0]))
        except LabelError as error:
            faults.append(error)
    return rows, faults


def _parse_row(path: Path, line: int, cells: dict[str, str], first: str, last: str) -> LabelRow:
    name, in_seconds = cells["video"].strip(), first == "start_s"
    rate_text = cells.get("frame_rate", "").strip() if in_seconds else ""
    number = exact_number if in_seconds else whole_number
    try:
        start, end = (Fraction(number(cells[column].strip())) for column in (first, last))
        rate = exact_number(rate_text) if rate_text else None
        if rate is not None and rate <= 0:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        got = f"{cells[first]!r} and {cells[last]!r}" + (f", frame_rate {rate_text!r}" if rate_text else "")
        raise LabelError(f"{path} line {line}: range of {name}", expected=_NUMBERS[first], got=got) from None
    return LabelRow(line, name, start, end, in_seconds, rate)


def exact_number(text: str) -> Fraction:
    """ "12.5" and "30000/1001" as they are. Raises ValueError; an exponent of nine digits would take minutes."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError(text)
    return Fraction(text)


class ArrayLabels:
    """labels/NAME.npy and labels/NAME.mat; a video without a file is unlabelled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.named: dict[str, str] = {}
        self.faults: list[LabelError] = []
        self._paths: dict[str, Path] = {}
        for path in [path for suffix in (".npy", ".mat") for path in visible_files(folder, suffix)]:
            place = path.relative_to(folder)
            name = valid_text(place.with_suffix("").as_posix())
            if name in self._paths:
                got = f"{self._paths[name].name} and {path.name}"
                self.faults.append(LabelError(f"{folder}: labels of {name}", expected="one file", got=got))
            self.named[f"{folder.name}/{place.as_posix()}"] = name
            self._paths[name] = path

    def track(self, video: Video, num_frames: int) -> LabelTrack | None:
        path = self._path(video)
        return None if path is None else LabelTrack(video.name, _read_array(path, video.name, num_frames)[0])

    def source(self, video: Video, num_frames: int) -> str:
        path = self._path(video)
        return "no labels" if path is None else f"{path.name}: {_read_array(path, video.name, num_frames)[1]}"

    def _path(self, video: Video) -> Path | None:
        return self._paths.get(video.name) if video.split == "test" else None


def _read_array(path: Path, video: str, num_frames: int) -> tuple[Bool, str]:
    """Labels (num_frames,) of an array file, and in words what it was found to hold."""
    source = str(path)
    if path.suffix.lower() == ".npy":
        return flags_track(video, read_npy(path), num_frames, source).anomalous, "one value per frame"
    variable = _only_numbers(path)
    values = read_mat(path, variable)
    if values.dtype.kind not in "biuf":
        raise LabelError(f"{source} (variable {variable})", expected="real numbers", got=str(values.dtype))
    if values.size and ((num_frames in values.shape and values.size == num_frames) or values.shape[-1] != 2):
        how = f"variable {variable}, one value per frame"
        return flags_track(video, values, num_frames, f"{source} ({how})").anomalous, how
    pairs = values.reshape(-1, 2).tolist()
    how = f"variable {variable}, {len(pairs)} intervals, 1-based and inclusive"
    for number, pair in enumerate(pairs, start=1):
        if any(bound % 1 != 0 for bound in pair):  # nan too
            got = f"{pair[0]} and {pair[1]}"
            raise LabelError(f"{source} ({how}): interval {number} of {video}", expected="whole numbers", got=got)
    whole = [(int(first), int(last)) for first, last in pairs]
    return track_from_inclusive(video, whole, num_frames, f"{source} ({how})").anomalous, how


def _only_numbers(path: Path) -> str:
    """The name of the one variable with numbers in a .mat file."""
    known = variables(path)
    numbers = [name for name, kind in known if kind in _MATLAB_NUMBERS]
    if len(numbers) != 1:
        shown = listing([f"{name} ({kind})" for name, kind in known])
        raise LabelError(f"{path}", expected="one variable with numbers", got=shown)
    return numbers[0]


class MaskLabels:
    """masks/NAME/; a video without a folder is unlabelled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = [valid_text(path.relative_to(folder).as_posix()) for path in frame_folders(folder)]
        self.named = {f"{folder.name}/{name}": name for name in names}
        self.faults: list[LabelError] = []

    def track(self, video: Video, num_frames: int) -> LabelTrack | None:
        folder = on_disk(self.folder / video.name)
        if video.split != "test" or not folder.is_dir():
            return None
        # An empty folder counts as masks that are missing, not as no labels.
        return track_from_masks(video.name, list_frames(folder), num_frames, self.folder.name)

    def source(self, video: Video, num_frames: int) -> str:
        return f"{self.folder.name}/{video.name}"
