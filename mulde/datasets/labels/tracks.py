"""Text files of annotated boxes with track numbers.

Two groups published such files for region and track measures, in two forms:

    NAME.txt       track,frame,x0,y0,x1,y1 - frames from 0 (Georgescu et al., TPAMI 2021: ShanghaiTech)
    NAME_gt.txt    frame.jpg track cx cy w h - frames from 1, the centre of the box (Ramachandra & Jones, WACV 2020:
                   Street Scene; the same for UCSD)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from mulde.datasets.base import Video
from mulde.datasets.labels.ground_truth import COUNT_HINT
from mulde.datasets.labels.truth import RegionTruth
from mulde.datasets.layout import whatever_case
from mulde.errors import LabelError
from mulde.files import read_text
from mulde.filetypes import list_frames
from mulde.records import LabelTrack, TruthRegions

_MOST = 1e9  # pixels


class Box(NamedTuple):
    """One annotated box: 0-based frame, track from 0, corners in pixels."""

    frame: int
    track: int
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class CornerTracks:
    """`folder`/NAME.txt with track,frame,x0,y0,x1,y1 per line."""

    folder: Path

    def regions(self, video: Video) -> TruthRegions:
        return read_tracks(video, self.folder / f"{video.name}.txt", parse_corners, "track,frame,x0,y0,x1,y1")


@dataclass(frozen=True)
class CentreTracks:
    """NAME_gt.txt in the folder of the frames or beside it, with "frame.jpg track cx cy w h" per line."""

    def regions(self, video: Video) -> TruthRegions:
        return read_tracks(video, centre_file(video), parse_centre, "frame.jpg track cx cy w h")


@dataclass(frozen=True)
class TrackFlags:
    """A frame is anomalous where it has an annotated box."""

    source: RegionTruth

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        truth = self.source.regions(video)
        anomalous = np.zeros(num_frames, np.bool_)
        if truth is not None and len(truth):
            check_frames(video.name, int(truth.frame_index[-1]), num_frames)
            anomalous[truth.frame_index] = True
        return LabelTrack(video.name, anomalous)


def centre_file(video: Video) -> Path:
    """Where the boxes of a frame folder lie: inside it or beside it."""
    inside = whatever_case(video.path, f"{video.name}_gt.txt")
    return inside if inside.is_file() else whatever_case(video.path.parent, inside.name)


def parse_corners(line: str) -> Box:
    track, frame, *corners = (float(field) for field in line.split(","))
    x0, y0, x1, y1 = corners
    return Box(_whole(frame), _whole(track), x0, y0, x1, y1)


def parse_centre(line: str) -> Box:
    frame, track, *numbers = line.replace("\\", "/").split()
    cx, cy, w, h = (float(number) for number in numbers)
    number = int(PurePosixPath(frame).stem)
    return Box(number - 1, int(track), cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)


def read_tracks(video: Video, path: Path, parse: Callable[[str], Box], form: str) -> TruthRegions:
    """The boxes of one video. Raises LabelError, naming the line, for one that cannot be understood."""
    if not path.exists():
        raise LabelError(f"regions of {video.name}", expected=path, got="no such file", hint="a full copy")
    lines = read_text(path, max_bytes=2**27, error=LabelError).splitlines()
    boxes = [_checked(path, number, line, parse, form) for number, line in enumerate(lines, 1) if line.strip()]
    truth = truth_from_boxes(video.name, boxes)
    if video.path.is_dir() and len(truth):
        check_frames(f"{path}", int(truth.frame_index[-1]), len(list_frames(video.path)))
    return truth


def truth_from_boxes(video: str, boxes: list[Box]) -> TruthRegions:
    """The record of boxes in any order."""
    ordered = sorted(boxes, key=lambda box: (box.frame, box.track))
    table = np.array(ordered, np.float64).reshape(-1, 6)
    return TruthRegions(
        video, table[:, 2:].astype(np.float32), table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    )


def check_frames(source: str, last_frame: int, num_frames: int) -> None:
    """Raises LabelError when the last annotated frame (0-based) lies behind the last of `num_frames`."""
    if last_frame >= num_frames:
        raise LabelError(
            f"{source}: boxes",
            expected=f"frames 0 to {num_frames - 1} (0-based), of {num_frames} frames",
            got=f"frame {last_frame}",
            hint=COUNT_HINT,
        )


def _checked(path: Path, number: int, line: str, parse: Callable[[str], Box], form: str) -> Box:
    try:
        box = parse(line)
    except ValueError:
        raise LabelError(f"{path} line {number}", expected=form, got=line.strip()) from None
    counts = 0 <= box.frame < 2**31 and 0 <= box.track < 2**53
    if not counts or not (-_MOST < box.x0 < box.x1 < _MOST and -_MOST < box.y0 < box.y1 < _MOST):  # false for nan too
        raise LabelError(
            f"{path} line {number}", expected=f"{form} with a box of some size and known numbers", got=line.strip()
        )
    return box


def _whole(value: float) -> int:
    if not value.is_integer():  # false for inf and nan too
        raise ValueError(value)
    return int(value)
