"""What a SOURCE on the command line means: a data set by name and root, a folder of videos, or one video."""

from __future__ import annotations

import difflib
import glob
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mulde.datasets.base import SPLITS, Dataset, Video
from mulde.datasets.folder.dataset import FOLDER, split_folders
from mulde.datasets.left_out import LeftOut, Reason, in_words
from mulde.datasets.registry import DATASETS, find_dataset, open_dataset
from mulde.datasets.tree import holds_videos, walk
from mulde.errors import Failure, UsageError
from mulde.filetypes import VIDEO_SUFFIXES
from mulde.names import user_path
from mulde.progress import Reporter

SOURCE_HELP = f"a video, a folder of frames, a folder of videos, or NAME:ROOT with NAME one of {', '.join(DATASETS)}"
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class VideoCollection:
    """Videos and, where a data set was named, its splits and labels; `left_out` is what was found beside them.

    `notes` are sentences for a person: where the data set was found, and what was chosen where there was a choice.
    """

    name: str
    loose: tuple[Video, ...] = ()
    dataset: Dataset | None = None
    splits: dict[str, tuple[Video, ...]] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> tuple[Video, ...]:
        """The videos of a split of the data set; loose videos belong to every split."""
        return self.splits[name] if self.dataset is not None else self.loose

    def opened(self, source: str, split: str | None) -> Opened:
        """The videos of one split (None: of all). Raises UsageError where there are none."""
        videos = self.all if split is None else self.split(split)
        if not videos:
            raise UsageError(
                f"source {source}",
                expected=f"videos in {split}/" if split else "videos",
                got=" and ".join(f"{name}/" for name in SPLITS if self.splits.get(name)) + " alone",
                hint="name the folder with the videos itself",
            )
        distinct, repeated = distinct_names(videos)
        return Opened(distinct, (*self.left_out, *repeated), self.dataset, self.notes)

    @property
    def all(self) -> tuple[Video, ...]:
        return tuple(v for videos in self.splits.values() for v in videos) if self.dataset is not None else self.loose


@dataclass(frozen=True)
class Opened:
    """The videos of all sources of a command, each once and under a name of its own; `dataset` of a single source."""

    videos: tuple[Video, ...]
    left_out: tuple[LeftOut, ...]
    dataset: Dataset | None = None
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> list[Failure]:
        """The folders that cannot be read: what they hold is missing."""
        return [
            Failure(entry.name, f"cannot be read: {entry.detail}")
            for entry in self.left_out
            if entry.reason is Reason.UNREADABLE
        ]

    def report(self, reporter: Reporter, *, strict: bool = False) -> None:
        """Say the notes, and in one line what was left out.

        strict: raises UsageError where a person may have wanted some of what was left out.
        """
        for note in self.notes:
            reporter.say(note)
        if strict:
            refuse_left_out(self.left_out)
        if self.left_out:
            is_wanted = any(entry.reason.is_strict for entry in self.left_out)
            (reporter.warn if is_wanted else reporter.say)(in_words(self.left_out))


def refuse_left_out(left_out: Sequence[LeftOut]) -> None:
    """Raises UsageError for what a person may have wanted (`--strict`)."""
    if wanted := [entry for entry in left_out if entry.reason.is_strict]:
        raise UsageError(in_words(wanted), hint="move it elsewhere, name it as a source, or leave out --strict")


def open_sources(sources: Sequence[str], split: str | None = None) -> Opened:
    """The videos behind all SOURCES (of one `split`, where they are data sets).

    Raises UsageError for a source without videos, as for one without that split.
    """
    collections = [open_source(source) for source in sources]
    opened = [collection.opened(source, split) for source, collection in zip(sources, collections, strict=True)]
    if len(opened) == 1:
        return opened[0]
    distinct, repeated = distinct_names([video for collection in opened for video in collection.videos])
    notes = tuple(note for collection in opened for note in collection.notes)
    left_out = dict.fromkeys(entry for collection in opened for entry in collection.left_out)  # some sources come twice
    return Opened(distinct, (*left_out, *repeated), notes=notes)


