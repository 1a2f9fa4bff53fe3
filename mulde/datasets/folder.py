"""Anybody's footage: `train/` and `test/` with video files or frame folders, and optional labels of the test videos.

    train/monday.mp4    train/cam1/0001/000.jpg ...    test/cam1/door.avi

A video's name is its path below the split, with "/" and without the suffix: `monday`, `cam1/0001`, `cam1/door`. Labels
are one of

    labels.csv           columns video,start_frame,end_frame: 0-based, half-open anomalous ranges (end_frame is the
                         first frame after the range); a video that is not named is wholly normal
    labels/NAME.npy      one value per frame, 0 or 1
    masks/NAME/          one image per frame, in natural order; non-zero pixels are anomalous; no jpg
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mulde.datasets.base import SPLITS, Video, check_split, listing
from mulde.datasets.ground_truth import iter_masks, track_from_masks, track_from_ranges
from mulde.datasets.tree import find_videos, frame_folders, visible_files
from mulde.errors import LabelError, UsageError
from mulde.filetypes import list_frames
from mulde.records import Bool, LabelTrack

CSV_FILE = "labels.csv"
COLUMNS = ("video", "start_frame", "end_frame")
_KINDS = (CSV_FILE, "labels", "masks")


@dataclass(frozen=True)
class FolderDataset:
    """Own footage under `root`; `mask_folder` is where pixel masks lie."""

    root: Path
    name: str = "folder"
    mask_folder: str = "masks"

    def videos(self, split: str) -> tuple[Video, ...]:
        check_split(split)
        return self._videos[split]

    @cached_property
    def _videos(self) -> dict[str, tuple[Video, ...]]:
        return {split: _split_videos(self.root, split) for split in SPLITS}

    @cached_property
    def _label_kind(self) -> str | None:
        present = [kind for kind in _KINDS if (self.root / kind).exists()]
        if len(present) > 1:
            raise LabelError(
                f"{self.root}: more than one kind of labels",
                expected=f"one of {', '.join(_KINDS)}",
                got=listing(present),
            )
        return present[0] if present else None

    def labels(self, video: Video, num_frames: int) -> LabelTrack | None:
        """Labels of a test video; training videos have some only beside a csv, and then they are normal."""
        kind = self._label_kind
        if kind == CSV_FILE:
            ranges = self._csv_ranges.get(video.name, []) if video.split == "test" else []
            return track_from_ranges(video.name, ranges, num_frames, CSV_FILE)
        if kind is None or video.split == "train" or video.name not in self._labelled_names:
            return None
        if kind == "labels":
            return _track_from_npy(video.name, self.root / kind / f"{video.name}.npy", num_frames)
        return track_from_masks(video.name, list_frames(self.root / kind / video.name), num_frames, kind)

    def masks(self, video: Video) -> Iterator[Bool] | None:
        folder = self.root / self.mask_folder / video.name
        return iter_masks(list_frames(folder)) if video.split == "test" and folder.is_dir() else None

    @cached_property
    def _csv_ranges(self) -> dict[str, list[tuple[int, int]]]:
        rows = _read_csv(self.root / CSV_FILE)
        self._check_known(CSV_FILE, [name for name, _, _ in rows])
        ranges: dict[str, list[tuple[int, int]]] = {}
        for name, start, end in rows:
            ranges.setdefault(name, []).append((start, end))
        return ranges

    @cached_property
    def _labelled_names(self) -> frozenset[str]:
        """The videos that `labels/` or `masks/` has something for. A mistyped name would leave its video unlabelled."""
        base = self.root / str(self._label_kind)
        if self._label_kind == "labels":
            names = [path.relative_to(base).with_suffix("").as_posix() for path in visible_files(base, ".npy")]
        else:
            names = [path.relative_to(base).as_posix() for path in frame_folders(base)]
            # An empty mask folder must count as labels that are missing, not as no labels.
            names += [video.name for video in self.videos("test") if (base / video.name).is_dir()]
        self._check_known(f"{base.name}/", names)
        return frozenset(names)

    def _check_known(self, source: str, names: list[str]) -> None:
        known = [video.name for video in self.videos("test")]
        for name in names:
            if name not in known:
                raise LabelError(
                    f"{source} names a video that test/ does not hold",
                    expected=f"one of {listing(known)}",
                    got=repr(name),
                )


def open_folder(root: Path) -> FolderDataset:
    """Raises UsageError when there is neither train/ nor test/ or one of them holds no video."""
    if not any((root / split).is_dir() for split in SPLITS):
        found = sorted(path.name for path in root.iterdir())
        raise UsageError(f"{root}", expected="a folder train or test with videos", got=listing(found))
    dataset = FolderDataset(root)
    for split in SPLITS:
        if (root / split).is_dir() and not dataset.videos(split):
            raise UsageError(f"{root / split}", expected="video files or folders of frames", got="none")
    return dataset


def _split_videos(root: Path, split: str) -> tuple[Video, ...]:
    folder = root / split
    return tuple(Video(name, split, path) for name, path in find_videos(folder)) if folder.is_dir() else ()


def _read_csv(path: Path) -> list[tuple[str, int, int]]:
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front of the first column's name.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}", expected="text in UTF-8", got=str(error)) from None
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    header = reader.fieldnames or ()
    if not set(COLUMNS) <= set(header):
        raise LabelError(f"{path}: header", expected=",".join(COLUMNS), got=",".join(header) or "an empty file")
    return [_parse_row(path, reader.line_num, row) for row in reader]


def _parse_row(path: Path, line: int, row: dict[str, str | None]) -> tuple[str, int, int]:
    name, start, end = (row[column] for column in COLUMNS)
    try:
        return (name or "").strip(), int(start or ""), int(end or "")
    except ValueError:
        raise LabelError(
            f"{path} line {line}: range of {name}",
            expected="whole numbers start_frame and end_frame (0-based, end_frame is the first frame after the range)",
            got=f"{start!r} and {end!r}",
        ) from None


def _track_from_npy(video: str, path: Path, num_frames: int) -> LabelTrack:
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise LabelError(f"{path}", expected="a .npy array of numbers", got=f"a damaged file ({error})") from None
    if values.shape != (num_frames,) or values.dtype.kind not in "biuf":
        raise LabelError(
            f"{path}: labels of {video}",
            expected=f"numbers of shape ({num_frames},), one per decoded frame",
            got=f"{values.dtype} of shape {values.shape}",
        )
    bad = np.flatnonzero(~np.isin(values, (0, 1)))
    if bad.size:
        raise LabelError(
            f"{path}: labels of {video}", expected="0 or 1", got=f"{values[bad[0]]} at frame {int(bad[0])}"
        )
    return LabelTrack(video, values.astype(np.bool_))
