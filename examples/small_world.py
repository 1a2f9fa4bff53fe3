"""Footage for examples that are run without any: a small synthetic world, and settings that learn it in seconds."""

from __future__ import annotations

from pathlib import Path

from mulde.datasets.synthetic import write_world
from mulde.media import write_video

QUICK = {"fusion.folds": 2, "density.options": {"steps": 150, "hidden": [64, 64], "components": 2}}


def small_world(folder: Path) -> Path:
    """Write three normal clips to `train/`, two with anomalies to `test/` and their labels to `labels.csv`."""
    write_world(folder, write_video=write_video, train_clips=3, test_clips=2, num_frames=50, size_hw=(96, 160))
    return folder
