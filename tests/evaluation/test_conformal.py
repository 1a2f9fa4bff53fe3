"""Conformal p-values and alarm levels: brute force, closed forms, refusals, and the promise itself by simulation."""

from math import comb

import numpy as np
import pytest
from scipy.signal import lfilter

from mulde.errors import UsageError
from mulde.evaluation.conformal import (
    NormalVideo,
    Threshold,
    _event_levels,
    _peaks,
    alarm_level,
    count_events,
    event_p_values,
    frame_p_values,
)
from mulde.evaluation.events import find_events
from mulde.evaluation.smoothing import smooth

RATE = 10.0
RULES = {"merge_gap_s": 1.0, "min_length_s": 0.3}


def drawn(rng, num_frames, *, hot=0.0):
    """Autocorrelated normal scores, smoothed as scores are; `hot`: the spread of the means of videos."""
    noise = lfilter([1], [1, -0.9], rng.normal(size=num_frames + 100))[100:]
    return NormalVideo(smooth(noise, 3.0, "centred") + hot * rng.normal(), RATE)


def spikes(*heights, num_frames=360, gap=20):
    """A video of zeros with single-frame spikes; 360 frames at 10 per second are 1/100 hour."""
    scores = np.zeros(num_frames)
    scores[10 : 10 + gap * len(heights) : gap] = heights
    return NormalVideo(scores, RATE)


def hours(videos):
    return sum(len(v.scores) for v in videos) / RATE / 3600


# --- p-values


def test_frame_p_values_are_counts():
    rng = np.random.default_rng(0)
    normal = [NormalVideo(rng.integers(0, 9, n).astype(float), RATE) for n in (40, 0, 25)]  # many ties
    scores = rng.integers(-2, 12, 50).astype(float)
    pooled = [s for v in normal for s in v.scores]
    assert frame_p_values(scores, normal).tolist() == [(1 + sum(x >= s for x in pooled)) / 66 for s in scores]
    assert frame_p_values(np.zeros(0), normal).shape == (0,)
    stretch = frame_p_values(scores, normal, stretch_s=0.5)  # 5 frames
    assert stretch == pytest.approx([(5 + sum(x >= s for x in pooled)) / 70 for s in scores])


@pytest.mark.parametrize("share", [1 / 20, 0.1, 0.5])
def test_frame_p_values_of_exchangeable_frames_are_uniform(share):
    rng = np.random.default_rng(1)
    found = [frame_p_values(rng.normal(size=1), [NormalVideo(rng.normal(size=19), RATE)])[0] for _ in range(10_000)]
    assert np.mean(np.array(found) <= share + 1e-9) == pytest.approx(share, abs=4 * (share / 10_000) ** 0.5)


def test_frame_p_values_of_neighbouring_frames_hold_with_stretches():
    """At the smallest p-value, frames that resemble their neighbours break the plain promise; stretches keep it."""
    rng = np.random.default_rng(2)
    plain, stretched = [], []
    for _ in range(400):
        normal, new = [drawn(rng, 200) for _ in range(4)], drawn(rng, 200).scores
        plain.append(frame_p_values(new, normal))
        stretched.append(frame_p_values(new, normal, stretch_s=4.0))
    assert np.mean(np.concatenate(plain) <= 1 / 801 + 1e-9) > 3 / 801
    for share in (40 / 840, 0.1, 0.2, 0.5):
        assert np.mean(np.concatenate(stretched) <= share + 1e-9) <= share * 1.1


def brute_peaks(scores, gap):
    """One per run of equal frames that are nowhere exceeded within gap + 1."""
    at = [i for i, s in enumerate(scores) if s == max(scores[max(0, i - gap - 1) : i + gap + 2])]
    return [scores[i] for n, i in enumerate(at) if n == 0 or i - at[n - 1] > gap + 1]


def test_event_p_values_are_counts_of_peaks():
    rng = np.random.default_rng(3)
    for gap_s in (0.0, 0.1, 0.5):
        normal = [NormalVideo(rng.integers(0, 6, n).astype(float), RATE) for n in (60, 1, 31)]
        peaks = [p for v in normal for p in brute_peaks(v.scores.tolist(), round(gap_s * RATE))]
        scores = np.arange(-1.0, 8.0)
        expected = [(1 + sum(p >= s for p in peaks)) / (len(peaks) + 1) for s in scores]
        assert event_p_values(scores, normal, merge_gap_s=gap_s).tolist() == expected


@pytest.mark.parametrize("gap", [0, 1, 4])
@pytest.mark.parametrize("length", [1, 3])
def test_the_highest_frame_of_every_event_is_a_peak(gap, length):
    scores = np.random.default_rng(4).normal(size=300)
    peaks = set(_peaks(scores, gap))
    for level in np.linspace(-2, 3, 30):
        assert {e.score for e in find_events(scores, level, merge_gap=gap, min_length=length)} <= peaks


