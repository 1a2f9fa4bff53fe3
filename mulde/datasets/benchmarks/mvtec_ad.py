"""MVTec AD: images of objects and textures; each image is a video of one frame.

Bergmann, Fauser, Sattlegger, Steger, "MVTec AD - A Comprehensive Real-World Dataset for Unsupervised Anomaly
Detection", CVPR 2019. The archive unpacks to mvtec_anomaly_detection, a folder of categories; one alone is opened too:

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

from mulde.datasets.base import Video, listing
from mulde.datasets.benchmarks.benchmark import Benchmark, wrong_layout
from mulde.datasets.benchmarks.common import COMMON_LAYOUT, common_layout, open_common
from mulde.datasets.facts import DatasetSpec, Facts
from mulde.datasets.labels.ground_truth import iter_masks
from mulde.datasets.layout import Layout, folders_layout, locate, names_in, number_in, subfolder
from mulde.datasets.tree import sub_folders
from mulde.errors import LabelError, UsageError
from mulde.filetypes import list_frames
from mulde.records import Bool, LabelTrack

_GOOD = "good"
_CATEGORY = folders_layout(f"train/{_GOOD}", "test", also=("ground_truth",))
_CATEGORIES = Layout(has=lambda folder: any(map(_CATEGORY.has, sub_folders(folder))), part=lambda name: False)
_COMMON = common_layout("mvtec")


@dataclass(frozen=True)
class MvtecTruth:
    """An image is anomalous unless it lies in test/good; its mask has the name of its defect."""

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        if num_frames != 1:
            raise LabelError(f"mvtec-ad {video.name}: decoded frames", expected="1, it is an image", got=num_frames)
        return LabelTrack(video.name, np.array([not _is_good(video)], np.bool_))

    def masks(self, video: Video) -> Iterator[Bool] | None:
        """The mask of a defect; None for a good image."""
        return None if _is_good(video) else iter_masks([_mask(video)])


def open_mvtec_ad(root: Path) -> Benchmark:
    """Raises UsageError when neither `root` nor a folder near it is a category or holds categories."""
    name = "mvtec-ad"
    located = locate(name, root, (_CATEGORY, _CATEGORIES, _COMMON))
    if located is None:
        wanted = f"train/good and test there or in the folders of categories, or {COMMON_LAYOUT}"
        raise wrong_layout(name, root, wanted)
    base, layout = located
    if layout is _COMMON:
        return open_common(name, base, None)
    categories = {"": base}
    notes: tuple[str, ...] = ()
    if layout is _CATEGORIES:
        categories = {f"{path.name}/": path for path in sub_folders(base) if _CATEGORY.has(path)}
        notes = tuple(
            f"{path} is left out: it has {' and '.join(_parts(path))}, a category has train/{_GOOD} and test"
            for path in sub_folders(base)
            if not _CATEGORY.has(path) and _parts(path)
        )
    splits = {split: _images(categories, split) for split in ("train", "test")}
    return Benchmark(name, base, splits, MvtecTruth(), MvtecTruth(), notes=notes)


def _parts(path: Path) -> list[str]:
    return [name for name in names_in(path) if _CATEGORY.part(name)]


def _images(categories: dict[str, Path], split: str) -> tuple[Video, ...]:
    videos = []
    for prefix, category in categories.items():
        folder = subfolder(category, split) or category / split
        kinds = [kind for kind in sub_folders(folder) if split == "test" or kind.name.lower() == _GOOD]
        images = [(kind, path) for kind in kinds for path in list_frames(kind)]
        if not images:
            raise UsageError(f"{folder}", expected="images in folders good, ...", got="none")
        videos += [Video(f"{prefix}{kind.name}/{path.stem}", split, path) for kind, path in images]
    return tuple(videos)


def _mask(video: Video) -> Path:
    """ground_truth/DEFECT/000_mask.png of 000.png, or the only image there with the number of its name."""
    defect, category = video.path.parent, video.path.parents[2]
    path = category / "ground_truth" / defect.name / f"{video.path.stem}_mask.png"
    folder = subfolder(category, f"ground_truth/{defect.name}")
    if folder is None:
        raise LabelError(f"mvtec-ad {video.name}: mask", expected=path, got="no such folder", hint="get a full copy")
    images = list_frames(folder)
    same = [image for image in images if image.stem.lower() == f"{video.path.stem}_mask".lower()]
    same = same or [image for image in images if number_in(image.name) == number_in(video.path.name) is not None]
    if len(same) != 1:
        got = listing([image.name for image in same]) if same else "no such file"
        raise LabelError(f"mvtec-ad {video.name}: mask", expected=path, got=got, hint="get a full copy")
    return same[0]


def _is_good(video: Video) -> bool:
    return video.path.parent.name.lower() == _GOOD


_FACTS = Facts(
    name="mvtec-ad",
    title="MVTec AD, images as videos of one frame",
    address="https://www.mvtec.com/company/research/datasets/mvtec-ad",
    link="by hand",
    how="Fill in the form on that page and accept the licence.",
    licence="CC BY-NC-SA 4.0",
    citation="Bergmann, Fauser, Sattlegger, Steger, MVTec AD - A Comprehensive Real-World Dataset for Unsupervised"
    " Anomaly Detection, CVPR 2019",
    checked="licence, size and the sum of the counts on cards of copies; the dead link in issues 3121, 3441 and 3608 of"
    " anomalib",
    size_bytes=5_260_000_000,
    dead_link="https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/420938113-1629952094/"
    "mvtec_anomaly_detection.tar.xz",
    num_train_videos=3_629,
    num_test_videos=1_725,
    num_train_frames=3_629,
    num_test_frames=1_725,
    unpacks_to="mvtec_anomaly_detection/ with a folder for each category, each with train/, test/ and ground_truth/",
)
MVTEC_AD = DatasetSpec(_FACTS, open_mvtec_ad)
