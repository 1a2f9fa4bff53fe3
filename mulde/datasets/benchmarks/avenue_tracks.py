"""CUHK Avenue as tracks of its pedestrians, without pixels: 16 training and 21 test clips.

    train/01.txt ... 16.txt    test/01.txt ... 21.txt    frame_labels_from_masks.npz

The files are MOTChallenge text whose frames count from 0, in pixels of 640 x 360: boxes of other people's detector and
tracker, which are no part of the published set. The .npz holds an array of 0 and 1 per test clip, from the pixel masks
of the authors (any pixel): the label set of `avenue-masks`.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from mulde.datasets.base import SPLITS, Video, listing
from mulde.datasets.benchmarks.avenue import AVENUE_MASKS
from mulde.datasets.benchmarks.benchmark import Benchmark
from mulde.datasets.boxes.dataset import NOTE
from mulde.datasets.facts import DatasetSpec
from mulde.datasets.labels.label_files import NpzFlags
from mulde.datasets.labels.truth import FrameTruth, NoLabels
from mulde.errors import UsageError
from mulde.records import BoxesAlone

_SIZE_HW, _FRAME_RATE = (360, 640), Fraction(25)
_NUM_FRAMES = {
    "train": (1364, 1511, 1487, 1511, 815, 1511, 1099, 1017, 1391, 1223, 781, 145, 366, 510, 353, 244),
    "test": (
        1439, 1211, 923, 947, 1007, 1283, 605, 36, 1175, 841, 472, 1271, 549, 507, 1001, 740, 426, 294, 248, 273, 76,
    ),
}  # fmt: skip
"""Of each clip: one more than the last frame of its tracks, which adds up to the published 15,328 and 15,324."""
_LABELS = "frame_labels_from_masks.npz"
_NOTE = "its tracks are of other people's detector and tracker, its labels those of the pixel masks (3,712 frames)"


def open_tracks(root: Path) -> Benchmark:
    """Raises UsageError where a split has no clip, or a file that is named like none."""
    splits = {split: _videos(root / split, split) for split in SPLITS}
    labels = root / _LABELS
    frames: FrameTruth = NpzFlags(labels) if labels.is_file() else NoLabels("avenue-tracks", f"{labels}")
    folders = {split: root / split for split in SPLITS}
    return Benchmark("avenue-tracks", root, splits, frames, video_folders=folders, notes=(NOTE, _NOTE))


def _videos(folder: Path, split: str) -> tuple[Video, ...]:
    known = {f"{number:02}": num_frames for number, num_frames in enumerate(_NUM_FRAMES[split], 1)}
    names = sorted(path.stem for path in folder.glob("*.txt") if path.is_file())
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        got = listing([f"{name}.txt" for name in wrong or names], 5)
        raise UsageError(f"avenue-tracks: {folder}", expected=f"01.txt to {len(known):02}.txt", got=got)
    return tuple(
        Video(
            name,
            split,
            folder / f"{name}.txt",
            _FRAME_RATE,
            boxes=BoxesAlone(_SIZE_HW, known[name], _FRAME_RATE, first_frame=0),
        )
        for name in names
    )


_FACTS = replace(
    AVENUE_MASKS.facts,
    name="avenue-tracks",
    title="CUHK Avenue as pedestrian tracks without pixels, labels from its pixel masks (3,712 anomalous frames)",
    link="by hand",
    how="The tracks are of other people's detector and tracker and no part of the published set: one MOTChallenge file"
    f" per clip as train/NN.txt and test/NN.txt, frames from 0, and {_LABELS} beside them.",
    checked="sums of the clips' frames against published tables",
    downloads=(),
    unpacks_to=f"train/, test/, {_LABELS}",
    exact=True,
)
AVENUE_TRACKS = DatasetSpec(_FACTS, open_tracks)
