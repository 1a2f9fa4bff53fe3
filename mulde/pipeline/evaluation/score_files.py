"""Files with one score per frame that other programs wrote: `.npy`, `.parquet`, `.csv`, `.txt`; none is unpickled."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.datasets.base import listing
from mulde.datasets.labels.label_files import read_npy
from mulde.errors import LabelError, MuldeError
from mulde.files import read_text
from mulde.filetypes import suffix_of
from mulde.parquet import column_kinds, finite, read_parquet, reading
from mulde.records import Float64

SUFFIXES = (".npy", ".parquet", ".csv", ".txt")
"""In the order in which one of several files of one name is taken."""
_OWN = {"frame_index", "fused", "smoothed"}
"""Columns of the score tables that mulde writes; `fused` are the scores before smoothing."""
_SCORE_NAMES = ("score", "anomaly_score")
_FRAME_NAMES = ("frame_index", "frame")
_VIDEO = "video"
_MAX_BYTES = 2**28
_NPY_HINT = "where you trust the file: np.save(new_name, np.asarray(the_scores, dtype=float))"


@dataclass(frozen=True)
class ScoreFile:
    """The scores (N,) of a file, finite, in the order of its rows. column: where they stand, "" in an array; videos:
    what a column `video` says of each row, empty without one."""

    path: Path
    scores: Float64
    column: str = ""
    videos: tuple[str, ...] = ()

    def by_video(self) -> dict[str, Float64]:
        """The scores of each name in the column `video`, in order of the rows. Raises MuldeError where the rows of a
        video do not stand together."""
        starts = [i for i, name in enumerate(self.videos) if i == 0 or name != self.videos[i - 1]]
        names = [self.videos[i] for i in starts]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise MuldeError(
                f"{self.path}: rows of {twice}", expected="one below the other", got="other videos between"
            )
        return dict(zip(names, np.split(self.scores, starts[1:]), strict=True))


@dataclass(frozen=True)
class _Table:
    """Columns by name; `numbers` and `text` read one. `numeric` names those that hold numbers."""

    columns: Sequence[str]
    numeric: Sequence[str]
    numbers: Callable[[str], Float64]
    text: Callable[[str], list[str]]


def read_score_file(path: Path, column: str | None = None) -> ScoreFile:
    """The scores of one file; `column` names where they stand in a table.

    Without it they are the column `score` or `anomaly_score`, `fused` of a table that mulde wrote, or the only column
    of numbers beside one that counts frames. Raises MuldeError for a file that cannot be read, holds no scores or
    several columns of numbers, or a score that is not finite.
    """
    suffix = suffix_of(path.name)
    if suffix not in SUFFIXES:
        expected = f"a folder, or a file with one of the endings {' '.join(SUFFIXES)}"
        raise MuldeError(f"scores {path}", expected=expected, got=suffix or "no ending")
    if not path.is_file():
        raise MuldeError(f"scores {path}", expected="a file", got="something else")
    if suffix == ".npy":
        if column is not None:
            raise MuldeError(f"--column {column}", expected="a table with columns", got=f"the array {path}")
        found = ScoreFile(path, _array(path))
    else:
        found = _from_table(path, _parquet(path) if suffix == ".parquet" else _text_table(path), column)
    if not found.scores.size:
        raise MuldeError(f"scores {path}", expected="at least one score", got="none")
    finite(f"scores in {path}{f', column {found.column}' if found.column else ''}", found.scores)
    return found


def _array(path: Path) -> Float64:
    try:
        array = read_npy(path)
    except LabelError as error:
        got = None if error.got is None else str(error.got)
        raise MuldeError(error.problem, expected="a .npy array of numbers", got=got, hint=_NPY_HINT) from None
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or (array.ndim == 2 and 1 not in array.shape):
        raise MuldeError(f"scores {path}", expected="one number per frame", got=f"{array.dtype} of shape {array.shape}")
    return array.astype(np.float64).ravel()


def _parquet(path: Path) -> _Table:
    with reading("scores", path):
        kinds = column_kinds(path)

    def numbers(name: str) -> Float64:
        with reading("scores", path):
            table = read_parquet(path, {name: kinds[name]}, facts=False)
            return np.asarray((table.whole or table.number)[name], np.float64)

    def text(name: str) -> list[str]:
        with reading("scores", path):
            return read_parquet(path, {name: "text"}, facts=False).text[name]

    return _Table(list(kinds), [name for name, kind in kinds.items() if kind != "text"], numbers, text)


def _text_table(path: Path) -> _Table:
    """A table with or without headings, separated by tabs, semicolons, commas or blanks. Lines that begin with # are
    comments; one with as many cells as the first row holds headings, as numpy writes them."""
    lines = [line for line in read_text(path, max_bytes=_MAX_BYTES).splitlines() if line.strip(" \t\r,;")]
    comments = [line.lstrip("# \t") for line in lines if line.startswith("#")]
    lines = [line for line in lines if not line.startswith("#")]
    rows = _cells(lines, _separator(lines), path)
    if comments and rows and not _is_heading(rows[0]):
        heading = _cells(comments[-1:], _separator([comments[-1], lines[0]]), path)
        rows = heading + rows if heading and len(heading[0]) == len(rows[0]) else rows
    names: list[str] = []
    if rows and _is_heading(rows[0]):
        names, rows = rows[0], rows[1:]
    elif len(rows) == 1:
        rows = [[cell] for cell in rows[0]]  # all scores in one line
    width = max(map(len, rows), default=0)
    if names and width > len(names):
        at = next(i for i, row in enumerate(rows) if len(row) > len(names))
        raise MuldeError(f"{path}: row {at + 1}", expected=f"{len(names)} cells", got=len(rows[at]))
    names = [name or str(i) for i, name in enumerate(names or [""] * width, start=1)]
    if len(set(names)) != len(names):
        raise MuldeError(f"{path}: columns", expected="each name once", got=listing(names))
    columns = {name: [row[i] if i < len(row) else "" for row in rows] for i, name in enumerate(names)}
    parsed = {name: values for name, cells in columns.items() if (values := _numbers(cells)) is not None}

    def numbers(name: str) -> Float64:
        if name not in parsed and columns[name]:
            bad = [i for i, cell in enumerate(columns[name]) if _numbers([cell]) is None]
            at = bad[0] if bad else next(i for i, cell in enumerate(columns[name]) if "," in cell)  # beside points
            cell = columns[name][at]
            raise MuldeError(f"{path}: column {name}, row {at + 1}", expected="a number", got=repr(cell))
        return parsed.get(name, np.zeros(0))

    return _Table(names, list(parsed), numbers, columns.__getitem__)


def _separator(lines: Sequence[str]) -> str:
    """Of the cells of a table: one of tab, semicolon, comma; a blank for blanks; empty where there is one column."""
    if not lines:
        return ""
    blank = " " if len(lines[min(1, len(lines) - 1)].split()) > 1 else ""
    return next((sign for sign in "\t;," if sign in lines[0]), blank)


def _cells(lines: Sequence[str], separator: str, path: Path) -> list[list[str]]:
    if separator in ("", " "):
        return [line.split() if separator else [line.strip()] for line in lines]
    try:
        rows = csv.reader(io.StringIO("\n".join(lines)), delimiter=separator, skipinitialspace=True, strict=True)
        return [[cell.strip() for cell in row] for row in rows]
    except csv.Error as problem:
        raise MuldeError(f"{path} is not CSV ({problem})") from None


def _is_heading(cells: Sequence[str]) -> bool:
    return any(cell and _numbers([cell]) is None for cell in cells)


def _numbers(cells: Sequence[str]) -> Float64 | None:
    """The cells as numbers (N,), empty ones as NaN; None where one is none or all are empty. Without any point, a comma
    is the decimal sign."""
    text = "".join(cells)
    if not text or "_" in text or ("," in text and "." in text):
        return None
    if "," in text:
        cells = [cell.replace(",", ".") for cell in cells]
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        return None


def _from_table(path: Path, table: _Table, column: str | None) -> ScoreFile:
    name = column if column is not None else _score_column(path, table)
    if name not in table.columns:
        raise MuldeError(f"{path}: scores", expected=f"a column {name}", got=listing(list(table.columns)))
    videos = tuple(table.text(_VIDEO)) if _VIDEO in table.columns and _VIDEO not in table.numeric else ()
    frames = next((each for each in _FRAME_NAMES if each in table.numeric and each != name), None)
    found = ScoreFile(path, table.numbers(name), name, videos)
    if frames is not None:
        counted = ScoreFile(path, table.numbers(frames), frames, videos)
        for video, index in (counted.by_video() if videos else {"": counted.scores}).items():
            if (bad := np.flatnonzero(np.diff(index) != 1)).size:
                where = f"{path}: column {frames}{f' of {video}' if video else ''}"
                got = f"{index[bad[0] + 1]:g} below {index[bad[0]]:g}"
                raise MuldeError(where, expected="frames in their order, none left out", got=got)
    return found


def _score_column(path: Path, table: _Table) -> str:
    if set(table.columns) >= _OWN:
        return "fused"
    named: Mapping[str, str] = {name.strip().casefold(): name for name in table.columns}
    for name in _SCORE_NAMES:
        if name in named:
            return named[name]
    choice = list(table.numeric)
    if len(choice) > 1:
        choice = [name for name in choice if name not in _FRAME_NAMES and not _counts(table.numbers(name))]
    if len(choice) == 1:
        return choice[0]
    got = listing(list(table.numeric)) if table.numeric else "no column of numbers"
    raise MuldeError(f"{path}: scores", expected="a column score, or one column of numbers", got=got,
                     hint="--column NAME" if table.numeric else None)  # fmt: skip


def _counts(values: Float64) -> bool:
    """Whether values (N,) are the numbers of frames, from 0 or 1 up."""
    return values.size > 1 and values[0] in (0, 1) and bool((np.diff(values) == 1).all())
