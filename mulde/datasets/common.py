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

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from mulde.datasets.base import Video, listing
from mulde.datasets.benchmark import Benchmark, FrameTruth, NoLabels, base_with, videos_below
from mulde.datasets.label_files import MatIntervals, NpyFlags
from mulde.datasets.mask_files import NpyMasks
from mulde.datasets.tracks import CornerTracks
from mulde.errors import UsageError
from mulde.filetypes import is_hidden

COMMON_LAYOUT = "training/ and testing/ with frames/ or videos/ in them"
_FOLDERS = {"train": "training", "test": "testing"}
_FLAG_FOLDERS = ("testing/test_frame_mask", "test_frame_mask", "testing/ground_truth", "ground_truth")
_MASK_FOLDERS = ("testing/test_pixel_mask", "test_pixel_mask")
_TRACK_FOLDERS = ("testing/ground_truth", "ground_truth", "annotations", "tracks")


def open_common(
    name: str, root: Path, frame_rate: Fraction | None, *, mat_file: str = "", below: tuple[str, ...] = ()
) -> Benchmark | None:
    """A benchmark in the common layout under `root` or a folder `below` it; None where training/ or testing/ misses.

    `frame_rate` is that of frame folders. Raises UsageError when a split holds no video or frames beside videos.
    """
    base = base_with(root, tuple(_FOLDERS.values()), below)
    if base is None:
        return None
    splits = {split: _videos(base / folder, split, frame_rate) for split, folder in _FOLDERS.items()}
    return Benchmark(name, base, splits, _flags(name, base, mat_file), find_masks(base), find_tracks(base))


def find_masks(base: Path) -> NpyMasks | None:
    """Pixel masks as one .npy per video, where there are some."""
    return next((NpyMasks(folder) for folder in _holding(base, _MASK_FOLDERS, (".npy", ".pkl"))), None)


def find_tracks(base: Path) -> CornerTracks | None:
    """Boxes with track numbers as one .txt per video, where there are some."""
    return next((CornerTracks(folder) for folder in _holding(base, _TRACK_FOLDERS, (".txt",))), None)


def _videos(folder: Path, split: str, frame_rate: Fraction | None) -> tuple[Video, ...]:
    kinds = [kind for kind in ("frames", "videos") if (folder / kind).is_dir()]
    if len(kinds) > 1:
        raise UsageError(
            f"{folder}",
            expected="frames or videos",
            got="both, and decoded frames are not those that were stored as jpg",
            hint="to rename the folder that is not meant",
        )
    return videos_below(folder / kinds[0] if kinds else folder, split, frame_rate)


def _flags(name: str, base: Path, mat_file: str) -> FrameTruth:
    found: list[tuple[str, FrameTruth]] = [
        (str(folder.relative_to(base)), NpyFlags(folder)) for folder in _holding(base, _FLAG_FOLDERS, (".npy", ".pkl"))
    ]
    if mat_file and (base / mat_file).is_file():
        found.append((mat_file, MatIntervals(base / mat_file)))
    if len(found) == 1:
        return found[0][1]
    one_of = [f"{folder}/NAME.npy" for folder in _FLAG_FOLDERS] + ([mat_file] if mat_file else [])
    return NoLabels(name, f"one of {', '.join(one_of)} in {base}", listing([kind for kind, _ in found]))


def _holding(base: Path, folders: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Those of the `folders` that hold a file with one of the `suffixes`."""
    for folder in (base / name for name in folders):
        if folder.is_dir() and any(
            path.suffix.lower() in suffixes and not is_hidden(path.name) for path in folder.iterdir()
        ):
            yield folder
