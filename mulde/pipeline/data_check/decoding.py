"""What `mulde data check` sees of one video when it decodes it once: size, count, times, content in short."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from mulde.datasets.base import Video
from mulde.datasets.boxes.formats import read_boxes
from mulde.digests import file_digest
from mulde.errors import MuldeError, VideoError, sentence
from mulde.filetypes import is_image_file, list_frames
from mulde.media import open_video
from mulde.records import BoxesAlone, Float64, Int64, UInt8

THUMB_HW = (24, 32)
_MAX_THUMBS = 256
_LAST_NUMBER = re.compile(r"[0-9]+(?=[^0-9]*$)")


@dataclass
class VideoSummary:
    """One video as decoded. `num_frames` counts frames that could not be decoded too; None where reading broke off.

    `rate` is what the video itself or its data set says, None for a folder without one; `steady_rate` is that from one
    frame to the next, without pauses; `measured_rate` comes from the time stamps. `digest` is of all pixels, `thumbs`
    (K, 24, 32) grey uint8 are the frames `thumb_index`, evenly spread; `changes` are those of boxes without pixels;
    `names` are the files of a frame folder and `holes` how many numbers are left out in them. frame_index, time_s (T,)
    are of the frames that could be decoded.
    """

    video: Video
    num_frames: int | None = None
    size_hw: tuple[int, int] | None = None
    rate: Fraction | None = None
    steady_rate: Fraction | None = None
    measured_rate: float | None = None
    missing: list[range] = field(default_factory=list)
    error: VideoError | None = None
    digest: str | None = None
    thumbs: UInt8 = field(default_factory=lambda: np.zeros((0, *THUMB_HW), np.uint8))
    thumb_index: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    holes: int = 0
    coloured: bool | None = None
    changes: Mapping[str, int] = field(default_factory=dict)
    frame_index: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    time_s: Float64 = field(default_factory=lambda: np.zeros(0, np.float64))

    @property
    def title(self) -> str:
        return f"{self.video.split}/{self.video.name}"


def summarise_video(video: Video) -> VideoSummary:
    """Decode a video from front to back; what cannot be read is noted, not raised."""
    summary = VideoSummary(video)
    try:
        if video.path.is_dir():
            summary.names = tuple(path.name for path in list_frames(video.path))
            summary.num_frames = len(summary.names)
            summary.holes = sum(map(len, gaps(summary.names)[1]))
        if video.boxes is not None:
            _read_boxes(summary, video.boxes)
            return summary
        with _quiet_readers():
            _decode(summary)
    except VideoError as error:
        summary.error = error
    except MuldeError:
        raise
    except Exception as error:
        summary.error = VideoError(str(sentence(error, video.path)))
    if video.path.is_dir() or is_image_file(video.path):
        summary.rate = summary.steady_rate = video.frame_rate
        summary.measured_rate = None
    return summary


def small(picture: UInt8) -> UInt8:
    """A grey picture (H, W), shrunk to (24, 32)."""
    import cv2

    shrunk: UInt8 = cv2.resize(np.ascontiguousarray(picture), THUMB_HW[::-1], interpolation=cv2.INTER_AREA)
    return shrunk


def _read_boxes(summary: VideoSummary, boxes: BoxesAlone) -> None:
    """What there is to know of a video of boxes alone: what describes it, and whether its file can be read."""
    summary.size_hw, summary.num_frames = boxes.size_hw, boxes.num_frames
    summary.rate = summary.steady_rate = boxes.frame_rate
    summary.changes = read_boxes(summary.video.path, boxes).changes
    summary.frame_index = np.arange(boxes.num_frames)
    summary.time_s = summary.frame_index / float(boxes.frame_rate)
    summary.digest = f"{boxes} {file_digest(summary.video.path)}"


def _decode(summary: VideoSummary) -> None:
    digest, thumbs = hashlib.sha256(), _Thumbs()
    index_parts, time_parts = list[Int64](), list[Float64]()
    with open_video(summary.video.path, frame_rate=summary.video.frame_rate) as reader:
        summary.size_hw, summary.coloured = reader.size_hw, reader.coloured
        summary.rate, summary.steady_rate = reader.rate, reader.steady_rate
        for frames in reader:
            digest.update(frames.images.data)
            for index, image in zip(frames.frame_index.tolist(), frames.images, strict=True):
                if thumbs.wants(index):
                    thumbs.add(index, small(image[..., 1]))
            index_parts.append(frames.frame_index)
            time_parts.append(frames.time_s)
        summary.missing = list(reader.missing)
    summary.frame_index = np.concatenate([summary.frame_index, *index_parts])
    summary.time_s = np.concatenate([summary.time_s, *time_parts])
    last_index = int(summary.frame_index[-1]) if len(summary.frame_index) else -1
    summary.num_frames = max(last_index + 1, summary.missing[-1].stop if summary.missing else 0)
    span_s = summary.time_s[-1] - summary.time_s[0] if len(summary.time_s) else 0.0
    summary.measured_rate = float(last_index - summary.frame_index[0]) / span_s if span_s > 0 else None
    summary.digest = f"{summary.size_hw} {digest.hexdigest()}"
    summary.thumb_index, summary.thumbs = tuple(thumbs.kept), thumbs.stack()


class _Thumbs:
    """Small pictures of at most `_MAX_THUMBS` frames, evenly spread over a video of unknown length."""

    def __init__(self) -> None:
        self._stride, self.kept = 1, dict[int, UInt8]()

    def wants(self, index: int) -> bool:
        return index % self._stride == 0

    def add(self, index: int, thumb: UInt8) -> None:
        self.kept[index] = thumb
        if len(self.kept) > _MAX_THUMBS:
            self._stride *= 2
            self.kept = {i: t for i, t in self.kept.items() if i % self._stride == 0}

    def stack(self) -> UInt8:
        return np.stack([*self.kept.values()]) if self.kept else np.zeros((0, *THUMB_HW), np.uint8)


def movement(thumbs: UInt8, num: int = 16) -> Float64 | None:
    """What changes in a video, as one vector of length 1: `num` moments less their mean and each less its brightness.

    None where hardly anything changes, as in a single picture. The dot product of two videos is their correlation: 1
    for the same video encoded again, about 0 for two videos of one still camera.
    """
    if len(thumbs) < 2:
        return None
    at = np.round(np.linspace(0, len(thumbs) - 1, num)).astype(np.int64)
    moments = thumbs[at].astype(np.float64)
    moments -= moments.mean(axis=0)
    moments -= moments.mean(axis=(1, 2), keepdims=True)
    length = float(np.linalg.norm(moments))
    if length < 0.5 * np.sqrt(moments.size):  # half a grey level on average
        return None
    return (moments / length).reshape(-1)


def gaps(names: tuple[str, ...]) -> tuple[int | None, list[range], list[int]]:
    """First number of the frames' names, numbers that are left out, and numbers that come twice.

    Names count with the step that is most common among them; without a number in every name nothing can be said.
    """
    matches = [_LAST_NUMBER.search(Path(name).stem) for name in names]
    numbers = sorted(int(match[0]) for match in matches if match)
    if len(numbers) < len(names) or not numbers:
        return None, [], []
    steps = Counter(b - a for a, b in pairwise(numbers))
    step, count = next(((s, c) for s, c in steps.most_common() if s > 0), (1, 0))
    even = 2 * count > len(numbers) - 1  # else they are time stamps or the like
    left_out = [range(a + step, b, step) for a, b in pairwise(numbers) if b - a > step] if even else []
    return numbers[0], left_out, [a for a, b in pairwise(numbers) if a == b]


@contextmanager
def _quiet_readers() -> Iterator[None]:
    """Readers log what they leave out; here it becomes a finding instead."""
    log = logging.getLogger("mulde.media")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
