"""The one place that walks folders for videos: what is footage, and what is left out and why (docs/data.md)."""

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
    suffix_of,
    without_number,
)

_MASK_ENDINGS = ("_gt", "_mask", "_masks")


@dataclass(frozen=True)
class Walk:
    """What is below a folder: names and paths of its videos in natural order, and all that is none."""

    videos: list[tuple[str, Path]]
    left_out: list[LeftOut]

    @property
    def unreadable(self) -> list[LeftOut]:
        return [one for one in self.left_out if one.reason is Reason.UNREADABLE]


def walk(folder: Path, skip: Iterable[Path] = ()) -> Walk:
    """Every video file and frame folder below `folder`, which is itself the video where it holds frames and no videos.

    Links are followed, and no video is taken twice. What cannot be read is left out, like all other that is no video;
    only `folder` itself must be readable. `skip`: folders that are not looked into.

    Raises UsageError where `folder` cannot be read.
    """
    walker = _Walker(folder, frozenset(map(os.path.realpath, skip)))
    walker.visit_all()
    paths = [*walker.files, *walker.frame_folders()]
    key = natural_key
    named = sorted(_distinct(folder, paths).items(), key=lambda item: key(item[0]))
    return Walk(named, sorted(walker.left_out, key=lambda one: key(one.name)))


def find_videos(folder: Path) -> list[tuple[str, Path]]:
    """Name and path of every video file and frame folder below `folder`, in natural order of the names.

    Raises UsageError where a folder cannot be read, and where the frames lie directly in `folder`.
    """
    found = walk(folder)
    check_frames_below(folder, found)
    if found.unreadable:
        first = found.unreadable[0]
        raise UsageError(f"{first.path}", expected="a folder that can be read", got=first.detail)
    return found.videos


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
    """A folder that was visited; `most_frames` of a frame folder below it, `has_files`: a video file in or below it."""

    path: Path
    real: str
    parent: _Folder | None
    pictures: list[str] = field(default_factory=list)
    has_files: bool = False
    most_frames: int = 0
    is_video: bool = False


