"""The one place that walks folders for videos: what is a video, and what is left out and why (docs/data.md)."""

from __future__ import annotations

import os
import stat
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mulde.datasets.left_out import LeftOut, Reason
from mulde.datasets.own_output import own_entries
from mulde.errors import UsageError
from mulde.filetypes import (
    ARCHIVE_SUFFIXES,
    DOCUMENT_SUFFIXES,
    IMAGE_SUFFIXES,
    UNFINISHED_SUFFIXES,
    VIDEO_SUFFIXES,
    is_clutter,
    is_frame_folder,
    natural_key,
    no_frames,
    suffix_of,
)

_MASK_ENDINGS = ("_gt", "_mask", "_masks")


@dataclass(frozen=True)
class Walk:
    """What is below a folder: names and paths of its videos in natural order, and all that is none."""

    videos: list[tuple[str, Path]]
    left_out: list[LeftOut]

    @property
    def unreadable(self) -> list[LeftOut]:
        return [entry for entry in self.left_out if entry.reason is Reason.UNREADABLE]


def walk(folder: Path, skip: Iterable[Path] = ()) -> Walk:
    """Every video file and frame folder below `folder`, which is itself the video where it holds frames and no videos.

    Links are followed, and no video is taken twice. What cannot be read is left out, like all other that is no video,
    `folder` itself too. `skip`: folders that are not looked into.
    """
    walker = _Walker(folder, frozenset(map(os.path.realpath, skip)))
    walker.visit_all()
    named = sorted(_distinct(walker.files, walker.frame_folders()).items(), key=lambda item: natural_key(item[0]))
    return Walk(named, sorted(walker.left_out, key=lambda entry: natural_key(entry.name)))


def find_videos(folder: Path) -> list[tuple[str, Path]]:
    """Name and path of every video file and frame folder below `folder`, in natural order of the names.

    Raises UsageError where a folder cannot be read, and where the frames lie directly in `folder`.
    """
    walked = walk(folder)
    check_frames_below(folder, walked)
    if walked.unreadable:
        first = walked.unreadable[0]
        raise UsageError(f"{first.path}", expected="a folder that can be read", got=first.detail)
    return walked.videos


def check_frames_below(folder: Path, found: Walk) -> None:
    """Raises UsageError where `folder` itself is the one video: a split has a folder for each."""
    if any(path == folder for _, path in found.videos):
        raise UsageError(f"{folder}", expected="one folder per video", got=f"images directly in {folder.name}/")


def holds_videos(folder: Path) -> bool:
    """Whether a video file or an image lies anywhere below `folder`; ends with the first."""
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_clutter(name)]
        if any(suffix_of(name) in VIDEO_SUFFIXES | IMAGE_SUFFIXES and not is_clutter(name) for name in files):
            return True
    return False


def frame_folders(folder: Path) -> list[Path]:
    """All folders below `folder` that directly hold images."""
    return sorted(path for path in _visible(folder) if is_frame_folder(path))


def visible_files(folder: Path, suffix: str) -> list[Path]:
    """All files with `suffix` below `folder`, clutter left out."""
    return sorted(path for path in _visible(folder) if path.suffix.lower() == suffix)


