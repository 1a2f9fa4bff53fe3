"""What the tests of the public functions share: a small world on disk, and settings that train in a second."""

from __future__ import annotations

from pathlib import Path

from mulde.datasets.synthetic import write_world
from mulde.media import open_video, write_video

QUICK = {"density.method": "mixture", "fusion.folds": 2, "reasons.normal_moments": 40}


def write_small_world(root: Path) -> Path:
    write_world(root, write_video=write_video, train_clips=3, test_clips=2, num_frames=50, size_hw=(96, 160))
    return root


def frames_of(path: Path):
    """(image, time_s) of every frame of a video."""
    with open_video(path) as reader:
        for batch in reader:
            yield from zip(batch.images, batch.time_s.tolist(), strict=True)
