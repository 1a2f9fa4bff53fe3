"""The alarm level, set on held-out normal video alone, and the events above it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from mulde.config import AlarmSettings
from mulde.errors import UsageError
from mulde.evaluation.alarms import EventRules, FalseAlarmCurve
from mulde.evaluation.conformal import NormalVideo, Threshold, alarm_level, event_p_values, lowest_rate
from mulde.evaluation.events import find_events
from mulde.evaluation.metrics import LabelledScores
from mulde.evaluation.smoothing import SmoothingMode
from mulde.events import Event, sorted_events
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.run_folder import AlarmRecord, NormalLevels
from mulde.progress import Reporter
from mulde.records import Float64, Int64, ScoredVideo

DEFAULT_RATE_PER_HOUR = 1.0
_NAME = "alarm"  # of the level in tables
_MAX_LEVELS = 500


@dataclass(frozen=True)
class AlarmRule:
    """When the scores of a model are an alarm: a level for scores smoothed both ways and one for causal ones, and the
    normal video (smoothed both ways) from which they and the p-values of events come."""

    rules: EventRules
    centred: Threshold
    causal: Threshold
    normal: tuple[NormalVideo, ...]

    @property
    def levels(self) -> dict[SmoothingMode, dict[str, float]]:
        """As `evaluate_tracks` takes them."""
        return {"causal": {_NAME: self.causal.level}, "centred": {_NAME: self.centred.level}}

    def as_record(self) -> AlarmRecord:
        """What a run folder keeps of it."""
        return AlarmRecord(
            false_alarms_per_hour=self.centred.wanted_per_hour,
            merge_gap_s=self.rules.merge_gap_s,
            min_length_s=self.rules.min_length_s,
            levels=self.levels,
            statement=self.centred.statement(),
            normal=self._normal_counts(),
        )

    def _normal_counts(self) -> NormalLevels:
        """How many events the held-out normal video has at levels (K,), falling, and how many hours it lasts: what a
        person sees who moves the level. Scores smoothed both ways."""
        videos = [
            LabelledScores(str(i), video.scores, np.zeros(len(video.scores), np.bool_))
            for i, video in enumerate(self.normal)
        ]
        rates = {str(i): video.rate for i, video in enumerate(self.normal)}
        curve = FalseAlarmCurve.of(videos, rates, self.rules)
        shown = np.unique(
            np.rint(np.linspace(0, curve.levels.size - 1, min(curve.levels.size, _MAX_LEVELS))).astype(int)
        )
        return NormalLevels(
            levels=curve.levels[shown].tolist(),
            num_events=np.maximum.accumulate(curve.num_false)[shown].astype(int).tolist(),
            hours=curve.hours,
        )


def learn_threshold(bundle: Bundle, settings: AlarmSettings, reporter: Reporter) -> AlarmRule | None:
    """The threshold for `settings.false_alarms_per_hour`; None where the model has no normal scores.

    A rate of 0 asks for one per hour, or for the lowest rate that the held-out video supports. Where no level has that
    many false alarms, a lower rate is tried; where that fails too, there is no threshold, with a warning. Raises
    UsageError for a rate that the held-out video does not support.
    """
    wanted = settings.false_alarms_per_hour
    modes: tuple[SmoothingMode, ...] = ("centred", "causal")
    normal = {mode: bundle.smoothed_normal[mode] for mode in modes}
    rules = EventRules(settings.merge_gap_s, settings.min_length_s)
    options = {"merge_gap_s": rules.merge_gap_s, "min_length_s": rules.min_length_s}
    if not any(video.scores.size for video in normal["centred"]):
        if wanted:
            raise UsageError(
                "false alarms per hour",
                expected="a model that keeps the scores of its held-out normal video",
                got="one of an older version",
                hint="to train it again",
            )
        return None
    thresholds = (
        _wanted_thresholds(normal, wanted, options, reporter)
        if wanted
        else _default_thresholds(normal, options, reporter)
    )
    return None if thresholds is None else AlarmRule(rules, *thresholds, tuple(normal["centred"]))


def _default_thresholds(
    normal: Mapping[SmoothingMode, list[NormalVideo]], options: Mapping[str, float], reporter: Reporter
) -> tuple[Threshold, Threshold] | None:
    # Few hours of normal video support no low rate: with n hours, nothing can be said about less than about 1/n.
    lowest = max(lowest_rate(videos, **options) for videos in normal.values())
    if lowest > DEFAULT_RATE_PER_HOUR:
        possible = math.ceil(10 * lowest - 1e-6) / 10  # rounded up, so that a person who asks for it is not refused
        reporter.say(f"the held-out normal video supports no fewer than {possible:g} false alarms per hour")
    refused: UsageError
    # Video in which little happens has less than one event per hour at any level; then the lowest rate may still fit.
    for wanted in (max(DEFAULT_RATE_PER_HOUR, lowest), lowest):
        try:
            return _thresholds(normal, wanted, options)
        except UsageError as error:
            refused = error
    reporter.warn(f"no alarm level, so no events; {refused}")
    return None


def _wanted_thresholds(
    normal: Mapping[SmoothingMode, list[NormalVideo]], wanted: float, options: Mapping[str, float], reporter: Reporter
) -> tuple[Threshold, Threshold]:
    """Events use the threshold of scores smoothed both ways, which is for exactly the wanted rate or refused. That of
    causal scores is only used for figures: where the video does not support the rate, it is for the lowest possible."""
    centred = alarm_level(normal["centred"], wanted, **options)
    try:
        return centred, alarm_level(normal["causal"], wanted, **options)
    except UsageError as error:
        causal = alarm_level(normal["causal"], max(wanted, lowest_rate(normal["causal"], **options)), **options)
        reporter.warn(f"the threshold of causal scores is for {causal.wanted_per_hour:.3g} per hour; {error}")
        return centred, causal


def _thresholds(
    normal: Mapping[SmoothingMode, list[NormalVideo]], wanted: float, options: Mapping[str, float]
) -> tuple[Threshold, Threshold]:
    """The thresholds of scores smoothed both ways and of causal ones."""
    centred, causal = (alarm_level(normal[mode], wanted, **options) for mode in ("centred", "causal"))
    return centred, causal


def find_alarms(scored: Mapping[str, ScoredVideo], alarm: AlarmRule) -> list[Event]:
    """The events of the videos (scores smoothed both ways), lowest p-value first, without reasons."""
    events = [
        event
        for name, video in scored.items()
        for event in events_above(
            name,
            video.track.frame_index,
            video.track.time_s,
            video.track.smoothed,
            video.rate,
            alarm.centred.level,
            alarm.rules,
        )
    ]
    # An event counts once, by its peak, among the peaks of held-out normal video.
    peaks = np.array([event.score for event in events], np.float64)
    p_values = event_p_values(peaks, alarm.normal, merge_gap_s=alarm.rules.merge_gap_s)
    return sorted_events(replace(event, p_value=float(p)) for event, p in zip(events, p_values, strict=True))


def events_above(
    video: str, frame_index: Int64, time_s: Float64, scores: Float64, rate: float, level: float, rules: EventRules
) -> Iterator[Event]:
    """The events of scores (T,) at a level, in order of time, without reasons and with a p-value of 1 for now.

    frame_index (T,), time_s (T,): frame and time of each score; rate: frames per second.
    """
    merge_gap, min_length = rules.merge_gap(rate), rules.min_length(rate)
    for event in find_events(scores, level, merge_gap=merge_gap, min_length=min_length):
        last = event.end - 1
        yield Event(
            video=video,
            start_frame=int(frame_index[event.start]),
            end_frame=int(frame_index[last]) + 1,
            start_s=float(time_s[event.start]),
            end_s=float(time_s[last]),
            peak_frame=int(frame_index[event.peak]),
            peak_s=float(time_s[event.peak]),
            score=event.score,
            p_value=1.0,
        )
