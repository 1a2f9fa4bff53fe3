"""The hash of a video's content, independent of its name and place, and whether the file still has that content."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mulde.digests import file_digest
from mulde.errors import SourceError, VideoError
from mulde.filetypes import IMAGE_SUFFIXES, list_frames
from mulde.media.source_file import unreadable

_COARSEST_CLOCK_NS = 2 * 10**9
"""How far apart two writes may be to get the same time: 2 s on FAT."""


def content_hash(path: Path) -> str:
    """Hex SHA-256 of a video's content: a file's bytes, or the ordered names and bytes of a folder's images.

    Raises VideoError where there is nothing to read, SourceError where it changes meanwhile.
    """
    return Snapshot(path).sha256


class Snapshot:
    """The hash `sha256` of a video's content at `path`, which `check` compares with what lies there later.

    Raises VideoError where there is nothing to read, SourceError where the content changes while it is hashed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._frames = _frames(path)
            self._looks = _look(self._frames or [path])
            self._hashed_ns = time.time_ns()
            self.sha256 = _digest(path, self._frames)
            self._compare(self._frames or [path], self._looks)
        except OSError as error:
            raise unreadable(path, error) from error

    def check(self, first: int = 0, stop: int | None = None) -> None:
        """Raises SourceError where size or times of the video's files changed since; of a folder with many images only
        those from `first` to `stop` are looked at."""
        try:
            files = self._frames[first:stop] if self._frames else [self.path]
            looks = self._looks[first:stop] if self._frames else self._looks
            newest_ns = self._compare(files, looks)
            if abs(self._hashed_ns - newest_ns) < _COARSEST_CLOCK_NS:  # a write soon afterwards may have got this time
                self.check_content()
        except OSError as error:
            raise unreadable(self.path, error) from error

    def check_content(self) -> None:
        """Raises SourceError where the content of the video changed since: all of it is read again."""
        try:
            started_ns = time.time_ns()
            frames = _frames(self.path)
            if frames != self._frames or _digest(self.path, frames) != self.sha256:
                raise _changed(self.path)
            self._compare(self._frames or [self.path], self._looks)
            self._hashed_ns = started_ns
        except OSError as error:
            raise unreadable(self.path, error) from error

    def _compare(self, files: Sequence[Path], before: Sequence[_FileState]) -> int:
        """When the files were last changed, in ns since 1970. Raises SourceError where they do not look as before."""
        for file, was, now in zip(files, before, _look(files), strict=True):
            if was != now:
                raise _changed(file, was, now)
        return max(max(look.modified_ns, look.changed_ns) for look in before)


class _FileState(NamedTuple):
    """What shows that a file changed. Not its inode or device: some network file systems give it another each time."""

    size: int
    modified_ns: int
    changed_ns: int
    link_changed_ns: int


def _look(files: Sequence[Path]) -> list[_FileState]:
    looks = []
    for file in files:
        status, link = os.stat(file), os.lstat(file)
        looks.append(_FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns, link.st_ctime_ns))
    return looks


def _changed(path: Path, was: _FileState | None = None, now: _FileState | None = None) -> SourceError:
    other_size = was is not None and now is not None and was.size != now.size
    return SourceError(
        f"{path} was changed while it was read",
        expected=f"{was.size:,} bytes as at the start" if was and other_size else None,
        got=f"{now.size:,} bytes" if now and other_size else None,
        hint="wait until it is complete, then run the same command again",
    )


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


def _frames(path: Path) -> list[Path]:
    """The images of a folder; none for a file."""
    if not path.is_dir():
        return []
    frames = list_frames(path)
    if not frames:
        raise no_images(path)
    return frames


def _digest(path: Path, frames: Sequence[Path]) -> str:
    """Each image adds its name, a zero byte and the digest of its bytes, so that no two lists of files run together."""
    if not frames:
        return file_digest(path)
    total = hashlib.sha256()
    for frame in frames:
        name = frame.name.encode("utf-8", "surrogateescape")
        total.update(name + b"\0" + bytes.fromhex(file_digest(frame)))
    return total.hexdigest()
