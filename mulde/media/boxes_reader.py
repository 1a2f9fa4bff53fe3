"""Videos of which there are boxes and no pixels, read as blank frames that take no memory."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import ClassVar

import numpy as np

from mulde.media.reader import Picture, ReadOptions, VideoReader
from mulde.records import BoxesAlone, Frames, Int64, UInt8

_GREY = np.uint8(128)


class BoxesReader(VideoReader):
    """The frames of a video that is known by size, rate and length; the file of its boxes is not opened here."""

    decoder: ClassVar[str] = "boxes"

    def __init__(self, path: Path, boxes: BoxesAlone, options: ReadOptions) -> None:
        super().__init__(path, options)
        self.boxes = boxes
        self.decoder_version = "1"
        self.size_hw, self.rate = boxes.size_hw, boxes.frame_rate
        self.num_frames_from_header = boxes.num_frames

    def facts(self) -> dict[str, str]:
        """What describes the video, as part of a passport."""
        height, width = self.size_hw
        return {
            "frame_rate": str(self.rate),
            "size": f"{width} x {height}",
            "frames": str(self.boxes.num_frames),
            "first_frame": str(self.boxes.first_frame),
        }

    def _decode(self) -> Generator[Picture, None, None]:
        blank = self._blank(1)[0]
        for index in range(self.boxes.num_frames):
            yield Picture(index, index / float(self.rate), lambda: blank)

    def _batches(self) -> Generator[Frames, None, None]:
        self.num_frames_decoded, self.missing = 0, []
        size = self._batch_size()
        for low in range(0, self.boxes.num_frames, size):
            first = max(low, self.options.start_frame)
            index: Int64 = np.arange(first, min(low + size, self.boxes.num_frames))
            if len(index):
                self.num_frames_decoded += len(index)
                yield Frames(self._blank(len(index)), index, index / float(self.rate))

    def _blank(self, num_frames: int) -> UInt8:
        """Frames (N, H, W, 3) that share one byte."""
        return np.broadcast_to(_GREY, (num_frames, *self.size_hw, 3))
