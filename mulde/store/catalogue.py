"""What a feature store contains: its files, read by their footers, and the names of the videos that they belong to.

The store identifies videos by content. `note` records beside the files of each video, in `video.json`, the names, data
sets and paths under which it was seen; the modification time of that file is when the video was last used.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulde.errors import MuldeError, StoreError, UsageError
from mulde.files import read_json, write_json
from mulde.names import valid_text
from mulde.store.store import LOCK_FILE, lacks_locks
from mulde.store.table_file import read_footer

VIDEO_FILE = "video.json"
UNFINISHED, UNKNOWN = "(unfinished)", "(unknown)"
MISPLACED, UNREADABLE = "(misplaced)", "(unreadable)"
"""Kinds of what is no table: something else in the place of a video's folder, a folder that cannot be listed."""
_MAX_NOTE_BYTES = 2**20
_LATEST_S = 253_402_300_799  # the last second that a date can name
_FOLDER = re.compile(r"[0-9a-f]{16}")
_TABLE = re.compile(r"(?P<kind>[a-z0-9][a-z0-9_.-]*)-(?P<key>[0-9a-f]{16})\.parquet")
_LEFTOVER = re.compile(
    r"\.parts-.*"  # segments of videos that are not finished
    r"|\..+-[0-9a-f]{16}\.parquet.*"  # tables while they are written
    r"|\.(mulde-[0-9a-f]{8}-\d+-)?[0-9a-f]{8}\.video\.json"
)


@dataclass(frozen=True, order=True)
class KnownName:
    """A name under which a video was seen."""

    dataset: str
    video: str
    path: str


@dataclass(frozen=True)
class CatalogueEntry:
    """Under which names a video of the store was seen; `last_used_s` in seconds since 1970."""

    sha256: str
    seen: tuple[KnownName, ...]
    last_used_s: float


@dataclass(frozen=True)
class StoredFile:
    """One file, or unfinished part, of a store, or what lies in its place. `made_by` and `num_rows` are None where no
    footer could be read."""

    path: Path
    folder: str
    kind: str
    key: str
    size_bytes: int
    modified_s: float
    num_rows: int | None = None
    made_by: Mapping[str, Any] | None = None
    entry: CatalogueEntry | None = None

    @property
    def datasets(self) -> tuple[str, ...]:
        return tuple(sorted({s.dataset for s in self.entry.seen})) if self.entry else ()

    @property
    def dataset(self) -> str:
        return ", ".join(self.datasets) or UNKNOWN

    @property
    def video(self) -> str:
        """The names of the video, or the start of its digest."""
        return ", ".join(sorted({s.video for s in self.entry.seen})) if self.entry else self.folder

    @property
    def last_used_s(self) -> float:
        return max(self.entry.last_used_s, self.modified_s) if self.entry else self.modified_s


_noting = threading.Lock()


def note(store_root: Path, sha256: str, *, dataset: str, video: str, path: Path) -> None:
    """Record that the video with this content was used now, under this name, data set and path.

    Several processes may do so at once: the last one wins, and the file is always complete; threads take turns. Nothing
    is raised for a store that cannot be written to.
    """
    file = store_root / sha256[:16] / VIDEO_FILE
    with _noting, suppress(OSError):
        here, known = KnownName(*map(valid_text, (dataset, video, str(path.resolve())))), _read(file)
        if known is not None and known.sha256 == sha256 and here in known.seen:
            os.utime(file)
            return
        seen = sorted({*(known.seen if known is not None and known.sha256 == sha256 else ()), here})
        write_json(file, {"sha256": sha256, "seen": [vars(s) for s in seen]})


def entries(store_root: Path) -> dict[str, CatalogueEntry]:
    """The entry of each video, by the name of its folder; videos without a readable note are left out."""
    entries = {folder.name: _read(folder / VIDEO_FILE) for folder in video_folders(store_root)}
    return {name: entry for name, entry in entries.items() if entry is not None}


