"""Tracks on feature rows: each row gets the id of its box, and rows can be averaged along their track."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.records import FeatureTable, Float32, Float64, Int64


def with_tracks(features: FeatureTable, frame_index: Int64, box_xyxy: Float32, track_id: Int64) -> FeatureTable:
    """The table with a track id on each row, found by its frame and box, which must agree to the last bit.

    frame_index (N,), box_xyxy (N, 4) and track_id (N,) are those of the regions, in any order; the table may hold fewer
    rows. A row whose box is not among the regions gets -1; a frame-centric table stays as it is.
    """
    if features.box_xyxy is None:
        return features
    row_track_id = np.full(len(features), -1, np.int64)
    if len(track_id):
        keys, order = np.unique(row_keys(frame_index, box_xyxy), return_index=True)
        wanted = row_keys(features.frame_index, features.box_xyxy)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        row_track_id = np.where(keys[place] == wanted, track_id[order[place]], -1)
    return replace(features, track_id=row_track_id)


def row_keys(frame_index: Int64, box_xyxy: Float32) -> NDArray[Any]:
    """One value (N,) of 24 bytes per row, equal where frame and box are."""
    keys = np.empty(len(frame_index), [("frame", np.int64), ("box", np.float32, 4)])
    keys["frame"], keys["box"] = frame_index, box_xyxy
    return keys.view("V24")


def average_along_tracks(table: FeatureTable, average_frames: int) -> FeatureTable:
    """Each row becomes the mean of the rows of its track at most `average_frames` frames away, its own included.

    Rows without a track stay as they are, as does the whole table where `average_frames` is 0 or nothing was tracked.
    The means are taken in float64.
    """
    if table.track_id is None or average_frames == 0:
        return table
    values = table.values.copy()
    order = np.argsort(table.track_id, kind="stable")  # within a track the frames stay in order
    starts = np.flatnonzero(np.diff(table.track_id[order], prepend=-1))
    for rows in np.split(order, starts)[1:]:  # rows before the first start have no track
        values[rows] = _moving_mean(table.values[rows], table.frame_index[rows], average_frames)
    return replace(table, values=values)


def _moving_mean(values: Float32, frame_index: Int64, reach: int) -> Float64:
    """Means (N, D) of the rows whose frame is within `reach` of each row's; frame_index (N,) in order."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])  # (N + 1, D)
    first = np.searchsorted(frame_index, frame_index - reach)
    last = np.searchsorted(frame_index, frame_index + reach, side="right")
    return np.asarray((sums[last] - sums[first]) / (last - first)[:, None], np.float64)
