"""NWPU Campus: 305 training and 242 test videos from 43 scenes, 25 frames a second.

Cao, Lu, Wang, Zhang, "A New Comprehensive Benchmark for Semi-supervised Video Anomaly Detection and Anticipation",
CVPR 2023. Original layout, in `root` or a folder NWPUCampusDataset of it:

    videos/Train/D001_01.avi ...    videos/Test/D001_03.avi ...    groundtruth/NWPU_Campus_gt.npz (or gt.npz)

The .npz has one array of 0 and 1 per test video, under the video's name.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from mulde.datasets.benchmark import Benchmark, NoLabels, base_with, first_file, videos_below, wrong_layout
from mulde.datasets.common import COMMON_LAYOUT, open_common
from mulde.datasets.label_files import NpzFlags

FRAME_RATE = Fraction(25)
_FOLDERS = {"train": "videos/Train", "test": "videos/Test"}
_BELOW = ("NWPUCampusDataset",)
_FILES = ("groundtruth/NWPU_Campus_gt.npz", "NWPU_Campus_gt.npz", "groundtruth/gt.npz", "gt.npz")


def open_nwpu_campus(root: Path) -> Benchmark:
    """Raises UsageError when `root` has neither layout."""
    name = "nwpu-campus"
    base = base_with(root, tuple(_FOLDERS.values()), _BELOW)
    if base is not None:
        splits = {split: videos_below(base / folder, split, FRAME_RATE) for split, folder in _FOLDERS.items()}
        found = Benchmark(name, base, splits, NoLabels(name, f"one of {', '.join(_FILES)} in {base}"))
    else:
        common = open_common(name, root, FRAME_RATE, below=_BELOW)
        if common is None:
            raise wrong_layout(name, root, f"{' and '.join(_FOLDERS.values())}, or {COMMON_LAYOUT}")
        found = common
    path = first_file(found.root, _FILES)
    return found if path is None else replace(found, frames=NpzFlags(path))
