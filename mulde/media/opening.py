"""The one door to video: `open_video`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

from mulde.errors import UsageError, VideoError
from mulde.media.decord_reader import DecordReader
from mulde.media.frame_folder import FrameFolderReader
from mulde.media.pyav_reader import PyAVReader
from mulde.media.reader import VideoReader

# decoder name -> reader of video files
DECODERS: Mapping[str, Callable[[Path, int, Fraction | None], VideoReader]] = {
    DecordReader.decoder: DecordReader,
    PyAVReader.decoder: PyAVReader,
}


def open_video(
    path: Path, *, decoder: str = "decord", batch_size: int = 32, frame_rate: Fraction | None = None
) -> VideoReader:
    """Open a video file or a folder of frames; iterate over the result for batches of at most `batch_size` frames.

    `decoder` reads video files; a frame folder is read by OpenCV whatever it says. `frame_rate` (frames per second) is
    used where the source names none, as a folder does; its default is 25. Raises UsageError for a setting that cannot
    be used or a library that is not installed, VideoError for a source that cannot be read.
    """
    if decoder not in DECODERS:
        raise UsageError(f"Unknown decoder {decoder!r}", expected=" or ".join(DECODERS))
    if batch_size < 1:
        raise UsageError("batch_size", expected="at least 1 frame", got=batch_size)
    if frame_rate is not None and frame_rate <= 0:
        raise UsageError("frame_rate", expected="more than 0 frames per second", got=frame_rate)
    path = Path(path)
    if not path.exists():
        raise VideoError(f"{path} does not exist", expected="a video file or a folder of frames")
    reader = FrameFolderReader if path.is_dir() else DECODERS[decoder]
    return reader(path, batch_size, frame_rate)