@pytest.mark.parametrize("hot", [0.0, 0.5])
def test_event_p_values_of_normal_peaks_are_super_uniform(hot):
    rng = np.random.default_rng(5)
    found = []
    for _ in range(300):
        normal = [drawn(rng, 200, hot=hot) for _ in range(8)]
        found.append(event_p_values(_peaks(drawn(rng, 200, hot=hot).scores, 10), normal, merge_gap_s=1.0))
    pooled = np.concatenate(found)
    for share in (0.02, 0.05, 0.1, 0.2, 0.5):
        assert np.mean(pooled <= share) <= share + 3 * (share / len(pooled)) ** 0.5 * (1 + 2 * hot)
    assert np.mean(pooled <= 0.5) > 0.4  # and not by giving nothing away


# --- the level


@pytest.mark.parametrize("gap", [0, 1, 3])
@pytest.mark.parametrize("length", [0, 1, 4])
def test_levels_of_events_are_the_records_of_the_count_from_above(gap, length):
    rng = np.random.default_rng(6)
    for num_frames in (0, 1, 2, 15, 60):
        for scores in (rng.integers(0, 5, num_frames).astype(float), rng.normal(size=num_frames)):
            expected = []
            for level in sorted(set(scores), reverse=True):
                count = len(find_events(scores, level, merge_gap=gap, min_length=length))
                expected += [level] * (count - len(expected))
            assert _event_levels(scores, gap, length, 1000).tolist() == expected
            assert _event_levels(scores, gap, length, 2).tolist()[:2] == expected[:2]


def lone_spikes():
    """Ten videos of 1/100 hour, one spike each: 1 .. 10."""
    return [spikes(height) for height in range(1, 11)]


@pytest.mark.parametrize(("per_hour", "above"), [(10, 10), (19.9, 10), (20, 9), (50, 6), (59, 6), (100, 1)])
def test_the_level_lies_just_above_the_event_that_the_rate_times_the_hours_counts_to(per_hour, above):
    """k + 1 = floor(rate x hours) expected events: the level is above the spike of that rank, so k are seen."""
    normal = lone_spikes()
    alarm = alarm_level(normal, per_hour, merge_gap_s=1.0, min_length_s=0.0)
    assert alarm.level == np.nextafter(above, np.inf)
    assert alarm.num_seen == 10 - above
    assert alarm.expected_per_hour == pytest.approx(10 * (11 - above))
    assert (alarm.hours, alarm.num_videos, alarm.lowest_per_hour) == (pytest.approx(0.1), 10, pytest.approx(10))
    assert alarm_level(normal[::-1], per_hour, merge_gap_s=1.0, min_length_s=0.0) == alarm


def test_merging_at_lower_levels_wins_nothing():
    """Three spikes on one hill are three events above it and one below: the level stays above."""
    hill = np.zeros(360)
    hill[50:150] = 5.0
    hill[[60, 100, 140]] = 7.0, 8.0, 9.0
    normal = [NormalVideo(hill, RATE), *(spikes() for _ in range(9))]
    merged = count_events(normal[0], 5.0, 1.0, 0.0)
    assert (merged, count_events(normal[0], 7.0, 1.0, 0.0)) == (1, 3)
    alarm = alarm_level(normal, 40, merge_gap_s=1.0, min_length_s=0.0)  # 4 events, of which the hill has 3
    assert alarm.level < 5.0
    with pytest.raises(UsageError):  # 2 events expected: less than the hill alone has above everything else
        alarm_level(normal, 20, merge_gap_s=1.0, min_length_s=0.0)


