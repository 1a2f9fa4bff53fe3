"""What lies in a feature store: its files, read by their footers, and the names of the videos they belong to.

The store knows videos by content. `note` keeps beside the files of each video, in `video.json`, the names, data sets
and paths under which it was seen; the time of that file's last change is when the video was last used.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulde.errors import UsageError
from mulde.files import write_json
from mulde.pipeline.store import LOCK_FILE

VIDEO_FILE = "video.json"
UNFINISHED, UNKNOWN = "(unfinished)", "(unknown)"
_FOLDER = re.compile(r"[0-9a-f]{16}")
_TABLE = re.compile(r"(?P<kind>[^.].*)-(?P<key>[0-9a-f]{16})\.parquet")
_LEFTOVER = re.compile(
    r"\.parts-.*"  # segments of videos that are not finished
    r"|\..+-[0-9a-f]{16}\.parquet.*"  # tables while they are written
    r"|\.(mulde-[0-9a-f]{8}-\d+-)?[0-9a-f]{8}\.video\.json"
)


@dataclass(frozen=True, order=True)
class Seen:
    """A name under which a video was met."""

    dataset: str
    video: str
    path: str


@dataclass(frozen=True)
class Entry:
    """Where one video of the store was met; `last_used_s` in seconds since 1970."""

    sha256: str
    seen: tuple[Seen, ...]
    last_used_s: float


@dataclass(frozen=True)
class StoredFile:
    """One file, or unfinished part, of a store. `made_by` and `num_rows` are None where no footer could be read."""

    path: Path
    folder: str
    kind: str
    key: str
    size_bytes: int
    modified_s: float
    num_rows: int | None = None
    made_by: Mapping[str, Any] | None = None
    entry: Entry | None = None

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


def note(store_root: Path, sha256: str, *, dataset: str, video: str, path: Path) -> None:
    """Keep that the video of this content was used now, under this name, data set and path.

    Several processes may do so at once: the last one wins, and the file is whole at any time. A store that cannot be
    written to is none the worse for it: nothing is raised.
    """
    file = store_root / sha256[:16] / VIDEO_FILE
    here, known = Seen(dataset, video, str(path.resolve())), _read(file)
    with suppress(OSError):
        if known is not None and known.sha256 == sha256 and here in known.seen:
            os.utime(file)
            return
        seen = sorted({*(known.seen if known is not None and known.sha256 == sha256 else ()), here})
        write_json(file, {"sha256": sha256, "seen": [vars(s) for s in seen]})


def entries(store_root: Path) -> dict[str, Entry]:
    """What is known of each video, by the name of its folder; videos without a readable note are not in it."""
    found = {folder.name: _read(folder / VIDEO_FILE) for folder in video_folders(store_root)}
    return {name: entry for name, entry in found.items() if entry is not None}


def _read(file: Path) -> Entry | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        seen = tuple(Seen(str(s["dataset"]), str(s["video"]), str(s["path"])) for s in data["seen"])
        return Entry(str(data["sha256"]), seen, file.stat().st_mtime)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def video_folders(store_root: Path) -> list[Path]:
    """The folders of a store, one per video. Raises UsageError where there is no folder to look at."""
    if not store_root.is_dir():
        raise UsageError(
            f"no feature store at {store_root}", hint="--store with the folder that `mulde extract` wrote to"
        )
    return sorted(p for p in store_root.iterdir() if _FOLDER.fullmatch(p.name) and p.is_dir())


def scan(store_root: Path) -> list[StoredFile]:
    """Every table and every unfinished part of a store, in order; only footers of files are read.

    What is not the store's own is left out. Raises UsageError where there is no store.
    """
    return [file for folder in video_folders(store_root) for file in _scan_folder(folder)]


def _scan_folder(folder: Path) -> Iterator[StoredFile]:
    entry = _read(folder / VIDEO_FILE)
    for path in sorted(folder.iterdir()):
        with suppress(FileNotFoundError):  # another process finished or removed it meanwhile
            if (match := _TABLE.fullmatch(path.name)) and path.is_file():
                stat, (num_rows, made_by) = path.stat(), _footer(path)
                yield StoredFile(
                    path,
                    folder.name,
                    match["kind"],
                    match["key"],
                    stat.st_size,
                    stat.st_mtime,
                    num_rows,
                    made_by,
                    entry,
                )
            elif _LEFTOVER.fullmatch(path.name):
                size, modified = _tree_size(path)
                yield StoredFile(path, folder.name, UNFINISHED, "", size, modified, entry=entry)


def _footer(path: Path) -> tuple[int | None, dict[str, Any] | None]:
    """Number of rows and passport of a table, without kind, video and schema version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path)
        passport = json.loads(metadata.metadata[b"mulde"])
        made_by = {k: v for k, v in passport.items() if k not in ("schema", "kind", "video_sha256")}
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, AttributeError):
        return None, None
    return metadata.num_rows, made_by


def _tree_size(path: Path) -> tuple[int, float]:
    """Bytes of a file, or of all below a folder, and when any of it was last changed."""
    files, newest = 0, path.stat().st_mtime
    for below in path.rglob("*") if path.is_dir() else [path]:
        with suppress(FileNotFoundError):
            stat = below.stat()
            files, newest = files + (stat.st_size if below.is_file() else 0), max(newest, stat.st_mtime)
    return files, newest


@contextmanager
def unless_in_use(folder: Path) -> Iterator[bool]:
    """Holds the lock of a video's folder, without waiting for it; yields whether that worked."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE, timeout=0)
    with ExitStack() as stack:
        free = True
        if (folder / LOCK_FILE).exists():  # else nobody ever worked on it
            try:
                stack.enter_context(lock)
            except Timeout:
                free = False
        yield free
