"""KolektorSDD: surfaces of 50 commutators, eight images each; each image is a video of one frame.

Tabernik, Šela, Skvarč, Skočaj, "Segmentation-based deep-learning approach for surface-defect detection", Journal of
Intelligent Manufacturing 2020:

    kos01/Part0.jpg    kos01/Part0_label.bmp    kos01/Part1.jpg ...

A mask has pixels where the surface is cracked, and none for a good image. Images of one commutator resemble each other,
so the folds are of whole commutators: `kolektor-sdd-1`, `-2` and `-3` test on every third one, from the first, second
or third, and learn from the good images of the others. The authors' own three folds are other ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mulde.datasets.base import Video
from mulde.datasets.benchmarks.benchmark import Benchmark, wrong_layout
from mulde.datasets.facts import DatasetSpec, Facts
from mulde.datasets.labels.ground_truth import iter_masks
from mulde.datasets.layout import Layout, locate
from mulde.datasets.tree import sub_folders
from mulde.errors import LabelError, UsageError
from mulde.filetypes import list_frames
from mulde.records import Bool, LabelTrack

FOLDS = 3
_COMMUTATOR = re.compile(r"kos([0-9]+)", re.IGNORECASE)
_LABEL = "_label"


def _number(folder: Path) -> int | None:
    match = _COMMUTATOR.fullmatch(folder.name)
    return None if match is None else int(match[1])


def _is_image(path: Path) -> bool:
    return not path.stem.lower().endswith(_LABEL)


def _has(folder: Path) -> bool:
    return any(
        _number(inner) is not None and any(not _is_image(path) for path in list_frames(inner))
        for inner in sub_folders(folder)
    )


_LAYOUT = Layout(has=_has, part=lambda name: _COMMUTATOR.fullmatch(name) is not None)


@dataclass(frozen=True)
class KolektorTruth:
    """An image is anomalous where its mask has a pixel."""

    name: str

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        if num_frames != 1:
            raise LabelError(f"{self.name} {video.name}: decoded frames", expected="1, it is an image", got=num_frames)
        return LabelTrack(video.name, np.array([_is_cracked(self.name, video.path)], np.bool_))

    def masks(self, video: Video) -> Iterator[Bool] | None:
        """The mask of a defect; None for a good image."""
        path = _mask(self.name, video.path)
        return iter_masks([path]) if _is_cracked(self.name, video.path) else None


def open_kolektor(root: Path, fold: int) -> Benchmark:
    """Raises UsageError when neither `root` nor a folder near it holds the folders of commutators, or where a fold has
    no image; LabelError for an image without its mask."""
    name = f"kolektor-sdd-{fold}"
    located = locate(name, root, (_LAYOUT,))
    if located is None:
        raise wrong_layout(name, root, "folders kos01, kos02 ... with Part0.jpg and Part0_label.bmp")
    base, _ = located
    splits: dict[str, list[Video]] = {"train": [], "test": []}
    num_cracked = 0
    for folder in sub_folders(base):
        number = _number(folder)
        if number is None:
            continue
        split = "test" if (number - 1) % FOLDS == fold - 1 else "train"
        for path in filter(_is_image, list_frames(folder)):
            if split == "train" and _is_cracked(name, path):
                num_cracked += 1
            else:
                splits[split].append(Video(f"{folder.name}/{path.stem}", split, path))
    for split, videos in splits.items():
        if not videos:
            raise UsageError(f"{name} in {base}: {split}", expected=f"images of commutators of fold {fold}", got="none")
    truth = KolektorTruth(name)
    left = f"images with a defect left out of the training, which is on good ones: {num_cracked}"
    found = {split: tuple(videos) for split, videos in splits.items()}
    return Benchmark(name, base, found, truth, truth, notes=(left,) if num_cracked else ())


def _is_cracked(name: str, image: Path) -> bool:
    return any(bool(mask.any()) for mask in iter_masks([_mask(name, image)]))


def _mask(name: str, image: Path) -> Path:
    wanted = f"{image.stem}{_LABEL}".lower()
    found = [path for path in list_frames(image.parent) if path.stem.lower() == wanted]
    if len(found) != 1:
        got = "no such file" if not found else f"{len(found)} of them"
        raise LabelError(
            f"{name} {image.parent.name}/{image.stem}: mask",
            expected=f"{image.stem}{_LABEL}.bmp beside it",
            got=got,
            hint="get a full copy",
        )
    return found[0]


def _facts(fold: int) -> Facts:
    return Facts(
        name=f"kolektor-sdd-{fold}",
        title=f"KolektorSDD, images as videos of one frame, fold {fold} of {FOLDS} by commutator",
        address="https://www.vicos.si/resources/kolektorsdd/",
        link="by hand",
        how="Download KolektorSDD.zip from that page.",
        licence="CC BY-NC-SA 4.0",
        citation="Tabernik, Šela, Skvarč, Skočaj, Segmentation-based deep-learning approach for surface-defect "
        "detection, Journal of Intelligent Manufacturing 2020",
        checked="counts and licence in a copy of half the size",
        unpacks_to="folders kos01 to kos50",
    )


FOLD_1, FOLD_2, FOLD_3 = (
    DatasetSpec(_facts(fold), partial(open_kolektor, fold=fold), config="kolektor-sdd") for fold in (1, 2, 3)
)
