"""Frames scaled and thinned out while they are read, to the size and rate that a model has learnt."""

from __future__ import annotations

import math
from array import array
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np

from mulde.images import resized
from mulde.media.reader import Picture, VideoReader
from mulde.records import Bool, Float64, Int64, UInt8

EARLY = 0.1
"""The share of the time between two places of a grid by which a frame may come before its own: stamps are rounded, and
clocks shake."""


@dataclass(frozen=True)
class Conversion:
    """What is done to the frames of a video: all are scaled to `size_hw`, and those of a grid in time are kept.

    rate: places of the grid per second. Frames are chosen by their time stamps, not by counting, so a hole in the video
    leaves a hole in the numbers: number k is the first frame whose stamp reaches k / rate, less a little. every: of how
    many frames of the source one is kept, and then "a little" is half the time of a frame; 1: all are, and keep their
    own numbers; None: those that `rate` asks for, whatever the source has.
    """

    size_hw: tuple[int, int]
    every: int | None
    rate: Fraction

    @property
    def thins(self) -> bool:
        """Whether frames are left out, or have other numbers than in the source."""
        return self.every != 1

    def numbers(self, time_s: Float64) -> Int64:
        """The place on the grid of each frame (T,) of the source; the first frame of a place is the one that is kept.

        time_s (T,): seconds from the first frame.
        """
        early = EARLY if self.every is None else 0.5 / self.every
        return np.asarray(np.floor(time_s * float(self.rate) + early), np.int64)

    def kept(self, time_s: Float64) -> Bool:
        """Which frames (T,) of the source are kept."""
        if not self.thins:
            return np.ones(len(time_s), np.bool_)
        numbers = self.numbers(time_s)
        return np.diff(np.maximum.accumulate(numbers), prepend=-1) > 0

    def facts(self) -> dict[str, str]:
        """The conversion as part of a passport."""
        facts = {"scaled_to": f"{self.size_hw[0]} x {self.size_hw[1]}"}
        if self.every is None:
            return {**facts, "analysis_fps": str(self.rate)}
        return facts if self.every == 1 else {**facts, "one_frame_of": str(self.every), "kept_rate": str(self.rate)}


class ConvertedReader(VideoReader):
    """A reader's frames after a conversion; `frame_index` is their place on the grid, times are the source's.

    The source is opened and closed by the caller. After a whole iteration `source_index` (T,) and `source_time_s` (T,)
    are the numbers and times of all frames that could be decoded, those that were left out too.
    """

    def __init__(self, source: VideoReader, conversion: Conversion) -> None:
        super().__init__(source.path, source.options)
        self.source, self.conversion = source, conversion
        # These would be class attributes elsewhere; here they are those of the source.
        self.decoder, self.decoder_version = source.decoder, source.decoder_version  # type: ignore[misc]
        self.size_hw, self.rate = conversion.size_hw, source.rate / (conversion.every or 1)
        if conversion.every is None:
            self.rate = min(source.rate, conversion.rate)
        self.coloured = source.coloured
        count = source.num_frames_from_header
        self.num_frames_from_header = None if count is None else math.ceil(count * self.rate / source.rate)
        self._index, self._time_s = array("q"), array("d")

    @property
    def source_index(self) -> Int64:
        return np.array(self._index, np.int64)

    @property
    def source_time_s(self) -> Float64:
        return np.array(self._time_s, np.float64)

    def pictures(self) -> Generator[Picture, None, None]:
        self._index, self._time_s = array("q"), array("d")
        self._num_frames_read, last = 0, -1
        pictures = self.source.pictures()
        try:
            for picture in pictures:
                self._index.append(picture.frame_index)
                self._time_s.append(picture.time_s)
                number = picture.frame_index
                if self.conversion.thins:
                    number = int(self.conversion.numbers(np.array([picture.time_s]))[0])
                if number > last:
                    last = number
                    self._num_frames_read += 1
                    yield Picture(number, picture.time_s, partial(self._scaled, picture))
            self.missing, self.num_unplaced = list(self.source.missing), self.source.num_unplaced
        finally:
            pictures.close()

    def _decode(self) -> Generator[Picture, None, None]:
        return self.pictures()

    def _scaled(self, picture: Picture) -> UInt8:
        return resized(self.source.checked(picture.load()), self.size_hw)
