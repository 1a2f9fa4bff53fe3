"""What every reader has in common: facts at opening, batches of frames afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import numpy as np

from mulde.errors import VideoError
from mulde.records import Frames, UInt8

DEFAULT_RATE = Fraction(25)


class VideoReader(ABC):
    """One video, read from front to back in batches; a context manager.

    `size_hw` is the size of the delivered frames, after rotation. `rate` is the average rate in frames per second.
    `num_frames_from_header` is what the container claims, None where it claims nothing. `num_frames_decoded` counts
    what was delivered since the last iteration began; iterating again starts from the first frame.
    """

    decoder: ClassVar[str]
    decoder_version: str
    size_hw: tuple[int, int]
    rate: Fraction
    num_frames_from_header: int | None

    def __init__(self, path: Path, batch_size: int) -> None:
        self.path, self.batch_size = path, batch_size
        self.num_frames_decoded = 0
        self._running: Generator[Frames, None, None] | None = None

    @abstractmethod
    def _decode(self) -> Generator[tuple[UInt8, float], None, None]:
        """Yield each picture, (H, W, 3) RGB uint8, with its time in seconds; it may be overwritten after the yield."""

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
        """Stop an iteration that was left half-way and free what it holds."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def _batches(self) -> Generator[Frames, None, None]:
        self.num_frames_decoded = 0
        images, times_s = self._empty_batch(), list[float]()
        decoded = self._decode()
        try:
            for image, time_s in decoded:
                self._check_size(image)
                images[len(times_s)] = image
                times_s.append(time_s)
                if len(times_s) == self.batch_size:
                    yield self._frames(images, times_s)
                    images, times_s = self._empty_batch(), []
            if times_s:
                yield self._frames(images[: len(times_s)], times_s)
        finally:
            decoded.close()

    def _empty_batch(self) -> UInt8:
        # A new array for each batch: a consumer may keep the last one.
        return np.empty((self.batch_size, *self.size_hw, 3), np.uint8)

    def _check_size(self, image: UInt8) -> None:
        if image.shape != (*self.size_hw, 3):
            raise VideoError(
                f"{self.path} changes its frame size",
                expected=f"{shape_text(self.size_hw)} as in its first frame",
                got=shape_text(image.shape[:2]),
                hint="split the video where its size changes",
            )

    def _frames(self, images: UInt8, times_s: list[float]) -> Frames:
        first = self.num_frames_decoded
        self.num_frames_decoded += len(images)
        return Frames(images, np.arange(first, self.num_frames_decoded, dtype=np.int64), np.array(times_s, np.float64))


def shape_text(size_hw: tuple[int, ...]) -> str:
    """A size for a message: "240 x 360 (height x width)"."""
    return f"{size_hw[0]} x {size_hw[1]} (height x width)"
