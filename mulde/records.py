"""Data that the rooms exchange: small frozen records, checked when they are made. numpy only.

Frame indices are 0-based. Times are seconds from the start of the video. Pixels are RGB uint8, height x width x 3.
Boxes are xyxy in pixels of the frame they were found in. Leading axes of the arrays of one record always agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mulde.errors import RecordError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]
Bool = NDArray[np.bool_]

MAX_BOXES_SIDE_PX, MAX_BOXES_FRAMES = 2**15, 10_000_000
"""Of a video of boxes alone: four days at 25 frames a second."""


def _check(name: str, array: object, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Refuse `array` unless it is an ndarray of `dtype` whose shape matches (None matches any length)."""
    expected = f"{np.dtype(dtype).name} of shape ({', '.join('*' if n is None else str(n) for n in shape)})"
    if not isinstance(array, np.ndarray):
        raise RecordError(name, expected=expected, got=type(array).__name__)
    fits = array.ndim == len(shape) and all(
        want is None or want == have for want, have in zip(shape, array.shape, strict=True)
    )
    if array.dtype != dtype or not fits:
        raise RecordError(name, expected=expected, got=f"{array.dtype.name} of shape {array.shape}")


def _check_increasing(name: str, index: Int64, *, strictly: bool) -> None:
    steps = np.diff(index)
    bad = np.flatnonzero(steps <= 0 if strictly else steps < 0)
    if bad.size or (index.size and index[0] < 0):
        at = int(bad[0]) + 1 if bad.size else 0
        order = "strictly increasing" if strictly else "non-decreasing"
        raise RecordError(name, expected=f"{order} values from 0 up", got=f"{int(index[at])} at row {at}")


@dataclass(frozen=True)
class Frames:
    """A batch of decoded frames.

    images (N, H, W, 3) RGB uint8 0..255; frame_index (N,) int64, strictly increasing; time_s (N,) float64.
    """

    images: UInt8
    frame_index: Int64
    time_s: Float64

    def __post_init__(self) -> None:
        _check("Frames.images", self.images, np.uint8, (None, None, None, 3))
        n = len(self.images)
        _check("Frames.frame_index", self.frame_index, np.int64, (n,))
        _check("Frames.time_s", self.time_s, np.float64, (n,))
        _check_increasing("Frames.frame_index", self.frame_index, strictly=True)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.images.shape[1], self.images.shape[2]


@dataclass(frozen=True)
class Window:
    """Consecutive frames of which rows `first:last` are described; the others are context around them."""

    frames: Frames
    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= len(self.frames):
            raise RecordError(
                "Window", expected=f"0 <= first <= last <= {len(self.frames)}", got=f"{self.first}:{self.last}"
            )

    @property
    def core_index(self) -> Int64:
        """Frame indices of the frames to be described, (last - first,)."""
        return self.frames.frame_index[self.first : self.last]

    def image(self, frame: int) -> UInt8:
        """The picture (H, W, 3) of a frame that the window holds."""
        picture: UInt8 = self.frames.images[int(np.searchsorted(self.frames.frame_index, frame))]
        return picture


@dataclass(frozen=True)
class Regions:
    """Boxes found in frames, sorted by frame.

    box_xyxy (N, 4) float32 pixels; frame_index (N,) int64; confidence (N,) float32 in 0..1 (1 for moving regions);
    class_id (N,) int64: the detector's class, -1 for a moving region.
    """

    box_xyxy: Float32
    frame_index: Int64
    confidence: Float32
    class_id: Int64

    def __post_init__(self) -> None:
        _check("Regions.box_xyxy", self.box_xyxy, np.float32, (None, 4))
        n = len(self.box_xyxy)
        _check("Regions.frame_index", self.frame_index, np.int64, (n,))
        _check("Regions.confidence", self.confidence, np.float32, (n,))
        _check("Regions.class_id", self.class_id, np.int64, (n,))
        _check_increasing("Regions.frame_index", self.frame_index, strictly=False)
        _check_boxes("Regions.box_xyxy", self.box_xyxy)

    def __len__(self) -> int:
        return len(self.box_xyxy)

    @classmethod
    def empty(cls) -> Regions:
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def select(self, keep: Bool | Int64) -> Regions:
        """The rows picked by a mask or by ascending positions."""
        return Regions(self.box_xyxy[keep], self.frame_index[keep], self.confidence[keep], self.class_id[keep])


def _check_boxes(name: str, box_xyxy: Float32) -> None:
    bad = np.flatnonzero(
        ~np.isfinite(box_xyxy).all(axis=1) | (box_xyxy[:, 2] <= box_xyxy[:, 0]) | (box_xyxy[:, 3] <= box_xyxy[:, 1])
    )
    if bad.size:
        raise RecordError(
            name, expected="finite boxes with x0 < x1 and y0 < y1", got=f"{box_xyxy[bad[0]]} at row {bad[0]}"
        )


