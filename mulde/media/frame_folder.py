"""Folders of images, and single images, read as videos by OpenCV."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mulde.errors import UsageError, VideoError
from mulde.filetypes import list_frames
from mulde.media.identity import no_images
from mulde.media.reader import (
    DEFAULT_RATE,
    MAX_PIXELS,
    Picture,
    Reading,
    VideoReader,
    missing_text,
    shape_text,
    working_size,
)
from mulde.records import UInt8

_log = logging.getLogger(__name__)


class FrameFolderReader(VideoReader):
    """8-bit grey or colour images of one size, in natural order of their names, or one image; alpha is dropped.

    An EXIF orientation is honoured, like the rotation of a video file. Damaged images behind the first one are left
    out; the others keep their numbers and times.
    """

    decoder: ClassVar[str] = "frames"

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path, reading)
        if reading.stream not in (None, 0):
            raise VideoError(
                f"The {'folder' if path.is_dir() else 'image'} {path}",
                expected="stream 0 or auto",
                got=f"stream {reading.stream}",
            )
        self._files = list_frames(path) if path.is_dir() else [path]
        if not self._files:
            raise no_images(path)
        self.decoder_version = f"OpenCV {_import_cv2().__version__}"
        first = _read_image(self._files[0])
        if first is None:
            raise VideoError(
                f"The frame {self._files[0]} is not a readable image", got=f"{self._files[0].stat().st_size} bytes"
            )
        self._first_hw = (first.shape[0], first.shape[1])
        self.size_hw = working_size(self._first_hw, reading.working_size_px)
        self.rate = reading.default_rate or DEFAULT_RATE
        self.num_frames_from_header = len(self._files)

    def _decode(self) -> Generator[Picture, None, None]:
        for index, file in enumerate(self._files):
            image = _read_image(file)  # in front of `start_frame` too: what cannot be read does not count
            if image is None:
                continue
            if image.shape[:2] != self._first_hw:
                raise VideoError(
                    f"{file} has another size than the frames before it",
                    expected=f"{shape_text(self._first_hw)} as in {self._files[0].name}",
                    got=shape_text(image.shape[:2]),
                    hint="one folder per camera and size",
                )
            yield Picture(index, float(index / self.rate), partial(_rgb, image, self.size_hw))
        self._miss_frames_before(len(self._files))
        if self.missing:
            lost = [self._files[index] for indices in self.missing for index in indices]
            _log.warning(
                "%s: %d of %d images cannot be read, %s: %s%s",
                self.path, len(lost), len(self._files), missing_text(self.missing),
                ", ".join(file.name for file in lost[:3]), ", ..." if len(lost) > 3 else "",
            )  # fmt: skip


def _read_image(file: Path) -> UInt8 | None:
    """One image as (H, W) or (H, W, 3) BGR uint8, None where it is damaged. Raises VideoError that names the file."""
    cv2 = _import_cv2()
    try:
        content = np.fromfile(file, np.uint8)
    except OSError as error:
        raise VideoError(f"The frame {file} cannot be read", got=error.strerror) from error
    if not content.size or _jpeg_pixels(content.data) > MAX_PIXELS:
        return None
    with _silence(cv2):
        try:
            # From memory, not by imread: that one fills what is missing of a JPEG with grey (and so does all of
            # OpenCV 4). These flags keep the depth, drop alpha and apply the EXIF orientation.
            image: UInt8 | None = cv2.imdecode(content, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
        except cv2.error:  # a header that claims a picture beyond OpenCV's limits
            image = None
    if image is not None and image.dtype != np.uint8:
        raise VideoError(
            f"The frame {file} has too many bits per pixel",
            expected="8-bit grey or colour",
            got=str(image.dtype),
            hint="convert the images to 8 bits",
        )
    return image


def _jpeg_pixels(content: memoryview) -> int:
    """Height x width in the frame header of a JPEG (ITU-T T.81, B.2.2); 0 where there is none.

    OpenCV takes memory for what this header claims, and the other formats' decoders look whether it is there first.
    """
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(content[at + 5 : at + 7]) * int.from_bytes(content[at + 7 : at + 9])
        at += 2 + int.from_bytes(content[at + 2 : at + 4])
    return 0


def _rgb(image: UInt8, size_hw: tuple[int, int]) -> UInt8:
    cv2 = _import_cv2()
    if image.shape[:2] != size_hw:
        image = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA)
    rgb: UInt8 = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
    return rgb


@contextmanager
def _silence(cv2: Any) -> Iterator[None]:
    log = getattr(cv2.utils, "logging", cv2)  # OpenCV 5, OpenCV 4
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(level)


def _import_cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        problem = "Frame folders need OpenCV, which is not installed"
        raise UsageError(problem, hint="pip install opencv-python") from error
    return cv2
