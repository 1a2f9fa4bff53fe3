"""Own videos of which there are boxes and no pixels: `train/` and `test/` with a file of boxes per video.

    train/monday.txt    test/tuesday.txt ...      MOTChallenge text, COCO JSON or Parquet (`formats.py`)
    videos.csv                                    what each of them is a video of, one line each:

        video,width,height,frame_rate,frames,first_frame
        train/monday,640,360,25,1364,0
        test/tuesday,640,360,30000/1001,900,1

`first_frame` is the number that the file gives to the first frame, 0 or 1; it may be empty for Parquet, which counts
from 0. `frames` counts all frames of the video, those without boxes too. Labels lie in the root as for own footage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mulde.datasets.base import SPLITS, Video, check_split, listing
from mulde.datasets.boxes.formats import SUFFIXES
from mulde.datasets.facts import DatasetSpec, Facts
from mulde.datasets.folder.dataset import FolderDataset
from mulde.datasets.folder.labels import exact_number
from mulde.datasets.left_out import LeftOut, Reason
from mulde.datasets.tree import sub_folders
from mulde.errors import RecordError, UsageError
from mulde.files import read_csv, whole_number
from mulde.filetypes import is_clutter, natural_key, suffix_of
from mulde.records import BoxesAlone

VIDEOS_FILE = "videos.csv"
COLUMNS = ("video", "width", "height", "frame_rate", "frames", "first_frame")
NOTE = "videos of boxes alone: there are no pixels, so no thumbnails, clips or overlay videos"
_MAX_DEPTH = 4


@dataclass(frozen=True)
class BoxesDataset(FolderDataset):
    """Files of boxes under `root`, with labels as own footage has them; `by_split` holds the videos."""

    name: str = "boxes"
    by_split: Mapping[str, tuple[Video, ...]] = field(default_factory=dict)
    others: tuple[LeftOut, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        return (NOTE,)

    def videos(self, split: str) -> tuple[Video, ...]:
        check_split(split)
        return self.by_split.get(split, ())

    def split_folders(self, split: str) -> dict[str, Path]:
        return {"": self.root / split} if (self.root / split).is_dir() else {}

    @cached_property
    def left_out(self) -> list[LeftOut]:
        return list(self.others)


def open_boxes(root: Path) -> BoxesDataset:
    """Raises UsageError where videos.csv, or a file of boxes that it describes, is missing or cannot be understood."""
    files, others = _files(root)
    described = _described(root / VIDEOS_FILE, files)
    if not files:
        got = listing(sorted(path.name for path in root.iterdir() if not is_clutter(path.name)))
        raise UsageError(f"{root}", expected=f"train/ or test/ with {' or '.join(SUFFIXES)} files", got=got)
    if without := [key for key in files if key not in described]:
        raise UsageError(
            f"{root / VIDEOS_FILE}", expected="a line for each file of boxes", got=f"none for {without[0]}"
        )
    by_split = {
        split: tuple(
            Video(key.partition("/")[2], split, path, described[key].frame_rate, boxes=described[key])
            for key, path in files.items()
            if key.startswith(f"{split}/")
        )
        for split in SPLITS
    }
    return BoxesDataset(root, by_split=by_split, others=tuple(others))


def _files(root: Path) -> tuple[dict[str, Path], list[LeftOut]]:
    """The files of boxes in natural order by split and name without suffix, "test/cam1/door"; and what is none."""
    found: dict[str, Path] = {}
    others = []
    for split in SPLITS:
        for path in sorted(_below(root / split), key=lambda path: natural_key(path.as_posix())):
            name = path.relative_to(root).as_posix()
            if suffix_of(path.name) not in SUFFIXES:
                others.append(LeftOut(path, name, Reason.OTHER_KIND))
                continue
            key = path.relative_to(root).with_suffix("").as_posix()
            if key in found:
                raise UsageError(f"boxes of {key}", expected="one file", got=f"{found[key].name} and {path.name}")
            found[key] = path
    return found, others


def _below(folder: Path, depth: int = 0) -> list[Path]:
    """The files in a folder and up to four folders below it, clutter left out."""
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if not is_clutter(path.name) and path.is_file()]
    inner = [path for sub in sub_folders(folder) for path in _below(sub, depth + 1)] if depth < _MAX_DEPTH else []
    return files + inner


def _described(path: Path, files: Mapping[str, Path]) -> dict[str, BoxesAlone]:
    """What videos.csv says of each video."""
    if not path.is_file():
        raise UsageError(f"{path}", expected=f"a table with {','.join(COLUMNS)}", got="no such file")
    table = read_csv(path, error=UsageError)
    if lacking := [name for name in COLUMNS if name not in table.columns]:
        got = ",".join(table.columns) or "an empty file"
        raise UsageError(f"{path}: header", expected=f"a column {lacking[0]}, as in {','.join(COLUMNS)}", got=got)
    described: dict[str, BoxesAlone] = {}
    for line, cells in table.rows:
        key = cells["video"].strip()
        if key not in files or key in described:
            got = f"{key!r}{', which has a line already' if key in described else ''}"
            expected = f"a file of boxes by its path without suffix, as {next(iter(files), 'train/NAME')}"
            raise UsageError(f"{path} line {line}: video", expected=expected, got=got)
        described[key] = _parse(path, line, cells, counts_from_0=suffix_of(files[key].name) == ".parquet")
    return described


def _parse(path: Path, line: int, cells: Mapping[str, str], *, counts_from_0: bool) -> BoxesAlone:
    try:
        width, height, num_frames = (whole_number(cells[name]) for name in ("width", "height", "frames"))
        rate = exact_number(cells["frame_rate"].strip())
        first = cells["first_frame"].strip() or ("0" if counts_from_0 else "")
        if first not in ("0", "1"):
            raise RecordError(
                "first_frame", expected="0 or 1, the number that the file gives to the first frame", got=repr(first)
            )
        return BoxesAlone((height, width), num_frames, rate, int(first))
    except RecordError as error:
        raise UsageError(f"{path} line {line}: {error.problem}", expected=error.expected, got=error.got) from None
    except (ValueError, ZeroDivisionError):
        got = ",".join(cells[name] for name in COLUMNS)
        expected = "whole numbers of width, height and frames, a frame_rate as 25 or 30000/1001"
        raise UsageError(f"{path} line {line}", expected=expected, got=got) from None


_FACTS = Facts(
    name="boxes",
    title="Own videos as boxes and tracks alone",
    address="",
    link="none",
    how="Put files of boxes (MOTChallenge .txt, COCO .json, .parquet) into train/ and test/, and beside them videos.csv"
    f" with {','.join(COLUMNS)}. Labels as for own footage.",
    licence="yours",
    citation="",
    checked="part of mulde",
)
BOXES = DatasetSpec(_FACTS, open_boxes, is_own_footage=True)
