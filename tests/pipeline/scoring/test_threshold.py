"""The alarm level of a model and the events above it, on scores made by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest

from mulde.config import AlarmSettings, Settings
from mulde.errors import UsageError
from mulde.evaluation.alarms import EventRules
from mulde.evaluation.conformal import NormalVideo, Threshold, alarm_level, count_events, event_p_values, lowest_rate
from mulde.evaluation.smoothing import smooth
from mulde.events import Event
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.model.training_record import TrainingRecord
from mulde.pipeline.scoring.threshold import AlarmRule, find_alarms, learn_threshold
from mulde.progress import Reporter
from mulde.records import ScoredVideo, ScoreTrack
from mulde.settings_file import load_settings

RATE = 2.0
GAPS = {"merge_gap_s": 1.0, "min_length_s": 0.0}


def model(*scores: np.ndarray, settings: Settings | None = None) -> Bundle:
    """A model of which only the held-out normal video is asked."""
    normal = {f"n{i}": NormalVideo(np.asarray(one, np.float64), RATE) for i, one in enumerate(scores)}
    return Bundle({}, settings or Settings(), {}, TrainingRecord(), normal)


def noise(num_videos: int, minutes: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=round(minutes * 60 * RATE)) for _ in range(num_videos)]


def learn(bundle: Bundle, **settings: float) -> AlarmRule | None:
    return learn_threshold(bundle, AlarmSettings(**settings), Reporter())


@pytest.mark.parametrize("smoothing_s", [0.0, 2.0])
def test_each_smoothing_has_the_level_of_its_own_scores(smoothing_s):
    scores = noise(10, 20)
    bundle = model(*scores, settings=load_settings(overrides=[f"fusion.smoothing_s={smoothing_s}"]))
    rule = learn(bundle, false_alarms_per_hour=6)
    for mode in ("centred", "causal"):
        smoothed = [NormalVideo(smooth(one, smoothing_s * RATE, mode), RATE) for one in scores]
        alarm = getattr(rule, mode)
        assert alarm == alarm_level(smoothed, 6, **GAPS)
        assert rule.levels[mode] == {"alarm": alarm.level}
        assert sum(count_events(one, alarm.level, **GAPS) for one in smoothed) == alarm.num_seen > 0
    assert (rule.centred.level != rule.causal.level) == (smoothing_s > 0)
    np.testing.assert_array_equal(rule.normal[0].scores, smooth(scores[0], smoothing_s * RATE, "centred"))


def test_the_default_is_one_an_hour_where_the_footage_supports_it(capsys):
    rule = learn(model(*noise(12, 20)))
    assert rule.centred.wanted_per_hour == rule.causal.wanted_per_hour == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("minutes", [2, 1.03, 0.2])
def test_the_default_is_as_few_as_short_footage_supports_and_says_so(capsys, minutes):
    bundle = model(*noise(3, minutes))
    rule = learn(bundle)
    least = rule.centred.wanted_per_hour
    assert least == max(alarm.lowest_per_hour for alarm in (rule.centred, rule.causal)) >= 10
    said = " ".join(capsys.readouterr().err.split())
    number = re.fullmatch("the held-out normal video supports no fewer than (.*) false alarms per hour", said)[1]
    assert least - 1e-6 <= float(number) < least + 0.2
    assert learn(bundle, false_alarms_per_hour=float(number)) is not None
    assert rule.as_record().false_alarms_per_hour == least


def test_a_rate_that_the_footage_does_not_support_is_refused():
    bundle = model(*noise(3, 2))
    with pytest.raises(UsageError, match=r"expected at least .* 6\.0 minutes of held-out normal .*, got 1\. Try:"):
        learn(bundle, false_alarms_per_hour=1)
    with pytest.raises(UsageError, match="at no level has the held-out normal video more events"):
        learn(bundle, false_alarms_per_hour=50_000)


def test_a_model_without_normal_scores_has_no_alarm_and_refuses_to_be_asked_for_one():
    assert learn(model()) is None
    assert learn(model(np.zeros(0))) is None
    with pytest.raises(UsageError, match=r"expected a model that keeps the scores .* Try: to train it again"):
        learn(model(), false_alarms_per_hour=1)


def test_still_video_has_fewer_than_one_alarm_an_hour_and_a_level_all_the_same():
    """No level gives hours of equal scores one event an hour; the default falls to what it gives."""
    rule = learn(model(np.zeros(round(10 * 3600 * RATE))))
    assert rule.centred.level > 0
    assert rule.centred.wanted_per_hour == lowest_rate(rule.normal, **GAPS) == pytest.approx(0.1)


def test_a_default_run_without_any_level_warns_and_goes_on(capsys):
    """Footage shorter than the shortest event has no event at any level."""
    assert learn(model(np.arange(20.0)), min_length_s=60) is None
    said = " ".join(capsys.readouterr().err.split())
    assert "no alarm level, so no events; false alarms per hour: expected at most 0 (at no level" in said
    with pytest.raises(UsageError, match="at no level"):
        learn(model(np.arange(20.0)), min_length_s=60, false_alarms_per_hour=1000)


def rule_at(level: float, *, merge_gap_s: float = 1.0, min_length_s: float = 0.0) -> AlarmRule:
    alarm = Threshold(level, 1.0, 1.0, 1.0, 0, 1.0, 1.0, 1)
    return AlarmRule(EventRules(merge_gap_s, min_length_s), alarm, alarm, (NormalVideo(np.arange(10.0), RATE),))


def scored(video: str, smoothed: list[float], frames: list[int] | None = None) -> ScoredVideo:
    index = np.arange(len(smoothed)) if frames is None else np.array(frames, np.int64)
    values = np.array(smoothed, np.float64)
    return ScoredVideo(ScoreTrack(video, index, index / RATE, values * 0, values), 1.0, 0, RATE)


#                   0  1  2  3  4  5  6  7  8  9 10 11
HAND = scored("a", [0, 5, 0, 0, 6, 7, 0, 0, 0, 5, 0, 9])


def facts(event: Event) -> tuple:
    return (event.video, event.start_frame, event.end_frame, event.start_s, event.end_s, event.peak_frame, event.peak_s)


def test_events_of_a_hand_made_track():
    """Two frames are a second: over the gap of 2 to 3 the first two stretches are one, over that of 6 to 8 not."""
    events = find_alarms({"a": HAND}, rule_at(5))
    assert [facts(event) for event in events] == [("a", 9, 12, 4.5, 5.5, 11, 5.5), ("a", 1, 6, 0.5, 2.5, 5, 2.5)]
    assert [event.score for event in events] == [9.0, 7.0]
    assert [event.reason for event in events] == [None, None]
    normal = rule_at(5).normal
    p_values = [event.p_value for event in events]
    assert p_values == event_p_values(np.array([9.0, 7.0]), normal, merge_gap_s=1).tolist()
    assert p_values == [1.0, 1.0]  # rising normal scores have one peak, 9: neither exceeds it
    assert [event.p_value for event in find_alarms({"a": scored("a", [0, 10, 0])}, rule_at(5))] == [0.5]
    assert find_alarms({"a": HAND}, rule_at(99)) == []


@pytest.mark.parametrize(
    ("rules", "ranges"),
    [
        ({"merge_gap_s": 0.0}, [(1, 2), (4, 6), (9, 10), (11, 12)]),
        ({"merge_gap_s": 0.0, "min_length_s": 1.0}, [(4, 6)]),
        ({"merge_gap_s": 1.5}, [(1, 12)]),
    ],
)
def test_the_gap_merges_and_the_least_length_drops(rules, ranges):
    events = find_alarms({"a": HAND}, rule_at(5, **rules))
    assert sorted((event.start_frame, event.end_frame) for event in events) == ranges


def test_frames_that_were_not_decoded_keep_the_numbers_of_the_others():
    (event,) = find_alarms({"a": scored("a", [0, 6, 7, 0], frames=[0, 10, 12, 13])}, rule_at(5))
    assert facts(event) == ("a", 10, 13, 5.0, 6.0, 12, 6.0)


def test_events_of_several_videos_stand_by_p_value_then_score():
    videos = {v: scored(v, [0, height, 0]) for v, height in {"b": 6.0, "a": 12.0, "c": 15.0, "d": 0.0}.items()}
    events = find_alarms(videos, rule_at(5))
    assert [event.video for event in events] == ["c", "a", "b"]
    assert [event.p_value for event in events] == [0.5, 0.5, 1.0]


def test_events_have_the_rate_that_was_asked_for_where_causal_scores_support_no_such(capsys):
    settings = load_settings(overrides=["fusion.smoothing_s=2.0"])
    for seed in range(100):
        scores = [np.random.default_rng((seed, i)).normal(size=240) for i in range(4)]
        bundle = model(*scores, settings=settings)
        centred, causal = (lowest_rate(bundle.smoothed_normal[mode], **GAPS) for mode in ("centred", "causal"))
        if centred * 1.01 < causal:
            break
    wanted = (centred + causal) / 2
    rule = learn(bundle, false_alarms_per_hour=wanted)
    assert rule.centred == alarm_level(bundle.smoothed_normal["centred"], wanted, **GAPS)
    assert rule.causal.wanted_per_hour == causal
    assert "the threshold of causal scores is for" in capsys.readouterr().err
    with pytest.raises(UsageError, match="false alarms per hour: expected at least"):
        learn(bundle, false_alarms_per_hour=centred * 0.9)


def test_the_record_counts_the_events_of_normal_video_at_every_level():
    rule = learn(model(*noise(3, 5)), false_alarms_per_hour=60)
    normal = rule.as_record().normal
    assert normal.hours == pytest.approx(0.25)
    at_each = [sum(count_events(video, level, **GAPS) for video in rule.normal) for level in normal.levels]
    assert normal.num_events == np.maximum.accumulate(at_each).tolist()
    assert normal.levels == sorted(normal.levels, reverse=True)
