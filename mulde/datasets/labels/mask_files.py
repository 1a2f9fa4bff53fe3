"""Pixel masks: one .npy of all frames, MATLAB's `volLabel`, and labels made from masks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.datasets.base import Video, listing
from mulde.datasets.labels.ground_truth import track_from_mask_arrays
from mulde.datasets.labels.label_files import read_npy
from mulde.datasets.labels.mat_files import read_mat
from mulde.datasets.labels.truth import MaskTruth
from mulde.errors import LabelError
from mulde.records import Bool, LabelTrack


@dataclass(frozen=True)
class NpyMasks:
    """`folder`/NAME.npy: (T, H, W), non-zero = anomalous; one frame at a time is read."""

    folder: Path

    def masks(self, video: Video) -> Iterator[Bool]:
        path = self.folder / f"{video.name}.npy"
        stack = read_npy(path, mapped=True)
        if stack.ndim != 3 or stack.dtype.kind not in "biuf":
            raise LabelError(
                f"{path}: masks of {video.name}",
                expected="numbers of shape (frames, height, width)",
                got=f"{stack.dtype} of shape {stack.shape}",
            )
        return (np.asarray(mask) != 0 for mask in stack)


@dataclass(frozen=True)
class MatMasks:
    """`folder`/N_label.mat of the video whose name ends in the number N: the cell `volLabel`, one (H, W) mask per
    frame, non-zero = anomalous.

    scipy reads the masks of a video at once.
    """

    folder: Path

    def masks(self, video: Video) -> Iterator[Bool]:
        match = re.search(r"([0-9]+)$", video.name)
        path = self.folder / f"{int(match[1]) if match else video.name}_label.mat"
        same = [] if match is None else [other for other in self._numbered if _number(other) == int(match[1])]
        if len(same) > 1:
            raise LabelError(
                f"{self.folder}: masks of {video.name}", expected="one file", got=listing([path.name for path in same])
            )
        path = same[0] if same else path
        return self._frames(path, read_mat(path, "volLabel").ravel())

    @property
    def _numbered(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if _number(path) is not None)

    def _frames(self, path: Path, cells: NDArray[Any]) -> Iterator[Bool]:
        for index, cell in enumerate(cells):
            mask = np.asarray(cell)
            if mask.ndim != 2 or mask.dtype.kind not in "biuf" or mask.shape != np.shape(cells[0]):
                raise LabelError(
                    f"{path}: volLabel{{{index + 1}}}",
                    expected=f"a mask of shape {np.shape(cells[0])}, as in volLabel{{1}}",
                    got=f"{mask.dtype} of shape {mask.shape}",
                )
            yield mask != 0


@dataclass(frozen=True)
class MaskFlags:
    """A frame is anomalous where its mask has an anomalous pixel."""

    source: MaskTruth

    def track(self, video: Video, num_frames: int) -> LabelTrack:
        masks = self.source.masks(video)
        return track_from_mask_arrays(video.name, masks or iter(()), num_frames, f"{video.name}")


def _number(path: Path) -> int | None:
    match = re.fullmatch(r"([0-9]+)_label\.mat", path.name, re.IGNORECASE)
    return int(match[1]) if match else None
