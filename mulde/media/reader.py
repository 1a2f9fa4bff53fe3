"""What all readers have in common: facts when a video is opened, then batches of frames."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import ClassVar, NamedTuple, Self

import numpy as np

from mulde.errors import VideoError
from mulde.records import Frames, UInt8

DEFAULT_RATE = Fraction(25)
_MAX_BATCH_BYTES = 2**28
"""Large pictures come in smaller batches, so that memory stays bounded."""


@dataclass(frozen=True)
class ReadOptions:
    """How a video is to be read; `open_video` says what each setting means."""

    batch_size: int = 32
    default_rate: Fraction | None = None
    working_size_px: int = 0
    stream: int | None = None
    start_frame: int = 0


class Picture(NamedTuple):
    """A decoded picture: its frame index, its time in seconds, and `load`, which returns it as (H, W, 3) RGB uint8.

    What `load` returns may be overwritten when the next picture is decoded.
    """

    frame_index: int
    time_s: float
    load: Callable[[], UInt8]


class VideoReader(ABC):
    """One video, read from front to back in batches; a context manager.

    `size_hw` is the size of the delivered frames, after rotation and scaling. `rate` is the average rate in frames per
    second that the time stamps come to, `steady_rate` that from one frame to the next, without pauses.
    `times_follow_rate` is True where times are made from a rate that is not the one in the header. `coloured` says
    whether the first picture has colour, None where it is too dark to say. `num_frames_from_header` is what the
    container claims, None where it claims nothing. `num_frames_decoded` counts what was delivered since the last
    iteration began; iterating again starts from the front. `missing` holds, after an iteration, the ranges of frame
    indices that could not be decoded (those in front of `start_frame` too), and `num_unplaced` the number of damaged
    places where indices are not known. In `options`, batch_size and start_frame may be replaced before an iteration;
    all others are fixed when the video is opened.
    """

    decoder: ClassVar[str]
    decoder_version: str
    size_hw: tuple[int, int]
    rate: Fraction
    times_follow_rate: bool = False
    num_frames_from_header: int | None
    coloured: bool | None = None

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path, self.options = path, options
        self.num_frames_decoded = 0
        self.missing: list[range] = []
        self.num_unplaced = 0
        self._num_frames_read = self._next_index = 0
        self._running: Generator[Frames, None, None] | None = None

    @property
    def steady_rate(self) -> Fraction:
        return self.rate

    @abstractmethod
    def _decode(self) -> Generator[Picture, None, None]:
        """Yield every picture that can be decoded, indices strictly increasing, times not decreasing."""

    def __iter__(self) -> Iterator[Frames]:
        self.close()
        self._running = self._batches()
        return self._running

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop an unfinished iteration and free its memory."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def pictures(self) -> Generator[Picture, None, None]:
        """Yield every picture that can be decoded, from the first on; missing ones between them are recorded."""
        self._num_frames_read = self._next_index = 0
        self.missing, self.num_unplaced = [], 0
        decoded = self._decode()
        try:
            for picture in decoded:
                self._miss_frames_before(picture.frame_index)
                self._next_index = picture.frame_index + 1
                self._num_frames_read += 1
                yield picture
        finally:
            decoded.close()

    def _batches(self) -> Generator[Frames, None, None]:
        self.num_frames_decoded = 0
        batch_size = self._batch_size()
        images, index, times_s = self._empty_batch(), list[int](), list[float]()
        pictures = self.pictures()
        try:
            for picture in pictures:
                if self._num_frames_read <= self.options.start_frame:
                    continue
                images[len(index)] = self.checked(picture.load())
                index.append(picture.frame_index)
                times_s.append(picture.time_s)
                if self._num_frames_read % batch_size == 0:
                    yield self._frames(images, index, times_s)
                    images, index, times_s = self._empty_batch(), [], []
            if index:
                yield self._frames(images, index, times_s)
        finally:
            pictures.close()

    def _miss_frames_before(self, index: int) -> None:
        """Record that no picture came for the frames from the one after the last up to `index`."""
        if index > self._next_index:
            self.missing.append(range(self._next_index, index))

    def _empty_batch(self) -> UInt8:
        # A new array for each batch: a consumer may keep the last one.
        return np.empty((self._batch_size(), *self.size_hw, 3), np.uint8)

    def _batch_size(self) -> int:
        return min(self.options.batch_size, max(1, _MAX_BATCH_BYTES // (3 * math.prod(self.size_hw))))

    def checked(self, image: UInt8) -> UInt8:
        """The picture, if it has the size of the first. Raises VideoError."""
        if image.shape != (*self.size_hw, 3):
            raise size_changed(self.path, self.size_hw, image.shape[:2])
        return image

    def _frames(self, images: UInt8, index: list[int], times_s: list[float]) -> Frames:
        self.num_frames_decoded += len(index)
        return Frames(images[: len(index)], np.array(index, np.int64), np.array(times_s, np.float64))


def missing_text(missing: list[range], max_ranges: int = 5) -> str:
    """Missing frames for a message: "frames 120-131 and 140 are missing", cut short behind `max_ranges` ranges."""
    parts = [f"{r.start}-{r.stop - 1}" if len(r) > 1 else f"{r.start}" for r in missing[:max_ranges]]
    if len(missing) > max_ranges:
        parts.append(f"{sum(map(len, missing[max_ranges:]))} more")
    if sum(map(len, missing)) == 1:
        return f"frame {parts[0]} is missing"
    return f"frames {' and '.join([', '.join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)} are missing"


def size_changed(path: Path, first_hw: tuple[int, ...], now_hw: tuple[int, ...]) -> VideoError:
    """The error for a video whose pictures do not all have one size."""
    return VideoError(
        f"{path} changes its frame size",
        expected=f"{shape_text(first_hw)} as in its first frame",
        got=shape_text(now_hw),
        hint="split the video where its size changes",
    )


def shape_text(size_hw: tuple[int, ...]) -> str:
    """A size for a message: "240 x 360 (height x width)"."""
    return f"{size_hw[0]} x {size_hw[1]} (height x width)"
