"""Whose a run folder is: a new one, one of the same run, which is written again, or that of another, which is refused.

So no folder ever holds pictures, tables or settings of two runs.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from mulde import __version__
from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.sources import absolute_source, open_sources
from mulde.errors import MuldeError, UsageError
from mulde.names import output_path
from mulde.nested import leaves
from mulde.pipeline.run_folder import (
    CLIPS,
    HEAT_MAPS,
    LEDGER,
    METRICS,
    NORMAL,
    OVERLAYS,
    PIXEL_MAPS,
    RECORD,
    REPORT,
    SETTINGS,
    THUMBNAILS,
    TRUTH,
    RunFolder,
    RunRecord,
    read_record,
)
from mulde.settings_file import load_settings
from mulde.store.store import lacks_locks

Kind = Literal["train", "score", "run", "watch-folder", "watch", "evaluate", "tune"]
RUNS = Path("runs")
_SAME_RUN = ("video.batch_frames", "features.batch_size", "features.precision", "run.source", "run.out")
"""Settings that may differ within a run: they change no scores, or are compared separately. So may paths of weights,
whose content is compared with that of the model."""
_OF_ALL_VIDEOS = (METRICS, TRUTH, REPORT, "evaluation", "events_found.csv", "events_found.parquet", "timeline.png")
_OF_EACH_VIDEO = {
    "scores": (".csv", ".parquet"), "regions": (".parquet",), "figures": (".png",), OVERLAYS: (".mp4",),
    HEAT_MAPS: (".npy", ".json"),
    PIXEL_MAPS: (".npy", ".json", ".png"),
}  # fmt: skip
_OF_EACH_EVENT = {THUMBNAILS: (".jpg",), CLIPS: (".mp4", ".png")}


@contextmanager
def only_process(out: Path, lock_file: str) -> Iterator[None]:
    """Hold the run folder against other processes, where the file system has locks. Raises UsageError where one holds
    it."""
    from filelock import FileLock, Timeout

    lock = FileLock(out / lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another process watches into {out}", hint="another --out, or stop that process") from None
    except (NotImplementedError, OSError) as error:
        if not lacks_locks(error):
            raise
    try:
        yield
    finally:
        lock.release()


def new_run(kind: str) -> Path:
    """A new folder `runs/<kind>-<n>`, with the number after the highest that exists."""
    RUNS.mkdir(parents=True, exist_ok=True)
    while True:
        matches = [re.fullmatch(rf"{kind}-(\d{{1,9}})", path.name) for path in RUNS.iterdir()]
        number = 1 + max((int(match[1]) for match in matches if match), default=0)
        try:
            (RUNS / f"{kind}-{number}").mkdir()
        except FileExistsError:  # another process was faster
            continue
        return RUNS / f"{kind}-{number}"


def claim(
    root: Path,
    kind: Kind,
    sources: Sequence[str],
    settings: Settings,
    *,
    model_sha256: str | None = None,
    add: bool = False,
    overwrite: bool = False,
) -> RunRecord | None:
    """The record of the run in `root` that this one continues (with `add`: adds videos to); None where there is none.

    overwrite: first remove what a run of this kind left there, whatever its sources and settings. Raises UsageError
    where the folder holds another run.
    """
    if root.is_file():
        raise UsageError(f"--out {root}", expected="a folder, or nothing yet", got="a file")
    record = _record(root)
    if record is None:
        if add:
            raise UsageError(f"--add to {root}", expected="a folder of mulde score", got="none")
        return None
    if overwrite and kind_of(record, root) == kind:
        _clear(root)
        return None
    other = _other(root, record, kind, sources, settings, model_sha256, add=add)
    if other:
        ways = "another --out"
        if kind == "score":
            ways += " (without --out it is a new one)" + (
                ", or --add, to add these videos" if other == _SOURCES else ""
            )
        raise UsageError(f"{root} holds another run: {other}", hint=ways)
    return record


_SOURCES = "one of other sources"


def _record(root: Path) -> RunRecord | None:
    """The record of the run in a folder; None for none. Parts of a run without a record count as a run, too."""
    if (root / RECORD).exists():
        try:
            return read_record(root)
        except MuldeError as error:
            raise UsageError(f"{root} holds a run that cannot be read ({error})", hint="another --out") from None
    if (root / LEDGER).exists():
        return RunRecord(kind="watch-folder")
    if (root / "model.safetensors").exists() or (root / "scores").is_dir():
        return RunRecord(kind="unknown")
    return None


def _other(
    root: Path,
    record: RunRecord,
    kind: Kind,
    sources: Sequence[str],
    settings: Settings,
    model_sha256: str | None,
    *,
    add: bool,
) -> str:
    """How the run on record differs from this one; empty where it does not."""
    recorded_kind = kind_of(record, root)
    if recorded_kind != kind:
        return f"that of mulde {recorded_kind}" if recorded_kind != "unknown" else f"without a {RECORD}"
    if kind in ("watch-folder", "watch"):
        return ""  # the ledger knows
    same_sources = record.sources == [absolute_source(source) for source in sources]
    if kind == "train":
        return "" if same_sources or not (root / "model.safetensors").exists() else _SOURCES
    if None not in (model_sha256, record.model_sha256) and record.model_sha256 != model_sha256:
        return "one of another model"
    if name := _other_setting(root / SETTINGS, settings):
        return f"one with another {name}"
    return "" if same_sources or add else _SOURCES


def kind_of(record: RunRecord, root: Path) -> str:
    """The command that made a run; older versions did not note it."""
    if record.kind:
        return record.kind
    if (root / LEDGER).exists():
        return "watch-folder"
    if record.model is not None:
        return "score"
    return "run" if record.seeds or (root / "scores").is_dir() else "train"


def same_settings(path: Path, settings: Settings) -> bool:
    """Whether a file holds the settings, but for those that change no scores."""
    return path.is_file() and _other_setting(path, settings) is None


def _other_setting(path: Path, settings: Settings) -> str | None:
    """The first setting that differs from those on file; None where none does."""
    if not path.is_file():
        return None
    before, now = (dict(leaves(each.model_dump(mode="json"))) for each in (load_settings(path), settings))
    differing = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return next((key for key in differing if key not in _SAME_RUN and not key.endswith(".weights")), None)


def added(
    record: RunRecord, sources: Sequence[str], warn: Callable[[str], None]
) -> tuple[list[str], tuple[Video, ...]]:
    """The sources of a run together with `sources`, and the videos of `sources`, by names that are unique among all.

    Raises UsageError where a video of the run would get another name.
    """
    new = [absolute_source(source) for source in sources]
    old = []
    for source in record.sources:
        try:
            open_sources([source], "test")
            old.append(source)
        except MuldeError as error:
            warn(f"a source of the run: {error}")
    together = [*old, *(source for source in new if source not in old)]
    names = _names(together)
    before = _names(old) if old else {}
    for path, name in names.items():
        was = before.get(path)
        if (was in record.video_sha256 and was != name) or (was is None and name in record.video_sha256):
            raise UsageError(f"--add: the run holds another video called {was or name}", hint="another --out")
    wanted = {str(video.path.resolve()) for video in open_sources(new, "test").videos}
    videos = tuple(video for video in open_sources(together, "test").videos if str(video.path.resolve()) in wanted)
    return [*record.sources, *(source for source in new if source not in record.sources)], videos


def _names(sources: Sequence[str]) -> dict[str, str]:
    return {str(video.path.resolve()): video.name for video in open_sources(sources, "test").videos}


def prune(folder: RunFolder, before: RunRecord | None, video_sha256: Mapping[str, str], *, add: bool = False) -> None:
    """Remove from a folder that is written again what does not belong to the videos that the run has now, video_sha256
    by name; with `add`, only what is of all videos together. before: the record of the run that was there."""
    if before is None:
        return
    same_version, old_sha256 = before.mulde == __version__, before.video_sha256
    unchanged = {name for name, sha256 in video_sha256.items() if same_version and old_sha256.get(name) == sha256}
    if add or unchanged != set(old_sha256) or unchanged != set(video_sha256):
        for name in _OF_ALL_VIDEOS:
            _remove(folder.root / name)
    if add:
        return
    for part, suffixes in _OF_EACH_VIDEO.items():
        names = unchanged if part in (OVERLAYS, HEAT_MAPS, PIXEL_MAPS) else video_sha256.keys()
        kept = {output_path(folder.root / part, name, end) for name in names for end in suffixes}
        _drop(path for path in _files(folder.root / part, suffixes) if path not in kept)
    for part, suffixes in _OF_EACH_EVENT.items():
        kept = {output_path(folder.root / part, name) for name in unchanged}
        _drop(path for path in _files(folder.root / part, suffixes) if path.parent not in kept)


def _clear(root: Path) -> None:
    """Remove what a run left in a folder, except for its model and the feedback on its events."""
    for name in (*_OF_ALL_VIDEOS, *_OF_EACH_VIDEO, *_OF_EACH_EVENT, NORMAL):
        _remove(root / name)
    for path in (*root.glob("events.*"), *root.glob("event_rows.*")):
        path.unlink(missing_ok=True)


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file()]


def _drop(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
