"""`mulde cache ls | verify | prune`: list a feature store, check its files, and remove some."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mulde.errors import StoreError, UsageError
from mulde.names import on_disk
from mulde.nested import leaves
from mulde.progress import Reporter
from mulde.store.catalogue import MISPLACED, UNFINISHED, UNREADABLE, VIDEO_FILE, StoredFile, scan, unless_in_use
from mulde.store.store import LOCK_FILE
from mulde.store.table_file import Footer, UnreadableError, read_footer, remove, verified

GROUPINGS = ("dataset", "extractor", "video", "file")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class CacheRow:
    """A row of `mulde cache ls`: what its files have in common, and their totals. Times in seconds since 1970."""

    dataset: str
    extractor: str
    settings: str
    video: str
    path: str
    num_videos: int
    num_files: int
    num_rows: int | None
    size_bytes: int
    oldest_s: float
    newest_s: float


@dataclass(frozen=True)
class DamagedFile:
    """A stored file that cannot be used, and why, as a sentence; `removable` where computing it again would help."""

    file: StoredFile
    reason: str
    removable: bool = True


@dataclass
class Verification:
    """The result of `verify`."""

    num_checked: int = 0
    damaged: list[DamagedFile] = field(default_factory=list)
    num_removed: int = 0


@dataclass(frozen=True)
class Criteria:
    """Which files `prune` removes: those that meet all criteria that are set. Ages in seconds."""

    dataset: str | None = None
    extractor: str | None = None
    older_than_s: float | None = None
    unused_for_s: float | None = None
    damaged: bool = False
    leftovers: bool = False
    missing_videos: bool = False


@dataclass
class Pruning:
    """What `prune` removes, or would remove; `in_use` is kept because another process works on the video."""

    files: list[StoredFile] = field(default_factory=list)
    in_use: list[StoredFile] = field(default_factory=list)
    removed: bool = False

    @property
    def size_bytes(self) -> int:
        return sum(f.size_bytes for f in self.files)


def select(files: Iterable[StoredFile], dataset: str | None = None, extractor: str | None = None) -> list[StoredFile]:
    """The files of a data set and of an extractor, where these are given."""
    return [f for f in files if dataset in (None, *f.datasets) and extractor in (None, f.kind)]


def list_cache(
    store: Path, dataset: str | None = None, extractor: str | None = None, by: str | None = None
) -> list[CacheRow]:
    """The content of a store, one row per data set, extractor and settings, or per `by` (one of GROUPINGS).

    Only footers are read. Raises UsageError for an unknown grouping and where there is no store.
    """
    if by not in (None, *GROUPINGS):
        raise UsageError("--by", expected=f"one of {', '.join(GROUPINGS)}", got=by)
    files = scan(store)
    return summarise(select(files, dataset, extractor), settings_in_short(files), by)


def summarise(files: Iterable[StoredFile], settings: Mapping[Path, str], by: str | None = None) -> list[CacheRow]:
    """Rows of files that share what `by` names; fields that they do not share are empty."""
    groups: dict[tuple[str, ...], list[StoredFile]] = {}
    for f in files:
        whole = (f.dataset, f.kind, settings.get(f.path, ""), f.video, str(f.path))
        shown = {
            None: (*whole[:3], "", ""),
            "dataset": (whole[0], "", "", "", ""),
            "extractor": ("", *whole[1:3], "", ""),
            "video": (whole[0], "", "", whole[3], ""),
            "file": whole,
        }[by]
        groups.setdefault((*shown, f.folder if by == "video" else ""), []).append(f)
    return [_row(key, group) for key, group in sorted(groups.items())]


def _row(key: tuple[str, ...], files: Sequence[StoredFile]) -> CacheRow:
    known = [f.num_rows for f in files if f.num_rows is not None]
    dataset, extractor, settings, video, path, _ = key
    return CacheRow(
        dataset,
        extractor,
        settings,
        video,
        path,
        num_videos=len({f.folder for f in files}),
        num_files=len(files),
        num_rows=sum(known) if known else None,
        size_bytes=sum(f.size_bytes for f in files),
        oldest_s=min(f.modified_s for f in files),
        newest_s=max(f.modified_s for f in files),
    )


def settings_in_short(files: Iterable[StoredFile]) -> dict[Path, str]:
    """For each file the settings in which the files of its kind differ, as "bins=8 decoder.name=pyav"."""
    flat: dict[str, dict[Path, dict[str, str]]] = {}
    for f in files:
        if f.made_by is not None:
            flat.setdefault(f.kind, {})[f.path] = {
                name: _in_short(value) for name, value in leaves(f.made_by, into_lists=True)
            }
    short: dict[Path, str] = {}
    for made in flat.values():
        names = sorted({name for made_by in made.values() for name in made_by})
        differing = [name for name in names if len({made_by.get(name) for made_by in made.values()}) > 1]
        for path, made_by in made.items():
            short[path] = " ".join(
                f"{name.removeprefix('extractor.')}={made_by[name]}" for name in differing if name in made_by
            )
    return short


def _in_short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text[:8] if re.fullmatch(r"[0-9a-f]{64}", text) else text


def verify(store: Path, reporter: Reporter, *, delete: bool = False) -> Verification:
    """Read every file of a store and compare its checksum; report damaged files and, with `delete`, remove them.

    Memory holds one piece of a file at a time.
    """
    files = [f for f in scan(store) if f.kind != UNFINISHED]
    verification = Verification(len(files), _damaged(files, reporter))
    for damage in verification.damaged:
        reporter.warn(damage.reason)
    if delete:
        wanted = Pruning([d.file for d in verification.damaged if d.removable])
        _remove(wanted, reporter)
        verification.num_removed = len(wanted.files)
    return verification


def _damaged(files: Sequence[StoredFile], reporter: Reporter) -> list[DamagedFile]:
    damaged = []
    with reporter.bar("verify", len(files), "files") as advance:
        for file in files:
            if (damage := _check(file)) is not None:
                damaged.append(damage)
            advance(1)
    return damaged


def _check(file: StoredFile) -> DamagedFile | None:
    if file.kind == UNREADABLE:
        return DamagedFile(file, f"the folder {file.path} cannot be read", removable=False)
    if file.kind == MISPLACED:
        return DamagedFile(file, f"{file.path} is damaged (expected the folder of a video)")
    try:
        footer = check_file(file.path)
    except FileNotFoundError:
        is_link = os.path.lexists(file.path)  # else it was removed meanwhile
        return DamagedFile(file, f"stored file {file.path} is damaged (a link to nothing)") if is_link else None
    except UnreadableError as error:
        return DamagedFile(file, error.problem, removable=False)
    except StoreError as error:
        return DamagedFile(file, error.problem)
    if (footer.kind, footer.video_sha256[:16], footer.key) != (file.kind, file.folder, file.key):
        return DamagedFile(file, f"stored file {file.path} is damaged (its content belongs under another name)")
    return None


def check_file(path: Path) -> Footer:
    """The footer of a stored table with a correct checksum; memory holds one row group of it. Raises StoreError for a
    wrong one, FileNotFoundError where there is no file."""
    for _ in verified(path):
        pass
    return read_footer(path)


def prune(store: Path, criteria: Criteria, reporter: Reporter, *, yes: bool = False) -> Pruning:
    """Remove the files of a store that meet all criteria; without `yes` only list them.

    Raises UsageError without a criterion, or with two that no file can meet.
    """
    if criteria == Criteria():
        raise UsageError(
            "mulde cache prune without a criterion",
            expected="at least one of --dataset, --extractor, --older-than, --unused-for, --damaged, --leftovers, "
            "--missing-videos",
        )
    if criteria.leftovers and (criteria.damaged or criteria.extractor):
        raise UsageError("--leftovers with --damaged or --extractor", expected="one of them: no file is both")
    files = [f for f in select(scan(store), criteria.dataset, criteria.extractor) if _meets(f, criteria)]
    if criteria.damaged:
        files = [d.file for d in _damaged(files, reporter) if d.removable]
    pruning = Pruning(files)
    if yes:
        _remove(pruning, reporter)
        pruning.removed = True
    elif criteria.leftovers:
        _leave_those_in_use(pruning)
    return pruning


def _meets(file: StoredFile, criteria: Criteria) -> bool:
    now = time.time()
    return (
        (criteria.damaged or file.kind not in (MISPLACED, UNREADABLE))
        and (file.kind == UNFINISHED) == criteria.leftovers
        and (criteria.older_than_s is None or now - file.modified_s > criteria.older_than_s)
        and (criteria.unused_for_s is None or now - file.last_used_s > criteria.unused_for_s)
        and not (criteria.missing_videos and _is_somewhere(file))
    )


def _is_somewhere(file: StoredFile) -> bool:
    """Whether a video may still exist; one without a known path may be anywhere."""
    return file.entry is None or any(map(_may_exist, (seen.path for seen in file.entry.seen)))


def _may_exist(path: str) -> bool:
    try:
        os.stat(on_disk(Path(path)))
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    except ValueError:  # no path at all
        return False
    return True


def _by_folder(files: Iterable[StoredFile]) -> dict[Path, list[StoredFile]]:
    folders: dict[Path, list[StoredFile]] = {}
    for file in files:
        folders.setdefault(file.path.parent, []).append(file)
    return folders


def _leave_those_in_use(pruning: Pruning) -> None:
    folders, pruning.files = _by_folder(pruning.files), []
    for folder, files in folders.items():
        with unless_in_use(folder) as free:
            (pruning.files if free else pruning.in_use).extend(files)


def _remove(pruning: Pruning, reporter: Reporter) -> None:
    """Remove files whose video is not in use, and the remains of videos that have no table left."""
    folders, pruning.files = _by_folder(pruning.files), []
    for folder, files in folders.items():
        with unless_in_use(folder) as free:
            if not free:
                pruning.in_use += files
                continue
            for file in files:
                try:
                    remove(file.path)
                except OSError as error:
                    reporter.warn(f"{file.path} cannot be removed: {error.strerror}")
                else:
                    pruning.files.append(file)
            if all(file.kind != MISPLACED for file in files):
                _remove_if_bare(folder)


def _remove_if_bare(folder: Path) -> None:
    own_files = {VIDEO_FILE, LOCK_FILE}
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} <= own_files:
            for name in own_files:
                remove(folder / name)
            folder.rmdir()


def parse_age(text: str | None, option: str) -> float | None:
    """Seconds of an age such as 30d, 12h, 2w. Raises UsageError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if match is None:
        raise UsageError(option, expected="a number with s, m, h, d or w, such as 30d", got=repr(text))
    return float(match[1]) * _SECONDS[match[2]]
