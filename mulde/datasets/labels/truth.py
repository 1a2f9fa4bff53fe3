"""Where the truth of a benchmark comes from: labels of frames, pixels and boxes, each from one form of file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from mulde.datasets.base import Video
from mulde.errors import LabelError
from mulde.records import Bool, LabelTrack, TruthRegions


class FrameTruth(Protocol):
    """Where one label per frame comes from; raises LabelError for labels that are missing, damaged or do not fit."""

    def track(self, video: Video, num_frames: int) -> LabelTrack: ...


class MaskTruth(Protocol):
    """Where the anomalous pixels come from: (H, W) bool per frame, read one at a time."""

    def masks(self, video: Video) -> Iterator[Bool] | None: ...


class RegionTruth(Protocol):
    """Where annotated boxes come from."""

    def regions(self, video: Video) -> TruthRegions | None: ...


@dataclass(frozen=True)
class NoLabels:
    """Stands where labels should: training works without them, asking for them says what is missing."""

    name: str
    expected: str
    got: str = "none of them"

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        raise LabelError(f"{self.name}: labels of {video.name}", expected=self.expected, got=self.got)
