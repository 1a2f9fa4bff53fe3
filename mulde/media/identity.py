"""What identifies the content of a video, whatever its name or place."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mulde.errors import VideoError
from mulde.filetypes import IMAGE_SUFFIXES, list_frames


def identity(path: Path) -> str:
    """Hex SHA-256 of a video's content: a file's bytes, or the ordered names and bytes of a folder's images.

    Raises VideoError where there is nothing to read.
    """
    try:
        return _folder_digest(path) if path.is_dir() else _file_digest(path).hexdigest()
    except OSError as error:
        raise VideoError(f"{path} cannot be read", got=error.strerror) from error


def no_images(folder: Path) -> VideoError:
    """The error for a folder without frames, empty or not."""
    num_entries = sum(1 for _ in folder.iterdir())
    if not num_entries:
        return VideoError(f"The folder {folder} is empty", expected="image files")
    return VideoError(
        f"The folder {folder} holds no images directly in it",
        expected=", ".join(sorted(IMAGE_SUFFIXES)),
        got=f"{num_entries} other entries",
    )


def _file_digest(path: Path) -> hashlib._Hash:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _folder_digest(folder: Path) -> str:
    """Each image adds its name, a zero byte and the digest of its bytes, so that no two lists of files run together."""
    frames = list_frames(folder)
    if not frames:
        raise no_images(folder)
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame.name.encode("utf-8", "surrogateescape") + b"\0" + _file_digest(frame).digest())
    return digest.hexdigest()
