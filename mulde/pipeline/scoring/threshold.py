"""The alarm level, set on held-out normal video alone, and the events above it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

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
from mulde.records import Analysed, ScoredVideo, ScoreTrack

DEFAULT_RATE_PER_HOUR = 1.0
_NAME = "alarm"  # of the level in tables
_MAX_LEVELS = 500


@dataclass(frozen=True)
class AlarmRule:
    """When the scores of a model are an alarm: a threshold for scores smoothed both ways and one for causal ones; by
    which of the two events are found; and the normal video, smoothed that way, that p-values of events come from."""

    rules: EventRules
    centred: Threshold
    causal: Threshold
    normal: tuple[NormalVideo, ...]
    smoothing: Literal["centred", "causal"] = "centred"

    @property
    def threshold(self) -> Threshold:
        """The one that events are found by."""
        return self.causal if self.smoothing == "causal" else self.centred

    @property
    def levels(self) -> dict[SmoothingMode, dict[str, float]]:
        """As `evaluate_tracks` takes them."""
        return {"causal": {_NAME: self.causal.level}, "centred": {_NAME: self.centred.level}}

    def as_record(self) -> AlarmRecord:
        """What a run folder keeps of it."""
        return AlarmRecord(
            false_alarms_per_hour=self.threshold.wanted_per_hour,
            merge_gap_s=self.rules.merge_gap_s,
            min_length_s=self.rules.min_length_s,
            levels=self.levels,
            smoothing=self.smoothing,
            statement=self.threshold.statement(),
            normal=self._normal_counts(),
        )

    def _normal_counts(self) -> NormalLevels:
        """How many events the held-out normal video has at levels (K,), falling, and how many hours it lasts: what a
        person sees who moves the level."""
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
    wanted, smoothing = settings.false_alarms_per_hour, bundle.settings.fusion.smoothing
    modes: tuple[SmoothingMode, ...] = ("causal", "centred") if smoothing == "causal" else ("centred", "causal")
    normal = {mode: bundle.smoothed_normal[mode] for mode in modes}  # the one that counts comes first
    rules = EventRules(settings.merge_gap_s, settings.min_length_s)
    options = {"merge_gap_s": rules.merge_gap_s, "min_length_s": rules.min_length_s}
    if not any(video.scores.size for video in normal[smoothing]):
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
    if thresholds is None:
        return None
    return AlarmRule(rules, thresholds["centred"], thresholds["causal"], tuple(normal[smoothing]), smoothing)


def _default_thresholds(
    normal: Mapping[SmoothingMode, list[NormalVideo]], options: Mapping[str, float], reporter: Reporter
) -> dict[SmoothingMode, Threshold] | None:
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
) -> dict[SmoothingMode, Threshold]:
    """Events use the threshold of the first kind of scores, which is for exactly the wanted rate or refused. The other
    one is only used for figures: where the video does not support the rate, it is for the lowest possible."""
    first, other = normal
    chosen = alarm_level(normal[first], wanted, **options)
    try:
        return {first: chosen, other: alarm_level(normal[other], wanted, **options)}
    except UsageError as error:
        second = alarm_level(normal[other], max(wanted, lowest_rate(normal[other], **options)), **options)
        what = "causal scores" if other == "causal" else "scores smoothed both ways"
        reporter.warn(f"the threshold of {what} is for {second.wanted_per_hour:.3g} per hour; {error}")
        return {first: chosen, other: second}


def _thresholds(
    normal: Mapping[SmoothingMode, list[NormalVideo]], wanted: float, options: Mapping[str, float]
) -> dict[SmoothingMode, Threshold]:
    return {mode: alarm_level(videos, wanted, **options) for mode, videos in normal.items()}


def find_alarms(scored: Mapping[str, ScoredVideo], alarm: AlarmRule) -> list[Event]:
    """The events of the videos, lowest p-value first, without reasons."""
    events = [
        event
        for video in scored.values()
        for event in events_above(video.track, video.rate, alarm.threshold.level, alarm.rules, video.analysed)
    ]
    # An event counts once, by its peak, among the peaks of held-out normal video.
    peaks = np.array([event.score for event in events], np.float64)
    p_values = event_p_values(peaks, alarm.normal, merge_gap_s=alarm.rules.merge_gap_s)
    return sorted_events(replace(event, p_value=float(p)) for event, p in zip(events, p_values, strict=True))


def events_above(
    track: ScoreTrack, rate: float, level: float, rules: EventRules, analysed: Analysed | None = None
) -> Iterator[Event]:
    """The events of smoothed scores at a level, in order of time, without reasons and with a p-value of 1 for now.

    rate: frames per second; analysed: which frames were looked at, None for all. The others, which repeat a score,
    count as nothing but belong to the event of the frame before them.
    """
    rows, number = np.arange(len(track)), track.frame_index
    if analysed is not None:
        rows = np.flatnonzero(analysed.own)
        rate, number = analysed.rate, analysed.number[rows]
    found = find_events(
        track.smoothed[rows], level, merge_gap=rules.merge_gap(rate), min_length=rules.min_length(rate), number=number
    )
    ends = np.append(rows[1:], len(track)) - 1  # the last frame that has the score of each row
    for event in found:
        first, last, peak = rows[event.start], rows[event.end - 1], rows[event.peak]
        yield Event(
            video=track.video,
            start_frame=int(track.frame_index[first]),
            end_frame=int(track.frame_index[ends[event.end - 1]]) + 1,
            start_s=float(track.time_s[first]),
            end_s=float(track.time_s[last]),
            peak_frame=int(track.frame_index[peak]),
            peak_s=float(track.time_s[peak]),
            score=event.score,
            p_value=1.0,
        )
