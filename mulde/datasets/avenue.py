"""CUHK Avenue: 16 training and 21 test videos, 640 x 360, 25 frames a second.

Lu, Shi, Jia, "Abnormal Event Detection at 150 FPS in MATLAB", ICCV 2013. Original layout, in `root` or in a folder
"Avenue Dataset" or Avenue_Dataset of it; the masks also beside that folder:

    training_videos/01.avi ...    testing_videos/01.avi ...    ground_truth_demo/testing_label_mask/1_label.mat ...

Two public label sets differ on 2.9 % of the frames, so each has a name of its own:

    avenue-masks        the pixel masks of the authors (`volLabel`, or test_pixel_mask/01.npy): 3,712 anomalous frames
    avenue-intervals    avenue.mat of the future-frame-prediction code (Liu et al., CVPR 2018), cell `gt`: 3,867

A .npy of frame labels may be either set, so it is not read. Not seen: which frame the boxes that MERL published for
Avenue count from; boxes are read in the form track,frame,x0,y0,x1,y1 of `common`.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from mulde.datasets.benchmark import Benchmark, FrameTruth, MaskTruth, NoLabels, base_with, videos_below, wrong_layout
from mulde.datasets.common import COMMON_LAYOUT, find_masks, find_tracks, open_common
from mulde.datasets.label_files import MatIntervals
from mulde.datasets.mask_files import MaskFlags, MatMasks

FRAME_RATE = Fraction(25)
_FOLDERS = {"train": "training_videos", "test": "testing_videos"}
_BELOW = ("Avenue Dataset", "Avenue_Dataset", "avenue")
_MAT_FOLDERS = ("ground_truth_demo/testing_label_mask", "testing_label_mask", "testing/testing_label_mask")
_MAT_FILE = "avenue.mat"


def open_masks(root: Path) -> Benchmark:
    """Avenue with the labels that the pixel masks give."""
    found = _open("avenue-masks", root)
    masks = _masks(root, found.root)
    if masks is not None:
        return replace(found, frames=MaskFlags(masks), pixels=masks)
    wanted = f"{_MAT_FOLDERS[0]}/N_label.mat or testing/test_pixel_mask/NAME.npy in {found.root}"
    return replace(found, frames=NoLabels(found.name, wanted), pixels=None)


def open_intervals(root: Path) -> Benchmark:
    """Avenue with the labels of avenue.mat; its intervals have no pixel masks."""
    found = _open("avenue-intervals", root)
    path = next((base / _MAT_FILE for base in (found.root, root) if (base / _MAT_FILE).is_file()), None)
    wanted = f"{_MAT_FILE} in {found.root}"
    frames: FrameTruth = NoLabels(found.name, wanted) if path is None else MatIntervals(path)
    return replace(found, frames=frames, pixels=None)


def _open(name: str, root: Path) -> Benchmark:
    base = base_with(root, tuple(_FOLDERS.values()), _BELOW)
    if base is not None:
        splits = {split: videos_below(base / folder, split, FRAME_RATE) for split, folder in _FOLDERS.items()}
        return Benchmark(name, base, splits, NoLabels(name, ""), boxes=find_tracks(base))
    found = open_common(name, root, FRAME_RATE, below=_BELOW)
    if found is None:
        raise wrong_layout(name, root, f"{' and '.join(_FOLDERS.values())}, or {COMMON_LAYOUT}")
    return found


def _masks(root: Path, base: Path) -> MaskTruth | None:
    for folder in (folder / name for folder in (base, root, base.parent) for name in _MAT_FOLDERS):
        if folder.is_dir():
            return MatMasks(folder)
    return find_masks(base)
