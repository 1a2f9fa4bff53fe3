"""Folders of images read as videos, by OpenCV."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mulde.errors import UsageError, VideoError
from mulde.filetypes import list_frames
from mulde.media.identity import no_images
from mulde.media.reader import DEFAULT_RATE, VideoReader, shape_text
from mulde.records import UInt8


class FrameFolderReader(VideoReader):
    """8-bit grey or colour images of one size, in natural order of their names; alpha is dropped.

    An EXIF orientation is honoured, like the rotation of a video file.
    """

    decoder: ClassVar[str] = "frames"

    def __init__(self, path: Path, batch_size: int, default_rate: Fraction | None) -> None:
        super().__init__(path, batch_size)
        self._files = list_frames(path)
        if not self._files:
            raise no_images(path)
        self.decoder_version = f"OpenCV {_import_cv2().__version__}"
        first = _read_image(self._files[0])
        self.size_hw = (first.shape[0], first.shape[1])
        self.rate = default_rate or DEFAULT_RATE
        self.num_frames_from_header = len(self._files)

    def _decode(self) -> Generator[tuple[UInt8, float], None, None]:
        for index, file in enumerate(self._files):
            image = _read_image(file)
            if image.shape[:2] != self.size_hw:
                raise VideoError(
                    f"{file} has another size than the frames before it",
                    expected=f"{shape_text(self.size_hw)} as in {self._files[0].name}",
                    got=shape_text(image.shape[:2]),
                    hint="one folder per camera and size",
                )
            yield image, float(index / self.rate)


def _read_image(file: Path) -> UInt8:
    """One image as (H, W, 3) RGB uint8. Raises VideoError that names the file."""
    cv2 = _import_cv2()
    try:
        content = np.fromfile(file, np.uint8)
    except OSError as error:
        raise VideoError(f"The frame {file} cannot be read", got=error.strerror) from error
    with _silence(cv2):
        # From memory, not by imread: that one fills what is missing of a JPEG with grey (and so does all of OpenCV 4).
        # These flags keep the depth, drop alpha and apply the EXIF orientation.
        image = cv2.imdecode(content, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR) if content.size else None
    if image is None:
        raise VideoError(f"The frame {file} is not a readable image", got=f"{content.size} bytes")
    if image.dtype != np.uint8:
        raise VideoError(
            f"The frame {file} has too many bits per pixel",
            expected="8-bit grey or colour",
            got=str(image.dtype),
            hint="convert the images to 8 bits",
        )
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
