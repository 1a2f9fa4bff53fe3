"""Writing the synthetic world: frames, masks, labels and causes from a seed."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from mulde.datasets.base import SPLITS
from mulde.datasets.folder.dataset import COLUMNS, CSV_FILE
from mulde.datasets.synthetic.world import (
    CAUSES,
    CAUSES_FILE,
    MASK_FOLDER,
    MIN_VISIBLE_PX,
    SETTINGS_FILE,
    UNFINISHED_FILE,
    Cause,
    WorldSettings,
)
from mulde.errors import UsageError
from mulde.files import read_text
from mulde.records import Bool, LabelTrack, UInt8

FRAME_RATE = Fraction(25)

WriteVideo = Callable[[Path, Iterable[UInt8], Fraction], int]


def write_world(
    root: Path,
    *,
    write_video: WriteVideo,
    seed: int = 0,
    train_clips: int = 6,
    test_clips: int = 5,
    num_frames: int = 150,
    size_hw: tuple[int, int] = (180, 320),
) -> None:
    """Write the world into `root`, unless the same one is there already; one that was interrupted is written again.

    `write_video(path, frames, frame_rate)` encodes RGB uint8 (H, W, 3) frames and returns how many it wrote.
    Raises UsageError when `root` holds another world or anything else: nothing of others is overwritten.
    """
    from mulde.datasets.synthetic.plaza import background

    settings = WorldSettings(seed, train_clips, test_clips, num_frames, size_hw)
    if _is_there(root, settings):
        return
    root.mkdir(parents=True, exist_ok=True)
    (root / UNFINISHED_FILE).write_text(settings.as_text(), encoding="utf-8")
    for folder in SPLITS:
        (root / folder).mkdir(exist_ok=True)
    empty = background(size_hw, np.random.default_rng([seed, len(SPLITS)]))
    for index in range(train_clips):
        _write_clip(root, settings, empty, "train", index, write_video)
    tracks = [_write_clip(root, settings, empty, "test", index, write_video) for index in range(test_clips)]
    _write_causes(root, tracks)
    os.replace(root / UNFINISHED_FILE, root / SETTINGS_FILE)


def _is_there(root: Path, settings: WorldSettings) -> bool:
    """True for the same finished world, False where it may be written; UsageError where it may not."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise UsageError(f"synthetic world in {root}", expected="a folder", got="a file")
    for name, finished in ((SETTINGS_FILE, True), (UNFINISHED_FILE, False)):
        if (root / name).is_file():
            there = read_text(root / name, error=UsageError)
            if there == settings.as_text() or (not there and not finished):
                return finished
            raise UsageError(
                f"synthetic world in {root}",
                expected=" ".join(settings.as_text().split()),
                got=" ".join(there.split()),
                hint="another folder, or to delete this one",
            )
    names = sorted(path.name for path in root.iterdir())
    if names:
        raise UsageError(f"synthetic world in {root}", expected="an empty folder", got=", ".join(names[:10]))
    return False


def _write_clip(
    root: Path, settings: WorldSettings, empty: UInt8, split: str, index: int, write_video: WriteVideo
) -> tuple[str, LabelTrack]:
    """Write one clip, and its masks when it is a test clip; returns its kind of anomaly and its labels."""
    from mulde.datasets.synthetic.plan import KINDS, Stage, plan_anomaly, plan_walkers
    from mulde.datasets.synthetic.render import render

    kind = list(KINDS)[index % len(KINDS)] if split == "test" else ""
    name = f"{split}{index + 1:02d}"
    stage = Stage(settings.size_hw, float(FRAME_RATE), settings.num_frames)
    rng = np.random.default_rng([settings.seed, SPLITS.index(split), index])
    actors = plan_walkers(stage, rng)
    actors += plan_anomaly(kind, stage, rng, late=index % 2 == 1) if kind else []
    anomalous = np.zeros(settings.num_frames, dtype=np.bool_)
    mask_folder = root / MASK_FOLDER / name if kind else None

    def frames() -> Iterator[UInt8]:
        for i, (image, mask) in enumerate(render(stage, empty, actors, rng)):
            anomalous[i] = np.count_nonzero(mask) >= MIN_VISIBLE_PX
            if mask_folder is not None:
                # Fewer pixels than that count as nothing, so that masks and labels agree on every frame.
                _write_mask(mask_folder / f"{i:03d}.png", mask & anomalous[i])
            yield image

    if mask_folder is not None:
        mask_folder.mkdir(parents=True, exist_ok=True)
    written = write_video(root / split / f"{name}.mp4", frames(), FRAME_RATE)
    if written != settings.num_frames:
        raise UsageError(f"writer of {name}", expected=f"{settings.num_frames} frames written", got=written)
    return kind, LabelTrack(name, anomalous)


def _write_mask(path: Path, mask: Bool) -> None:
    import cv2

    path.write_bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())


def _write_causes(root: Path, tracks: list[tuple[str, LabelTrack]]) -> None:
    rows = [Cause(track.video, *span, kind, CAUSES[kind]) for kind, track in tracks for span in track.spans()]
    _write_csv(root / CAUSES_FILE, [Cause._fields, *rows])
    _write_csv(root / CSV_FILE, [COLUMNS, *(row[:3] for row in rows)])


def _write_csv(path: Path, rows: Sequence[tuple[str | int, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
