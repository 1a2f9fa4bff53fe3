"""CUHK Avenue: 16 training and 21 test videos, 640 x 360, 25 frames a second.

Lu, Shi, Jia, "Abnormal Event Detection at 150 FPS in MATLAB", ICCV 2013. Original layout, in a folder "Avenue
Dataset"; the masks come in an archive of their own, unpacked there or beside that folder:

    training_videos/01.avi ...    testing_videos/01.avi ...    ground_truth_demo/testing_label_mask/1_label.mat ...

Two public label sets differ on 2.9 % of the frames, so each has a name of its own:

    avenue-masks        the pixel masks of the authors (`volLabel`, or test_pixel_mask/01.npy): 3,712 anomalous frames
    avenue-intervals    avenue.mat of the future-frame-prediction code (Liu et al., CVPR 2018), cell `gt`: 3,867

A .npy of frame labels may be either set, so it is not read. Not seen: which frame the boxes that MERL published for
Avenue count from; boxes are read in the form track,frame,x0,y0,x1,y1 of `common`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from mulde.datasets.base import listing
from mulde.datasets.benchmarks.benchmark import Benchmark, in_folders, wrong_layout
from mulde.datasets.benchmarks.common import COMMON_LAYOUT, beside, common_layout, find_masks, find_tracks, open_common
from mulde.datasets.facts import DatasetSpec, Download, Facts
from mulde.datasets.labels.label_files import MatIntervals
from mulde.datasets.labels.mask_files import MaskFlags, MatMasks, NpyMasks
from mulde.datasets.labels.truth import FrameTruth, NoLabels
from mulde.datasets.layout import find_folders, first_file, folders_layout, locate
from mulde.errors import UsageError

FRAME_RATE = Fraction(25)
_FOLDERS = {"train": "training_videos", "test": "testing_videos"}
_LAYOUT = folders_layout(*_FOLDERS.values(), also=("ground_truth_demo", "training_vol", "testing_vol"))
_COMMON = common_layout("avenue")
_MASK_ARCHIVE, _MASK_FOLDER = "ground_truth_demo", "testing_label_mask"
_MAT_FILE = "avenue.mat"


def open_masks(root: Path) -> Benchmark:
    """Avenue with the labels that the pixel masks give. Raises UsageError for masks in several places."""
    videos = _open("avenue-masks", root)
    masks = _masks(root, videos.root)
    if masks is not None:
        elsewhere = isinstance(masks, MatMasks) and not any(map(masks.folder.is_relative_to, (root, videos.root)))
        notes = (*videos.notes, *([f"the masks of avenue-masks are read from {masks.folder}"] if elsewhere else []))
        return replace(videos, frames=MaskFlags(masks), pixels=masks, notes=notes)
    wanted = f"{_MASK_ARCHIVE}/{_MASK_FOLDER}/N_label.mat or testing/test_pixel_mask/NAME.npy in {videos.root}"
    return replace(videos, frames=NoLabels(videos.name, wanted), pixels=None)


def open_intervals(root: Path) -> Benchmark:
    """Avenue with the labels of avenue.mat; its intervals have no pixel masks."""
    videos = _open("avenue-intervals", root)
    bases = (videos.root, root, videos.root.parent)
    path = next((path for base in bases if (path := first_file(base, (_MAT_FILE,))) is not None), None)
    wanted = f"{_MAT_FILE} in {videos.root}"
    frames: FrameTruth = NoLabels(videos.name, wanted) if path is None else MatIntervals(path)
    return replace(videos, frames=frames, pixels=None)


def _open(name: str, root: Path) -> Benchmark:
    located = locate(name, root, (_LAYOUT, _COMMON))
    if located is None:
        raise wrong_layout(name, root, f"{' and '.join(_FOLDERS.values())}, or {COMMON_LAYOUT}")
    base, layout = located
    if layout is _COMMON:
        return open_common(name, base, FRAME_RATE)
    notes = beside(base, _COMMON)
    return in_folders(name, base, _FOLDERS, FRAME_RATE, NoLabels(name, ""), boxes=find_tracks(base), notes=notes)


def _masks(root: Path, base: Path) -> MatMasks | NpyMasks | None:
    """The masks, which come in an archive of their own: in what was given, with the videos, or beside their folder."""
    folders = _mask_folders(root, find_folders((base, root), _MASK_FOLDER))
    if not folders and (arrays := find_masks(base)) is not None:
        return arrays
    if not folders:
        is_unpacked = _letters(base.parent.name) == _letters(base.name)  # unpacked into a folder named like the archive
        beside = (base.parent, base.parent.parent) if is_unpacked else (base.parent,)
        demo = find_folders(beside, _MASK_ARCHIVE, 1)
        near = find_folders(beside, _MASK_FOLDER, 1) + find_folders(tuple(demo), _MASK_FOLDER, 2)
        folders = _mask_folders(root, near)
    return MatMasks(folders[0]) if folders else None


def _mask_folders(root: Path, folders: list[Path]) -> list[Path]:
    """Those with masks in them, at most one."""
    with_masks = [path for path in folders if any(path.glob("*_label.mat"))]
    if len(with_masks) > 1:
        raise UsageError(
            f"avenue-masks in {root}",
            expected="one folder of masks",
            got=listing([str(path) for path in with_masks], 5),
            hint="rename or remove those that are not meant",
        )
    return with_masks


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


_HOME = "http://www.cse.cuhk.edu.hk/leojia/projects/detectabnormal"
_VIDEOS = Download(f"{_HOME}/Avenue_Dataset.zip", None, "md5:b7a34b212ecdd30efbd989a6dcb1aceb")
_MASKS = Download(f"{_HOME}/ground_truth_demo.zip", None, "md5:e8e3bff99195b6b511534083b9dbe1f5")
_BY_MASKS = Facts(
    name="avenue-masks",
    title="CUHK Avenue, labels from its pixel masks (3,712 anomalous frames)",
    address=f"{_HOME}/dataset.html",
    link="direct",
    how="Two archives: the videos, and the masks in ground_truth_demo.zip.",
    licence="non-commercial use (as its files say)",
    citation="Lu, Shi, Jia, Abnormal Event Detection at 150 FPS in MATLAB, ICCV 2013",
    checked="addresses in published scripts, MD5 in anomalib's loader, counts in published tables",
    downloads=(_VIDEOS, _MASKS),
    num_train_videos=16,
    num_test_videos=21,
    num_train_frames=15_328,
    num_test_frames=15_324,
    one_size_hw=(360, 640),
    unpacks_to="Avenue Dataset/ with training_videos/ and testing_videos/; ground_truth_demo/ with testing_label_mask/",
)
_BY_INTERVALS = replace(
    _BY_MASKS,
    name="avenue-intervals",
    title="CUHK Avenue, labels from the intervals in avenue.mat (3,867 anomalous frames)",
    link="by hand",
    how="Get the videos with `mulde data get avenue-masks`. avenue.mat is in the data that the code of Liu et al. links"
    " to, https://github.com/StevenLiuWen/ano_pred_cvpr2018; its cloud links come and go. Put it into Avenue Dataset/,"
    " or beside it.",
    downloads=(),
    unpacks_to="Avenue Dataset/ with training_videos/ and testing_videos/",
)
AVENUE_MASKS = DatasetSpec(_BY_MASKS, open_masks, config="avenue")
AVENUE_INTERVALS = DatasetSpec(_BY_INTERVALS, open_intervals, config="avenue")
