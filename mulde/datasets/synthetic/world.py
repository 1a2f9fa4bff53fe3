"""The synthetic world on disk, read like own footage. `writing` makes it.

    train/train01.mp4 ...   test/test01.mp4 ...   labels.csv (as in `folder`)   world.json (settings, written last)
    pixel_masks/test01/000.png ...    causes.csv: video,start_frame,end_frame,kind,cause (0-based, half-open)

A frame is anomalous when at least MIN_VISIBLE_PX pixels of an anomalous actor are visible in it; several causes of one
kind are joined by "|". The same seed gives the same frames, masks and labels, clip by clip: clip 3 does not depend on
how many clips there are.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

from mulde.datasets.base import SPLITS, Video
from mulde.datasets.facts import DatasetSpec
from mulde.datasets.folder.dataset import FOLDER, FolderDataset
from mulde.errors import LabelError, UsageError
from mulde.files import read_csv, read_json, whole_number
from mulde.records import LabelTrack

MIN_VISIBLE_PX = 4
GENERATOR = 2  # raise it when the same seed draws other frames
MASK_FOLDER, CAUSES_FILE, SETTINGS_FILE, UNFINISHED_FILE = "pixel_masks", "causes.csv", "world.json", "world.json.part"
CAUSES = {
    "cyclist": "fast|unusual object",
    "runner": "fast|unusual pose",
    "cart": "unusual object",
    "against the stream": "against the stream",
    "thrown bag": "fast|unusual object",
}
MIN_SIZE_HW, MIN_FRAMES = (90, 160), 20


class Cause(NamedTuple):
    """One anomaly of a test clip: frames start_frame to end_frame (0-based, half-open), what it is and why."""

    video: str
    start_frame: int
    end_frame: int
    kind: str
    cause: str


@dataclass(frozen=True)
class WorldSettings:
    """What decides every pixel and label of a world. Raises UsageError for sizes that cannot be drawn or encoded."""

    seed: int
    train_clips: int
    test_clips: int
    num_frames: int
    size_hw: tuple[int, int]
    generator: int = GENERATOR

    def __post_init__(self) -> None:
        limits = {"seed": 0, "train_clips": 1, "test_clips": 1, "num_frames": MIN_FRAMES}
        for name, minimum in limits.items():
            if getattr(self, name) < minimum:
                raise UsageError(
                    f"{name} of the synthetic world", expected=f"{minimum} or more", got=getattr(self, name)
                )
        height, width = self.size_hw
        if height < MIN_SIZE_HW[0] or width < MIN_SIZE_HW[1] or height % 2 or width % 2:
            raise UsageError(
                "size_hw of the synthetic world", expected=f"even numbers from {MIN_SIZE_HW}", got=self.size_hw
            )

    def as_text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True)
class SyntheticDataset(FolderDataset):
    """Own footage whose length, masks and causes are known too."""

    name: str = "synthetic"
    mask_folder: str = MASK_FOLDER
    num_frames: int = 0

    def labels(self, video: Video, num_frames: int) -> LabelTrack | None:
        if num_frames != self.num_frames:
            raise LabelError(f"synthetic {video.name}: decoded frames", expected=self.num_frames, got=num_frames)
        return super().labels(video, num_frames)

    def causes(self) -> list[Cause]:
        """Every anomaly of the test clips."""
        table = read_csv(self.root / CAUSES_FILE, error=LabelError)
        try:
            return [
                Cause(video, whole_number(start), whole_number(end), kind, cause)
                for video, start, end, kind, cause in ([row[name] for name in Cause._fields] for _, row in table.rows)
            ]
        except (KeyError, ValueError) as error:
            expected = ",".join(Cause._fields)
            raise LabelError(f"{self.root / CAUSES_FILE}", expected=expected, got=str(error)) from None


def open_synthetic(root: Path) -> SyntheticDataset:
    """Raises UsageError when `root` holds no finished world or clips of it are gone."""
    path = root / SETTINGS_FILE
    if not path.is_file():
        got = "an unfinished one" if (root / UNFINISHED_FILE).exists() else f"no {SETTINGS_FILE}"
        raise UsageError(f"{root}", expected="a finished synthetic world", got=got, hint="to write it first")
    settings = read_json(path, error=UsageError)
    counts = ("num_frames", *(f"{split}_clips" for split in SPLITS))
    if not isinstance(settings, dict) or not all(type(settings.get(name)) is int for name in counts):
        raise UsageError(f"{path}", expected=f"whole numbers {', '.join(counts)}", got=f"{settings}")
    dataset = SyntheticDataset(root, num_frames=settings["num_frames"])
    for split in SPLITS:
        expected, count = settings[f"{split}_clips"], len(dataset.videos(split))
        if expected != count:
            raise UsageError(
                f"{root / split}",
                expected=f"{expected} clips",
                got=count,
                hint="to delete the world and write it again",
            )
    return dataset


_FACTS = replace(
    FOLDER.facts,
    name="synthetic",
    title="A small drawn world with known anomalies",
    how="`mulde demo` writes one.",
    licence="Apache-2.0",
)
SYNTHETIC = DatasetSpec(_FACTS, open_synthetic)
