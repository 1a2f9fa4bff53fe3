"""Pictures of a page, made small enough for all of them to fit into a number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mulde.errors import ImageError
from mulde.images import read_image, shrunk

SMALL_PX, LARGE_PX = 128, 400
_QUALITY = {SMALL_PX: 60, LARGE_PX: 72}


def fitted(
    paths: Sequence[Path | None],
    max_bytes: int,
    advance: Callable[[int], None] = lambda amount: None,
    *,
    large: bool = True,
) -> list[bytes | None]:
    """WebP pictures of the files, first come first served: all get a small one while `max_bytes` last; with what is
    then left, the first get large ones. None where there is no file, it is no picture, or the bytes are used up."""
    pictures: list[bytes | None] = []
    left = max_bytes
    for path in paths:
        picture = encoded(path, SMALL_PX) if path is not None and left > 0 else None
        left -= len(picture or b"")
        pictures.append(picture if left >= 0 else None)
        advance(1)
    left = max_bytes - sum(len(picture or b"") for picture in pictures)
    for i, path in enumerate(paths if large else ()):
        small = pictures[i]
        if path is None or small is None:
            continue
        picture = encoded(path, LARGE_PX) or small
        left -= len(picture) - len(small)
        if left < 0:
            break
        pictures[i] = picture
    return pictures


def encoded(path: Path, side_px: int) -> bytes | None:
    """A picture as WebP, its longer side at most side_px; None for a file that is not there or no picture."""
    import cv2

    try:
        image = read_image(path, "bgr", keep_depth=False)
    except ImageError:
        return None
    options = [cv2.IMWRITE_WEBP_QUALITY, _QUALITY[side_px]]
    done, data = cv2.imencode(".webp", shrunk(image, side_px), options)
    return data.tobytes() if done else None
