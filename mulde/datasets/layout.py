"""Finding a data set on disk: the folder that its archive unpacks to, near the one that a person gives.

Names are compared whatever the case of their letters, and what operating systems leave behind is passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mulde.datasets.base import listing
from mulde.datasets.tree import sub_folders
from mulde.errors import UsageError
from mulde.filetypes import is_clutter, natural_key

LEVELS_BELOW = 3
LEVELS_ABOVE = 2


@dataclass(frozen=True)
class Layout:
    """One form of a data set on disk.

    `has` says whether a folder has this form, `part` whether a name directly in it belongs to it. Where forms of
    several data sets look alike, `proves` says whether a folder that nobody named is of this one; it gets the names on
    the way from the folder that was given, which comes first.
    """

    has: Callable[[Path], bool]
    part: Callable[[str], bool]
    proves: Callable[[Path, tuple[str, ...]], bool] = lambda folder, names: True


def folders_layout(
    *names: str,
    also: tuple[str, ...] = (),
    proves: Callable[[Path, tuple[str, ...]], bool] = lambda folder, names: True,
) -> Layout:
    """The form with all the folders `names` ("Train" or "videos/Train"), and perhaps those in `also`."""
    first = {name.split("/")[0].lower() for name in (*names, *also)}
    return Layout(
        has=lambda folder: all(_matches(folder, name) for name in names),
        part=lambda name: name.lower() in first,
        proves=proves,
    )


def locate(name: str, given: Path, layouts: tuple[Layout, ...]) -> tuple[Path, Layout] | None:
    """The folder of the data set and its form: `given`, one that `given` is a part of, or the only one below it.

    Earlier layouts win over later ones in the same folder. Raises UsageError for several folders below.
    """
    for layout in layouts:
        if layout.has(given):
            return given, layout
    inner = given.resolve()
    for parent in list(inner.parents)[:LEVELS_ABOVE]:
        part = inner.relative_to(parent).parts[0]
        for layout in layouts:
            if layout.part(part) and layout.has(parent):
                return parent, layout
    copies = list(_below(given, layouts))
    if len(copies) > 1:
        paths = [str(folder) for folder, _ in copies]
        raise UsageError(
            f"{name} in {given}",
            expected="one copy of the data set",
            got=f"{len(copies)}: {listing(paths, 5)}",
            hint=f"name the one that is meant, as in {name}:{paths[0]}",
        )
    return copies[0] if copies else None


def named(key: str, content: Callable[[Path], bool] = lambda folder: False) -> Callable[[Path, tuple[str, ...]], bool]:
    """True for a folder whose path, less what is no letter or digit, has `key` in it, or whose `content` fits."""
    return lambda folder, names: any(key in re.sub(r"[^a-z0-9]", "", part.lower()) for part in names) or content(folder)


def subfolder(folder: Path, name: str) -> Path | None:
    """The folder `name` ("videos/Train") below `folder`, whatever the case of its letters; None where there is none.

    Raises UsageError for two that differ in nothing else.
    """
    return _only(folder, name, [path for path in _matches(folder, name) if path.is_dir()])


def first_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of the files `names` (paths below `folder`, whatever their case) that is there.

    Raises UsageError for two that differ in nothing but case.
    """
    for name in names:
        path_there = _only(folder, name, [path for path in _matches(folder, name, folders=False) if path.is_file()])
        if path_there is not None:
            return path_there
    return None


def whatever_case(folder: Path, name: str) -> Path:
    """What lies at `name` ("Scene1/a.mp4") below `folder`, whatever the case of its letters; else a path to nothing.

    Raises UsageError for two that differ in nothing but case.
    """
    path = folder / name
    return path if path.exists() else _only(folder, name, _matches(folder, name, folders=False)) or path


def find_files(
    folders: tuple[Path, ...], name: str, levels: int = LEVELS_BELOW, skip: re.Pattern[str] | None = None
) -> list[Path]:
    """The files called `name`, whatever its case, in `folders` and up to `levels` below; each file once.

    Folders whose names match `skip` are not looked into.
    """
    files: dict[Path, Path] = {}
    for folder in folders:
        for inner, names in _walk(folder, levels):
            if skip is not None and any(map(skip.fullmatch, names)):
                continue
            for path in _matches(inner, name, folders=False):
                if path.is_file():
                    files.setdefault(path.resolve(), path)
    return list(files.values())


def find_folders(folders: tuple[Path, ...], name: str, levels: int = LEVELS_BELOW) -> list[Path]:
    """The folders called `name`, whatever its case, in `folders` and up to `levels` below; each folder once."""
    folders_by_path: dict[Path, Path] = {}
    for folder in folders:
        for inner, _ in _walk(folder, levels - 1):
            for path in _matches(inner, name):
                folders_by_path.setdefault(path.resolve(), path)
    return list(folders_by_path.values())


def names_in(folder: Path) -> list[str]:
    """The names directly in `folder` in natural order, less clutter; none where it cannot be read."""
    try:
        names = [name for name in os.listdir(folder) if not is_clutter(name)]
    except OSError:
        return []
    return sorted(names, key=natural_key)


def number_in(name: str) -> int | None:
    """The last number in the name of a file, less its ending: 12 in frame012.bmp and in 012_mask.png."""
    numbers = re.findall(r"[0-9]+", Path(name).stem)
    return int(numbers[-1]) if numbers else None


def _below(given: Path, layouts: tuple[Layout, ...]) -> Iterator[tuple[Path, Layout]]:
    """Each folder below `given` that is of one of the layouts; nothing inside such a folder."""
    inside: set[Path] = set()
    top = given.resolve().name
    for folder, names in _walk(given, LEVELS_BELOW, inside):
        for layout in layouts if names else ():
            if layout.has(folder) and layout.proves(folder, (top, *names)):
                inside.add(folder)
                yield folder, layout
                break


def _walk(
    top: Path, levels: int, closed: set[Path] | frozenset[Path] = frozenset()
) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """`top` and the folders up to `levels` below with their names from it, level by level, each real folder once.

    Nothing below a folder in `closed`, which the caller may fill meanwhile.
    """
    seen = {top.resolve()}
    level: list[tuple[Path, tuple[str, ...]]] = [(top, ())]
    while level:
        deeper: list[tuple[Path, tuple[str, ...]]] = []
        for folder, names in level:
            yield folder, names
            if len(names) < levels and folder not in closed:
                for child in sub_folders(folder):
                    if (real := child.resolve()) not in seen:
                        seen.add(real)
                        deeper.append((child, (*names, child.name)))
        level = deeper


def _matches(folder: Path, name: str, *, folders: bool = True) -> list[Path]:
    """What lies at `name` below `folder` whatever the case; with `folders`, folders only."""
    paths = [folder]
    for part in name.split("/"):
        paths = [path for inner in paths for path in _entries(inner, part)]
    return [path for path in paths if path.is_dir()] if folders else paths


def _entries(folder: Path, name: str) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if entry.name.lower() == name.lower())
    except OSError:
        return []


def _only(folder: Path, name: str, paths: list[Path]) -> Path | None:
    if len(paths) > 1:
        raise UsageError(
            f"{folder}: {name}",
            expected="one of that name",
            got=listing([str(path.relative_to(folder)) for path in paths], 5),
            hint="rename or remove the one that is not meant",
        )
    return paths[0] if paths else None
