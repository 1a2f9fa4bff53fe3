"""Heat maps: where in each frame the scores are, as one array per video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.errors import MuldeError
from mulde.files import atomic_write, write_json
from mulde.names import output_path
from mulde.pipeline.model.calibration import combine
from mulde.records import Float64, Int64, RegionScores, ScoreTrack

MAX_CELLS = 64
"""Along the longer side of a frame."""
_FRAMES_AT_ONCE = 256
_HIGHEST = float(np.finfo(np.float16).max)


def write_heat_maps(
    track: ScoreTrack, regions: RegionScores | None, size_hw: tuple[int, int], how: str, folder: Path
) -> Path:
    """`<folder>/<video>.npy`, float16 (T, h, w): a map for each scored frame, in square cells, at most 64 along the
    longer side of frames of `size_hw`; and `<video>.json`, which says what it holds. The path of the array.

    A cell that a box touches has the box's score, the highest where there are several, other cells have 0; the streams
    without boxes are combined with that, as `how` (sum or max) says, everywhere. Memory does not grow with T.
    """
    if regions is not None and regions.size_hw != size_hw:
        raise MuldeError(f"boxes of {track.video}", expected=f"frames of {size_hw}", got=f"{regions.size_hw}")
    cell_px = -(-max(size_hw) // MAX_CELLS)
    grid_hw = (-(-size_hw[0] // cell_px), -(-size_hw[1] // cell_px))
    on_boxes = set(regions.streams) if regions is not None else set()
    on_frames = {name: values for name, values in track.streams.items() if name not in on_boxes}
    path = output_path(folder, track.video, ".npy")
    shape = (len(track), *grid_hw)
    with atomic_write(path) as partial, partial.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for maps in _maps(track, regions, on_frames, how, cell_px, grid_hw):
            file.write(np.clip(maps, -_HIGHEST, _HIGHEST).astype(np.float16).tobytes())
    write_json(path.with_suffix(".json"), _facts(track, size_hw, cell_px, sorted(on_boxes), sorted(on_frames), how))
    return path


def _maps(
    track: ScoreTrack,
    regions: RegionScores | None,
    on_frames: dict[str, Float64],
    how: str,
    cell_px: int,
    grid_hw: tuple[int, int],
) -> Iterator[Float64]:
    """The maps (N, h, w) of a few hundred frames at a time."""
    whole = combine(on_frames, how) if on_frames else None
    for first in range(0, len(track), _FRAMES_AT_ONCE):
        frames = track.frame_index[first : first + _FRAMES_AT_ONCE]
        maps = np.zeros((len(frames), *grid_hw))
        if regions is not None:
            _put_boxes(maps, regions, frames, cell_px)
        if whole is not None:
            everywhere = np.broadcast_to(whole[first : first + len(frames), None, None], maps.shape)
            maps = combine({"boxes": maps, "frames": everywhere}, how) if regions is not None else everywhere
        yield maps


def _put_boxes(maps: Float64, regions: RegionScores, frames: Int64, cell_px: int) -> None:
    """The scores of the boxes in `frames` (N,) onto maps (N, h, w) of zeros."""
    rows = slice(*np.searchsorted(regions.frame_index, [frames[0], frames[-1] + 1]))
    order = np.argsort(regions.anomaly_score[rows], kind="stable")  # so that the highest is written last
    scores = regions.anomaly_score[rows][order]
    place = np.searchsorted(frames, regions.frame_index[rows][order])
    corner: NDArray[Any] = np.maximum(regions.box_xyxy[rows][order] / cell_px, 0)
    low, high = np.floor(corner[:, :2]).astype(int), np.ceil(corner[:, 2:]).astype(int)
    for at, (x0, y0), (x1, y1), score in zip(place, low, high, scores, strict=True):
        maps[at, y0:y1, x0:x1] = score


def _facts(
    track: ScoreTrack, size_hw: tuple[int, int], cell_px: int, on_boxes: list[str], on_frames: list[str], how: str
) -> dict[str, Any]:
    starts = np.flatnonzero(np.diff(track.frame_index, prepend=-2) != 1)
    runs = np.split(track.frame_index, starts[1:]) if len(track) else []
    return {
        "video": track.video,
        "axes": ["frame", "row", "column"],
        "frames": [[int(run[0]), int(run[-1]) + 1] for run in runs],  # half-open ranges, one after the other
        "cell_px": cell_px,
        "size_hw": list(size_hw),
        "streams_on_boxes": on_boxes,
        "streams_on_whole_frames": on_frames,
        "combined_by": how,
    }
