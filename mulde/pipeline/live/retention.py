"""What a live run keeps: clips and scores up to an age, clips up to a size, as long as the disk has room.

Alerts, their pictures and the ledger are never removed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from mulde.errors import first_line
from mulde.filetypes import is_hidden
from mulde.pipeline.live.clips import CLIP_SUFFIXES
from mulde.pipeline.live.utc import DAY_MS, HOUR_MS, hour_start_ms
from mulde.pipeline.run_folder import CLIPS
from mulde.section import Section

_GB = 10**9
_SCORE_SUFFIXES = (".parquet", ".csv")


class Keep(Section):
    """How much of a live run is kept. Alerts and their pictures always are."""

    clips_days: float = Field(30, gt=0, le=36_500, description="days for which clips are kept")
    scores_days: float = Field(365, gt=0, le=36_500, description="days for which scores are kept")
    clips_gb: float = Field(
        50, ge=0, le=1e6, description="gigabytes (10^9 bytes) that clips may take; the oldest go first"
    )
    least_free_gb: float = Field(
        5, ge=0, le=1e6, description="gigabytes that stay free on the disk; the oldest clips go first"
    )


@dataclass(frozen=True)
class Swept:
    """What `Retention.sweep` did.

    num_clips and clips_bytes: the clips that are left; free_bytes: of the disk, as it should be now, None where that
    could not be read; problems: what could not be read or removed, in sentences, each once in the life of a
    `Retention`.
    """

    num_clips: int
    clips_bytes: int
    free_bytes: int | None
    num_clips_removed: int
    bytes_removed: int
    num_scores_removed: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        free = "unknown" if self.free_bytes is None else f"{self.free_bytes / _GB:.1f} GB"
        return (
            f"{self.num_clips_removed} clips ({self.bytes_removed / _GB:.1f} GB) and hours of scores "
            f"({self.num_scores_removed}) removed; {self.num_clips} clips ({self.clips_bytes / _GB:.1f} GB) left, "
            f"{free} free"
        )


@dataclass(frozen=True)
class _File:
    path: Path
    num_bytes: int
    modified_ms: int


class Retention:
    """Removes clips and scores of a run folder by age, and the oldest clips for want of room.

    Only finished files of the kinds that a live run writes, at the places where it writes them; links are neither
    followed nor removed. free_bytes: of the disk that the run folder is on. While it cannot be read, nothing is removed
    for want of room on the disk: an error is no reason to delete what may be evidence, nor a sign of room.
    """

    def __init__(self, root: Path, keep: Keep, free_bytes: Callable[[Path], int] | None = None) -> None:
        self.root, self.keep = root, keep
        self._free_bytes = free_bytes or (lambda path: shutil.disk_usage(path).free)
        self._said: set[str] = set()
        self._problems: list[str] = []

    def sweep(self, now_ms: int) -> Swept:
        """Remove what is not kept at now_ms, in milliseconds of UTC since 1970."""
        self._problems = []
        clips = sorted(self._files(self.root / CLIPS, CLIP_SUFFIXES), key=lambda file: (file.modified_ms, file.path))
        oldest_ms = now_ms - self.keep.clips_days * DAY_MS
        free = self._free()
        total, freed, num_removed, left = sum(clip.num_bytes for clip in clips), 0, 0, 0
        for clip in clips:
            is_short = free is not None and free + freed < self.keep.least_free_gb * _GB
            is_too_much = total - freed > self.keep.clips_gb * _GB
            goes = clip.modified_ms < oldest_ms or is_too_much or is_short
            if goes and self._remove(clip.path):
                freed += clip.num_bytes
                num_removed += 1
            else:
                left += 1
        return Swept(
            num_clips=left,
            clips_bytes=total - freed,
            free_bytes=None if free is None else free + freed,
            num_clips_removed=num_removed,
            bytes_removed=freed,
            num_scores_removed=self._sweep_scores(now_ms),
            problems=tuple(self._problems),
        )

    def _sweep_scores(self, now_ms: int) -> int:
        """Remove tables of hours that ended too long ago, by their names; how many hours."""
        removed = set()
        for file in self._files(self.root / "scores", _SCORE_SUFFIXES):
            start_ms = hour_start_ms(file.path.stem)
            is_old = start_ms is not None and start_ms + HOUR_MS < now_ms - self.keep.scores_days * DAY_MS
            if is_old and self._remove(file.path):
                removed.add(file.path.with_suffix(""))
        return len(removed)

    def _free(self) -> int | None:
        try:
            free = self._free_bytes(self.root)
        except OSError as error:
            self._say(f"The free space of {self.root} is unknown, so no clip goes for want of it: {first_line(error)}")
            return None
        return free

    def _files(self, folder: Path, suffixes: tuple[str, ...]) -> Iterator[_File]:
        """The files FOLDER/CAMERA/NAME with one of the suffixes."""
        for camera in self._entries(folder):
            for entry in self._entries(Path(camera.path)):
                if is_hidden(entry.name) or not entry.name.endswith(suffixes):
                    continue
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:  # it went meanwhile
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield _File(Path(entry.path), status.st_size, status.st_mtime_ns // 10**6)

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        if folder.is_symlink() or not folder.is_dir():
            return []
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._say(f"{folder} cannot be read: {first_line(error)}")
            return []

    def _remove(self, path: Path) -> bool:
        try:
            path.unlink()
        except FileNotFoundError:
            return True
        except OSError as error:
            self._say(f"{path} cannot be removed: {error.strerror or first_line(error)}")
            return False
        return True

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._problems.append(text)
