"""Whether the days of cameras are still like those before, stream by stream, from the scores that a run keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mulde.errors import UsageError
from mulde.evaluation.drift import (
    HOURS,
    MIN_REFERENCE_DAYS,
    Direction,
    Drift,
    DriftCourse,
    drift_course,
    hour_differences,
    hourly_gauge,
)
from mulde.pipeline.live.daily_scores import OBJECTS, CameraDays
from mulde.records import Float64

DAYS_BETWEEN = 365.0
"""Days wanted between two false notices of a camera, where nothing else is said."""
_CLEARLY = 1.0
"""An hour of day differs from where its mean is as many standard deviations of the reference days away."""
_WORDS: Mapping[Direction, str] = {"higher": "more unusual", "lower": "less unusual: emptier, or seen less well"}
_OBJECT_WORDS: Mapping[Direction, str] = {"higher": "more than before", "lower": "fewer than before"}
PROMISE = (
    "On average at least {days:g} days to a false notice of a camera, if days are exchangeable; weekends, seasons and "
    "weather void it."
)


@dataclass(frozen=True)
class StreamDrift:
    """A stream, or the number of objects, of a camera day by day. gauge (D, 24): evidence by the hour, of which nothing
    is promised; hours: of day, those that differ where there is a drift."""

    stream: str
    course: DriftCourse
    gauge: Float64
    hours: tuple[int, ...] = ()

    @property
    def evidence(self) -> float:
        """That of the last day; 0 where it is still reference."""
        last = self.course.evidence[-1:]
        return float(last[0]) if len(last) and np.isfinite(last[0]) else 0.0

    @property
    def last_gauge(self) -> float | None:
        """That of the last hour."""
        known = self.gauge[np.isfinite(self.gauge)]
        return float(known[-1]) if len(known) else None


@dataclass(frozen=True)
class CameraDrift:
    """All streams of a camera, and the evidence from which on a stream has drifted. refusal: why nothing can be said,
    or empty."""

    days: CameraDays
    days_between: float
    num_reference: int
    threshold: float
    streams: tuple[StreamDrift, ...]
    refusal: str = ""

    @property
    def camera(self) -> str:
        return self.days.camera

    @property
    def drifting(self) -> list[StreamDrift]:
        """The streams that have drifted and not come back, most evidence first."""
        return sorted((each for each in self.streams if each.course.current), key=lambda each: -each.evidence)

    def text(self, stream: StreamDrift) -> str:
        """In words what has changed in a stream; empty where nothing has."""
        drift = stream.course.current
        if drift is None:
            return ""
        words = (_OBJECT_WORDS if stream.stream == OBJECTS else _WORDS)[drift.direction]
        where = f", {hours_text(stream.hours)}" if stream.hours else ""
        return f"{stream.stream}: {words}, since about {self.days.names[drift.first]}{where}"

    def reason(self) -> str:
        """In words what has changed, as an alert says it; empty where nothing has."""
        return "; ".join(map(self.text, self.drifting))

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        names = self.days.names
        return {
            "camera": self.camera,
            "refusal": self.refusal,
            "days": names,
            "left_out": list(self.days.left_out),
            "days_between_false_notices": self.days_between,
            "reference_days": self.num_reference,
            "threshold": self.threshold,
            "streams": {
                each.stream: {
                    "evidence": each.evidence,
                    "gauge": each.last_gauge,
                    "text": self.text(each),
                    "hours": list(each.hours),
                    "drifts": [_drift_json(drift, names) for drift in each.course.drifts],
                    "p_value_by_day": _or_none(each.course.p_value),
                    "evidence_by_day": _or_none(each.course.evidence),
                }
                for each in self.streams
            },
        }


def camera_drift(days: CameraDays, days_between: float, num_reference: int = MIN_REFERENCE_DAYS) -> CameraDrift:
    """Test the days of a camera. Each stream has an equal share of the false notices, so its threshold is the number of
    streams times the days wanted between two. Raises UsageError for less reference than a week."""
    threshold = len(days.values) * days_between
    if len(days.days) <= num_reference:
        got = f"{len(days.days)} whole day{'s' * (len(days.days) != 1)} with scores of its model"
        refusal = str(
            UsageError(
                "drift",
                expected=f"{num_reference} days of reference and one more to compare with them",
                got=got,
                hint="again when there are more days",
            )
        )
        return CameraDrift(days, days_between, num_reference, threshold, (), refusal)
    streams = []
    for name, values in days.values.items():
        draws = np.stack([_draws(days.camera, name, day) for day in days.names])
        course = drift_course(values, draws[:, HOURS], threshold, num_reference=num_reference)
        gauge = hourly_gauge(values, draws[:, :HOURS], course.is_reference, num_reference=num_reference)
        streams.append(StreamDrift(name, course, gauge, _hours(values, course)))
    return CameraDrift(days, days_between, num_reference, threshold, tuple(streams))


def _draws(camera: str, stream: str, day: str) -> Float64:
    """Numbers (25,) between 0 and 1: the same whenever and wherever a day is tested."""
    digest = hashlib.sha256(f"{camera}\n{stream}\n{day}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big")).random(HOURS + 1)


def _hours(values: Float64, course: DriftCourse) -> tuple[int, ...]:
    drift = course.current
    if drift is None:
        return ()
    differences = hour_differences(values, course.is_reference, drift.first)
    sign = 1 if drift.direction == "higher" else -1
    return tuple(int(hour) for hour in np.flatnonzero(np.nan_to_num(sign * differences) > _CLEARLY))


def hours_text(hours: Sequence[int]) -> str:
    """Hours of day in words: `06-08 and 17 h UTC`, where 06-08 ends with the hour that begins at 8."""
    if len(hours) == HOURS:
        return "at all hours"
    parts: list[list[int]] = []
    for hour in hours:
        if parts and parts[-1][-1] == hour - 1:
            parts[-1].append(hour)
        else:
            parts.append([hour])
    words = [f"{part[0]:02d}" + (f"-{part[-1]:02d}" if len(part) > 1 else "") for part in parts]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) + " h UTC"


def _drift_json(drift: Drift, names: Sequence[str]) -> dict[str, Any]:
    return {
        "direction": drift.direction,
        "since": names[drift.first],
        "noticed": names[drift.noticed],
        "over": None if drift.over is None else names[drift.over],
    }


def _or_none(values: Float64) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
