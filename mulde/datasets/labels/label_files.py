"""Label files with one value per frame: .npy, .npz, and MATLAB intervals. Nothing is ever unpickled."""

from __future__ import annotations

import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mulde.datasets.base import Video, listing
from mulde.datasets.labels.ground_truth import COUNT_HINT, track_from_ranges
from mulde.datasets.labels.mat_files import read_mat
from mulde.errors import LabelError
from mulde.records import LabelTrack

_UNPICKLE = "where you trust the file: np.save(new_name, np.asarray(the_array, dtype=np.uint8)), one .npy per video"
MAX_BYTES = 2**31
"""Of an array that is held in memory."""
_NUMBER = re.compile(r"([0-9]+)$")


@dataclass(frozen=True)
class NpyFlags:
    """`folder`/NAME.npy: 0 or 1 per frame."""

    folder: Path

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        path = self.folder / f"{video.name}.npy"
        return flags_track(video.name, read_npy(path), num_frames, str(path))


@dataclass(frozen=True)
class NpzFlags:
    """One .npz with an array of 0 and 1 per video, under the video's name."""

    path: Path

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        if not self.path.is_file() or not zipfile.is_zipfile(
            self.path
        ):  # numpy takes whatever is no zip file for a pickle
            raise LabelError(f"{self.path}", expected="a .npz of arrays of numbers", got="a damaged file")
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                known = list(arrays.files)
                if video.name in known:
                    _check_member(arrays.zip, video.name)
                values = arrays[video.name] if video.name in known else None
        except Exception as error:  # of zipfile, zlib and numpy
            raise _damaged(self.path, "a .npz of arrays of numbers", error) from None
        if values is None:
            raise LabelError(f"{self.path}", expected=f"labels of {video.name}", got=listing(known, 5))
        return flags_track(video.name, values, num_frames, str(self.path))


@dataclass(frozen=True)
class MatIntervals:
    """A .mat with the cell `gt`: entry n holds the anomalous intervals of video n, 2 x K, 1-based and inclusive.

    The number at the end of a video's name says which entry is its own, so a subset of the videos stays right.
    """

    path: Path

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        cells = read_mat(self.path, "gt").ravel()
        match = _NUMBER.search(video.name)
        number = int(match[1]) if match else 0
        if not 1 <= number <= len(cells):
            raise LabelError(
                f"{self.path}: labels of {video.name}",
                expected=f"a video whose name ends in a number from 1 to {len(cells)}, the entries of gt",
                got=video.name,
            )
        intervals = np.asarray(cells[number - 1])
        whole = intervals.dtype.kind in "biuf" and bool(
            np.isfinite(intervals).all() and np.array_equal(intervals, np.floor(intervals))
        )
        if intervals.size and (intervals.ndim != 2 or len(intervals) != 2 or not whole):
            raise LabelError(
                f"{self.path}: gt{{{number}}}",
                expected="first and last frames, whole numbers of shape (2, K)",
                got=f"{intervals.dtype} of shape {intervals.shape}",
            )
        pairs = [(int(first), int(last)) for first, last in intervals.T] if intervals.size else []
        return track_from_inclusive(video.name, pairs, num_frames, f"{self.path}: gt{{{number}}}")


def _check_member(archive: zipfile.ZipFile, name: str) -> None:
    """Raises ValueError for an array that would unpack to more than its file, or than labels take."""
    info = next(info for info in archive.infolist() if info.filename in (f"{name}.npy", name))
    if info.file_size > MAX_BYTES:
        raise ValueError(f"{info.file_size:,} bytes unpacked")
    with archive.open(info) as file:
        _check_npy(file, info.file_size, MAX_BYTES)


def track_from_inclusive(video: str, pairs: list[tuple[int, int]], num_frames: int, source: str) -> LabelTrack:
    """Labels from intervals as MATLAB writes them: 1-based, the last frame included."""
    for first, last in pairs:
        if not 1 <= first <= last <= num_frames:
            raise LabelError(
                f"{source}: interval {first} to {last} of {video}",
                expected=f"1 <= first <= last <= {num_frames}, the number of decoded frames (1-based, last included)",
                got=f"{first} to {last}",
                hint=COUNT_HINT,
            )
    return track_from_ranges(video, [(first - 1, last) for first, last in pairs], num_frames, source)


def flags_track(video: str, values: NDArray[Any], num_frames: int, source: str) -> LabelTrack:
    """Labels from 0 and 1 per frame, of shape (num_frames,), (1, num_frames) or (num_frames, 1)."""
    row = values.ravel() if values.ndim == 2 and 1 in values.shape else values
    if row.shape != (num_frames,) or row.dtype.kind not in "biuf":
        raise LabelError(
            f"{source}: labels of {video}",
            expected=f"numbers of shape ({num_frames},), one per decoded frame",
            got=f"{values.dtype} of shape {values.shape}",
            hint=COUNT_HINT,
        )
    bad = np.flatnonzero(~np.isin(row, (0, 1)))
    if bad.size:
        raise LabelError(f"{source}: labels of {video}", expected="0 or 1", got=f"{row[bad[0]]} at frame {bad[0]}")
    return LabelTrack(video, row.astype(np.bool_))


def read_npy(path: Path, *, mapped: bool = False) -> NDArray[Any]:
    """The array of a .npy file; `mapped` leaves it on disk until it is indexed. Raises LabelError."""
    if not path.is_file():
        pickles = [other for other in (path.with_suffix(".pkl"), path.with_suffix(".pickle")) if other.is_file()]
        if pickles:
            raise LabelError(f"{pickles[0]} is a pickle, which is not opened", expected=path.name, hint=_UNPICKLE)
        raise LabelError("labels", expected=path, got="no such file", hint="a full copy")
    try:
        with path.open("rb") as file:
            _check_npy(file, path.stat().st_size, 2**50 if mapped else MAX_BYTES)
        return np.asanyarray(np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False))
    except Exception as error:  # numpy lets whatever a damaged header leads Python's parser to come out
        raise _damaged(path, "a .npy array of numbers", error) from None


def _check_npy(file: IO[bytes], size: int, most: int) -> None:
    """Raises ValueError for a .npy file of `size` bytes that is none, or claims to hold more than it or `most`."""
    if file.read(6) != b"\x93NUMPY":
        raise ValueError("it does not begin like one")
    file.seek(0)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version[0]}.{version[1]} of its form")
    shape, _, dtype = read(file)
    claimed = dtype.itemsize * math.prod(shape)
    if not dtype.hasobject and (min(shape, default=0) < 0 or claimed > min(size, most)):
        raise ValueError(f"{claimed:,} bytes of numbers claimed, in a file of {size:,} bytes")


def _damaged(path: Path, expected: str, error: Exception) -> LabelError:
    if "allow_pickle" in str(error):
        return LabelError(f"{path} holds pickled objects, which are not opened", expected=expected, hint=_UNPICKLE)
    return LabelError(f"{path}", expected=expected, got=f"a damaged file ({error})")
