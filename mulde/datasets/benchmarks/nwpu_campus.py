"""NWPU Campus: 305 training and 242 test videos from 43 scenes, 25 frames a second.

Cao, Lu, Wang, Zhang, "A New Comprehensive Benchmark for Semi-supervised Video Anomaly Detection and Anticipation",
CVPR 2023. Original layout, in a folder NWPUCampusDataset:

    videos/Train/D001_01.avi ...    videos/Test/D001_03.avi ...    groundtruth/NWPU_Campus_gt.npz (or gt.npz)

The .npz has one array of 0 and 1 per test video, under the video's name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from mulde.datasets.benchmarks.benchmark import Benchmark, in_folders, wrong_layout
from mulde.datasets.benchmarks.common import COMMON_LAYOUT, beside, common_layout, open_common
from mulde.datasets.facts import DatasetSpec, Facts
from mulde.datasets.labels.label_files import NpzFlags
from mulde.datasets.labels.truth import NoLabels
from mulde.datasets.layout import first_file, folders_layout, locate, named, names_in, subfolder

FRAME_RATE = Fraction(25)
_FOLDERS = {"train": "videos/Train", "test": "videos/Test"}
_LAYOUT = folders_layout(*_FOLDERS.values(), proves=named("nwpu", lambda folder: _is_campus(folder)))
_COMMON = common_layout("nwpu")
_NAME = re.compile(r"D[0-9]{3}_[0-9]+", re.IGNORECASE)
_FILES = ("groundtruth/NWPU_Campus_gt.npz", "NWPU_Campus_gt.npz", "groundtruth/gt.npz", "gt.npz")


def open_nwpu_campus(root: Path) -> Benchmark:
    """Raises UsageError when neither `root` nor a folder near it has one of these layouts."""
    name = "nwpu-campus"
    located = locate(name, root, (_LAYOUT, _COMMON))
    if located is None:
        raise wrong_layout(name, root, f"{' and '.join(_FOLDERS.values())}, or {COMMON_LAYOUT}")
    base, layout = located
    if layout is _COMMON:
        campus = open_common(name, base, FRAME_RATE)
    else:
        missing = NoLabels(name, f"one of {', '.join(_FILES)} in {base}")
        campus = in_folders(name, base, _FOLDERS, FRAME_RATE, missing, notes=beside(base, _COMMON))
    path = first_file(base, _FILES) or first_file(base.parent, _FILES)
    return campus if path is None else replace(campus, frames=NpzFlags(path))


def _is_campus(folder: Path) -> bool:
    """True where the test videos are named as those of this data set, after scene and number: D001_03."""
    test = subfolder(folder, "videos/Test")
    return test is not None and any(_NAME.fullmatch(Path(name).stem) for name in names_in(test))


_FACTS = Facts(
    name="nwpu-campus",
    title="NWPU Campus",
    address="https://campusvad.github.io/",
    link="by hand",
    how="Follow the page to its archive volumes on a cloud drive, compare the MD5 given there, unpack.",
    licence="see the page (research use)",
    citation="Cao, Lu, Wang, Zhang, A New Comprehensive Benchmark for Semi-supervised Video Anomaly Detection and"
    " Anticipation, CVPR 2023",
    checked="address, size and counts in published tables",
    size_bytes=76_600_000_000,
    num_train_videos=305,
    num_test_videos=242,
    num_train_frames=1_082_014,
    num_test_frames=384_059,
    unpacks_to="NWPUCampusDataset/ with videos/Train/, videos/Test/ and groundtruth/",
)
NWPU_CAMPUS = DatasetSpec(_FACTS, open_nwpu_campus)
