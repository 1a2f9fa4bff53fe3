"""Events: stretches of a video in which its score reaches a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mulde.errors import RecordError
from mulde.records import Float64, Int64


@dataclass(frozen=True)
class ScoreEvent:
    """Frames start:end of one video (half-open positions among its scored frames), its highest score and where."""

    start: int
    end: int
    peak: int
    score: float


def find_events(
    scores: Float64, level: float, *, merge_gap: int = 0, min_length: int = 1, number: Int64 | None = None
) -> list[ScoreEvent]:
    """The stretches of scores (T,) at or above `level`, in order of time.

    Stretches with at most `merge_gap` frames between them are one event; then those shorter than `min_length` frames
    are dropped. number (T,), strictly increasing: which frame of the video each score is of. Gaps and lengths are
    counted in these numbers, so that frames without a score take part as frames below the level; without it no frame
    is missing. What is returned are positions in `scores`. Raises RecordError for numbers that do not fit.
    """
    if number is None:
        number = np.arange(scores.size)
    elif number.shape != scores.shape or np.any(number[1:] <= number[:-1]):
        raise RecordError("numbers of frames", expected=f"{scores.size} that increase", got=f"{number.size}: {number}")
    above = np.flatnonzero(scores >= level)
    events = []
    for positions in np.split(above, np.flatnonzero(np.diff(number[above]) - 1 > merge_gap) + 1):
        if positions.size and number[positions[-1]] - number[positions[0]] + 1 >= min_length:
            start, end = int(positions[0]), int(positions[-1]) + 1
            peak = start + int(np.argmax(scores[start:end]))
            events.append(ScoreEvent(start, end, peak, float(scores[peak])))
    return events