@dataclass(frozen=True)
class BoxesAlone:
    """What is known of a video of which there are boxes in a file and no pixels.

    size_hw: of its frames in pixels; num_frames: of the whole video, with or without boxes; frame_rate: in frames per
    second; first_frame: the number, 0 or 1, that the file gives to the first frame.
    """

    size_hw: tuple[int, int]
    num_frames: int
    frame_rate: Fraction
    first_frame: int = 0

    def __post_init__(self) -> None:
        if not all(1 <= side <= MAX_BOXES_SIDE_PX for side in self.size_hw):
            got = f"{self.size_hw[1]} x {self.size_hw[0]}"
            raise RecordError("size of frames", expected=f"1 to {MAX_BOXES_SIDE_PX:,} pixels a side", got=got)
        if not 1 <= self.num_frames <= MAX_BOXES_FRAMES:
            raise RecordError("number of frames", expected=f"1 to {MAX_BOXES_FRAMES:,}", got=self.num_frames)
        if not 0 < self.frame_rate <= 1000:
            raise RecordError("frame rate", expected="above 0, at most 1000 frames per second", got=self.frame_rate)
        if self.first_frame not in (0, 1):
            raise RecordError("number of the first frame", expected="0 or 1", got=self.first_frame)


@dataclass(frozen=True)
class FeatureTable:
    """Features of one video by one extractor.

    values (N, D) float32, finite; frame_index (N,) int64, non-decreasing; box_xyxy (N, 4) float32 for object-centric
    features, None for frame-centric ones (one row per frame); track_id (N,) int64, -1 for a box on no track, None where
    nothing was tracked. No rows is an ordinary value: (0, D).
    """

    values: Float32
    frame_index: Int64
    box_xyxy: Float32 | None = None
    track_id: Int64 | None = None

    def __post_init__(self) -> None:
        _check("FeatureTable.values", self.values, np.float32, (None, None))
        n = len(self.values)
        _check("FeatureTable.frame_index", self.frame_index, np.int64, (n,))
        _check_increasing("FeatureTable.frame_index", self.frame_index, strictly=self.box_xyxy is None)
        if self.box_xyxy is not None:
            _check("FeatureTable.box_xyxy", self.box_xyxy, np.float32, (n, 4))
        if self.track_id is not None:
            _check("FeatureTable.track_id", self.track_id, np.int64, (n,))
        bad = np.argwhere(~np.isfinite(self.values))
        if bad.size:
            row, column = (int(i) for i in bad[0])
            raise RecordError(
                "FeatureTable.values",
                expected="finite numbers",
                got=f"{self.values[row, column]} in row {row} (frame {self.frame_index[row]}), column {column}",
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dim(self) -> int:
        return int(self.values.shape[1])

    def select(self, rows: Bool | Int64 | slice) -> FeatureTable:
        """The rows picked by a mask, a slice or ascending positions."""
        box_xyxy = None if self.box_xyxy is None else self.box_xyxy[rows]
        track_id = None if self.track_id is None else self.track_id[rows]
        return FeatureTable(self.values[rows], self.frame_index[rows], box_xyxy, track_id)


@dataclass(frozen=True)
class ScoreTrack:
    """One score per decoded frame of one video; higher = more anomalous.

    frame_index (T,) int64; time_s (T,) float64; streams: name -> (T,) float64, calibrated; fused (T,) float64, the
    streams combined; smoothed (T,) float64, fused after temporal smoothing inside the video; p_value (T,) float64, of
    `smoothed` among the frames of held-out normal video (lower = more anomalous), None where there was none.
    """

    video: str
    frame_index: Int64
    time_s: Float64
    fused: Float64
    smoothed: Float64
    streams: Mapping[str, Float64] = field(default_factory=dict)
    p_value: Float64 | None = None

    def __post_init__(self) -> None:
        _check("ScoreTrack.frame_index", self.frame_index, np.int64, (None,))
        n = len(self.frame_index)
        _check_increasing("ScoreTrack.frame_index", self.frame_index, strictly=True)
        _check("ScoreTrack.time_s", self.time_s, np.float64, (n,))
        p_value = {} if self.p_value is None else {"p_value": self.p_value}
        for name, values in {"fused": self.fused, "smoothed": self.smoothed, **self.streams, **p_value}.items():
            _check(f"ScoreTrack.{name}", values, np.float64, (n,))
            if not np.isfinite(values).all():
                at = int(np.flatnonzero(~np.isfinite(values))[0])
                raise RecordError(
                    f"ScoreTrack.{name} of {self.video}", expected="finite scores", got=f"{values[at]} at row {at}"
                )

    def __len__(self) -> int:
        return len(self.frame_index)


@dataclass(frozen=True)
class TruthRegions:
    """Annotated anomalous regions of one video, sorted by frame.

    box_xyxy (N, 4) float32 in pixels of the original frames; frame_index (N,) int64; track_id (N,) int64, 0 and up: the
    same number is the same anomaly seen in several frames. None at all is an ordinary value: shape (0, 4).
    """

    video: str
    box_xyxy: Float32
    frame_index: Int64
    track_id: Int64

    def __post_init__(self) -> None:
        name = f"TruthRegions of {self.video}"
        _check(f"{name}: box_xyxy", self.box_xyxy, np.float32, (None, 4))
        n = len(self.box_xyxy)
        _check(f"{name}: frame_index", self.frame_index, np.int64, (n,))
        _check(f"{name}: track_id", self.track_id, np.int64, (n,))
        _check_increasing(f"{name}: frame_index", self.frame_index, strictly=False)
        _check_boxes(f"{name}: box_xyxy", self.box_xyxy)

    def __len__(self) -> int:
        return len(self.box_xyxy)


@dataclass(frozen=True)
class RegionScores:
    """Boxes of one video, sorted by frame, each with its anomaly score; higher = more anomalous.

    box_xyxy (N, 4) float32 in pixels of frames of `size_hw`; frame_index (N,) int64; anomaly_score (N,) float64,
    finite; track_id (N,) int64, -1 for a box on no track; streams: name -> (N,) float64, calibrated, NaN where the
    stream has no row for the box.
    """

    video: str
    size_hw: tuple[int, int]
    box_xyxy: Float32
    frame_index: Int64
    anomaly_score: Float64
    track_id: Int64
    streams: Mapping[str, Float64] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = f"RegionScores of {self.video}"
        _check(f"{name}: box_xyxy", self.box_xyxy, np.float32, (None, 4))
        n = len(self.box_xyxy)
        _check(f"{name}: frame_index", self.frame_index, np.int64, (n,))
        _check_increasing(f"{name}: frame_index", self.frame_index, strictly=False)
        _check(f"{name}: anomaly_score", self.anomaly_score, np.float64, (n,))
        _check(f"{name}: track_id", self.track_id, np.int64, (n,))
        for stream, values in self.streams.items():
            _check(f"{name}: {stream}", values, np.float64, (n,))
        if not np.isfinite(self.anomaly_score).all():
            at = int(np.flatnonzero(~np.isfinite(self.anomaly_score))[0])
            raise RecordError(name, expected="finite scores", got=f"{self.anomaly_score[at]} at row {at}")

    def __len__(self) -> int:
        return len(self.box_xyxy)


@dataclass(frozen=True)
class LabelTrack:
    """Ground truth of one video: anomalous (T,) bool, one value per frame."""

    video: str
    anomalous: Bool

    def __post_init__(self) -> None:
        _check(f"LabelTrack.anomalous of {self.video}", self.anomalous, np.bool_, (None,))

    def __len__(self) -> int:
        return len(self.anomalous)

    def spans(self) -> list[tuple[int, int]]:
        """The anomalous spans as half-open frame ranges."""
        return spans(self.anomalous)


def spans(flags: Bool) -> list[tuple[int, int]]:
    """The stretches of True in flags (T,), as half-open ranges of positions."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


@dataclass(frozen=True)
class Analysed:
    """Which frames of a video were looked at, where not all of them were.

    number (T,) int64: for each frame that of the frame whose score it has, from 0, holes where there was none to look
    at; rate: numbers per second.
    """

    number: Int64
    rate: float

    @property
    def own(self) -> Bool:
        """Which frames (T,) have a score of their own; the others repeat the one before."""
        return np.asarray(np.diff(self.number, prepend=-1) > 0)


@dataclass(frozen=True)
class ScoredVideo:
    """The scores of one video.

    sigma_frames: of the smoothing that `smoothed` was made with, in frames of the video; frames_without_rows: how many
    frames had no rows; rate: frames per second; regions: the scores of its boxes where any stream has boxes; analysed:
    None where every frame was looked at; is_causal: `smoothed` looks at the past alone.
    """

    track: ScoreTrack
    sigma_frames: float
    frames_without_rows: int
    rate: float
    regions: RegionScores | None = None
    analysed: Analysed | None = None
    is_causal: bool = False

    @property
    def smoothing(self) -> Literal["centred", "causal"]:
        """How `smoothed` was made."""
        return "causal" if self.is_causal else "centred"
