"""Rows of boxes as files of any form hold them, before anything is believed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.errors import VideoError
from mulde.records import Float64

MAX_BOXES = 5_000_000
"""Of one video."""


@dataclass(frozen=True)
class BoxRows:
    """frame (N,) as the file counts, track_id (N,) (negative: no track), corners (N, 4) x0, y0, x1, y1 in pixels,
    confidence (N,), class_id (N,): all float64, and any value."""

    frame: Float64
    track_id: Float64
    corners: Float64
    confidence: Float64
    class_id: Float64

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def empty(cls) -> BoxRows:
        return cls(np.zeros(0), np.zeros(0), np.zeros((0, 4)), np.zeros(0), np.zeros(0))


def too_many(path: Path) -> VideoError:
    """The error for a file with more boxes than a video can have."""
    return VideoError(f"{path} is too large to read", expected=f"at most {MAX_BOXES:,} boxes in a video")
