"""MVTec AD: images of objects and textures; each image is a video of one frame.

Bergmann, Fauser, Sattlegger, Steger, "MVTec AD - A Comprehensive Real-World Dataset for Unsupervised Anomaly
Detection", CVPR 2019. `root` is one category, or the folder that holds several:

    bottle/train/good/000.png ...    bottle/test/good/000.png ...    bottle/test/broken_large/000.png ...
    bottle/ground_truth/broken_large/000_mask.png ...

A video's name is good/000 or broken_large/000, with the category in front where there are several. Also read: the
common layout, with images instead of videos and folders of one frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.datasets.base import Video
from mulde.datasets.benchmark import Benchmark, wrong_layout
from mulde.datasets.common import COMMON_LAYOUT, open_common
from mulde.datasets.ground_truth import iter_masks
from mulde.errors import LabelError, UsageError
from mulde.filetypes import is_hidden, list_frames, natural_key
from mulde.records import Bool, LabelTrack


@dataclass(frozen=True)
class MvtecTruth:
    """An image is anomalous unless it lies in test/good; its mask has the name of its defect."""

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        if num_frames != 1:
            raise LabelError(f"mvtec-ad {video.name}: decoded frames", expected="1, it is an image", got=num_frames)
        return LabelTrack(video.name, np.array([not _is_good(video)], np.bool_))

    def masks(self, video: Video) -> Iterator[Bool] | None:
        """The mask of a defect; None for a good image."""
        if _is_good(video):
            return None
        defect, category = video.path.parent, video.path.parents[2]
        path = category / "ground_truth" / defect.name / f"{video.path.stem}_mask.png"
        if not path.is_file():
            raise LabelError(f"mvtec-ad {video.name}: mask", expected=path, got="no such file", hint="a full copy")
        return iter_masks([path])


def open_mvtec_ad(root: Path) -> Benchmark:
    """Raises UsageError when `root` is neither a category nor a folder of categories."""
    name = "mvtec-ad"
    if _is_category(root):
        categories = {"": root}
    else:
        found = sorted((p for p in root.iterdir() if not is_hidden(p.name) and _is_category(p)), key=_by_name)
        categories = {f"{path.name}/": path for path in found}
    if not categories:
        common = open_common(name, root, None)
        if common is None:
            wanted = f"train/good and test there or in the folders of categories, or {COMMON_LAYOUT}"
            raise wrong_layout(name, root, wanted)
        return common
    splits = {split: _images(categories, split) for split in ("train", "test")}
    return Benchmark(name, root, splits, MvtecTruth(), MvtecTruth())


def _images(categories: dict[str, Path], split: str) -> tuple[Video, ...]:
    videos = []
    for prefix, category in categories.items():
        kinds = [category / "train" / "good"] if split == "train" else _subfolders(category / "test")
        images = [(kind, path) for kind in kinds for path in list_frames(kind)]
        if not images:
            raise UsageError(f"{category / split}", expected="images in folders good, ...", got="none")
        videos += [Video(f"{prefix}{kind.name}/{path.stem}", split, path) for kind, path in images]
    return tuple(videos)


def _subfolders(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)), key=_by_name)


def _by_name(path: Path) -> tuple[tuple[int, int, str], ...]:
    return natural_key(path.name)


def _is_category(path: Path) -> bool:
    return (path / "train" / "good").is_dir() and (path / "test").is_dir()


def _is_good(video: Video) -> bool:
    return video.path.parent.name == "good"
