"""Folders of images, and single images, read as videos by OpenCV."""

from __future__ import annotations

import logging
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from mulde.errors import ImageError, VideoError
from mulde.filetypes import list_frames
from mulde.images import import_cv2, is_coloured, read_image, resized, shrunk_size
from mulde.media.content_hash import no_images
from mulde.media.reader import (
    DEFAULT_RATE,
    Picture,
    ReadOptions,
    VideoReader,
    missing_text,
    shape_text,
)
from mulde.media.source_file import unreadable
from mulde.records import UInt8

_log = logging.getLogger(__name__)


class FrameFolderReader(VideoReader):
    """8-bit grey or colour images of one size, in natural order of their names, or one image; alpha is dropped.

    An EXIF orientation is applied, like the rotation of a video file. Damaged images after the first one are left out;
    the others keep their numbers and times.
    """

    decoder: ClassVar[str] = "frames"

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        if options.stream not in (None, 0):
            raise VideoError(
                f"The {'folder' if path.is_dir() else 'image'} {path}",
                expected="stream 0 or auto",
                got=f"stream {options.stream}",
            )
        self._files = list_frames(path) if path.is_dir() else [path]
        if not self._files:
            raise no_images(path)
        self.decoder_version = f"OpenCV {import_cv2().__version__}"
        try:
            first = _read_frame(self._files[0])
        except ImageError as error:
            raise VideoError(f"The frame {error.problem}", expected=error.expected, got=error.got) from None
        self._first_hw = (first.shape[0], first.shape[1])
        self.size_hw = shrunk_size(self._first_hw, options.working_size_px)
        self.rate = options.default_rate or DEFAULT_RATE
        self.num_frames_from_header = len(self._files)
        self.coloured = is_coloured(first)

    def _decode(self) -> Generator[Picture, None, None]:
        for index, file in enumerate(self._files):
            try:  # in front of `start_frame` too: what cannot be read does not count
                image = _read_frame(file)
            except ImageError:
                continue
            if image.shape[:2] != self._first_hw:
                raise VideoError(
                    f"{file} has another size than the frames before it",
                    expected=f"{shape_text(self._first_hw)} as in {self._files[0].name}",
                    got=shape_text(image.shape[:2]),
                    hint="use one folder per camera and size",
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


def _read_frame(file: Path) -> UInt8:
    """One image as (H, W) or (H, W, 3) BGR uint8. Raises ImageError where it is damaged, VideoError where it is sound
    and of no use, or where the disk refuses to read it."""
    try:
        image = read_image(file)
    except ImageError as error:
        if isinstance(error.__cause__, OSError):
            raise unreadable(file, error.__cause__) from error.__cause__
        raise
    if image.dtype != np.uint8:
        raise VideoError(
            f"The frame {file} has too many bits per pixel",
            expected="8-bit grey or colour",
            got=str(image.dtype),
            hint="convert the images to 8 bits",
        )
    return image


def _rgb(image: UInt8, size_hw: tuple[int, int]) -> UInt8:
    cv2 = import_cv2()
    image = resized(image, size_hw)
    rgb: UInt8 = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
    return rgb
