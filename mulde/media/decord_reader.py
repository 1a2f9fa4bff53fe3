"""Video files decoded by decord.

decord decodes ahead of its reader without limit: left alone for a while it holds the whole video. So long videos are
read in stretches, each without a pause; between them decord drops its frames and seeks. Its seeking does not work on
every file, so the first frame after a seek must equal the one that was there before, bit for bit.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mulde.errors import UsageError, VideoError
from mulde.media.container import DecodeDamage, main_stream
from mulde.media.file_reader import FileReader
from mulde.media.reader import Picture, ReadOptions
from mulde.records import Int64, UInt8

# decord puts a copy of another frame where it cannot decode one, unless more than this share of the frames is copied.
_NO_COPIES = 1e-9
# decord reserves memory for as many frames as a header claims, and a header that is wrong ends the whole process.
_MAX_FRAMES_CLAIMED = 10**7
_MAX_BYTES_IN_STRETCH = 2**29


class DecordReader(FileReader):
    """Fails where decord cannot deliver every frame of the file, because it does not report which ones are missing.

    decord turns rotated videos upright and scales them itself, also where the frame size changes inside the file. It
    reads the stream that libav takes for the main one, no other.
    """

    decoder: ClassVar[str] = "decord"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self._decord = _import_decord()
        self.decoder_version = f"decord {self._decord.__version__}"
        super().__init__(path, options)
        main = main_stream(path)
        if options.stream not in (None, main):
            raise UsageError(
                f"The decoder 'decord' reads the main stream of {path}, {main}, and no other",
                got=f"stream {options.stream}",
                hint="use the decoder 'pyav'",
            )
        if self._facts.num_frames_estimated > _MAX_FRAMES_CLAIMED:
            raise self._failed(0, f"its header claims {self._facts.num_frames_estimated} frames")

    def _decode(self) -> Generator[Picture, None, None]:
        num_frames, longest = len(self._facts.stamps), max(1, _MAX_BYTES_IN_STRETCH // (3 * math.prod(self.size_hw)))
        source, keys = self._open()
        start = 0
        following: UInt8 | None = None
        while start < num_frames:
            stop = end_of_stretch(start, num_frames, longest, keys)
            images = self._read(source, start, stop, following)
            following = images.pop() if stop < num_frames else None
            for index in range(start, stop):
                yield Picture(index, self._facts.time_s(index), partial(_same, images.popleft()))
            start = stop
        self._finish(DecodeDamage())

    def _open(self) -> tuple[Any, Int64]:
        """decord's reader, and the indices of the key frames in the frames that are delivered."""
        try:
            height, width = self.size_hw if self.size_hw != self._facts.size_hw else (-1, -1)
            source = self._decord.VideoReader(
                str(self.path.absolute()), width=width, height=height, fault_tol=_NO_COPIES
            )
            return source, np.array(source.get_key_indices(), np.int64) - self._facts.num_packets_without_picture
        except self._failures() as error:
            raise self._failed(0, str(error)) from error

    def _read(self, source: Any, start: int, stop: int, following: UInt8 | None) -> deque[UInt8]:
        """Frames start..stop-1, and frame `stop` too where the video goes on; `following` is frame `start` if known."""
        goes_on = stop < len(self._facts.stamps)
        images: deque[UInt8] = deque()
        try:
            if following is not None:
                source.seek_accurate(start + self._facts.num_packets_without_picture)
                if not np.array_equal(self._next(source), following):
                    raise self._failed(start, "it does not find its place in the file again")
                images.append(following)
            while len(images) < stop - start + goes_on:
                images.append(self._next(source))
            if goes_on:
                source.seek(0)  # drops what was decoded ahead
        except self._failures() as error:
            raise self._failed(start + len(images), str(error) or type(error).__name__) from error
        return images

    def _next(self, source: Any) -> UInt8:
        image: UInt8 = source.next().asnumpy()
        height, width, _ = image.shape
        # decord takes padding at the end of a row for more channels: (H, W, 4) and up for some widths under 80.
        return image.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)

    def _failures(self) -> tuple[type[Exception], ...]:
        lib = self._decord
        return lib.DECORDError, lib.DECORDLimitReachedError, RuntimeError, AssertionError, StopIteration

    def _failed(self, num_decoded: int, reason: str) -> VideoError:
        # Without time, source line and advice on environment variables.
        reason = re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: |\s*and `DECORD_.*", "", reason.partition("\n")[0])
        return VideoError(
            f"decord cannot read {self.path}",
            expected=f"{len(self._facts.stamps)} frames",
            got=f"{num_decoded} ({reason})",
            hint="use the decoder 'pyav', which reads more formats and continues after damage",
        )


def end_of_stretch(start: int, num_frames: int, longest: int, keys: Int64) -> int:
    """Where the stretch from `start` ends: with the video, or at the last key frame in reach, to seek without loss."""
    if num_frames - start <= longest:
        return num_frames
    reachable = keys[(keys > start) & (keys <= start + longest)]
    return int(reachable[-1]) if len(reachable) else start + longest


def _same(image: UInt8) -> UInt8:
    return image


def _import_decord() -> Any:
    try:
        import decord
        from decord import logging as decord_logging
    except (ImportError, OSError) as error:
        raise UsageError(
            "The decoder 'decord' needs the library decord, which is not installed",
            got=str(error),
            hint="pip install decord, or use the decoder 'pyav'",
        ) from error
    decord_logging.set_level(decord_logging.QUIET)
    return decord