def _read(file: Path) -> CatalogueEntry | None:
    try:
        data = read_json(file, max_bytes=_MAX_NOTE_BYTES)
        seen = tuple(KnownName(s["dataset"], s["video"], s["path"]) for s in data["seen"])
        texts = [data["sha256"], *(text for s in seen for text in (s.dataset, s.video, s.path))]
        if not all(isinstance(text, str) for text in texts):
            return None
        return CatalogueEntry(data["sha256"], seen, _date_s(file.stat().st_mtime))
    except (MuldeError, OSError, KeyError, TypeError):
        return None


def video_folders(store_root: Path) -> list[Path]:
    """The entries of a store that are named like video folders, whether they are folders or not. Raises UsageError
    where there is no store, or where it cannot be listed."""
    if not store_root.is_dir():
        raise UsageError(
            f"no feature store at {store_root}", hint="give --store the folder that `mulde extract` wrote to"
        )
    try:
        return sorted(path for path in store_root.iterdir() if _FOLDER.fullmatch(path.name))
    except OSError as error:
        raise UsageError(f"the feature store {store_root} cannot be read", got=error.strerror) from error


def scan(store_root: Path) -> list[StoredFile]:
    """Every table and unfinished part of a store, and what lies in their places, in order; only footers are read.

    Other files are left out. Raises UsageError where there is no store.
    """
    return [file for folder in video_folders(store_root) for file in _scan_folder(folder)]


def _scan_folder(folder: Path) -> Iterator[StoredFile]:
    if not folder.is_dir():
        yield _stored(folder, MISPLACED)
        return
    entry = _read(folder / VIDEO_FILE)
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        yield _stored(folder, UNREADABLE, entry=entry)
        return
    for path in paths:
        with suppress(FileNotFoundError):  # another process finished or removed it meanwhile
            if match := _TABLE.fullmatch(path.name):
                yield _stored(path, match["kind"], match["key"], entry, *_footer(path))
            elif _LEFTOVER.fullmatch(path.name):
                yield _stored(path, UNFINISHED, entry=entry)


def _stored(
    path: Path,
    kind: str,
    key: str = "",
    entry: CatalogueEntry | None = None,
    num_rows: int | None = None,
    made_by: Mapping[str, Any] | None = None,
) -> StoredFile:
    folder = path.name if kind in (MISPLACED, UNREADABLE) else path.parent.name
    return StoredFile(path, folder, kind, key, *_size_and_age(path), num_rows, made_by, entry)


def _footer(path: Path) -> tuple[int | None, dict[str, Any] | None]:
    """Number of rows and passport of a table, without kind, video and schema version."""
    try:
        footer = read_footer(path)
    except (StoreError, FileNotFoundError):  # not found: a link to nothing
        return None, None
    return footer.num_rows, footer.made_by


def _size_and_age(path: Path) -> tuple[int, float]:
    """Bytes of a file, or of all below a folder, and when any of it was last changed, in s since 1970."""
    num_bytes, newest = 0, 0.0
    for below in [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]:
        with suppress(OSError):
            status = below.lstat()
            num_bytes += 0 if below.is_dir() else status.st_size
            newest = max(newest, status.st_mtime)
    return num_bytes, _date_s(newest)


def _date_s(time_s: float) -> float:
    return min(max(time_s, 0.0), _LATEST_S)


@contextmanager
def unless_in_use(folder: Path) -> Iterator[bool]:
    """Holds the lock of a video's folder, without waiting for it; yields whether it was free."""
    from filelock import FileLock, Timeout

    path = folder / LOCK_FILE
    with ExitStack() as stack:
        free = True
        if path.is_file():  # else nobody ever worked on it
            try:
                stack.enter_context(FileLock(path, timeout=0))
            except Timeout:
                free = False
            except (NotImplementedError, OSError) as error:
                free = (
                    lacks_locks(error) or getattr(error, "errno", None) == errno.EROFS
                )  # there nothing can be removed
        yield free
