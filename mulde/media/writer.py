"""Writing H.264 video through PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mulde.errors import UsageError, VideoError
from mulde.files import whole_file
from mulde.media.container import import_av
from mulde.media.reader import shape_text
from mulde.records import UInt8

# The same frames give the same bytes, on any machine. x264's macroblock tree, with its weights, reads memory that it
# never wrote when pictures are small, and then differs every few runs; and the bytes depend on the number of threads.
_X264 = {"preset": "veryfast", "threads": "4", "x264-params": "mbtree=0:weightp=0"}


def write_video(path: Path, frames: Iterable[UInt8], rate: Fraction, *, crf: int = 18) -> int:
    """Write frames, each (H, W, 3) RGB uint8, as an H.264 mp4 of `rate` frames per second; return their number.

    The file appears under its name only when it is whole. An odd height or width grows by one repeated row or column,
    which the coding (4:2:0) needs. `crf` 0 is lossless but for the colour coding, 18 looks like the original, 51 is
    worst. Raises UsageError for a bad rate or crf, VideoError for no frames or frames that do not fit together.
    """
    if rate <= 0:
        raise UsageError("rate", expected="more than 0 frames per second", got=rate)
    if not 0 <= crf <= 51:
        raise UsageError("crf", expected="0 to 51", got=crf)
    with whole_file(path) as unfinished:
        return _encode(unfinished, path, frames, Fraction(rate), crf)


def _encode(target: Path, path: Path, frames: Iterable[UInt8], rate: Fraction, crf: int) -> int:
    av = import_av()
    num_frames, stream, shape = 0, None, (0, 0, 0)
    with av.open(str(target.absolute()), "w", format="mp4") as container:
        for frame in frames:
            if stream is None:
                shape = frame.shape
                stream = _add_stream(av, container, shape, rate, crf)
            _check(path, frame, num_frames, shape)
            picture = av.VideoFrame.from_ndarray(_even(frame), format="rgb24")
            picture.pts, picture.time_base = num_frames, 1 / rate
            container.mux(stream.encode(picture))
            num_frames += 1
        if stream is None:
            raise VideoError(f"No frames to write to {path}")
        container.mux(stream.encode(None))
    return num_frames


def _add_stream(av: Any, container: Any, shape: tuple[int, ...], rate: Fraction, crf: int) -> Any:
    stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), **_X264})
    stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
    stream.pix_fmt = "yuv420p"
    # Said in the file, because players guess another matrix for large pictures.
    stream.codec_context.colorspace = av.video.reformatter.Colorspace.SMPTE170M
    stream.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
    return stream


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