def open_source(source: str) -> VideoCollection:
    """Find the videos behind one SOURCE. Raises UsageError when nothing is there or it holds no video."""
    name, path = parse_source(source)
    if name is not None:
        return _dataset(name, path)
    kind = _kind_of(source, path)
    if stat.S_ISDIR(kind):
        return _folder(source, path)
    if not stat.S_ISREG(kind):
        raise UsageError(
            f"source {source}",
            expected=SOURCE_HELP,
            got="a pipe, socket or device",
            hint="record it to a file; mulde watch-folder scores files as they arrive",
        )
    place = _absolute(path)
    name = os.path.splitext(place.name)[0]
    return VideoCollection(name, (Video(name, "all", path, dataset=place.parent.name),))


def _folder(source: str, path: Path) -> VideoCollection:
    splits = [folder for split in SPLITS for folder in split_folders(path, split).values()]
    if any(map(holds_videos, splits)):
        return _dataset(FOLDER.name, path)
    walked = walk(path)
    if splits and not walked.videos:
        return _dataset(FOLDER.name, path)  # which says that they are empty
    if any(entry.path == path for entry in walked.unreadable):
        got = walked.unreadable[0].detail
        raise UsageError(f"source {source}", expected="a folder that can be read", got=got, hint="other permissions")
    if not walked.videos:
        left_out = in_words(walked.left_out)
        raise UsageError(
            f"source {source}",
            expected=f"frames, or videos with one of the endings {' '.join(sorted(VIDEO_SUFFIXES))}",
            got=f"a folder without any{f'; {left_out}' if left_out else ''}",
        )
    place = _absolute(path)
    name = place.name or "root"
    videos = [Video(name, "all", p, dataset=place.parent.name) for _, p in walked.videos if p == path]
    videos = videos or [Video(n, "all", p, dataset=name) for n, p in walked.videos]
    return VideoCollection(name, tuple(videos), left_out=tuple(walked.left_out))


def absolute_source(source: str) -> str:
    """The same SOURCE, from whichever folder it is opened."""
    name, path = parse_source(source)
    return f"{_absolute(path)}" if name is None else f"{name}:{_absolute(path)}"


def _absolute(path: Path) -> Path:
    """A path from the root on, with the names of links as they were given: videos are named by them."""
    return path.resolve() if os.pardir in path.parts else Path(os.path.abspath(path))


def parse_source(source: str) -> tuple[str | None, Path]:
    """Name of the data set (None for a plain path) and the path; a colon in the name of an existing path is no mark.

    Raises UsageError for what is neither: addresses of streams, names without a root, unknown names.
    """
    name, colon, root = source.partition(":")
    if not source.strip():
        raise UsageError("an empty source", expected=SOURCE_HELP)
    if not colon or (name not in DATASETS and os.path.lexists(source)):
        return None, user_path(source)
    if name in DATASETS and root:
        return name, user_path(root)
    raise _no_source(source, name, root)


def _no_source(source: str, name: str, root: str) -> UsageError:
    """The sentence for a source with a colon that is neither a path that is there nor NAME:ROOT."""
    if name in DATASETS:
        return UsageError(f"source {source}", expected=f"{name}:ROOT with the folder of the data set", got="no folder")
    if name.lower() == "file":
        path = "/" + root.lstrip("/")
        return UsageError(f"source {source}", expected="a path", got="an address", hint=path)
    if _ADDRESS.match(source):
        return UsageError(
            f"source {source}",
            expected="a file or folder on this machine",
            got=f"an address ({name}); streams and downloads are not read",
            hint="record or copy it to a file; mulde watch-folder scores files as they arrive",
        )
    if len(name) == 1 and name.isalpha():
        got = "a path of Windows that is not there"
        hint = f"/mnt/{name.lower()}/... where this is WSL" if os.name == "posix" else None
        return UsageError(f"source {source}", expected=SOURCE_HELP, got=got, hint=hint)
    close = difflib.get_close_matches(name.lower(), DATASETS, 1, 0.6)
    if close or os.path.isdir(os.path.expanduser(root)):
        hint = f"{close[0]}:{root}" if close else None
        return UsageError("name of a data set", expected=f"one of {', '.join(DATASETS)}", got=repr(name), hint=hint)
    return UsageError(
        f"source {source}", expected=SOURCE_HELP, got=f"a path that does not exist, or the unknown data set {name!r}"
    )


