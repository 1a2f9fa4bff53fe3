"""Event figures: which true events an alarm level finds, how late, and how often it is wrong.

Alarms are the events of `find_events` on the scores of a video; true events are the anomalous spans of its labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mulde.errors import UsageError
from mulde.evaluation.events import find_events
from mulde.evaluation.metrics import LabelledScores, pool
from mulde.records import Bool, Float64, spans

ORACLE_RATES_PER_HOUR = (1.0, 10.0, 60.0)


@dataclass(frozen=True)
class EventRules:
    """What makes one alarm: gaps of at most merge_gap_s are closed, then those shorter than min_length_s dropped."""

    merge_gap_s: float = 1.0
    min_length_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("merge_gap_s", self.merge_gap_s), ("min_length_s", self.min_length_s)):
            if not (np.isfinite(value) and value >= 0):
                raise UsageError(f"{name} of events", expected="a finite number of seconds, 0 or more", got=value)

    def merge_gap(self, rate: float) -> int:
        """Frames of the widest gap that is closed, at `rate` frames per second."""
        return round(self.merge_gap_s * rate)

    def min_length(self, rate: float) -> int:
        """Frames of the shortest alarm that stays, at `rate` frames per second."""
        return max(round(self.min_length_s * rate), 1)


@dataclass(frozen=True)
class OperatingPoint:
    """Event figures at one level; None where undefined.

    recall: share of the true events that an alarm overlaps by at least one frame; delay_s: from the start of a found
    event to the first frame of an alarm inside it, 0 where the alarm already stood; a false alarm overlaps no true
    event; normal_hours: the frames labelled normal, which false_alarms_per_hour divides by; num_frames_flagged and
    num_normal_frames_flagged: frames inside alarms, which tell an alarm that always stands (every event found, no false
    alarm) from a good one; null_recall: see `with_null_recall`. A name with `oracle`: the level was read off the test
    labels.
    """

    name: str
    level: float
    num_true_events: int
    num_found: int
    recall: float | None
    delay_s_median: float | None
    delay_s_mean: float | None
    num_alarms: int
    num_false_alarms: int
    normal_hours: float
    false_alarms_per_hour: float | None
    num_frames_flagged: int
    num_normal_frames_flagged: int
    null_recall: Mapping[str, float] = field(default_factory=dict)


def operating_point(
    name: str, level: float, videos: Sequence[LabelledScores], rates: Mapping[str, float], rules: EventRules
) -> OperatingPoint:
    """The event figures of videos at `level`; rates: video -> frames per second."""
    tallies = [_tally(video, level, rates[video.video], rules) for video in videos]
    delays_s = np.concatenate([np.zeros(0), *(tally.delays_s for tally in tallies)])
    num_true = sum(tally.num_true for tally in tallies)
    num_false = sum(tally.num_false for tally in tallies)
    hours = normal_hours(videos, rates)
    return OperatingPoint(
        name=name,
        level=level,
        num_true_events=num_true,
        num_found=delays_s.size,
        recall=delays_s.size / num_true if num_true else None,
        delay_s_median=float(np.median(delays_s)) if delays_s.size else None,
        delay_s_mean=float(np.mean(delays_s)) if delays_s.size else None,
        num_alarms=sum(tally.num_alarms for tally in tallies),
        num_false_alarms=num_false,
        normal_hours=hours,
        false_alarms_per_hour=num_false / hours if hours else None,
        num_frames_flagged=sum(tally.num_flagged for tally in tallies),
        num_normal_frames_flagged=sum(tally.num_normal_flagged for tally in tallies),
    )


@dataclass(frozen=True)
class _Tally:
    """The counts of one video; delays_s has one value per event found."""

    delays_s: Float64
    num_true: int
    num_alarms: int
    num_false: int
    num_flagged: int
    num_normal_flagged: int


def _tally(video: LabelledScores, level: float, rate: float, rules: EventRules) -> _Tally:
    events = find_events(video.scores, level, merge_gap=rules.merge_gap(rate), min_length=rules.min_length(rate))
    starts, ends = np.array([(event.start, event.end) for event in events], np.int64).reshape(-1, 2).T
    true_starts, true_ends = np.array(spans(video.anomalous), np.int64).reshape(-1, 2).T
    # The first alarm that ends after a true event starts is the first that can overlap it: alarms are in order.
    first = np.append(starts, video.scores.size)[np.searchsorted(ends, true_starts, side="right")]
    is_found = first < true_ends
    anomalous_before = np.concatenate([[0], np.cumsum(video.anomalous)])
    anomalous_inside = anomalous_before[ends] - anomalous_before[starts]
    num_flagged = int(np.sum(ends - starts))
    return _Tally(
        delays_s=np.maximum(first - true_starts, 0)[is_found] / rate,
        num_true=true_starts.size,
        num_alarms=starts.size,
        num_false=int(np.sum(anomalous_inside == 0)),
        num_flagged=num_flagged,
        num_normal_flagged=num_flagged - int(np.sum(anomalous_inside)),
    )


def normal_hours(videos: Sequence[LabelledScores], rates: Mapping[str, float]) -> float:
    """How long the frames labelled normal last; rates: video -> frames per second."""
    return float(sum(np.sum(~v.anomalous) / rates[v.video] for v in videos)) / 3600


@dataclass(frozen=True)
class FalseAlarmCurve:
    """False alarms at all levels at once, and the level at which they reach a limit.

    levels (K,), falling strictly: those at which num_false (K,) changes; hours: how long the normal frames last; scores
    (N,): all of them; normal (M,): falling, the levels from which each normal frame is inside an alarm.
    """

    levels: Float64
    num_false: Float64
    hours: float
    scores: Float64
    normal: Float64

    @classmethod
    def of(cls, videos: Sequence[LabelledScores], rates: Mapping[str, float], rules: EventRules) -> FalseAlarmCurve:
        """rates: video -> frames per second."""
        merged = [
            _merged_scores(v.scores, rules.merge_gap(rates[v.video]), rules.min_length(rates[v.video])) for v in videos
        ]
        steps = [
            step for values, v in zip(merged, videos, strict=True) for step in _false_alarm_steps(values, v.anomalous)
        ]
        levels = np.concatenate([np.zeros(0), *(values for values, _ in steps)])
        change = np.concatenate([np.zeros(0), *(np.full(values.size, by) for values, by in steps)])
        order = np.argsort(-levels)
        levels, num_false = levels[order], np.cumsum(change[order])
        last = np.append(levels[1:] != levels[:-1], levels.size > 0) & np.isfinite(levels)
        normal = np.concatenate([np.zeros(0), *(m[~v.anomalous] for m, v in zip(merged, videos, strict=True))])
        return cls(levels[last], num_false[last], normal_hours(videos, rates), pool(videos)[0], np.sort(normal)[::-1])

    def lowest_level(self, limit_per_hour: float, max_normal_frames: int | None = None) -> float | None:
        """The lowest score such that no level from it up makes more than that many false alarms per normal hour.

        And, where `max_normal_frames` is given, has no more normal frames inside alarms. Just above all scores where
        the very first alarm breaks the limit; None without normal frames. Levels far below may keep the limit again,
        when all alarms have grown into one.
        """
        if not self.hours:
            return None
        limit = limit_per_hour * self.hours * (1 + 1e-9)  # rounding must not refuse a limit that is met exactly
        broken = self.levels[self.num_false > limit].max(initial=-np.inf)
        if max_normal_frames is not None and max_normal_frames < self.normal.size:
            broken = max(broken, self.normal[max_normal_frames])
        kept = self.scores[self.scores > broken]
        return float(kept.min() if kept.size else np.nextafter(self.scores.max(), np.inf))


def with_null_recall(
    points: Sequence[OperatingPoint],
    nulls: Mapping[str, Sequence[LabelledScores]],
    rates: Mapping[str, float],
    rules: EventRules,
) -> tuple[OperatingPoint, ...]:
    """The points, each with the share of the true events that every null score finds where it is as sparing.

    That is, at its lowest level that makes no more false alarms and flags no more normal frames. nulls: name -> the
    videos of the points with null scores.
    """
    all_recalls: list[dict[str, float]] = [{} for _ in points]
    for name, videos in nulls.items():
        curve = FalseAlarmCurve.of(videos, rates, rules)
        for point, recalls in zip(points, all_recalls, strict=True):
            if point.false_alarms_per_hour is None or point.recall is None:
                continue
            level = curve.lowest_level(point.false_alarms_per_hour, point.num_normal_frames_flagged)
            if level is not None:
                recalls[name] = operating_point(name, level, videos, rates, rules).num_found / point.num_true_events
    return tuple(replace(point, null_recall=recalls) for point, recalls in zip(points, all_recalls, strict=True))


def _false_alarm_steps(merged: Float64, anomalous: Bool) -> Iterator[tuple[Float64, float]]:
    """Levels, and by how much the number of false alarms grows when a falling level reaches each of them.

    An alarm is a run of frames in time. A run begins at each peak, and two become one at each dip between. The same
    holds for the runs with an anomalous frame in them, along the path that alternates between anomalous frames and the
    lowest score on the way to the next one; false alarms are all runs less those.
    """
    frames = np.flatnonzero(anomalous)
    path = np.repeat(merged[frames], 2)[:-1]
    if frames.size > 1:  # reduceat works on half-open ranges, so the last of them ends before the last anomalous frame
        path[1::2] = np.minimum(np.minimum.reduceat(merged[: frames[-1]], frames[:-1]), merged[frames[1:]])
    for values, by in ((merged, 1.0), (path, -1.0)):
        peaks, dips = _turns(values)
        yield peaks, by
        yield dips, -by


def _turns(values: Float64) -> tuple[Float64, Float64]:
    """The peaks of values (T,), ends included, and the dips between them; a plateau counts once."""
    if not values.size:
        return values, values
    values = values[np.append(True, values[1:] != values[:-1])]
    rises = values[1:] > values[:-1]
    peaks = np.append(True, rises) & np.append(~rises, True)
    dips = np.append(False, ~rises) & np.append(rises, False)
    return values[peaks], values[dips]


def _merged_scores(scores: Float64, merge_gap: int, min_length: int) -> Float64:
    """Scores (T,) whose runs at or above any level are the events of `find_events` at that level; -inf is in none.

    Closing gaps and dropping short runs, done to all levels at once: a grey closing and a grey opening in time.
    """
    from scipy import ndimage

    def greatest(values: Float64, size: int, origin: int) -> Float64:
        return np.asarray(ndimage.maximum_filter1d(values, size, mode="constant", cval=-np.inf, origin=origin))

    def lowest(values: Float64, size: int, origin: int) -> Float64:
        return np.asarray(ndimage.minimum_filter1d(values, size, mode="constant", cval=-np.inf, origin=origin))

    def ending(size: int) -> int:  # origin of the window whose last frame is the frame itself
        return (size - 1) // 2

    def beginning(size: int) -> int:
        return -(size // 2)

    size = merge_gap + 1
    padded = np.append(scores, np.full(merge_gap, -np.inf))  # so that a gap at the end of the video is not closed
    closed = lowest(greatest(padded, size, ending(size)), size, beginning(size))[: scores.size]
    return greatest(lowest(closed, min_length, ending(min_length)), min_length, beginning(min_length))
