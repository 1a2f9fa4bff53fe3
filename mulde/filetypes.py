"""Which files are videos and images, and the natural order of their names."""

import os
import re
from pathlib import Path

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".webm", ".wmv", ".flv", ".3gp", ".ogv"}
)
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which "frame2" comes before "frame10": runs of digits compare as numbers."""
    parts = (part for part in re.split(r"([0-9]+)", name) if part)
    return tuple((0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts)


def is_hidden(name: str) -> bool:
    """True for names no reader should open: dot files and the "._name" twins that macOS leaves on copies."""
    return name.startswith(".")


def is_video_file(path: Path) -> bool:
    """True when `path` is a file whose suffix (any case) is a known video suffix; its bytes are not read."""
    return not is_hidden(path.name) and path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()


def is_image_file(path: Path) -> bool:
    """True when `path` is a file whose suffix (any case) is a known image suffix: a video of one frame."""
    return not is_hidden(path.name) and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def list_frames(folder: Path) -> list[Path]:
    """The image files directly inside `folder`, in natural order; hidden files and other kinds are left out."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _is_image_entry(entry)]
    return [folder / name for name in sorted(names, key=natural_key)]


def is_frame_folder(path: Path) -> bool:
    """True when `path` is a folder that directly holds at least one image file."""
    if not path.is_dir():
        return False
    with os.scandir(path) as entries:
        return any(_is_image_entry(entry) for entry in entries)


def _is_image_entry(entry: os.DirEntry[str]) -> bool:
    return not is_hidden(entry.name) and Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and entry.is_file()
