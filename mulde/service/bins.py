"""Scores of a time as a few numbers: the lowest and the highest in each of many equal parts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mulde.errors import MuldeError
from mulde.parquet import read_parquet, reading
from mulde.pipeline.live.hour_parts import UTC_COLUMN, part_path, read_hour
from mulde.pipeline.live.utc import HOUR_MS, hour_name
from mulde.pipeline.scoring.frames import score_path
from mulde.records import Float64, Int64

Bin = tuple[int, float, float] | None
Pair = tuple[Int64, Float64]
MAX_SPAN_MS = 31 * 24 * HOUR_MS
_MAX_HOURS = 200


def binned(pairs: Iterable[tuple[Int64, NDArray[Any]]], start_ms: int, end_ms: int, points: int) -> list[Bin]:
    """(start of the part, lowest, highest) of `points` equal parts of start_ms to end_ms, None for a part without a
    score. pairs: times and scores (N,), which may come twice."""
    lowest, highest = np.full(points, np.inf), np.full(points, -np.inf)
    span_ms = end_ms - start_ms
    for utc_ms, scores in pairs:
        wanted = (utc_ms >= start_ms) & (utc_ms < end_ms)
        # Whole numbers throughout: a part begins at its first millisecond.
        place = (utc_ms[wanted] - start_ms) * points // span_ms
        np.minimum.at(lowest, place, scores[wanted])
        np.maximum.at(highest, place, scores[wanted])
    starts = [start_ms + -(-i * span_ms // points) for i in range(points)]
    return [
        (starts[i], float(lowest[i]), float(highest[i])) if lowest[i] <= highest[i] else None for i in range(points)
    ]


class HourTables:
    """The scores of hours of cameras as the run folder has them; those read last stay in memory. For one thread at a
    time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: OrderedDict[str, tuple[tuple[int, ...], Pair]] = OrderedDict()

    def between(self, camera: str, start_ms: int, end_ms: int) -> list[Pair]:
        """Times and scores of all hours that a time touches; a table that is damaged is left out."""
        pairs = []
        for hour_ms in range(start_ms // HOUR_MS * HOUR_MS, end_ms, HOUR_MS):
            try:
                pair = self._hour(f"{camera}/{hour_name(hour_ms)}")
            except MuldeError:
                continue
            if pair is not None:
                pairs.append(pair)
        return pairs

    def _hour(self, video: str) -> Pair | None:
        paths = score_path(self._root / "scores", video), part_path(self._root, video)
        stamp = tuple(number for path in paths for number in _stamp(path))
        if not any(stamp):
            return None
        known = self._read.get(video)
        if known is not None and known[0] == stamp:
            self._read.move_to_end(video)
            return known[1]
        pair = _table(paths[0]) if not stamp[2] else _with_part(self._root, video)
        self._read[video] = stamp, pair
        self._read.move_to_end(video)
        while len(self._read) > _MAX_HOURS:
            self._read.popitem(last=False)
        return pair


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _table(path: Path) -> Pair:
    with reading("score table", path):
        table = read_parquet(path, {UTC_COLUMN: "whole", "smoothed": "number"}, facts=False)
        return table.whole[UTC_COLUMN], table.number["smoothed"].astype(np.float64)


def _with_part(root: Path, video: str) -> Pair:
    hour = read_hour(root, video)
    if hour is None:
        return np.zeros(0, np.int64), np.zeros(0)
    return hour.utc_ms, hour.scored.track.smoothed