class _Walker:
    """One walk. Links wait until all that is really there was seen, so that a video keeps the name of its own place."""

    def __init__(self, root: Path, skip: frozenset[str]) -> None:
        self.root, self.skip = root, skip
        self.files: list[Path] = []
        self.left_out: list[LeftOut] = []
        self._folders: list[_Folder] = []
        self._links: deque[tuple[Path, _Folder]] = deque()
        self._real_root = os.path.realpath(root)
        self._seen: set[str] = set()

    def visit_all(self) -> None:
        try:
            os.listdir(self.root)
        except OSError as error:
            raise UsageError(
                f"{self.root}", expected="a folder that can be read", got=error.strerror, hint="other permissions"
            ) from None
        self._visit(self.root, None)
        while self._links:
            self._follow(*self._links.popleft())

    def frame_folders(self) -> list[Path]:
        """The folders that are videos, once all were visited; what that leaves out is noted."""
        for one in reversed(self._folders):  # what is below a folder comes before it
            self._decide(one)
            if one.parent is not None:
                one.parent.has_files |= one.has_files
                one.parent.most_frames = max(one.parent.most_frames, one.most_frames)
        videos = {one.path for one in self._folders} | {path.with_suffix("") for path in self.files}
        kept = []
        for one in self._folders:
            above = one.parent
            while above is not None and not above.is_video:
                above = above.parent
            if one.is_video and above is not None:
                self._leave_out(one.path, Reason.FRAMES_BELOW)
            elif one.is_video and _holds_masks(one.path, videos):
                self._leave_out(one.path, Reason.MASKS)
            elif one.is_video:
                kept.append(one.path)
                for name in sorted(without_number(one.pictures)):
                    self._leave_out(one.path / name, Reason.NO_FRAME)
        return kept

    def _decide(self, one: _Folder) -> None:
        if not one.pictures:
            return
        if one.has_files or one.most_frames > len(one.pictures):
            for name in one.pictures:
                self._leave_out(one.path / name, Reason.PICTURE)
        else:
            one.is_video, one.most_frames = True, len(one.pictures)

    def _visit(self, top: Path, parent: _Folder | None) -> None:
        stack = [(top, parent)]
        while stack:
            path, above = stack.pop()
            real = os.path.realpath(path)
            if real in self.skip:
                continue
            if real in self._seen:
                self._leave_out(path, Reason.TWICE, self._other_name(real))
                continue
            self._seen.add(real)
            try:
                with os.scandir(path) as listing:
                    entries = sorted(listing, key=lambda entry: natural_key(entry.name))
            except OSError as error:
                self._leave_out(path, Reason.UNREADABLE, error.strerror or "")
                continue
            one = _Folder(path, real, above)
            self._folders.append(one)
            stack += [(child, one) for child in reversed(self._sort(one, entries))]

    def _sort(self, one: _Folder, entries: list[os.DirEntry[str]]) -> list[Path]:
        """Note what lies in a folder; the folders in it that are to be visited."""
        own = own_entries(one.path, (entry.name for entry in entries), is_source=one.path == self.root)
        if own:
            self._leave_out(one.path, Reason.OURS)
        elif not entries:
            self._leave_out(one.path, Reason.EMPTY)
        folders = []
        for entry in entries:
            path = one.path / entry.name
            if entry.name in own:
                continue
            if is_clutter(entry.name):
                self._leave_out(path, Reason.CLUTTER)
            elif entry.is_symlink():
                self._note_link(path, one)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif entry.is_file(follow_symlinks=False):
                self._note_file(path, one, documents=not own)
            else:
                self._leave_out(path, Reason.SPECIAL)
        return folders

    def _note_file(self, path: Path, one: _Folder, real: str = "", *, documents: bool = True) -> None:
        suffix = suffix_of(path.name)
        if suffix in IMAGE_SUFFIXES:
            one.pictures.append(path.name)
        elif suffix in VIDEO_SUFFIXES:
            one.has_files = True
            self._seen.add(real or f"{one.real}{os.sep}{path.name}")
            self.files.append(path)
        elif suffix in UNFINISHED_SUFFIXES:
            self._leave_out(path, Reason.UNFINISHED)
        elif suffix in ARCHIVE_SUFFIXES:
            self._leave_out(path, Reason.ARCHIVE)
        elif suffix not in DOCUMENT_SUFFIXES:
            self._leave_out(path, Reason.OTHER_KIND)
        elif documents:
            self._leave_out(path, Reason.DOCUMENT)

    def _note_link(self, path: Path, one: _Folder) -> None:
        try:
            mode = path.stat().st_mode
        except PermissionError as error:
            self._leave_out(path, Reason.UNREADABLE, error.strerror or "")
        except OSError:  # nothing there, or links in a circle
            self._leave_out(path, Reason.DEAD_LINK)
        else:
            if stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and suffix_of(path.name) in VIDEO_SUFFIXES):
                self._links.append((path, one))
            elif stat.S_ISREG(mode):
                self._note_file(path, one)
            else:
                self._leave_out(path, Reason.SPECIAL)

    def _follow(self, path: Path, one: _Folder) -> None:
        """A link to a folder or to a video file."""
        real, is_folder = os.path.realpath(path), path.is_dir()
        one.has_files |= not is_folder
        if is_folder and any(Path(below).is_relative_to(real) for below in (one.real, self._real_root)):
            self._leave_out(path, Reason.LOOP)
        elif real in self._seen:
            self._leave_out(path, Reason.TWICE, self._other_name(real))
        elif is_folder:
            self._visit(path, one)
        else:
            self._note_file(path, one, real)

    def _other_name(self, real: str) -> str:
        return f"as {self._shown(Path(real))}"

    def _leave_out(self, path: Path, reason: Reason, detail: str = "") -> None:
        self.left_out.append(LeftOut(path, self._shown(path), reason, detail))

    def _shown(self, path: Path) -> str:
        for root in (self.root, Path(self._real_root)):
            if path == root:
                return os.path.basename(self._real_root) or str(root)
            if path.is_relative_to(root):
                return path.relative_to(root).as_posix()
        return str(path)


def _holds_masks(folder: Path, videos: set[Path]) -> bool:
    """Whether it is `Test001_gt` beside `Test001`."""
    stems = [folder.name.removesuffix(end) for end in _MASK_ENDINGS if folder.name.endswith(end)]
    return any(stem and folder.with_name(stem) in videos for stem in stems)


def _distinct(folder: Path, paths: Iterable[Path]) -> dict[str, Path]:
    """Each path under its place below `folder` without the suffix; files that then share a name keep their suffix."""
    names = {path: path.relative_to(folder).as_posix() for path in paths}
    files = {path for path in names if not path.is_dir()}
    bare = {path: Path(name).with_suffix("").as_posix() if path in files else name for path, name in names.items()}
    count = Counter(bare.values())
    return {names[path] if count[name] > 1 and path in files else name: path for path, name in bare.items()}
