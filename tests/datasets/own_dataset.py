"""A data set that mulde does not know, as somebody would add it: this file, and one line in the registry.

normal/NAME.mp4 train, odd/NAME.mp4 test; odd/NAME.txt has a line "first last" per anomaly, 0-based, last included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mulde.datasets.base import LabelFinding, Video
from mulde.datasets.benchmarks.benchmark import Benchmark, videos_below
from mulde.datasets.facts import DatasetSpec, Facts
from mulde.datasets.labels.ground_truth import track_from_ranges
from mulde.records import LabelTrack


class RangeFiles:
    def track(self, video: Video, num_frames: int) -> LabelTrack:
        path = video.path.with_suffix(".txt")
        pairs = [line.split() for line in path.read_text().splitlines()]
        return track_from_ranges(video.name, [(int(a), int(b) + 1) for a, b in pairs], num_frames, path.name)


@dataclass(frozen=True)
class OwnDataset(Benchmark):
    def label_findings(self) -> Iterator[LabelFinding]:
        names = {video.name for video in self.videos("test")}
        for path in sorted((self.root / "odd").glob("*.txt")):
            if path.stem not in names:
                yield LabelFinding("stray labels", f"test/{path.stem}", f"{path.name} labels no video")


def open_own(root: Path) -> OwnDataset:
    splits = {split: videos_below(root / name, split, Fraction(25)) for split, name in FOLDERS.items()}
    return OwnDataset("own", root, splits, RangeFiles())


FOLDERS = {"train": "normal", "test": "odd"}
OWN = DatasetSpec(
    Facts("own", "Squares", "", "none", "Draw them.", "free", "", "drawn here", one_size_hw=(96, 128)), open_own
)