def test_short_events_count_no_more_than_find_events_counts_them():
    normal = [*lone_spikes()[:9], NormalVideo(np.where(np.arange(360) // 5 == 20, 0.5, 0.0), RATE)]
    alarm = alarm_level(normal, 10, merge_gap_s=1.0, min_length_s=0.5)  # spikes of one frame are no events
    assert alarm.level == np.nextafter(0.5, np.inf)


def test_the_count_at_any_higher_level_is_no_larger():
    rng = np.random.default_rng(7)
    normal = [drawn(rng, 300) for _ in range(12)]
    alarm = alarm_level(normal, 8 / hours(normal), **RULES)
    higher = [v for v in np.unique(np.concatenate([n.scores for n in normal])) if v >= alarm.level]
    counts = [sum(count_events(n, level, **RULES) for n in normal) for level in higher]
    assert max(counts) == alarm.num_seen
    assert alarm.num_seen in range(4, 8)


def test_scores_count_by_their_order_alone():
    rng = np.random.default_rng(8)
    normal = [drawn(rng, 300) for _ in range(9)]
    one = alarm_level(normal, 100, **RULES)
    other = alarm_level([NormalVideo(np.exp(v.scores), RATE) for v in normal], 100, **RULES)
    assert (one.num_seen, one.expected_per_hour) == (other.num_seen, other.expected_per_hour)
    assert np.exp(one.level) == pytest.approx(other.level)


def test_alarms_that_cluster_in_one_video_are_expected_as_a_cluster():
    """Ten equal videos; one has five events above all others: 5 x 9/10 at least are expected at any level."""
    normal = [spikes(11, 12, 13, 14, 15), *lone_spikes()[:9]]
    with pytest.raises(UsageError, match=r"at least 45, .* got 40\. Try: hold out at least 6\.8 minutes"):
        alarm_level(normal, 40, merge_gap_s=1.0, min_length_s=0.0)
    alarm = alarm_level(normal, 60, merge_gap_s=1.0, min_length_s=0.0)
    assert alarm.level == np.nextafter(9.0, np.inf)  # the sixth
    assert alarm.lowest_per_hour == pytest.approx(45)
    # Above the tenth of the others: five of the first, one each of five more; 2.262157: Student, 9 degrees of freedom.
    assert alarm.clustering == pytest.approx((4**2 + 4 * 1**2) / 9 * (2.262157 / 1.959964) ** 2, rel=1e-5)
    calm = alarm_level(lone_spikes(), 60, merge_gap_s=1.0, min_length_s=0.0)
    assert calm.clustering == pytest.approx((2.262157 / 1.959964) ** 2, rel=1e-5)


# --- refusals


def test_a_rate_that_the_footage_cannot_support_is_refused_with_what_would_do():
    normal = [spikes(h, num_frames=630) for h in (3, 2, 5, 4)]  # 4.2 minutes
    expected = (
        r"at least 14\.3, the lowest rate that 4\.2 minutes of held-out normal video in 4 videos support, got 1\. "
    )
    with pytest.raises(
        UsageError, match="false alarms per hour: expected " + expected + r"Try: hold out at least 60\.0 minutes"
    ):
        alarm_level(normal, 1.0, merge_gap_s=1.0, min_length_s=0.0)
    assert alarm_level(normal, 14.3, merge_gap_s=1.0, min_length_s=0.0).num_seen == 0


def test_a_rate_that_no_level_has_is_refused():
    with pytest.raises(UsageError, match=r"expected at most 100 \(at no level .*got 110"):
        alarm_level(lone_spikes(), 110, merge_gap_s=60.0, min_length_s=0.0)


def test_the_least_rate_is_rounded_so_that_it_is_enough():
    normal = [spikes(h, num_frames=629) for h in (3, 2, 5, 4)]  # one in them is 14.308 per hour
    with pytest.raises(UsageError, match=r"at least 14\.4,"):
        alarm_level(normal, 14.3, merge_gap_s=1.0, min_length_s=0.0)
    alarm = alarm_level(normal, 14.4, merge_gap_s=1.0, min_length_s=0.0)
    assert "support at best 14.4 false alarms" in alarm.statement()


@pytest.mark.parametrize("per_hour", [0.0, -1.0, np.nan, np.inf])
def test_a_rate_must_be_a_number_above_0(per_hour):
    with pytest.raises(UsageError, match="a number above 0"):
        alarm_level(lone_spikes(), per_hour, **RULES)


def test_without_normal_video_there_is_nothing_to_say():
    for normal in ([], [NormalVideo(np.zeros(0), RATE)]):
        with pytest.raises(UsageError, match="held-out normal video, got none"):
            frame_p_values(np.zeros(3), normal)
        with pytest.raises(UsageError, match="held-out normal video, got none"):
            event_p_values(np.zeros(3), normal, merge_gap_s=1.0)
        with pytest.raises(UsageError, match="held-out normal video, got none"):
            alarm_level(normal, 1.0, **RULES)


@pytest.mark.parametrize(("scores", "rate"), [([np.nan], 10.0), ([[1.0]], 10.0), ([1.0], 0.0), ([1.0], np.inf)])
def test_bad_normal_video_is_refused(scores, rate):
    with pytest.raises(UsageError, match="of a normal video"):
        NormalVideo(np.array(scores), rate)


@pytest.mark.parametrize("scores", [np.zeros(1), np.zeros(360), np.arange(3.0)])
def test_one_video_of_anything_gets_a_level_or_a_refusal(scores):
    video = NormalVideo(scores, RATE)
    alarm = alarm_level([video], 1 / video.hours, merge_gap_s=1.0, min_length_s=0.0)
    assert (alarm.num_seen, alarm.level) == (0, np.nextafter(scores.max(), np.inf))


# --- the interval


def alarm(**changes):
    told = {"level": 1.0, "wanted_per_hour": 4.0, "expected_per_hour": 4.0, "lowest_per_hour": 1.0, "num_seen": 3}
    return Threshold(**{**told, "clustering": 1.0, "hours": 1.0, "num_videos": 20, **changes})


@pytest.mark.parametrize("hours_new", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("rank", [1, 4, 20])
def test_the_interval_of_independent_alarms_is_that_of_coin_throws(rank, hours_new):
    """New alarms above the m-th old one: so often does the coin fall on `new` before it has m times fallen on `old`."""
    p = 1 / (1 + hours_new)
    share = np.array([comb(n + rank - 1, n) * p**rank * (1 - p) ** n for n in range(300)])
    low, high = (round(x * hours_new) for x in alarm(expected_per_hour=rank).interval(hours_new))
    assert share[:low].sum() <= 0.025 < share[: low + 1].sum()
    assert share[high + 1 :].sum() <= 0.025 < share[high:].sum()


def test_clusters_widen_the_interval():
    low, high = alarm(expected_per_hour=30).interval(1.0)
    wide_low, wide_high = alarm(expected_per_hour=30, clustering=4.0).interval(1.0)
    assert wide_low < low < 30 < high < wide_high
    assert (wide_high - 30) / (high - 30) == pytest.approx(2, abs=0.4)  # the root of 4


def test_the_interval_of_clusters_holds_for_drawn_ones():
    """12 clusters of 2.3 alarms in an old hour; in a new one as many as chance brings at the same, unknown pace."""
    rng = np.random.default_rng(11)
    drawn_new = 2.3 * rng.poisson(rng.gamma(12, size=100_000))
    low, high = alarm(expected_per_hour=12 * 2.3, clustering=2.3).interval(1.0)
    assert np.mean(drawn_new < low) <= 0.025 < np.mean(drawn_new < low + 2.3)
    assert np.mean(drawn_new > high) <= 0.025 < np.mean(drawn_new > high - 2 * 2.3)


def test_the_statement_says_what_is_promised_and_on_what_it_rests():
    said = alarm(
        hours=0.07,
        num_videos=4,
        lowest_per_hour=14.29,
        expected_per_hour=28.6,
        wanted_per_hour=30,
        num_seen=1,
        clustering=1.46,
    )
    assert said.statement() == (
        "4.2 minutes of normal video in 4 videos were held out; they support at best 14.3 false alarms per hour."
        " At level 1, 28.6 per hour are expected (30 were asked for); the held-out video has 1."
        " In as much new normal video of the same kind, 0 to 129 per hour are to be expected in 95 of 100 cases;"
        " this allows for alarms in clusters, with 1.5 times the variance of independent ones."
    )


# --- the promise


def kept(rng, num_videos, num_frames, hot, rank, trials):
    """Per trial that is not refused: did the interval hold, realised and highest promised events over wanted ones."""
    found = []
    for _ in range(trials):
        videos = [drawn(rng, int(num_frames * rng.uniform(0.6, 1.4)), hot=hot) for _ in range(2 * num_videos)]
        held, new = videos[:num_videos], videos[num_videos:]
        try:
            level = alarm_level(held, rank / hours(held), **RULES)
        except UsageError:
            continue
        realised = sum(count_events(video, level.level, **RULES) for video in new) / hours(new)
        low, high = level.interval(hours(new))
        wanted = rank / hours(held)
        found.append((low <= realised <= high, realised / wanted, high / wanted))
    return np.array(found)


@pytest.mark.parametrize("rank", [2, 6])
@pytest.mark.parametrize(("num_videos", "num_frames", "hot"), [(8, 200, 0.0), (8, 200, 0.5), (16, 150, 1.0)])
def test_the_promise_holds_in_95_of_100_trials(num_videos, num_frames, hot, rank):
    found = kept(np.random.default_rng(9), num_videos, num_frames, hot, rank, trials=120)
    assert len(found) >= 100
    within, realised, highest = found.mean(axis=0)
    assert within >= 0.95
    assert 0.6 < realised < 1.1
    assert highest < (6 if rank == 2 else 4)  # and not by promising nothing


def test_the_expected_rate_is_the_wanted_one_where_alarms_are_independent():
    """Spikes of random height anywhere: one rank off would show (3/2 of the wanted rate)."""
    rng = np.random.default_rng(10)
    ratios = []
    for _ in range(250):
        videos = [spikes(*rng.random(6), num_frames=360, gap=40) for _ in range(40)]
        try:
            level = alarm_level(videos[:20], 2 / 0.2, merge_gap_s=1.0, min_length_s=0.0)
        except UsageError:  # three of one video above all others
            continue
        ratios.append(sum(count_events(v, level.level, 1.0, 0.0) for v in videos[20:]) / 2)
    assert len(ratios) > 240
    assert 0.8 < np.mean(ratios) < 1.1
