"""Finding videos in nested folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mulde.datasets.base import listing
from mulde.errors import UsageError
from mulde.filetypes import is_frame_folder, is_hidden, is_video_file, natural_key


def find_videos(folder: Path) -> list[tuple[str, Path]]:
    """Name and path of every video file and frame folder below `folder`, in natural order of the names.

    Raises UsageError when two videos share a name, or images lie beside videos, where nobody can tell frames from
    thumbnails.
    """
    found: dict[str, Path] = {}
    for path in _walk(folder, (folder.resolve(),)):
        relative = path.relative_to(folder)
        name = (relative if path.is_dir() else relative.with_suffix("")).as_posix()
        if name in found:
            raise UsageError(
                f"{folder}: two videos with the name {name!r}",
                expected="names that differ in more than the suffix",
                got=f"{found[name].name} and {path.name}",
            )
        found[name] = path
    return sorted(found.items(), key=lambda item: natural_key(item[0]))


def frame_folders(folder: Path) -> list[Path]:
    """All folders below `folder` that directly hold images."""
    return sorted(path for path in _visible(folder) if is_frame_folder(path))


def visible_files(folder: Path, suffix: str) -> list[Path]:
    """All files with `suffix` below `folder`, hidden ones left out."""
    return sorted(path for path in _visible(folder) if path.suffix.lower() == suffix)


def _visible(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not is_hidden(path.name))


def _walk(folder: Path, ancestors: tuple[Path, ...]) -> list[Path]:
    entries = [entry for entry in os.scandir(folder) if not is_hidden(entry.name)]
    videos = [path for path in (folder / entry.name for entry in entries) if is_video_file(path)]
    for child in sorted(folder / entry.name for entry in entries if entry.is_dir()):
        real = child.resolve()
        if real in ancestors:
            raise UsageError(f"{child}", expected="a folder of videos", got=f"a link back to {real}")
        videos += _walk(child, (*ancestors, real))
    if not is_frame_folder(folder):
        return videos
    if videos:
        raise UsageError(
            f"{folder}",
            expected="either frames or videos",
            got=f"images beside {listing([path.name for path in videos], 3)}",
            hint="to move the images elsewhere",
        )
    if len(ancestors) == 1:
        raise UsageError(f"{folder}", expected="one folder per video", got=f"images directly in {folder.name}/")
    return [folder]
