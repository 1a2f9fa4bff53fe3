"""UBnormal under the one-class protocol: only the normal training videos train, the official test split tests.

Acsintoae et al., "UBnormal: New Benchmark for Supervised Open-Set Video Anomaly Detection", CVPR 2022. Synthetic
scenes, 30 frames a second. Original layout, in a folder UBnormal; the split lists come from scripts/ of the authors'
repository, and lie there, in the folder above, or in another folder beside it:

    Scene1/normal_scene_1_scenario1_1.mp4 ...    Scene1/abnormal_scene_1_scenario_1.mp4 ...
    Scene1/abnormal_scene_1_scenario_1_annotations/abnormal_scene_1_scenario_1_tracks.txt
        "object,first,last" per line: the object is anomalous in these frames, from 0, the last one included
    Scene1/abnormal_scene_1_scenario_1_annotations/abnormal_scene_1_scenario_1_0000_gt.png ...
        a pixel's value is the number of the object, normal ones too
    scripts/normal_training_video_names.txt, normal_test_video_names.txt, abnormal_test_video_names.txt

In the common layout, training videos whose names begin with "abnormal" are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.datasets.base import Video, listing
from mulde.datasets.benchmarks.benchmark import Benchmark, wrong_layout
from mulde.datasets.benchmarks.common import COMMON_LAYOUT, beside, common_layout, open_common
from mulde.datasets.facts import DatasetSpec, Facts
from mulde.datasets.labels.ground_truth import track_from_ranges
from mulde.datasets.labels.tracks import Box, truth_from_boxes
from mulde.datasets.layout import Layout, find_files, locate, names_in, whatever_case
from mulde.datasets.tree import sub_folders
from mulde.errors import ImageError, LabelError, UsageError
from mulde.files import read_text
from mulde.filetypes import list_frames, natural_key
from mulde.images import read_image
from mulde.records import Bool, LabelTrack, TruthRegions

FRAME_RATE = Fraction(30)
_COMMON = common_layout("ubnormal")
_SCENE = re.compile(r"scene[0-9]+", re.IGNORECASE)
_LAYOUT = Layout(
    has=lambda folder: any(_SCENE.fullmatch(path.name) and _has_video(path) for path in sub_folders(folder)),
    part=lambda name: _SCENE.fullmatch(name) is not None or name.lower() == "scripts",
)
_LISTS = {"train": ("normal_training",), "test": ("normal_test", "abnormal_test")}


@dataclass(frozen=True)
class UbnormalTruth:
    """The annotation folder beside each abnormal video; a normal video has none and no anomaly."""

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        ranges = [(first, last + 1) for _, first, last in _tracks(video)]
        return track_from_ranges(video.name, ranges, num_frames, f"{_folder(video)}")

    def masks(self, video: Video) -> Iterator[Bool] | None:
        if _is_normal(video):
            return None
        return (np.isin(_read_objects(path), list(wanted.values())) for _, path, wanted in _object_images(video))

    def regions(self, video: Video) -> TruthRegions:
        """One track per line of the tracks file; in each frame the box of the largest connected part of its object."""
        if _is_normal(video):
            return truth_from_boxes(video.name, [])
        boxes = []
        for frame, path, wanted in _object_images(video):
            if wanted:
                objects = _read_objects(path)
                corners_by_track = ((track, _largest_part(objects == number)) for track, number in wanted.items())
                boxes += [Box(frame, track, *corners) for track, corners in corners_by_track if corners is not None]
        return truth_from_boxes(video.name, boxes)


def open_ubnormal(root: Path) -> Benchmark:
    """Raises UsageError when neither `root` nor a folder near it has a known layout, or a listed video is missing."""
    name = "ubnormal"
    located = locate(name, root, (_LAYOUT, _COMMON))
    if located is None:
        raise wrong_layout(name, root, f"Scene1, Scene2, ... and scripts, or {COMMON_LAYOUT}")
    base, layout = located
    if layout is _COMMON:
        common = open_common(name, base, FRAME_RATE)
        normal = tuple(video for video in common.videos("train") if not video.name.startswith("abnormal"))
        return replace(common, splits={**common.splits, "train": normal})
    truth = UbnormalTruth()
    lists = {part: _list(root, base, f"{part}_video_names.txt") for parts in _LISTS.values() for part in parts}
    splits = {split: _split(base, split, [lists[part] for part in parts]) for split, parts in _LISTS.items()}
    folders = {str(path.parent) for path in lists.values() if not any(map(path.is_relative_to, (root, base)))}
    elsewhere = tuple(f"the split lists of ubnormal are read from {folder}" for folder in sorted(folders))
    return Benchmark(name, base, splits, truth, truth, truth, notes=(*elsewhere, *beside(base, _COMMON)))


def _split(base: Path, split: str, lists: list[Path]) -> tuple[Video, ...]:
    names = [name for path in lists for name in _listed(path)]
    videos = [
        Video(name, split, whatever_case(base, f"{_scene(name)}/{name}.mp4"))
        for name in sorted(set(names), key=natural_key)
    ]
    missing = [video.name for video in videos if not video.path.is_file()]
    if missing or not videos:
        raise UsageError(
            f"ubnormal in {base}: {split} videos",
            expected=f"{len(videos)} listed videos, each in the folder of its scene",
            got=f"{len(videos) - len(missing)} (missing: {listing(missing, 5)})",
            hint="get a full copy, or use lists that name only what is there",
        )
    return tuple(videos)


def _list(root: Path, base: Path, file: str) -> Path:
    """A split list, which comes from another source than the videos: with them, in what was given, or beside them."""
    lists = find_files((base, root), file, 2, _SCENE) or find_files((base.parent,), file, 2, _SCENE)
    if not lists:
        raise UsageError(
            f"ubnormal in {base}",
            expected=f"the split list scripts/{file}",
            got="no such file",
            hint="put scripts/*_video_names.txt of github.com/lilygeorgescu/UBnormal beside the Scene folders",
        )
    different = {tuple(_listed(path)): path for path in reversed(lists)}
    if len(different) > 1:
        raise UsageError(
            f"ubnormal in {base}: two lists that differ",
            expected=f"one {file}",
            got=listing([str(path) for path in different.values()], 5),
            hint="rename or remove those that are not meant",
        )
    return next(iter(different.values()))


def _listed(path: Path) -> list[str]:
    return [name.removesuffix(".mp4") for name in read_text(path, error=UsageError).split()]


def _scene(name: str) -> str:
    """abnormal_scene_7_scenario_2_fog lies in Scene7."""
    parts = name.split("_")
    return f"Scene{parts[2]}" if len(parts) > 2 else name


def _has_video(scene: Path) -> bool:
    return any(re.match(r"(ab)?normal_scene_", name, re.IGNORECASE) for name in names_in(scene))


def _is_normal(video: Video) -> bool:
    return video.name.startswith("normal")


def _folder(video: Video) -> Path:
    return whatever_case(video.path.parent, f"{video.name}_annotations")


def _tracks(video: Video) -> list[tuple[int, int, int]]:
    """Object, first and last frame (from 0, included) of each anomaly; none for a normal video."""
    if _is_normal(video):
        return []
    path = _folder(video) / f"{video.name}_tracks.txt"
    if not path.is_file():
        raise LabelError(f"labels of {video.name}", expected=path, got="no such file", hint="get a full copy")
    rows = []
    for number, line in enumerate(read_text(path, error=LabelError).splitlines(), start=1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        values = [int(float(field)) for field in fields if _is_whole(field)]
        if len(fields) != 3 or len(values) != 3 or values[0] < 1 or not 0 <= values[1] <= values[2]:
            raise LabelError(f"{path} line {number}", expected="object,first,last from 0 up", got=line.strip())
        rows.append((values[0], values[1], values[2]))
    return rows


def _is_whole(field: str) -> bool:
    try:
        return float(field).is_integer()
    except ValueError:
        return False


def _object_images(video: Video) -> Iterator[tuple[int, Path, dict[int, int]]]:
    """Frame, its image of object numbers, and track -> object of what is anomalous in it; frame by frame."""
    tracks = _tracks(video)
    paths = [path for path in list_frames(_folder(video)) if path.stem.endswith("_gt")]
    for frame, path in enumerate(paths):
        if path.name != f"{video.name}_{frame:04d}_gt.png":
            raise LabelError(
                f"{_folder(video)}: object image {frame}", expected=f"{video.name}_{frame:04d}_gt.png", got=path.name
            )
        yield frame, path, {i: number for i, (number, first, last) in enumerate(tracks) if first <= frame <= last}
    last = max((last for _, _, last in tracks), default=-1)
    if last >= len(paths):
        raise LabelError(
            f"{_folder(video)}: object images", expected=f"frames 0 to {last} at least", got=f"{len(paths)} images"
        )


def _read_objects(path: Path) -> NDArray[Any]:
    """The object numbers (H, W) of one frame."""
    try:
        return read_image(path, "grey", keep_depth=False)
    except ImageError as error:
        raise LabelError(f"object image {error}") from error.__cause__


def _largest_part(mask: Bool) -> tuple[float, float, float, float] | None:
    """The bounding box, largest in area, among those of the 8-connected parts; None for an empty mask."""
    import cv2

    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    parts = np.asarray(stats)[1:]
    if not len(parts):
        return None
    x, y, w, h = (float(value) for value in parts[int(np.argmax(parts[:, 2] * parts[:, 3]))][:4])
    return x, y, x + w, y + h


_FACTS = Facts(
    name="ubnormal",
    title="UBnormal",
    address="https://github.com/lilygeorgescu/UBnormal",
    link="by hand",
    how="Follow the Google Drive link in that README, unpack, and put the scripts folder of the repository, which holds"
    " the split lists, into UBnormal/ or beside it.",
    licence="CC BY-NC-ND 4.0",
    citation="Acsintoae et al., UBnormal: New Benchmark for Supervised Open-Set Video Anomaly Detection, CVPR 2022",
    checked="a stored version of the README; of 268 training videos the one-class protocol takes the normal ones",
    unpacks_to="UBnormal/ with Scene1/ to Scene29/",
)
UBNORMAL = DatasetSpec(_FACTS, open_ubnormal)
