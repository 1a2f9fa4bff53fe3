"""The only door to video: `open_video`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Literal

from mulde.errors import UsageError, VideoError
from mulde.filetypes import is_image_file
from mulde.media.boxes_reader import BoxesReader
from mulde.media.decord_reader import DecordReader
from mulde.media.frame_folder import FrameFolderReader
from mulde.media.pyav_reader import PyAVReader
from mulde.media.reader import ReadOptions, VideoReader
from mulde.records import BoxesAlone

# decoder name -> reader of video files
DECODERS: Mapping[str, Callable[[Path, ReadOptions], VideoReader]] = {
    PyAVReader.decoder: PyAVReader,
    DecordReader.decoder: DecordReader,
}


def open_video(
    path: Path,
    *,
    decoder: str = "pyav",
    batch_size: int = 32,
    frame_rate: Fraction | None = None,
    working_size_px: int = 0,
    stream: int | Literal["auto"] = "auto",
    start_frame: int = 0,
    boxes: BoxesAlone | None = None,
) -> VideoReader:
    """Open a video file, a folder of frames or one image; iterate over the result for batches of frames.

    A batch has at most `batch_size` frames. `decoder` reads video files; a frame folder is always read by OpenCV, and
    an image like a folder with that one frame. `frame_rate` (frames per second) is used where the source has none, for
    example for a folder; its default is 25. Frames whose longer side exceeds
    `working_size_px` (0: no limit) are shrunk to it while they are decoded. `stream` is the number of the video stream
    among those of the file, from 0, or "auto". `start_frame` is the number of frames to leave out at the
    front, counted as they would be delivered; the others have the same pixels, numbers, times and limits of batches as
    when all frames are read. `boxes`: the file holds boxes of a video that is known by these facts alone; its frames
    are blank.

    Where frames cannot be decoded, pyav and folders go on behind them: frame_index then has gaps, a warning is logged,
    and the reader's `missing` names them. Raises UsageError for a setting that cannot be used or a library that is not
    installed, VideoError for a source that cannot be read.
    """
    if decoder not in DECODERS:
        raise UsageError(f"Unknown decoder {decoder!r}", expected=" or ".join(DECODERS))
    if batch_size < 1:
        raise UsageError("batch_size", expected="at least 1 frame", got=batch_size)
    if frame_rate is not None and frame_rate <= 0:
        raise UsageError("frame_rate", expected="more than 0 frames per second", got=frame_rate)
    if working_size_px < 0:
        raise UsageError("working_size_px", expected="0 (as it is) or a number of pixels", got=working_size_px)
    if start_frame < 0:
        raise UsageError("start_frame", expected="at least 0", got=start_frame)
    path = Path(path)
    if not path.exists():
        raise VideoError(f"{path} does not exist", expected="a video file, a folder of frames or an image")
    if boxes is not None:
        return BoxesReader(path, boxes, ReadOptions(batch_size, start_frame=start_frame))
    reader = FrameFolderReader if path.is_dir() or is_image_file(path) else DECODERS[decoder]
    number = None if stream == "auto" else stream
    return reader(path, ReadOptions(batch_size, frame_rate, working_size_px, number, start_frame))
