"""Anybody's footage: `train/` and `test/` with video files or frame folders, and optional labels of the test videos.

    train/monday.mp4    train/cam1/0001/000.jpg ...    test/cam1/door.avi
    cam1/train/monday.mp4    cam1/test/door.avi    cam2/train/...         the same with the cameras above the splits

A video's name is its path without the split and the suffix, with "/": `monday`, `cam1/0001`, `cam1/door`. Labels lie
directly in the root and are one of

    labels.csv           columns video,start_frame,end_frame: 0-based, half-open anomalous ranges (end_frame is the
                         first frame after the range); or video,start_s,end_s and, where the videos do not know it
                         themselves, frame_rate; a video that is not named is wholly normal
    labels/NAME.npy      one value per frame, 0 or 1
    labels/NAME.mat      the same, or an N x 2 array of first and last frames, 1-based and inclusive
    masks/NAME/          one image per frame, in natural order; non-zero pixels are anomalous; no jpg
    tracks.json          boxes of each anomaly, frame by frame (`folder_tracks` says how to write it); a frame with a
                         box is anomalous, a video that is not named is wholly normal
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mulde.datasets.base import SPLITS, Video, check_split, listing
from mulde.datasets.folder_labels import ArrayLabels, CsvLabels, FolderLabels, MaskLabels
from mulde.datasets.folder_tracks import TrackLabels
from mulde.datasets.ground_truth import iter_masks
from mulde.datasets.tree import find_videos
from mulde.errors import LabelError, UsageError
from mulde.filetypes import is_hidden, list_frames, natural_key
from mulde.names import on_disk
from mulde.records import Bool, LabelTrack, TruthRegions

CSV_FILE = "labels.csv"
COLUMNS = ("video", "start_frame", "end_frame")
_KINDS: Mapping[str, Callable[[Path], FolderLabels]] = {
    CSV_FILE: CsvLabels,
    "labels": ArrayLabels,
    "masks": MaskLabels,
    "tracks.json": TrackLabels,
}


@dataclass(frozen=True)
class FolderDataset:
    """Own footage under `root`; `mask_folder` is where pixel masks lie.

    `forgiving` keeps what is left of label files in which something is wrong, instead of refusing all of it;
    `label_faults` and `stray_labels` name what that is.
    """

    root: Path
    name: str = "folder"
    mask_folder: str = "masks"
    forgiving: bool = False

    def videos(self, split: str) -> tuple[Video, ...]:
        check_split(split)
        return self._videos[split]

    @cached_property
    def _videos(self) -> dict[str, tuple[Video, ...]]:
        return {split: _split_videos(self.root, split) for split in SPLITS}

    @cached_property
    def _labels(self) -> FolderLabels | None:
        misplaced = [path / kind for path in _cameras(self.root) for kind in _KINDS if (path / kind).exists()]
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

    def _refuse_faults(self) -> None:
        if not self.forgiving:
            for error in (*self.label_faults, *(stray for _, stray in self.stray_labels)):
                raise error


def open_folder(root: Path) -> FolderDataset:
    """Raises UsageError when there is neither train/ nor test/, here or one level down, or one of them is empty."""
    found = {split: split_folders(root, split) for split in SPLITS}
    if not any(found.values()):
        entries = sorted(path.name for path in root.iterdir())
        raise UsageError(
            f"{root}", expected="a folder train or test with videos, there or in a folder per camera",
            got=listing(entries),
        )  # fmt: skip
    for folders in found.values():
        for folder in folders.values():
            if not find_videos(folder):
                raise UsageError(f"{folder}", expected="video files or folders of frames", got="none")
    return FolderDataset(root)


def split_folders(root: Path, split: str) -> dict[str, Path]:
    """Where the videos of a split lie, by what their names begin with: "" for `split` itself, else "camera/".

    Cameras are looked for only where the root has neither train/ nor test/.
    """
    if any((root / name).is_dir() for name in SPLITS):
        return {"": root / split} if (root / split).is_dir() else {}
    return {f"{path.name}/": path / split for path in _cameras(root) if (path / split).is_dir()}


def _cameras(root: Path) -> list[Path]:
    """The folders of a root without train/ and test/ that hold one of these themselves."""
    if any((root / name).is_dir() for name in SPLITS):
        return []
    folders = [path for path in root.iterdir() if path.is_dir() and not is_hidden(path.name)]
    cameras = [path for path in folders if path.name not in _KINDS and any((path / name).is_dir() for name in SPLITS)]
    return sorted(cameras, key=lambda path: natural_key(path.name))


def _split_videos(root: Path, split: str) -> tuple[Video, ...]:
    return tuple(
        Video(prefix + name, split, path)
        for prefix, folder in split_folders(root, split).items()
        for name, path in find_videos(folder)
    )
