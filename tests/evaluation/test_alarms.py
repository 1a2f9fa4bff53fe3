"""Event figures against a walk over the frames, one by one, and cases worked out by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.errors import UsageError
from mulde.evaluation.alarms import EventRules, FalseAlarmCurve, operating_point, with_null_recall
from mulde.evaluation.metrics import LabelledScores

RATE = 10.0
EVERY_FRAME = EventRules(merge_gap_s=0.0)


def video(scores, anomalous, name="v"):
    return LabelledScores(name, np.asarray(scores, float), np.asarray(anomalous, bool))


def point(videos, level, rules=EVERY_FRAME, rate=RATE):
    return operating_point("alarm", level, videos, dict.fromkeys([v.video for v in videos], rate), rules)


def flagged_frames(scores, level, gap, least):
    """Frame by frame: above the level, gaps of up to `gap` frames between two such closed, then short runs removed."""
    above = [score >= level for score in scores]
    closed = [
        here
        or any(above[max(t - back, 0)] and any(above[t + 1 : t - back + gap + 2]) for back in range(1, min(gap, t) + 1))
        for t, here in enumerate(above)
    ]
    run_of = runs(closed)
    return [here and run_of.count(run_of[t]) >= least for t, here in enumerate(closed)]


def runs(flags):
    """A number for each frame: the same for the frames of one run of True, None outside."""
    numbers, current = [], 0
    for t, flag in enumerate(flags):
        current += flag and (t == 0 or not flags[t - 1])
        numbers.append(current if flag else None)
    return numbers


def walked(videos, level, gap, least):
    """Found, delays in frames, alarms, false alarms, flagged frames, flagged normal frames."""
    delays, num_alarms, num_false, num_flagged, num_normal = [], 0, 0, 0, 0
    for one in videos:
        flagged, truth = flagged_frames(one.scores, level, gap, least), list(one.anomalous)
        alarm_of, event_of = runs(flagged), runs(truth)
        alarms, events = (set(numbers) - {None} for numbers in (alarm_of, event_of))
        for event in events:
            inside = [t for t in range(len(truth)) if event_of[t] == event]
            hits = [t - inside[0] for t in inside if flagged[t]]
            delays += hits[:1]
        num_alarms += len(alarms)
        num_false += sum(not any(truth[t] for t in range(len(truth)) if alarm_of[t] == alarm) for alarm in alarms)
        num_flagged += sum(flagged)
        num_normal += sum(f and not a for f, a in zip(flagged, truth, strict=True))
    return len(delays), sorted(delays), num_alarms, num_false, num_flagged, num_normal


small_videos = st.lists(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=25), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(small_videos, st.integers(0, 5), st.integers(0, 4), st.integers(1, 4))
def test_event_figures_are_those_of_a_walk_over_the_frames(frames, level, gap, least):
    videos = [video([s for s, _ in one], [a for _, a in one], f"v{i}") for i, one in enumerate(frames)]
    found = point(videos, level, EventRules(merge_gap_s=gap / RATE, min_length_s=least / RATE))
    num_found, delays, *counts = walked(videos, level, gap, least)
    assert found.num_found == num_found
    assert [
        found.num_alarms,
        found.num_false_alarms,
        found.num_frames_flagged,
        found.num_normal_frames_flagged,
    ] == counts
    num_true = sum(len(set(runs(list(v.anomalous))) - {None}) for v in videos)
    assert found.num_true_events == num_true
    assert found.recall == (num_found / num_true if num_true else None)
    assert found.delay_s_mean == (pytest.approx(np.mean(delays) / RATE) if delays else None)
    assert found.delay_s_median == (pytest.approx(np.median(delays) / RATE) if delays else None)


@settings(max_examples=200, deadline=None)
@given(small_videos, st.integers(0, 4), st.integers(1, 4))
def test_the_false_alarm_curve_counts_what_events_at_each_level_count(frames, gap, least):
    """Two ways to the same number: events level by level, and one pass over all levels."""
    videos = [video([s for s, _ in one], [a for _, a in one], f"v{i}") for i, one in enumerate(frames)]
    rules = EventRules(merge_gap_s=gap / RATE, min_length_s=least / RATE)
    found = FalseAlarmCurve.of(videos, dict.fromkeys([v.video for v in videos], RATE), rules)
    levels, num_false = found.levels, found.num_false
    assert all(a > b for a, b in pairwise(levels))
    curve = dict(zip(levels.tolist(), num_false.tolist(), strict=True))
    for level in range(6):
        reached = [at for at in curve if at >= level]  # between two levels of the curve nothing changes
        expected = curve[min(reached)] if reached else 0
        assert point(videos, float(level), rules).num_false_alarms == expected


def test_by_hand():
    """Ten frames a second; truth in frames 10-19 and 40-49; alarms 5-12, 30-34, 44-59."""
    scores, anomalous = np.zeros(100), np.zeros(100, bool)
    anomalous[10:20] = anomalous[40:50] = True
    scores[5:13] = scores[30:35] = scores[44:60] = 1.0
    found = point([video(scores, anomalous)], 1.0)
    assert (found.num_true_events, found.num_found, found.recall) == (2, 2, 1.0)
    assert (found.delay_s_median, found.delay_s_mean) == (0.2, 0.2)  # 0 s, where it already stood, and 0.4 s
    assert (found.num_alarms, found.num_false_alarms) == (3, 1)
    assert found.normal_hours == pytest.approx(80 / RATE / 3600)
    assert found.false_alarms_per_hour == pytest.approx(450)
    assert (found.num_frames_flagged, found.num_normal_frames_flagged) == (29, 20)
    merged = point([video(scores, anomalous)], 1.0, EventRules(merge_gap_s=0.9))  # the gap 35-43 has 9 frames
    assert (merged.num_alarms, merged.num_false_alarms, merged.delay_s_mean) == (2, 0, 0.0)
    long = point([video(scores, anomalous)], 1.0, EventRules(merge_gap_s=0.0, min_length_s=0.9))
    assert (long.num_alarms, long.num_found, long.delay_s_mean) == (1, 1, 0.4)


def test_each_video_counts_in_its_own_rate():
    scores, anomalous = np.zeros(100), np.zeros(100, bool)
    anomalous[50:60], scores[55] = True, 1.0
    videos = [video(scores, anomalous, "slow"), video(scores, anomalous, "fast")]
    found = operating_point("alarm", 1.0, videos, {"slow": 5.0, "fast": 50.0}, EVERY_FRAME)
    assert found.delay_s_mean == pytest.approx((5 / 5 + 5 / 50) / 2)
    assert found.normal_hours == pytest.approx((90 / 5 + 90 / 50) / 3600)


def test_an_alarm_that_always_stands_is_told_by_the_normal_frames_it_flags():
    found = point([video(np.zeros(100), np.arange(100) > 80)], 0.0)
    assert (found.recall, found.delay_s_mean, found.num_false_alarms) == (1.0, 0.0, 0)
    assert found.num_normal_frames_flagged == 81


def test_no_frames_and_no_videos_are_ordinary():
    for videos in ([], [video([], [])]):
        found = point(videos, 0.0)
        assert (found.num_true_events, found.recall, found.num_alarms) == (0, None, 0)
        assert (found.delay_s_median, found.false_alarms_per_hour) == (None, None)
        assert FalseAlarmCurve.of(videos, {"v": RATE}, EVERY_FRAME).lowest_level(1.0) is None


def false_per_hour(videos, level, rules):
    return point(videos, level, rules).false_alarms_per_hour


@pytest.mark.parametrize("limit", [1.0, 10.0, 60.0, 300.0])
@pytest.mark.parametrize("rules", [EVERY_FRAME, EventRules(), EventRules(0.5, 0.3)])
def test_the_oracle_level_is_the_lowest_before_the_limit_is_broken(limit, rules):
    rng = np.random.default_rng(0)
    videos = [video(np.convolve(rng.normal(size=3000), np.ones(5)), np.arange(3004) > 2500, f"v{i}") for i in range(5)]
    level = FalseAlarmCurve.of(videos, dict.fromkeys([v.video for v in videos], RATE), rules).lowest_level(limit)
    assert false_per_hour(videos, level, rules) <= limit * (1 + 1e-9)
    scores = np.sort(np.concatenate([v.scores for v in videos]))[::-1]
    above = scores[scores >= level]
    for higher in above[:: max(len(above) // 40, 1)]:
        assert false_per_hour(videos, higher, rules) <= limit * (1 + 1e-9)
    # Below it, the first level at which any alarm changes the count upwards breaks the limit.
    at_level = point(videos, level, rules).num_false_alarms
    counts = (point(videos, lower, rules).num_false_alarms for lower in scores[scores < level])
    assert next(count for count in counts if count > at_level) / point(videos, level).normal_hours > limit


def test_a_limit_that_is_met_exactly_is_met():
    """Three normal frames of an hour each; alarms at 2 and, with a gap between them, at 1."""
    curve = FalseAlarmCurve.of([video([1.0, 0.0, 2.0], [False] * 3)], {"v": 1 / 3600}, EVERY_FRAME)
    assert curve.lowest_level(2 / 3) == 0.0  # there both are one again
    assert curve.lowest_level(1 / 3) == 2.0
    assert curve.lowest_level(0.33) == np.nextafter(2.0, 3.0)  # no alarm at all
    # Of the normal frames, at most so many inside alarms:
    assert [curve.lowest_level(9.0, most) for most in range(4)] == [np.nextafter(2.0, 3.0), 2.0, 1.0, 0.0]


def test_a_null_score_is_held_to_the_false_alarms_and_the_normal_frames_of_the_result():
    anomalous = np.arange(100) >= 80
    result, ramp, constant = (video(s, anomalous) for s in (anomalous * 1.0, np.arange(100.0), np.zeros(100)))
    wrong = video(-np.arange(100.0), anomalous)
    (strict,) = with_null_recall(
        [point([result], 1.0)], {"ramp": [ramp], "constant": [constant], "wrong": [wrong]}, {"v": RATE}, EVERY_FRAME
    )
    assert strict.null_recall == {"ramp": 1.0, "constant": 0.0, "wrong": 0.0}
    (loose,) = with_null_recall(
        [point([result], 0.0)], {"constant": [constant], "wrong": [wrong]}, {"v": RATE}, EVERY_FRAME
    )
    # An alarm that always stands is matched by the constant; a score that falls makes its false alarm first.
    assert loose.null_recall == {"constant": 1.0, "wrong": 0.0}


@settings(max_examples=100, deadline=None)
@given(small_videos, st.integers(0, 30), st.integers(0, 3))
def test_the_lowest_level_keeps_both_limits(frames, most, num_false):
    videos = [video([s for s, _ in one], [a for _, a in one], f"v{i}") for i, one in enumerate(frames)]
    curve = FalseAlarmCurve.of(videos, dict.fromkeys([v.video for v in videos], RATE), EventRules(0.2, 0.2))
    if curve.hours:
        level = curve.lowest_level(num_false / curve.hours, most)
        found = point(videos, level, EventRules(0.2, 0.2))
        assert found.num_false_alarms <= num_false
        assert found.num_normal_frames_flagged <= most


@pytest.mark.parametrize("seconds", [-1.0, np.nan, np.inf])
def test_bad_rules_are_refused(seconds):
    with pytest.raises(UsageError, match=rf"merge_gap_s of events.*0 or more, got {seconds}"):
        EventRules(merge_gap_s=seconds)
    with pytest.raises(UsageError, match="min_length_s of events"):
        EventRules(min_length_s=seconds)
