"""Writing H.264 video through PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from mulde.errors import UsageError, VideoError
from mulde.files import atomic_write
from mulde.media.audio import Sound
from mulde.media.container import import_av
from mulde.media.reader import shape_text
from mulde.records import Float64, Int64, UInt8

# The same frames give the same bytes, on any machine. x264's macroblock tree, with its weights, reads memory that it
# never wrote when pictures are small, and then differs every few runs; and the bytes depend on the number of threads.
_X264 = {"preset": "veryfast", "threads": "4", "x264-params": "mbtree=0:weightp=0"}
_QUICK = {**_X264, "preset": "superfast"}
_FINE = Fraction(1, 90_000)
"""Seconds; the unit of time stamps that do not lie on the grid of a rate."""
_JITTER_S, _JITTER_FRAMES = 6e-4, 0.1  # containers round time stamps to milliseconds


@dataclass(frozen=True)
class Timing:
    """When the frames of a video are shown: pts (T,) int64 in units of `time_base` seconds, increasing."""

    rate: Fraction
    time_base: Fraction
    pts: Int64 = field(repr=False)


def timing(time_s: Float64, rate: Fraction) -> Timing:
    """Time stamps for frames shown at time_s (T,): multiples of 1 / rate where the times are so, but for what a
    container rounds; else (a variable rate) the times themselves."""
    rate = Fraction(rate)
    frames = time_s * float(rate)
    even = np.rint(frames)
    may_differ = min(_JITTER_S * float(rate), _JITTER_FRAMES)
    if (np.abs(frames - even) <= may_differ).all() and (np.diff(even) > 0).all():
        return Timing(rate, 1 / rate, even.astype(np.int64))
    pts = np.rint(time_s / float(_FINE)).astype(np.int64)
    steps = np.arange(len(pts))
    return Timing(rate, _FINE, np.maximum.accumulate(pts - steps) + steps)  # no two at the same time


class VideoWriter:
    """Writes frames, one after the other, as an H.264 mp4 that appears under its name only when it is complete.

    A context manager. An odd height or width grows by one repeated row or column, which the coding (4:2:0) needs.
    `quick` takes less time and more bytes, and puts the index at the front, so that a browser plays the file while it
    loads. `sound` is copied.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction,
        *,
        time_base: Fraction | None = None,
        crf: int = 18,
        quick: bool = False,
        sound: Sound | None = None,
    ) -> None:
        if rate <= 0:
            raise UsageError("rate", expected="more than 0 frames per second", got=rate)
        if not 0 <= crf <= 51:
            raise UsageError("crf", expected="0 to 51", got=crf)
        self.path, self.num_frames = path, 0
        self._rate, self._time_base, self._crf = Fraction(rate), time_base or 1 / Fraction(rate), crf
        self._quick, self._sound = quick, sound
        self._shape: tuple[int, ...] = (0, 0, 0)
        self._stream: Any = None
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        options = {"movflags": "faststart"} if self._quick else {}
        with ExitStack() as opened:
            unfinished = opened.enter_context(atomic_write(self.path))
            container = import_av().open(str(unfinished.absolute()), "w", format="mp4", container_options=options)
            self._container: Any = opened.enter_context(container)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._opened.__exit__(kind, error, trace)
            return
        with self._opened:
            self._finish()

    def write(self, frame: UInt8, pts: int | None = None) -> None:
        """Add a frame (H, W, 3) RGB uint8, shown at `pts` (more than the one before; None: evenly) times the time base.

        Raises VideoError for a frame of another kind than the first.
        """
        av = import_av()
        if self._stream is None:
            self._shape = frame.shape
            _check(self.path, frame, 0, self._shape)
            self._stream = self._add_stream(av)
        _check(self.path, frame, self.num_frames, self._shape)
        picture = av.VideoFrame.from_ndarray(_even(frame), format="rgb24")
        picture.pts, picture.time_base = self.num_frames if pts is None else pts, self._time_base
        if self._sound is not None:
            for packet in self._sound.until(float(picture.pts * self._time_base)):
                self._container.mux(packet)
        self._container.mux(self._stream.encode(picture))
        self.num_frames += 1

    def _finish(self) -> None:
        if self._stream is None:
            raise VideoError(f"No frames to write to {self.path}")
        self._container.mux(self._stream.encode(None))
        if self._sound is not None:
            for packet in self._sound.until(float("inf")):
                self._container.mux(packet)

    def _add_stream(self, av: Any) -> Any:
        height, width, _ = self._shape
        options = {"crf": str(self._crf), **(_QUICK if self._quick else _X264)}
        stream = self._container.add_stream("libx264", rate=self._rate, options=options)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = self._time_base
        # Said in the file, because players guess another matrix for large pictures.
        stream.codec_context.colorspace = av.video.reformatter.Colorspace.SMPTE170M
        stream.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
        if self._sound is not None:
            if self._sound.pixel_aspect:
                stream.codec_context.sample_aspect_ratio = self._sound.pixel_aspect
            self._sound.add_to(self._container)
        return stream


def write_video(path: Path, frames: Iterable[UInt8], rate: Fraction, *, crf: int = 18) -> int:
    """Write frames, each (H, W, 3) RGB uint8, as an H.264 mp4 of `rate` frames per second; return their number.

    The file is written as `VideoWriter` does. `crf` 0 is lossless but for the colour coding, 18 looks like the
    original, 51 is worst. Raises UsageError for a bad rate or crf, VideoError for no frames or frames of different
    sizes.
    """
    with VideoWriter(path, rate, crf=crf) as writer:
        for frame in frames:
            writer.write(frame)
        return writer.num_frames


def _check(path: Path, frame: UInt8, index: int, shape: tuple[int, ...]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
        raise VideoError(
            f"Frame {index} for {path}",
            expected=f"uint8 RGB, {shape_text(shape)}" if len(shape) == 3 else "uint8 of shape (height, width, 3)",
            got=f"{frame.dtype} of shape {frame.shape}",
        )


def _even(frame: UInt8) -> UInt8:
    height, width, _ = frame.shape
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