def _kind_of(source: str, path: Path) -> int:
    """The mode of what is at a path. Raises UsageError where nothing can be found."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError) as error:
        got, hint = "a path that does not exist", None
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            got = getattr(error, "strerror", None) or str(error)
        elif path.is_symlink():
            got = f"a link to {os.readlink(path)}, which does not exist"
        elif os.name == "posix" and "\\" in source:
            got = "a path of Windows that is not there"
        elif source.lower() in DATASETS:
            got, hint = "the name of a data set without its folder", f"{source.lower()}:ROOT"
        elif glob.has_magic(source):
            matches = glob.glob(os.path.expanduser(source))
            got = f"a pattern that {f'{len(matches)} files match' if matches else 'no file matches'}"
            hint = "leave out the quotes, so that the shell puts the names in its place" if matches else None
        raise UsageError(f"source {source}", expected=SOURCE_HELP, got=got, hint=hint) from None


def distinct_names(videos: Sequence[Video]) -> tuple[tuple[Video, ...], list[LeftOut]]:
    """The videos, each once and under a name of its own, and those that were there twice.

    A name that comes twice grows by its parent folders, as many as it takes; files that differ in their suffix alone
    keep it. The name of a loose video that differs from another in case or in the writing of its letters alone gets a
    number, because files named by them would be one file on some disks.
    """
    once: dict[str, Video] = {}
    repeated = []
    for video in videos:
        key = os.path.realpath(video.path)
        if key in once:
            known = once[key]
            detail = "" if str(known.path) == str(video.path) else f"as {known.path}"
            repeated.append(LeftOut(video.path, str(video.path), Reason.TWICE, detail))
        once.setdefault(key, video)
    kept = list(once.values())
    keys = [(video.name, os.path.splitext(_absolute(video.path))[0]) for video in kept]
    count = Counter(keys)
    names = [
        f"{video.name}{video.path.suffix if count[key] > 1 and video.path.is_file() else ''}"
        for video, key in zip(kept, keys, strict=True)
    ]
    names = _grown(names, kept)
    if all(video.split == "all" for video in kept):  # else labels know them by these names
        names = _numbered(names)
    return tuple(replace(video, name=name) for video, name in zip(kept, names, strict=True)), repeated


def _grown(names: list[str], videos: Sequence[Video]) -> list[str]:
    """Names that come twice with folders of their paths before them, until no two are the same."""
    folders = [_absolute(video.path).parts[1:-1] for video in videos]
    short = list(names)
    for num in range(1, 1 + max(map(len, folders), default=0)):
        count = Counter(names)
        if len(count) == len(names):
            break
        for i, name in enumerate(names):
            if count[name] > 1:
                inside = short[i].count("/")  # folders that the name holds already
                before = folders[i][max(0, len(folders[i]) - inside - num) :]
                names[i] = "/".join((*before, short[i].rpartition("/")[2]))
    return names


def _numbered(names: Sequence[str]) -> list[str]:
    taken: set[str] = set()
    chosen = []
    for name in names:
        number, unlike = 2, name
        while (key := unicodedata.normalize("NFC", unlike).casefold()) in taken:
            number, unlike = number + 1, f"{name} ({number})"
        taken.add(key)
        chosen.append(unlike)
    return chosen


def _dataset(name: str, root: Path) -> VideoCollection:
    dataset = open_dataset(name, root)
    known_as = _absolute(root).name if find_dataset(name).is_own_footage else name
    splits = {s: tuple(replace(v, dataset=known_as) for v in dataset.videos(s)) for s in SPLITS}
    elsewhere = () if dataset.root.resolve() == root.resolve() else (f"{name} is read from {dataset.root}",)
    return VideoCollection(
        name, dataset=dataset, splits=splits, left_out=tuple(dataset.left_out), notes=(*elsewhere, *dataset.notes)
    )
