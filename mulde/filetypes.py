"""Which names are videos, images and clutter, and the natural order of names."""

import os
import re
from pathlib import Path


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


VIDEO_SUFFIXES = _suffixes(
    "mp4 m4v mov qt 3gp 3g2 f4v mj2 avi divx mkv webm mpg mpeg mpe m1v m2v mpv vob ts mts m2ts m2t trp wmv asf flv ogv "
    "ogm rm rmvb mxf dv wtv nut ivf y4m mjpeg mjpg h264 264 avc h265 265 hevc dav"
)
"""Containers and raw streams that PyAV reads; `.dav` are recordings of Dahua."""
IMAGE_SUFFIXES = _suffixes("jpg jpeg jpe jfif png bmp tif tiff webp pgm ppm pbm pnm")
UNFINISHED_SUFFIXES = _suffixes("part partial crdownload download filepart opdownload tmp temp !qb")
ARCHIVE_SUFFIXES = _suffixes("zip tar gz tgz bz2 tbz xz txz zst 7z rar iso")
DOCUMENT_SUFFIXES = _suffixes(
    "txt csv tsv json jsonl xml yaml yml toml ini cfg md rst pdf doc docx xls xlsx html htm log srt vtt ass sub idx "
    "nfo mat m npy npz parquet pkl pt pth onnx safetensors py ipynb sh bat js css url lnk md5 sha1 sha256 sfv thm wav "
    "mp3 aac m4a flac m3u m3u8 pls db sqlite lock"
)
"""Files that lie beside videos and are none. A file of any other kind may be a video that a person has to name."""
_CLUTTER = frozenset(
    {
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@sharesnap", "#recycle", "#snapshot",
        "~snapshot", "$recycle.bin", "$extend", "system volume information", "lost+found", "__macosx", "thumbs.db",
        "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "network trash folder", "temporary items",
        "__pycache__", "node_modules", "cvs",
    }
)  # fmt: skip
_NUMBERED_PER_OTHER = 10
_DIGIT = re.compile("[0-9]")
_LOSSLESS = frozenset({".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm"})


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which "frame2" comes before "frame10": runs of digits compare as numbers."""
    parts = (part for part in re.split(r"([0-9]+)", name) if part)
    return tuple((0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts)


def is_hidden(name: str) -> bool:
    """True for names no reader should open: dot files and the "._name" twins that macOS leaves on copies."""
    return name.startswith(".")


def is_clutter(name: str) -> bool:
    """True for files and folders that operating systems leave beside videos, by their name in any case.

    Hidden names (macOS, versioning, `.snapshot`), folders of a NAS, of Windows and of file systems, locks and backup
    copies of office programs and editors.
    """
    return is_hidden(name) or name.lower() in _CLUTTER or name.startswith("~$") or name.endswith("~")


def suffix_of(name: str) -> str:
    """The suffix of a name in lower case, with its dot; "" where there is none."""
    return os.path.splitext(name)[1].lower()


def is_video_file(path: Path) -> bool:
    """True when `path` is a file whose suffix (any case) is a known video suffix; its bytes are not read."""
    return not is_clutter(path.name) and suffix_of(path.name) in VIDEO_SUFFIXES and path.is_file()


def is_image_file(path: Path) -> bool:
    """True when `path` is a file whose suffix (any case) is a known image suffix: a video of one frame."""
    return not is_clutter(path.name) and suffix_of(path.name) in IMAGE_SUFFIXES and path.is_file()


def list_frames(folder: Path) -> list[Path]:
    """The frames directly inside `folder`, in natural order: its image files, less clutter and `no_frames`."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _is_image_entry(entry)]
    others = no_frames(names)
    return [folder / name for name in sorted(names, key=natural_key) if name not in others]


def no_frames(names: list[str]) -> set[str]:
    """The images that are no frames of the folder that they lie in with others.

    Those without a digit where there are ten numbered ones for each, as `folder.jpg` beside `0001.jpg`, `0002.jpg` ...;
    and those of a kind that repeats the names of another kind, as `0001.jpg`, `0002.jpg`, ... beside `0001.png`, ...
    """
    others = {name for name in names if not _DIGIT.search(os.path.splitext(name)[0])}
    if len(names) - len(others) < _NUMBERED_PER_OTHER * len(others):
        others = set()
    kinds: dict[str, set[str]] = {}
    for name in set(names) - others:
        stem, suffix = os.path.splitext(name)
        kinds.setdefault(suffix.lower(), set()).add(stem)
    whole = max(kinds, key=lambda kind: (len(kinds[kind]), kind in _LOSSLESS, kind), default="")
    repeats = {kind for kind, stems in kinds.items() if kind != whole and len(stems) > 1 and stems <= kinds[whole]}
    return others | {name for name in names if suffix_of(name) in repeats and name not in others}


def is_frame_folder(path: Path) -> bool:
    """True when `path` is a folder that directly holds at least one image file."""
    if not path.is_dir():
        return False
    with os.scandir(path) as entries:
        return any(_is_image_entry(entry) for entry in entries)


def _is_image_entry(entry: os.DirEntry[str]) -> bool:
    return not is_clutter(entry.name) and suffix_of(entry.name) in IMAGE_SUFFIXES and entry.is_file()
