"""Image files as arrays, for frames and masks alike; the claimed size is checked before anything is decoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mulde.errors import ImageError, UsageError
from mulde.files import write_bytes

MAX_PIXELS = 10**8
"""Larger pictures are taken for a damaged or hostile header; 8K has 33 million pixels."""
MAX_FILE_BYTES = 2**29
_MIN_CHROMA, _CHROMA_SHARE, _BLACK = 12, 0.95, 16
_FORMATS = "PNG, JPEG, BMP, TIFF, WebP, GIF or PNM"

Channels = Literal["stored", "bgr", "grey"]


def read_image(
    path: Path, channels: Channels = "stored", *, keep_depth: bool = True, single: bool = False
) -> NDArray[Any]:
    """Read an image as (H, W) grey or (H, W, 3) BGR; alpha is dropped and an EXIF orientation applied.

    channels: "stored" as in the file, or converted to "bgr" or "grey". keep_depth: 16-bit and float images keep their
    dtype, otherwise all become uint8. single: refuse a file with several pictures, of which only the first is read.
    Raises ImageError for a file that cannot be read as an image, and for one that claims more than MAX_PIXELS, before
    memory is allocated for them.
    """
    cv2 = import_cv2()
    content = _content(path)
    _check_header(path, content, single)
    flags = {"stored": cv2.IMREAD_ANYCOLOR, "bgr": cv2.IMREAD_COLOR, "grey": cv2.IMREAD_GRAYSCALE}[channels]
    with _silence(cv2):
        try:
            # From memory, not by imread, which fills what is missing of a JPEG with grey (as all of OpenCV 4 does).
            image = cv2.imdecode(np.frombuffer(content, np.uint8), flags | (cv2.IMREAD_ANYDEPTH if keep_depth else 0))
        except cv2.error as error:
            raise ImageError(f"{path} cannot be decoded", got=str(error.err or error).strip()) from None
    if image is None:
        raise ImageError(f"{path} is not a readable image", got=f"{len(content)} bytes that are damaged or cut off")
    return np.asarray(image)


def write_png(path: Path, image: NDArray[Any]) -> None:
    """Write an image (H, W, 3) RGB uint8 as a PNG, atomically. Raises FileError where it cannot be written."""
    done, content = import_cv2().imencode(".png", np.ascontiguousarray(image[:, :, ::-1]))
    if not done:
        raise ImageError(f"{path} cannot be written", got=f"an image of {image.shape[0]} x {image.shape[1]} pixels")
    write_bytes(path, content.tobytes())


def shrunk_size(size_hw: tuple[int, int], longer_px: int) -> tuple[int, int]:
    """`size_hw` shrunk until its longer side has `longer_px` pixels; unchanged where that is 0 or no less."""
    longer = max(size_hw)
    if not 0 < longer_px < longer:
        return size_hw
    height, width = (max(1, round(side * longer_px / longer)) for side in size_hw)
    return height, width


def resized(image: NDArray[Any], size_hw: tuple[int, int]) -> NDArray[Any]:
    """An image (H, W) or (H, W, C) in another size: averaged where it shrinks, interpolated (bicubic) where it grows.

    The image itself, not a copy, where it has that size.
    """
    if image.shape[:2] == size_hw:
        return image
    cv2 = import_cv2()
    how = cv2.INTER_AREA if size_hw[0] <= image.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(image), size_hw[::-1], interpolation=how))


def shrunk(image: NDArray[Any], longer_px: int) -> NDArray[Any]:
    """An image whose longer side has at most `longer_px` pixels; the image itself where it has no more."""
    height, width = image.shape[:2]
    return resized(image, shrunk_size((height, width), longer_px))


def is_coloured(image: NDArray[np.uint8]) -> bool | None:
    """Whether a picture (H, W) or (H, W, 3) has colour: a twentieth of its pixels is 12 levels from grey or more. None
    where it is too dark to say."""
    if image.ndim == 2:
        return False
    few = image[::4, ::4]
    if few.max() < _BLACK:
        return None
    chroma = few.max(axis=-1).astype(np.int16) - few.min(axis=-1)
    return bool(np.quantile(chroma, _CHROMA_SHARE) >= _MIN_CHROMA)


def import_cv2() -> Any:
    """Import OpenCV. Raises UsageError that says what to install."""
    try:
        import cv2
    except ImportError as error:
        raise UsageError("Images need OpenCV, which is not installed", hint="pip install opencv-python") from error
    return cv2


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ImageError(f"{path} cannot be read", got=error.strerror) from error
    if not content:
        raise ImageError(f"{path} is not a readable image", got="0 bytes")
    if len(content) > MAX_FILE_BYTES:
        raise ImageError(f"{path} is too large", expected=f"an image file of at most {MAX_FILE_BYTES // 2**20} MB")
    return content


def _check_header(path: Path, content: bytes, single: bool) -> None:
    kind = _opener(content)
    if kind is None:
        raise ImageError(
            f"{path} is not a readable image", expected=_FORMATS, got=f"{len(content)} bytes of another kind"
        )
    try:
        # The classes, not `Image.open`: its own limit is a global of Pillow, and below it a Python warning.
        header = kind(io.BytesIO(content))
        (width, height), num_pictures = header.size, getattr(header, "n_frames", 1) if single else 1
    except Exception as error:  # Pillow's plugins raise whatever a damaged header leads to
        raise ImageError(f"{path} is not a readable image", got=f"a damaged header ({error})") from None
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{path} is too large", expected=f"at most {MAX_PIXELS} pixels", got=f"{width} x {height} (width x height)"
        )
    if num_pictures > 1:
        raise ImageError(f"{path} holds several pictures", expected="one", got=num_pictures)


def _opener(content: bytes) -> Any:
    """The class of Pillow that reads the header of an image with this content; None for other content."""
    from PIL import (
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    signatures = (
        (b"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
        (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
        (b"BM", BmpImagePlugin.BmpImageFile),
        (b"II*\0", TiffImagePlugin.TiffImageFile),
        (b"MM\0*", TiffImagePlugin.TiffImageFile),
        (b"II+\0", TiffImagePlugin.TiffImageFile),
        (b"MM\0+", TiffImagePlugin.TiffImageFile),
        (b"RIFF", WebPImagePlugin.WebPImageFile),
        (b"GIF8", GifImagePlugin.GifImageFile),
        *((b"P%d" % number, PpmImagePlugin.PpmImageFile) for number in range(1, 7)),
    )
    return next((opener for signature, opener in signatures if content.startswith(signature)), None)


@contextmanager
def _silence(cv2: Any) -> Iterator[None]:
    """Keep OpenCV from printing on standard error what the raised ImageError says."""
    log = getattr(cv2.utils, "logging", cv2)  # OpenCV 5, OpenCV 4
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(level)