def sub_folders(folder: Path) -> list[Path]:
    """The folders directly in `folder` in natural order, less clutter; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not is_clutter(entry.name) and _is_folder(entry)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=natural_key)]


def _visible(folder: Path) -> Iterator[Path]:
    return (p for p in folder.rglob("*") if not any(is_clutter(part) for part in p.relative_to(folder).parts))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


@dataclass
class _Folder:
    """A folder that was visited: `name` below the root with a slash behind it, `max_frames` of a frame folder in or
    below it, `has_files`: a video file in or below it."""

    path: Path
    name: str
    real: str
    parent: _Folder | None
    pictures: list[str] = field(default_factory=list)
    has_files: bool = False
    max_frames: int = 0
    is_video: bool = False


class _Walker:
    """One walk. Links wait until all that is really there was seen, so that a video keeps the name of its own place."""

    def __init__(self, root: Path, skip: frozenset[str]) -> None:
        self.root, self.skip = root, skip
        self.files: list[tuple[str, Path]] = []
        self.left_out: list[LeftOut] = []
        self._folders: list[_Folder] = []
        self._links: deque[tuple[str, _Folder]] = deque()
        self._real_root = os.path.realpath(root)
        self._seen: set[str] = set()

    def visit_all(self) -> None:
        self._visit(None, "")
        while self._links:
            self._follow(*self._links.popleft())

    def frame_folders(self) -> list[tuple[str, Path]]:
        """Name and path of the folders that are videos, once all were visited; what that leaves out is noted."""
        for folder in reversed(self._folders):  # what is below a folder comes before it
            self._decide(folder)
            if folder.parent is not None:
                folder.parent.has_files |= folder.has_files
                folder.parent.max_frames = max(folder.parent.max_frames, folder.max_frames)
        videos = {folder.name[:-1] for folder in self._folders if folder.parent} | {
            os.path.splitext(name)[0] for name, _ in self.files
        }
        kept = []
        for folder in self._folders:
            above = folder.parent
            while above is not None and not above.is_video:
                above = above.parent
            if folder.is_video and (above is not None or _holds_masks(folder.name[:-1], videos)):
                reason = Reason.MASKS if above is None else Reason.FRAMES_BELOW
                self.left_out.append(LeftOut(folder.path, folder.name[:-1], reason))
            elif folder.is_video:
                kept.append((folder.name[:-1] or self._shown(self._real_root), folder.path))
                for name in sorted(no_frames(folder.pictures)):
                    self._leave_out(folder, name, Reason.NO_FRAME)
        return kept

    def _decide(self, folder: _Folder) -> None:
        if not folder.pictures:
            return
        if folder.has_files or folder.max_frames > len(folder.pictures):
            for name in folder.pictures:
                self._leave_out(folder, name, Reason.PICTURE)
        else:
            folder.is_video, folder.max_frames = True, len(folder.pictures)

    def _visit(self, parent: _Folder | None, name: str) -> None:
        """A folder, which is `name` in `parent`, and all below it."""
        stack = [(parent, name, os.path.realpath(parent.path / name if parent else self.root))]
        while stack:
            above, name, real = stack.pop()
            path = above.path / name if above else self.root
            if real in self.skip:
                continue
            folder = _Folder(path, f"{above.name}{name}/" if above else "", real, above)
            if real in self._seen:
                self._leave_out(folder, "", Reason.TWICE, f"as {self._shown(real)}")
                continue
            self._seen.add(real)
            try:
                with os.scandir(path) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                if above is None or not isinstance(error, FileNotFoundError):  # else it is gone since it was listed
                    self._leave_out(folder, "", Reason.UNREADABLE, error.strerror or "")
                continue
            self._folders.append(folder)
            stack += [(folder, child, _below(real, child)) for child in reversed(self._sort(folder, entries))]

    def _sort(self, folder: _Folder, entries: list[os.DirEntry[str]]) -> list[str]:
        """Note what lies in a folder; the folders in it that are to be visited."""
        ours = own_entries(folder.path, (entry.name for entry in entries), is_source=folder.parent is None)
        if ours:
            self._leave_out(folder, "", Reason.OURS)
        elif not entries:
            self._leave_out(folder, "", Reason.EMPTY)
        folders = []
        for entry in entries:
            name = entry.name
            if name in ours:
                continue
            try:
                if is_clutter(name):
                    self._leave_out(folder, name, Reason.CLUTTER)
                elif entry.is_symlink():
                    self._note_link(folder, name)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                elif entry.is_file(follow_symlinks=False):
                    self._note_file(folder, name, documents=not ours)
                else:
                    self._leave_out(folder, name, Reason.SPECIAL)
            except OSError as error:
                self._leave_out(folder, name, Reason.UNREADABLE, error.strerror or "")
        return folders

    def _note_file(self, folder: _Folder, name: str, real: str = "", *, documents: bool = True) -> None:
        suffix = suffix_of(name)
        if suffix in IMAGE_SUFFIXES:
            folder.pictures.append(name)
        elif suffix in VIDEO_SUFFIXES:
            folder.has_files = True
            real = real or _below(folder.real, name)
            if real in self._seen:
                self._leave_out(folder, name, Reason.TWICE, f"as {self._shown(real)}")
            else:
                self._seen.add(real)
                self.files.append((f"{folder.name}{name}", folder.path / name))
        elif suffix in UNFINISHED_SUFFIXES:
            self._leave_out(folder, name, Reason.UNFINISHED)
        elif suffix in ARCHIVE_SUFFIXES:
            self._leave_out(folder, name, Reason.ARCHIVE)
        elif suffix not in DOCUMENT_SUFFIXES:
            self._leave_out(folder, name, Reason.OTHER_KIND)
        elif documents:
            self._leave_out(folder, name, Reason.DOCUMENT)

    def _note_link(self, folder: _Folder, name: str) -> None:
        try:
            mode = (folder.path / name).stat().st_mode
        except PermissionError as error:
            self._leave_out(folder, name, Reason.UNREADABLE, error.strerror or "")
        except OSError:  # nothing there, or links in a circle
            self._leave_out(folder, name, Reason.DEAD_LINK)
        else:
            if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and suffix_of(name) in VIDEO_SUFFIXES):
                self._links.append((name, folder))
            elif stat.S_ISREG(mode):
                self._note_file(folder, name)
            else:
                self._leave_out(folder, name, Reason.SPECIAL)

    def _follow(self, name: str, folder: _Folder) -> None:
        """A link to a folder or to a video file."""
        path = folder.path / name
        real, is_folder = os.path.realpath(path), path.is_dir()
        if not is_folder:
            self._note_file(folder, name, real)
        elif any(Path(below).is_relative_to(real) for below in (folder.real, self._real_root)):
            self._leave_out(folder, name, Reason.LOOP)
        else:
            self._visit(folder, name)

    def _leave_out(self, folder: _Folder, name: str, reason: Reason, detail: str = "") -> None:
        """`name` in a folder, or with "" the folder itself."""
        shown = f"{folder.name}{name}" if name else folder.name[:-1] or self._shown(folder.real)
        self.left_out.append(LeftOut(folder.path / name, shown, reason, detail))

    def _shown(self, real: str) -> str:
        below = os.path.relpath(real, self._real_root)
        if below == os.curdir:
            return os.path.basename(real) or real
        return real if below.startswith(os.pardir) else below


def _below(real: str, name: str) -> str:
    return f"{real.rstrip(os.sep)}{os.sep}{name}"


def _holds_masks(name: str, videos: set[str]) -> bool:
    """Whether it is `Test001_gt` beside `Test001`."""
    return any(name.endswith(end) and name.removesuffix(end) in videos for end in _MASK_ENDINGS)


def _distinct(files: Iterable[tuple[str, Path]], folders: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Each path under its name without the suffix; files that then share a name keep their suffix."""
    chosen = [(os.path.splitext(name)[0], name, path) for name, path in files]
    chosen += [(name, name, path) for name, path in folders]
    while True:
        count = Counter(short for short, _, _ in chosen)
        if len(count) == len(chosen):
            return {short: path for short, _, path in chosen}
        chosen = [(whole if count[short] > 1 else short, whole, path) for short, whole, path in chosen]
