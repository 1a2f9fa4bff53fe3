"""True regions and tracks where a data set has pixel masks only: an approximation, named as such in every table."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mulde.records import Bool, TruthRegions

_EIGHT_NEIGHBOURS = np.ones((3, 3), np.bool_)


def regions_from_masks(video: str, masks: Iterable[Bool]) -> TruthRegions:
    """Boxes around the connected parts (8 neighbours) of each mask, linked to tracks: an approximation of annotations.

    masks: (H, W) bool, one per frame, all of one size; one is held at a time. A part belongs to the track of the part
    in the frame before with which it shares most pixels, and starts a track where it shares none. So two anomalies that
    touch count as one, and one that is cut in two is two regions on one track.
    """
    from scipy import ndimage

    box_xyxy: list[tuple[int, int, int, int]] = []
    frame_index: list[int] = []
    track_id: list[int] = []
    tracks_before: NDArray[np.int32] | None = None  # (H, W) track number + 1 of each pixel; None: no anomaly
    num_tracks = 0
    for frame, mask in enumerate(masks):
        if not mask.any():
            tracks_before = None
            continue
        (top, bottom), (left, right) = (np.flatnonzero(mask.any(axis=axis))[[0, -1]].tolist() for axis in (1, 0))
        used = np.s_[top : bottom + 1, left : right + 1]  # parts are looked for here alone: anomalies are small
        parts, _ = ndimage.label(mask[used], _EIGHT_NEIGHBOURS)
        tracks_now = np.zeros(mask.shape, np.int32)
        for part, where in enumerate(ndimage.find_objects(parts), start=1):
            rows, columns = where
            inside = parts[where] == part
            shared = np.zeros(1, np.int64) if tracks_before is None else np.bincount(tracks_before[used][where][inside])
            shared[0] = 0  # pixels that were normal in the frame before
            track = int(np.argmax(shared)) if shared.any() else num_tracks + 1
            num_tracks = max(num_tracks, track)
            tracks_now[used][where][inside] = track
            box_xyxy.append((left + columns.start, top + rows.start, left + columns.stop, top + rows.stop))
            frame_index.append(frame)
            track_id.append(track - 1)
        tracks_before = tracks_now
    return TruthRegions(
        video,
        np.array(box_xyxy, np.float32).reshape(-1, 4),
        np.array(frame_index, np.int64),
        np.array(track_id, np.int64),
    )
