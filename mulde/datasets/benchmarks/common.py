"""The layout that most public code of the field reads, whatever the benchmark.

    training/frames/01/000.jpg ...    testing/frames/01/000.jpg ...    (or videos/01.avi, or the folders 01/ directly)

Labels of the test videos, one kind of:

    testing/test_frame_mask/01.npy    0 or 1 per frame; also test_frame_mask/, ground_truth/, testing/ground_truth/
    ped2.mat (avenue.mat, ...)        the cell `gt`: entry n belongs to the video whose name ends in n; intervals 2 x K,
                                      1-based, the last frame included

Beside them, where there are some: testing/test_pixel_mask/01.npy of shape (T, H, W), and boxes with track numbers in
ground_truth/01.txt (or annotations/, tracks/): track,frame,x0,y0,x1,y1, frames from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

from mulde.datasets.base import listing
from mulde.datasets.benchmarks.benchmark import Benchmark, videos_below
from mulde.datasets.labels.label_files import MatIntervals, NpyFlags
from mulde.datasets.labels.mask_files import NpyMasks
from mulde.datasets.labels.tracks import CornerTracks
from mulde.datasets.labels.truth import FrameTruth, NoLabels
from mulde.datasets.layout import Layout, first_file, folders_layout, named, names_in, subfolder
from mulde.datasets.tree import find_videos
from mulde.errors import UsageError

COMMON_LAYOUT = "training/ and testing/ with frames/ or videos/ in them"
_FOLDERS = {"train": "training", "test": "testing"}
_FLAG_FOLDERS = ("testing/test_frame_mask", "test_frame_mask", "testing/ground_truth", "ground_truth")
_MASK_FOLDERS = ("testing/test_pixel_mask", "test_pixel_mask")
_TRACK_FOLDERS = ("testing/ground_truth", "ground_truth", "annotations", "tracks")


def common_layout(key: str) -> Layout:
    """The common form of one data set; `key` is what the name of a folder of this data set has in it."""
    return folders_layout(*_FOLDERS.values(), proves=named(key))


def open_common(
    name: str,
    base: Path,
    frame_rate: Fraction | None,
    *,
    mat_file: str = "",
    published: Mapping[str, str] | None = None,
) -> Benchmark:
    """The benchmark in the common layout that `base` has.

    `frame_rate` is that of frame folders. `published` says for each split whether its authors gave "frames" or
    "videos": where both are there, that is read and a note says so. Raises UsageError when a split holds no video, or
    frames beside videos where it is not known which were published.
    """
    published = published or {}
    kinds = {split: _kind(subfolder(base, name) or base, published.get(split)) for split, name in _FOLDERS.items()}
    folders = {split: folder for split, (folder, _) in kinds.items()}
    return Benchmark(
        name,
        base,
        {split: videos_below(folder, split, frame_rate) for split, folder in folders.items()},
        _flags(name, base, mat_file),
        find_masks(base),
        find_tracks(base),
        video_folders=folders,
        notes=tuple(note for _, note in kinds.values() if note),
    )


def beside(base: Path, layout: Layout) -> tuple[str, ...]:
    """What is said where frames in the common layout lie beside the original form, which is read."""
    if not layout.has(base):
        return ()
    return (f"training/ and testing/ in {base} are left out: the original form beside them is read",)


def find_masks(base: Path) -> NpyMasks | None:
    """Pixel masks as one .npy per video, where there are some."""
    return next((NpyMasks(folder) for folder in _holding(base, _MASK_FOLDERS, (".npy", ".pkl"))), None)


def find_tracks(base: Path) -> CornerTracks | None:
    """Boxes with track numbers as one .txt per video, where there are some."""
    return next((CornerTracks(folder) for folder in _holding(base, _TRACK_FOLDERS, (".txt",))), None)


def _kind(folder: Path, published: str | None) -> tuple[Path, str]:
    """Where the videos of a split lie, and what is to be said of it."""
    there = {kind: path for kind in ("frames", "videos") if (path := subfolder(folder, kind)) is not None}
    if len(there) > 1:
        there = {kind: path for kind, path in there.items() if find_videos(path)}
    if len(there) > 1 and published is None:
        raise UsageError(
            f"{folder}",
            expected="frames or videos",
            got="both, and decoded frames are not those that were stored as jpg",
            hint="rename the folder that is not meant",
        )
    if len(there) > 1 and published is not None:
        other = next(path for kind, path in there.items() if kind != published)
        return there[published], f"{other} is left out: the data set was published with {published}"
    return next(iter(there.values()), folder), ""


def _flags(name: str, base: Path, mat_file: str) -> FrameTruth:
    kinds: list[tuple[str, FrameTruth]] = [
        (folder.relative_to(base).as_posix(), NpyFlags(folder))
        for folder in _holding(base, _FLAG_FOLDERS, (".npy", ".pkl"))
    ]
    mat_path = first_file(base, (mat_file,)) if mat_file else None
    if mat_path is not None:
        kinds.append((mat_file, MatIntervals(mat_path)))
    if len(kinds) == 1:
        return kinds[0][1]
    one_of = [f"{folder}/NAME.npy" for folder in _FLAG_FOLDERS] + ([mat_file] if mat_file else [])
    return NoLabels(name, f"one of {', '.join(one_of)} in {base}", listing([kind for kind, _ in kinds]))


def _holding(base: Path, names: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Those of the folders `names` that hold a file with one of the `suffixes`."""
    for folder in (subfolder(base, name) for name in names):
        if folder is not None and any(name.lower().endswith(suffixes) for name in names_in(folder)):
            yield folder
