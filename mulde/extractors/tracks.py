"""Tracks: which boxes of successive frames are one object, by the trackers that come with Ultralytics."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from mulde.errors import RecordError, UsageError
from mulde.extractors.base import Fingerprint
from mulde.extractors.yolo import tracker_class
from mulde.records import Bool, Float32, Int64, Regions

TRACKERS = ("bytetrack", "botsort")

_CONFIDENCES = {
    "track_high_thresh": 0.4,  # surer boxes are matched first, and with the vanished objects too
    "track_low_thresh": 0.0,  # the others go on with the tracks that are left; the finder has said what a box is
    "new_track_thresh": 0.5,  # surer by 0.1 than to go on, as in ByteTrack's paper
}
_NO_PIXELS = {"gmc_method": "none", "with_reid": False}


class Tracker:
    """Follows boxes through a video with ByteTrack (arXiv 2110.06864) or BoT-SORT (arXiv 2206.14651).

    Both predict each box with a Kalman filter and match by overlap: first the confident boxes, then the others with the
    unmatched tracks. (The thresholds are ours: those of Ultralytics equal the detector's least confidence, which leaves
    no box for the second matching; the other numbers are the defaults of the installed Ultralytics.) An object gets a
    track when it has a confident box in two successive frames. The matching ignores classes, so a person whom the
    detector misses for a while stays on the track as a moving region. BoT-SORT runs without compensation of camera
    motion and without re-identification, which need pixels: cameras stand still. Its remaining difference is a filter
    of width and height in place of aspect and height.

    kind: bytetrack or botsort. lost_frames: the number of frames for which an object that vanished is remembered.
    Raises UsageError for another kind. Holds no state: one tracker may follow several videos at once, in several
    threads.
    """

    def __init__(self, kind: str, *, lost_frames: int = 30) -> None:
        if kind not in TRACKERS:
            raise UsageError(f"tracker {kind!r}", expected=f"one of {', '.join(TRACKERS)}")
        self.kind, self.lost_frames = kind, lost_frames

    def fingerprint(self) -> Fingerprint:
        return {
            "tracker": self.kind,
            "version": 1,
            "ultralytics": version("ultralytics"),
            "lost_frames": self.lost_frames,
            **_CONFIDENCES,
        }

    def track(self, segments: Iterable[tuple[Int64, Regions]]) -> Iterator[Int64]:
        """Track id (N,) of each row of each segment's regions: 0, 1 ... in order of appearance, -1 on no track.

        segments: of one video, in order, each with the indices (T,) of its decoded frames, including those without
        boxes, and the regions in them; how the video is cut makes no difference. At missing indices the tracks age as
        in frames without boxes. An object has its id from its first frame on, which the next frame confirms: so the ids
        of a segment come when the first frame of the next one is known. Memory holds two segments. Raises RecordError
        for segments out of order or boxes in frames that are not listed.
        """
        followed = _Followed(self.kind, self.lost_frames)
        waiting: list[Int64] = []
        for frame_index, regions in segments:
            if not np.isin(regions.frame_index, frame_index).all():
                raise RecordError("tracks", expected="boxes in the decoded frames only", got="boxes in other frames")
            track_id = np.full(len(regions), -1, np.int64)
            low = np.searchsorted(regions.frame_index, frame_index)
            high = np.searchsorted(regions.frame_index, frame_index, side="right")
            for frame, a, b in zip(frame_index.tolist(), low, high, strict=True):
                followed.add(frame, _Boxes.from_regions(regions, slice(a, b)), track_id[a:b])
                yield from waiting
                waiting.clear()
            waiting.append(track_id)
        followed.end()
        yield from waiting


class _Followed:
    """The tracks of one video, fed frame by frame."""

    def __init__(self, kind: str, lost_frames: int) -> None:
        self._tracker = _new_tracker(kind, lost_frames)
        self._lost_frames = lost_frames
        self._frame: int | None = None
        self._matched: list[tuple[int, Any]] = []  # row and track of the boxes of the last frame
        self._track_id = np.zeros(0, np.int64)  # ids of the rows of the last frame, to be filled in
        # Keyed by the track itself, which Ultralytics keeps while it may come back.
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._num_tracks = 0

    def add(self, frame: int, boxes: _Boxes, track_id: Int64) -> None:
        """Take the boxes of the next frame; `track_id` (N,) is filled in place at the next call or at the end."""
        if self._frame is not None and frame <= self._frame:
            raise RecordError("tracks", expected=f"frames after {self._frame}", got=f"frame {frame}")
        missing = 0 if self._frame is None else frame - self._frame - 1
        for _ in range(min(missing, self._lost_frames + 2)):  # Ultralytics forgets one frame late
            self._step(_NO_BOXES, np.zeros(0, np.int64))
        self._step(boxes, track_id)
        self._frame = frame

    def _step(self, boxes: _Boxes, track_id: Int64) -> None:
        self._tracker.update(boxes)
        self.end()
        self._matched = [(int(track.idx), track) for track in self._tracker.tracked_stracks]
        self._track_id = track_id

    def end(self) -> None:
        """Fill in the ids of the last frame: a new track counts if it was found in the frame after its first."""
        for row, track in self._matched:  # new tracks stand in the order of their rows
            if not track.is_activated:
                continue
            if track not in self._numbers:
                self._numbers[track] = self._num_tracks
                self._num_tracks += 1
            self._track_id[row] = self._numbers[track]


@dataclass(frozen=True)
class _Boxes:
    """Boxes of one frame as Ultralytics' trackers take them: xywh (N, 4) centre and size, conf (N,), cls (N,)."""

    xywh: Float32
    conf: Float32
    cls: Int64

    @classmethod
    def from_regions(cls, regions: Regions, rows: slice) -> _Boxes:
        low, high = regions.box_xyxy[rows, :2], regions.box_xyxy[rows, 2:]
        return cls(np.concatenate([(low + high) / 2, high - low], 1), regions.confidence[rows], regions.class_id[rows])

    def __len__(self) -> int:
        return len(self.xywh)

    def __getitem__(self, keep: Bool) -> _Boxes:
        return _Boxes(self.xywh[keep], self.conf[keep], self.cls[keep])


_NO_BOXES = _Boxes.from_regions(Regions.empty(), slice(None))


def _new_tracker(kind: str, lost_frames: int) -> Any:
    """Ultralytics' tracker with its own defaults, which are beside its code, and ours on top."""
    import yaml  # type: ignore[import-untyped]

    made_by = tracker_class(kind)
    defaults = Path(inspect.getfile(made_by)).parents[1] / "cfg" / "trackers" / f"{kind}.yaml"
    ours = {**_CONFIDENCES, **_NO_PIXELS, "track_buffer": lost_frames}
    return made_by(SimpleNamespace(**{**yaml.safe_load(defaults.read_text(encoding="utf-8")), **ours}))
