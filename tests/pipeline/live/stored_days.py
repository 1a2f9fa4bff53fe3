"""Run folders of live cameras with days of scores, as the hours of `mulde watch` lie there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mulde.pipeline.live.daily_scores import OBJECTS
from mulde.pipeline.live.hour_parts import MODEL_FACT, OBJECTS_COLUMN, UTC_COLUMN
from mulde.pipeline.live.utc import HOUR_MS, hour_name
from mulde.pipeline.scoring.frames import write_scores
from mulde.records import Float64, ScoredVideo, ScoreTrack

DAY0 = 20_700  # 2026-09-04
MODEL = "a" * 64
EVERY_S = 60


def write_hour(root: Path, camera: str, hour: int, means: Mapping[str, float], *, model: str = MODEL, rows: int = 30):
    """An hour, counted from 1970, whose streams have these means."""
    wave = np.sin(np.arange(rows))
    wave -= wave.mean()
    streams = {name: mean + 0.1 * wave for name, mean in means.items() if name != OBJECTS}
    fused = np.sum(list(streams.values()), axis=0)
    time_s = EVERY_S * np.arange(rows, dtype=np.float64)
    track = ScoreTrack(
        f"{camera}/{hour_name(hour * HOUR_MS)}", np.arange(rows), time_s, fused, fused, streams, np.full(rows, 0.5)
    )
    further = {UTC_COLUMN: hour * HOUR_MS + (1000 * time_s).astype(np.int64)}
    if OBJECTS in means:
        further[OBJECTS_COLUMN] = np.full(rows, round(means[OBJECTS]), np.int64)
    write_scores(ScoredVideo(track, 1.0, 0, 1 / EVERY_S, is_causal=True), root / "scores", further, {MODEL_FACT: model})


def write_days(root: Path, camera: str, values: Mapping[str, Float64], *, first: int = DAY0, model: str = MODEL):
    """Days from `first` on: values (D, 24) by stream, NaN for hours without scores."""
    num_days = len(next(iter(values.values())))
    for day, hour in np.ndindex(num_days, 24):
        means = {name: float(column[day, hour]) for name, column in values.items()}
        if all(np.isfinite(list(means.values()))):
            write_hour(root, camera, 24 * (first + day) + hour, means, model=model)


def normal_days(num: int, seed: int = 0, hours: slice = slice(0, 24, 4)) -> dict[str, Float64]:
    """Two streams and objects with a rhythm, in a few hours of each day."""
    rng = np.random.default_rng(seed)
    values = {}
    for name, scale in (("velocity", 0.2), ("geometry", 0.2), (OBJECTS, 3.0)):
        rhythm = scale * (10 + np.sin(np.arange(24) / 4))
        column = rhythm + scale * rng.normal(size=(num, 24))
        values[name] = np.full((num, 24), np.nan)
        values[name][:, hours] = column[:, hours]
    return values
