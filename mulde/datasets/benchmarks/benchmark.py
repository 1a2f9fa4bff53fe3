"""What the benchmarks share: a split of videos, and where the truth of the test videos is read from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from mulde.datasets.base import DataChecks, Video, check_split, listing
from mulde.datasets.labels.ground_truth import track_from_ranges
from mulde.datasets.labels.truth import FrameTruth, MaskTruth, RegionTruth
from mulde.datasets.layout import LEVELS_BELOW, names_in, subfolder
from mulde.datasets.tree import find_videos
from mulde.errors import LabelError, UsageError
from mulde.filetypes import list_frames
from mulde.records import Bool, LabelTrack, TruthRegions


@dataclass(frozen=True)
class Benchmark(DataChecks):
    """A published data set in one of its layouts. Training videos are wholly normal; `frames` labels the test videos.

    `pixels` and `boxes` are None where this copy has no pixel masks or annotated regions. `video_folders` are those
    that a split was looked for in; `notes` say what was chosen where a copy holds the same thing twice.
    """

    name: str
    root: Path
    splits: dict[str, tuple[Video, ...]]
    frames: FrameTruth
    pixels: MaskTruth | None = None
    boxes: RegionTruth | None = None
    video_folders: dict[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for split, videos in self.splits.items():
            twice = [name for name, count in Counter(video.name for video in videos).items() if count > 1]
            if twice:
                raise UsageError(
                    f"{self.name} in {self.root}: {split}", expected="each name once", got=listing(twice, 5)
                )

    def videos(self, split: str) -> tuple[Video, ...]:
        check_split(split)
        return self.splits[split]

    def labels(self, video: Video, num_frames: int) -> LabelTrack:
        check_decoded(self.name, video, num_frames)
        if video.split == "train":
            return track_from_ranges(video.name, [], num_frames, self.name)
        return self.frames.track(video, num_frames)

    def labels_for_count(self, video: Video, num_frames: int) -> LabelTrack:
        return self.frames.track(video, num_frames)

    def split_folders(self, split: str) -> dict[str, Path]:
        return {"": self.video_folders[split]} if split in self.video_folders else {}

    def masks(self, video: Video) -> Iterator[Bool] | None:
        return self.pixels.masks(video) if self.pixels is not None and video.split == "test" else None

    def regions(self, video: Video) -> TruthRegions | None:
        return self.boxes.regions(video) if self.boxes is not None and video.split == "test" else None


def check_decoded(name: str, video: Video, num_frames: int) -> None:
    """Raises LabelError when a frame folder holds another number of images than the `num_frames` decoded ones."""
    if video.path.is_dir() and (on_disk := len(list_frames(video.path))) != num_frames:
        raise LabelError(
            f"{name} {video.name}: decoded frames", expected=f"{on_disk}, as in its folder", got=num_frames
        )


def videos_below(folder: Path, split: str, frame_rate: Fraction | None) -> tuple[Video, ...]:
    """The videos of one split; frame folders get `frame_rate`, files know theirs. Raises UsageError for none."""
    videos = find_videos(folder)
    if not videos:
        raise UsageError(f"{folder}", expected="video files or folders of frames", got="none")
    return tuple(Video(name, split, path, frame_rate if path.is_dir() else None) for name, path in videos)


def in_folders(
    name: str, base: Path, folders: Mapping[str, str], frame_rate: Fraction, frames: FrameTruth, **truth: Any
) -> Benchmark:
    """A benchmark whose splits are all that lies in one folder each; `folders` maps split to the path below `base`."""
    paths = {split: subfolder(base, folder) or base / folder for split, folder in folders.items()}
    splits = {split: videos_below(folder, split, frame_rate) for split, folder in paths.items()}
    return Benchmark(name, base, splits, frames, video_folders=paths, **truth)


def wrong_layout(name: str, root: Path, expected: str) -> UsageError:
    """The error for a folder that has none of the known layouts."""
    wanted = f"{expected}; there or up to {LEVELS_BELOW} folders below"
    return UsageError(f"{name} in {root}", expected=wanted, got=listing(names_in(root)))
