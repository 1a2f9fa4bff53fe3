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
    most_bytes: int,
    advance: Callable[[int], None] = lambda amount: None,
    *,
    large: bool = True,
) -> list[bytes | None]:
    """WebP pictures of the files, first come first served: all get a small one while `most_bytes` last; with what is
    then left, the first get large ones. None where there is no file, it is no picture, or the bytes are used up."""
    pictures: list[bytes | None] = []
    left = most_bytes
    for path in paths:
        one = encoded(path, SMALL_PX) if path is not None and left > 0 else None
        left -= len(one or b"")
        pictures.append(one if left >= 0 else None)
        advance(1)
    left = most_bytes - sum(len(one or b"") for one in pictures)
    for i, path in enumerate(paths if large else ()):
        small = pictures[i]
        if path is None or small is None:
            continue
        one = encoded(path, LARGE_PX) or small
        left -= len(one) - len(small)
        if left < 0:
            break
        pictures[i] = one
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
