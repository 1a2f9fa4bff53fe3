"""Events: stretches of a video in which its score reaches a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mulde.records import Float64, spans


@dataclass(frozen=True)
class ScoreEvent:
    """Frames start:end of one video (half-open positions among its scored frames), its highest score and where."""

    start: int
    end: int
    peak: int
    score: float


def find_events(scores: Float64, level: float, *, merge_gap: int = 0, min_length: int = 1) -> list[ScoreEvent]:
    """The stretches of scores (T,) at or above `level`, in order of time.

    Stretches with at most `merge_gap` frames between them are one event; then those shorter than `min_length` frames
    are dropped.
    """
    events = []
    for start, end in _merged(spans(scores >= level), merge_gap):
        if end - start >= min_length:
            peak = start + int(np.argmax(scores[start:end]))
            events.append(ScoreEvent(start, end, peak, float(scores[peak])))
    return events


def _merged(ranges: list[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in ranges:
        if merged and start - merged[-1][1] <= gap:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
