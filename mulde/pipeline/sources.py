"""What a SOURCE on the command line means: a data set by name and root, a folder of videos, or one video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mulde.datasets.base import SPLITS, Dataset, Video
from mulde.datasets.folder import split_folders
from mulde.datasets.registry import DATASETS, open_dataset
from mulde.datasets.tree import find_videos
from mulde.errors import UsageError
from mulde.filetypes import VIDEO_SUFFIXES, is_frame_folder

SOURCE_HELP = f"a video, a folder of frames, a folder of videos, or NAME:ROOT with NAME one of {', '.join(DATASETS)}"


@dataclass(frozen=True)
class Footage:
    """Videos and, where a data set was named, its splits and labels."""

    name: str
    loose: tuple[Video, ...] = ()
    dataset: Dataset | None = None
    splits: dict[str, tuple[Video, ...]] = field(default_factory=dict)

    def split(self, name: str) -> tuple[Video, ...]:
        """The videos of a split of the data set; loose videos belong to every split."""
        return self.splits[name] if self.dataset is not None else self.loose

    @property
    def all(self) -> tuple[Video, ...]:
        return tuple(v for videos in self.splits.values() for v in videos) if self.dataset is not None else self.loose


def open_source(source: str) -> Footage:
    """Find the videos behind one SOURCE. Raises UsageError when nothing is there or it holds no video."""
    name, path = parse_source(source)
    if name is not None:
        return _dataset(name, path)
    if not path.exists():
        raise UsageError(f"source {source}", expected=SOURCE_HELP, got="a path that does not exist")
    if path.is_dir() and not is_frame_folder(path):
        if any(split_folders(path, split) for split in SPLITS):
            return _dataset("folder", path)
        found = find_videos(path)
        if not found:
            raise UsageError(
                f"source {source}",
                expected=f"frames, or videos with one of the endings {' '.join(sorted(VIDEO_SUFFIXES))}",
                got="a folder without any",
            )
        name = path.resolve().name
        return Footage(name, tuple(Video(n, "all", p, dataset=name) for n, p in found))
    name = path.name if path.is_dir() else path.stem
    return Footage(name, (Video(name, "all", path, dataset=path.resolve().parent.name),))


def absolute_source(source: str) -> str:
    """The same SOURCE, from whichever folder it is opened."""
    name, path = parse_source(source)
    return f"{path.resolve()}" if name is None else f"{name}:{path.resolve()}"


def parse_source(source: str) -> tuple[str | None, Path]:
    """Name of the data set (None for a plain path) and the path; a colon in the name of an existing path is no mark."""
    name, colon, root = source.partition(":")
    if colon and (name in DATASETS or not Path(source).exists()):
        return name, Path(root).expanduser()
    return None, Path(source).expanduser()


def distinct_names(videos: Sequence[Video]) -> tuple[Video, ...]:
    """The videos, each under a name of its own: a name that comes twice grows by its parent folders."""
    count: dict[str, int] = {}
    for video in videos:
        count[video.name] = count.get(video.name, 0) + 1
    renamed = []
    for video in videos:
        name = video.name
        if count[name] > 1:
            name = f"{video.path.resolve().parent.name}/{name}"
        renamed.append(replace(video, name=name))
    seen: set[str] = set()
    for video in renamed:
        if video.name in seen:
            raise UsageError(f"two videos named {video.name}", expected="each video once", got=str(video.path))
        seen.add(video.name)
    return tuple(renamed)


def _dataset(name: str, root: Path) -> Footage:
    dataset = open_dataset(name, root)
    own_name = root.resolve().name if name == "folder" else name
    splits = {s: tuple(replace(v, dataset=own_name) for v in dataset.videos(s)) for s in SPLITS}
    return Footage(name, dataset=dataset, splits=splits)
