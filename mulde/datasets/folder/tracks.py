"""tracks.json: the anomalies of own footage as boxes that follow them.

    {"cam1/door": {"tracks": [
        {"id": 0, "boxes": [[12, 40, 30, 80, 120], [13, 42, 30, 82, 120]]},
        {"id": 1, "interpolate": true, "boxes": [[100, 10, 10, 50, 90], [150, 210, 10, 250, 90]]}
    ]}}

A box is [frame, x0, y0, x1, y1]: frames from 0, pixels of the original frames, x1 and y1 just outside. `id` is a whole
number, one per anomaly of the video. "interpolate": true fills the frames between two boxes, so that every tenth frame
or so is enough. Other keys are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mulde.datasets.base import Video
from mulde.errors import LabelError
from mulde.files import read_json
from mulde.records import Float64, LabelTrack, TruthRegions

MAX_BOXES = 4_000_000
"""Of a video, which holds a hundred anomalies for half an hour."""
_BOX = "[frame, x0, y0, x1, y1] with a whole frame from 0, finite numbers, x0 < x1 and y0 < y1"


@dataclass(frozen=True)
class Track:
    """One anomaly: keys (K, 5) float64 of frame, x0, y0, x1, y1, frames strictly ascending; `interpolate` says whether
    the frames between them have boxes too."""

    number: int
    keys: Float64
    interpolate: bool = False

    def __len__(self) -> int:
        return int(self.keys[-1, 0] - self.keys[0, 0]) + 1 if self.interpolate else len(self.keys)

    @property
    def boxes(self) -> Float64:
        """(N, 5), those between the keys included."""
        return _filled(self.keys) if self.interpolate else self.keys


class TrackLabels:
    """tracks.json; a video that it does not name is wholly normal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[LabelError] = []
        self.tracks: dict[str, list[Track]] = {}
        for name, entry in self._entries().items():
            try:
                self.tracks[name] = _few(f"{path}, {name!r}", list(_parse(f"{path}, {name!r}", entry)))
            except LabelError as error:
                self.faults.append(error)
        self.named = {f"{path.name}, {name!r}": name for name in self.tracks}

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        anomalous = np.zeros(num_frames, np.bool_)
        for track in self._of(video):
            last = int(track.keys[-1, 0])
            if last >= num_frames:
                raise LabelError(
                    f"{self.path}, {video.name!r}, track {track.number}",
                    expected=f"frames 0 to {num_frames - 1}, the decoded ones",
                    got=f"frame {last}",
                )
            frames = track.keys[:, 0].astype(np.int64)
            anomalous[slice(frames[0], last + 1) if track.interpolate else frames] = True
        return LabelTrack(video.name, anomalous)

    def source(self, video: Video, num_frames: int) -> str:
        return f"{self.path.name}: {len(self._of(video))} tracks"

    def regions(self, video: Video) -> TruthRegions:
        tracks = self._of(video)
        boxes = np.concatenate([np.zeros((0, 5)), *(track.boxes for track in tracks)])
        number = np.repeat([track.number for track in tracks], [len(track) for track in tracks]).astype(np.int64)
        order = np.lexsort((number, boxes[:, 0]))
        frame_index = boxes[order, 0].astype(np.int64)
        return TruthRegions(video.name, boxes[order, 1:].astype(np.float32), frame_index, number[order])

    def _of(self, video: Video) -> list[Track]:
        return self.tracks.get(video.name, []) if video.split == "test" else []

    def _entries(self) -> dict[str, Any]:
        """What stands in the file for each video; an unreadable file is a fault."""
        try:
            data = read_json(self.path, max_bytes=2**28, error=LabelError)
        except LabelError as error:
            self.faults.append(error)
            return {}
        if not isinstance(data, dict):
            expected = '{"VIDEO": {"tracks": [...]}, ...}'
            self.faults.append(LabelError(f"{self.path}", expected=expected, got=type(data).__name__))
            return {}
        return data


def _parse(source: str, entry: Any) -> Iterator[Track]:
    tracks = entry.get("tracks") if isinstance(entry, dict) else None
    if not isinstance(tracks, list):
        raise LabelError(source, expected='{"tracks": [{"id": 0, "boxes": [...]}, ...]}', got=_short(entry))
    seen: set[int] = set()
    for position, track in enumerate(tracks, start=1):
        number = track.get("id") if isinstance(track, dict) else None
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**53 or number in seen:
            expected = '"id": a whole number from 0, one per track'
            raise LabelError(f"{source}, track at position {position}", expected=expected, got=_short(number))
        seen.add(number)
        title = f"{source}, track {number}"
        yield Track(number, _boxes(title, track.get("boxes")), track.get("interpolate") is True)


def _few(source: str, tracks: list[Track]) -> list[Track]:
    if sum(map(len, tracks)) > MAX_BOXES:
        got = f"{sum(map(len, tracks)):,}, the interpolated ones included"
        raise LabelError(source, expected=f"at most {MAX_BOXES:,} boxes in a video", got=got)
    return tracks


def _boxes(title: str, rows: Any) -> Float64:
    if not isinstance(rows, list) or not rows:
        raise LabelError(title, expected=f'"boxes": a list of {_BOX}', got=_short(rows))
    for position, row in enumerate(rows, start=1):
        if not _is_box(row):
            raise LabelError(f"{title}, box {position}", expected=_BOX, got=_short(row))
    boxes = np.array(rows, np.float64)
    late = np.flatnonzero(np.diff(boxes[:, 0]) <= 0)
    if late.size:
        got = f"frame {int(boxes[late[0] + 1, 0])} after frame {int(boxes[late[0], 0])}"
        raise LabelError(f"{title}, box {late[0] + 2}", expected="frames in ascending order, each once", got=got)
    return boxes


def _is_box(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 5 or any(isinstance(v, bool) for v in row):
        return False
    if not isinstance(row[0], int) or not 0 <= row[0] < 2**31 or not all(isinstance(v, int | float) for v in row):
        return False
    with np.errstate(over="ignore"):  # float32, as the record keeps them
        x0, y0, x1, y1 = np.array(row[1:], np.float64).astype(np.float32)
    return bool(np.isfinite([x0, y0, x1, y1]).all() and x0 < x1 and y0 < y1)


def _filled(boxes: Float64) -> Float64:
    """The boxes with those of the frames between them, each side on a straight line in time."""
    frames = np.concatenate([*(np.arange(a, b) for a, b in pairwise(boxes[:, 0])), boxes[-1:, 0]])
    return np.stack([frames, *(np.interp(frames, boxes[:, 0], boxes[:, side]) for side in range(1, 5))], axis=1)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
