"""Anybody's footage: `train/` and `test/` with video files or frame folders, and optional labels of the test videos.

    train/monday.mp4    train/cam1/0001/000.jpg ...    test/cam1/door.avi
    cam1/train/monday.mp4    cam1/test/door.avi    cam2/train/...         the same with the cameras above the splits

`training/` and `testing/` mean the same, in any case; above the splits there may be up to three levels of folders. A
video's name is its path without the split and the suffix, with "/": `monday`, `cam1/0001`, `cam1/door`. Labels lie
directly in the root and are one of

    labels.csv           columns video,start_frame,end_frame: 0-based, half-open anomalous ranges (end_frame is the
                         first frame after the range); or video,start_s,end_s and, where the videos do not know it
                         themselves, frame_rate; a video that is not named is wholly normal
    labels/NAME.npy      one value per frame, 0 or 1
    labels/NAME.mat      the same, or an N x 2 array of first and last frames, 1-based and inclusive
    masks/NAME/          one image per frame, in natural order; non-zero pixels are anomalous; no jpg
    tracks.json          boxes of each anomaly, frame by frame (`tracks.py` says how to write it); a frame with a
                         box is anomalous, a video that is not named is wholly normal
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from mulde.datasets.base import SPLITS, DataChecks, LabelFinding, Video, check_split, listing
from mulde.datasets.facts import DatasetSpec, Facts
from mulde.datasets.folder.labels import ArrayLabels, CsvLabels, FolderLabels, MaskLabels
from mulde.datasets.folder.tracks import TrackLabels
from mulde.datasets.labels.ground_truth import iter_masks
from mulde.datasets.left_out import LeftOut, Reason, in_words
from mulde.datasets.own_output import is_demo
from mulde.datasets.tree import Walk, check_frames_below, holds_videos, sub_folders, walk
from mulde.errors import LabelError, UsageError
from mulde.filetypes import is_clutter, list_frames
from mulde.names import on_disk
from mulde.records import Bool, LabelTrack, TruthRegions

CSV_FILE = "labels.csv"
COLUMNS = ("video", "start_frame", "end_frame")
_SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_MAX_LEVELS = 3
_KINDS: Mapping[str, Callable[[Path], FolderLabels]] = {
    CSV_FILE: CsvLabels,
    "labels": ArrayLabels,
    "masks": MaskLabels,
    "tracks.json": TrackLabels,
}


@dataclass(frozen=True)
class FolderDataset(DataChecks):
    """Own footage under `root`; `mask_folder` is where pixel masks lie.

    `keeps_faulty` uses what can be read of label files in which something is wrong, instead of refusing all of it;
    `label_faults` and `stray_labels` name what that is.
    """

    root: Path
    name: str = "folder"
    mask_folder: str = "masks"
    keeps_faulty: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def videos(self, split: str) -> tuple[Video, ...]:
        check_split(split)
        return self._videos[split]

    def split_folders(self, split: str) -> dict[str, Path]:
        return split_folders(self.root, split)

    @cached_property
    def walks(self) -> dict[str, list[tuple[str, Walk]]]:
        """By split: what each of its folders holds, with what the names of its videos begin with."""
        folders = {split: self.split_folders(split) for split in SPLITS}
        return {split: [(prefix, walk(path)) for prefix, path in paths.items()] for split, paths in folders.items()}

    @cached_property
    def _videos(self) -> dict[str, tuple[Video, ...]]:
        return {
            split: tuple(Video(prefix + name, split, path) for prefix, walked in walks for name, path in walked.videos)
            for split, walks in self.walks.items()
        }

    @cached_property
    def left_out(self) -> list[LeftOut]:
        """What is no video of a split, with the videos that lie outside the splits."""
        splits = [path for split in SPLITS for path in self.split_folders(split).values()]
        labels = {self.root / kind for kind in (*_KINDS, self.mask_folder, "pixel_masks")}
        outside = walk(self.root, [*splits, *labels])
        left_out = [
            LeftOut(path, path.relative_to(self.root).as_posix(), Reason.OUTSIDE)
            for _, path in outside.videos
            if path != self.root
        ]
        if len(left_out) < len(outside.videos):  # the pictures in the root, which is no video
            left_out += [LeftOut(path, path.name, Reason.PICTURE) for path in list_frames(self.root)]
        left_out += [entry for entry in outside.left_out if entry.path not in labels]
        for entry in (entry for walks in self.walks.values() for _, walked in walks for entry in walked.left_out):
            left_out.append(replace(entry, name=os.path.relpath(entry.path, self.root)))
        return left_out

    @cached_property
    def _labels(self) -> FolderLabels | None:
        misplaced = [
            path / kind for path in _bases(self.root) if path != self.root for kind in _KINDS if (path / kind).exists()
        ]
        if misplaced:
            raise LabelError(
                f"{misplaced[0]}: labels of one camera",
                expected=f"{misplaced[0].name} in {self.root}, with names such as {misplaced[0].parent.name}/0001",
            )
        present = [kind for kind in _KINDS if (self.root / kind).exists()]
        if len(present) > 1:
            raise LabelError(
                f"{self.root}: more than one kind of labels",
                expected=f"one of {', '.join(_KINDS)}",
                got=listing(present),
            )
        return _KINDS[present[0]](self.root / present[0]) if present else None

    def labels(self, video: Video, num_frames: int) -> LabelTrack | None:
        """Labels of a test video; training videos have some only beside labels.csv or tracks.json: they are normal.

        Labels in seconds take the frame rate of their line or, where that has none, of `video`.
        """
        self._refuse_faults()
        return None if self._labels is None else self._labels.track(video, num_frames)

    def masks(self, video: Video) -> Iterator[Bool] | None:
        folder = on_disk(self.root / self.mask_folder / video.name)
        return iter_masks(list_frames(folder)) if video.split == "test" and folder.is_dir() else None

    def regions(self, video: Video) -> TruthRegions | None:
        """The boxes of tracks.json for a test video; None where there is no such file."""
        self._refuse_faults()
        if not isinstance(self._labels, TrackLabels) or video.split == "train":
            return None
        return self._labels.regions(video)

    def label_source(self, video: Video, num_frames: int) -> str:
        """Where the labels of a video come from and how they were read, as "labels.csv: 2 ranges"."""
        return "no labels" if self._labels is None else self._labels.source(video, num_frames)

    @property
    def label_faults(self) -> list[LabelError]:
        """What cannot be understood in the label files, whatever the videos hold."""
        return [] if self._labels is None else self._labels.faults

    @cached_property
    def stray_labels(self) -> list[tuple[str, LabelError]]:
        """Names that have labels but are no test videos, each with the sentence that says so."""
        if self._labels is None:
            return []
        test, train = ([video.name for video in self.videos(split)] for split in ("test", "train"))
        what = ", which is a training video and must be normal"
        return [
            (
                name,
                LabelError(
                    f"{source} names a video that test/ does not hold",
                    expected=f"one of {listing(test)}",
                    got=f"{name!r}{what if name in train else ''}",
                ),
            )
            for source, name in self._labels.named.items()
            if name not in test
        ]

    def tolerant(self) -> Self:
        return replace(self, keeps_faulty=True)

    def label_findings(self) -> Iterator[LabelFinding]:
        training = {video.name for video in self.videos("train")}
        try:
            for error in self.label_faults:
                yield LabelFinding("bad labels", "", str(error))
            for name, error in self.stray_labels:
                if name in training:
                    yield LabelFinding("anomalous training", f"train/{name}", str(error))
                else:
                    yield LabelFinding("stray labels", f"test/{name}", str(error))
        except LabelError as error:  # more than one kind of labels
            yield LabelFinding("bad labels", "", str(error))

    def labels_read_as(self, video: Video, num_frames: int) -> str:
        """A .mat file may hold flags or intervals: which of them was found."""
        source = self.label_source(video, num_frames)
        return source if "variable" in source else ""

    def _refuse_faults(self) -> None:
        if not self.keeps_faulty:
            for error in (*self.label_faults, *(error for _, error in self.stray_labels)):
                raise error


def open_folder(root: Path) -> FolderDataset:
    """Raises UsageError when there is neither train/ nor test/, here or below, they hold no videos, or two mean the
    same split."""
    folders_by_split = {split: split_folders(root, split) for split in SPLITS}
    if not any(folders_by_split.values()):
        entries = sorted(path.name for path in root.iterdir() if not is_clutter(path.name))
        raise UsageError(
            f"{root}", expected="a folder train or test with videos, there or in a folder per camera",
            got=listing(entries),
        )  # fmt: skip
    dataset = FolderDataset(root)
    for split, folders in folders_by_split.items():
        for folder, (_, walked) in zip(folders.values(), dataset.walks[split], strict=True):
            check_frames_below(folder, walked)
        if folders and not any(dataset.videos(other) for other in SPLITS):
            reasons = [words for _, walked in dataset.walks[split] if (words := in_words(walked.left_out))]
            raise UsageError(
                f"{listing([str(folder) for folder in folders.values()], 3)}",
                expected="video files or folders of frames",
                got="; ".join(["none", *reasons]),
            )
    return dataset


def split_folders(root: Path, split: str) -> dict[str, Path]:
    """Where the videos of a split lie, by what their names begin with: "" for `split` itself, else "camera/".

    Cameras are looked for only where the root has neither train/ nor test/, sites only where no camera has. Raises
    UsageError for two folders that mean the same split, as `train` and `Train`.
    """
    by_prefix: dict[str, Path] = {}
    for base in _bases(root):
        folders = [path for path in sub_folders(base) if _SPLIT_NAMES.get(path.name.lower()) == split]
        if len(folders) > 1:
            raise UsageError(
                f"{base}", expected=f"one folder for the split {split}", got=" and ".join(path.name for path in folders)
            )
        prefix = "" if base == root else f"{base.relative_to(root).as_posix()}/"
        by_prefix.update((prefix, path) for path in folders)
    return by_prefix


def _bases(root: Path) -> list[Path]:
    """The folders that hold train/ or test/: the root, or else those of the first level below that has any with videos
    in them."""
    level = [root]
    for depth in range(_MAX_LEVELS + 1):
        below = {folder: sub_folders(folder) for folder in level}
        bases = [
            folder
            for folder, inside in below.items()
            if any(path.name.lower() in _SPLIT_NAMES and (not depth or holds_videos(path)) for path in inside)
        ]
        if bases:
            return bases
        level = [path for inside in below.values() for path in inside if path.name not in _KINDS and not is_demo(path)]
    return []


_FACTS = Facts(
    name="folder",
    title="Own footage",
    address="",
    link="none",
    how="Put normal videos or frame folders into train/, others into test/, and labels beside them if there are any:"
    " labels.csv, labels/, masks/ or tracks.json.",
    licence="yours",
    citation="",
    checked="part of mulde",
)
FOLDER = DatasetSpec(_FACTS, open_folder, is_own_footage=True)
