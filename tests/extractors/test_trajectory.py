"""Paths of tracks whose speed, turns and stays are known in closed form, and relations between the rows of related
tracks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.errors import UsageError
from mulde.extractors.paths import PathFacts, Spans, follow
from mulde.extractors.spec import Shared
from mulde.extractors.trajectory import TRAJECTORY, Trajectory, TrajectorySettings
from mulde.extractors.wording import Comparison
from mulde.records import Regions
from mulde.settings_file import load_settings

SPANS = Spans(smooth_s=0.4, window_s=1.0, long_s=5.0, dwell_s=60.0, dwell_radius=0.5)
HEIGHT = 100.0
SPEED, LONG_SPEED, CHANGE, TURN, DETOUR, X, Y, STAY, SHAPE = range(9)


def boxes(foot: np.ndarray, *, height: float = HEIGHT, aspect: float | np.ndarray = 0.4) -> np.ndarray:
    """Boxes (N, 4) of this height that stand at foot (N, 2)."""
    half = np.broadcast_to(height * np.asarray(aspect) / 2, len(foot))
    x, y = foot.T
    return np.stack([x - half, y - height, x + half, y], axis=1).astype(np.float32)


def clock(seconds: float, rate: float = 25) -> np.ndarray:
    return np.arange(round(seconds * rate) + 1) / rate


def walk(time_s: np.ndarray, x: float = 80.0, y: float = 0.0) -> np.ndarray:
    """Where somebody stands who walks x and y pixels per second."""
    return np.array([300.0, 200.0]) + time_s[:, None] * np.array([x, y])


def facts_of(time_s: np.ndarray, foot: np.ndarray, **how: float) -> PathFacts:
    return follow(time_s, boxes(foot, **how), SPANS)


def rows_of(time_s: np.ndarray, box_xyxy: np.ndarray, spans: Spans = SPANS) -> np.ndarray:
    """Rows (n, 9) of one track."""
    n = len(time_s)
    regions = Regions(box_xyxy, np.arange(n), np.ones(n, np.float32), np.zeros(n, np.int64))
    return Trajectory(spans).extract_tracks(regions, time_s, np.zeros(n, np.int64)).values


def test_a_steady_walk_has_its_speed_in_every_row():
    time_s = clock(12)
    facts = facts_of(time_s, walk(time_s, 60, 80))
    np.testing.assert_allclose(facts.velocity, np.tile([0.6, 0.8], (len(facts.rows), 1)), atol=1e-5)
    for speed in (facts.late_speed, facts.early_speed, facts.long_speed):
        np.testing.assert_allclose(speed, 1.0, atol=1e-5)
    np.testing.assert_allclose(facts.turn, 0, atol=1e-3)
    np.testing.assert_allclose(facts.length, facts.net, atol=1e-5)
    np.testing.assert_allclose(facts.wider, 0, atol=1e-6)
    assert facts.length[-1] == pytest.approx(4.8, abs=1e-4)  # 12 steps of 0.4 s in a window of 5 s
    assert time_s[facts.rows[0]] == pytest.approx(0.8)  # twice smooth_s
    assert facts.rows.tolist() == list(range(20, len(time_s)))


def test_a_steady_walk_stays_for_as_long_as_it_takes_to_cross_the_radius():
    time_s = clock(12)
    dwell_s = facts_of(time_s, walk(time_s, 25)).dwell_s  # half a box height in 2 s; points lie 0.18 s back
    assert dwell_s[0] == pytest.approx(0.8)  # all that is known of it
    np.testing.assert_allclose(dwell_s[60:], 2.18, atol=1e-3)


@pytest.mark.parametrize(("seconds", "expected"), [(8.0, 8.0), (75.0, 60.0)])
def test_standing_has_its_seconds_and_at_most_the_longest_stay(seconds, expected):
    time_s = clock(seconds)
    facts = facts_of(time_s, walk(time_s, 0))
    np.testing.assert_allclose(facts.dwell_s, np.minimum(time_s[facts.rows], 60), atol=1e-9)
    assert facts.dwell_s[-1] == pytest.approx(expected)
    assert not facts.velocity.any()
    assert not facts.turn.any()


def test_who_walks_up_and_then_stands_has_stood_since_coming_near():
    """40 pixels per second, then still from 5 s on: within 50 pixels of the place since 3.75 s."""
    time_s = clock(20)
    facts = facts_of(time_s, walk(np.minimum(time_s, 5), 40))
    assert facts.dwell_s[-1] == pytest.approx(20 - 3.75, abs=1e-3)


def circle(time_s: np.ndarray, turn_per_s: float, radius: float = 200.0) -> np.ndarray:
    angle = turn_per_s * time_s
    return 400 + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


@pytest.mark.parametrize("turn_per_s", [0.4, -0.4, 1.1])
def test_a_circle_turns_by_its_angle(turn_per_s):
    time_s = clock(15)
    facts = facts_of(time_s, circle(time_s, turn_per_s))
    whole = facts.turn[-100:]
    np.testing.assert_allclose(whole, abs(turn_per_s) * 11 * 0.4, rtol=2e-3)  # 12 steps have 11 corners
    smaller = np.sin(turn_per_s * 0.2) / (10 * np.sin(turn_per_s * 0.02))  # a circle of means of 10 boxes
    chord = 2 * 2 * smaller * np.sin(abs(turn_per_s) / 2)  # radius of 2 box heights
    np.testing.assert_allclose(facts.late_speed[-100:], chord, rtol=1e-3)
    arc = abs(turn_per_s) * 4.8
    np.testing.assert_allclose(facts.net[-100:] / facts.length[-100:], abs(np.sin(arc / 2)) / (arc / 2), atol=0.02)


def test_turning_back_is_half_a_turn_also_after_a_stop():
    time_s = clock(14)
    for stop_s in (0.0, 1.5):
        there = np.minimum(time_s, 8) - np.maximum(time_s - 8 - stop_s, 0)
        facts = facts_of(time_s, walk(there, 80))
        at = np.searchsorted(time_s[facts.rows], 8 + stop_s / 2 + 2.5)  # as much of the way there as of that back
        assert facts.turn[at] == pytest.approx(np.pi, abs=1e-3)
        assert facts.net[at] < facts.length[at] / 4


def test_left_and_right_turns_cancel_out_but_make_the_way_longer():
    time_s = clock(12)
    there_and_back = np.abs((time_s / 4 + 0.5) % 1 - 0.5) * 4  # 2 s up, 2 s down
    facts = facts_of(time_s, np.stack([300 + 80 * time_s, 200 + 80 * there_and_back], axis=1))
    assert facts.turn[-100:].max() < np.pi / 2 + 1e-3  # one turn of 90 degrees is not yet cancelled
    assert (facts.length / facts.net)[-100:].min() > 1.3


def test_a_sudden_run_and_a_stop_change_the_speed():
    time_s = clock(12)
    for before, after in ((50, 200), (200, 50), (0, 100), (100, 0)):
        foot = walk(before * np.minimum(time_s, 8) + after * np.maximum(time_s - 8, 0), 1)
        facts = facts_of(time_s, foot)
        at = int(np.flatnonzero(time_s[facts.rows] >= 9.18)[0])  # one window and the delay of the points later
        assert (facts.late_speed[at], facts.early_speed[at]) == pytest.approx((after / 100, before / 100), abs=0.1)
        change = rows_of(time_s, boxes(foot))[at, CHANGE]
        assert change == pytest.approx(np.log2((facts.late_speed[at] + 0.1) / (facts.early_speed[at] + 0.1)), abs=1e-4)


def test_a_fall_is_a_change_of_shape():
    time_s = clock(10)
    lies = time_s >= 8
    wider = follow(time_s, boxes(walk(time_s, 0), aspect=np.where(lies, 1.6, 0.4)), SPANS).wider
    at = np.searchsorted(time_s, [7.9, 8.9]) - 20
    np.testing.assert_allclose(wider[at], [0, 2], atol=1e-5)


@pytest.mark.parametrize("rate", [10, 12.5, 50, 30000 / 1001])
@pytest.mark.parametrize("path", [walk, lambda time_s: circle(time_s, 0.5), lambda t: walk(np.minimum(t, 7))])
def test_another_rate_of_the_same_motion_has_the_same_rows(rate, path):
    at_25, other = (rows_of(time_s, boxes(path(time_s))) for time_s in (clock(12), clock(12, rate)))
    difference = np.abs(at_25[-1] - other[-1])
    assert (difference < 0.06).all(), difference  # points lie 0.05 s further back where frames are rare


@pytest.mark.parametrize("scale", [0.25, 3.0])
def test_a_picture_of_another_size_has_the_same_rows(scale):
    time_s = clock(9)
    box_xyxy = boxes(circle(time_s, 0.7))
    np.testing.assert_allclose(rows_of(time_s, box_xyxy), rows_of(time_s, box_xyxy * np.float32(scale)), atol=2e-3)


def test_in_reverse_the_speed_is_the_same_and_the_direction_the_other():
    time_s = clock(6)
    foot = walk(time_s, 60, -30)
    ahead, back = rows_of(time_s, boxes(foot)), rows_of(time_s, boxes(foot[::-1]))
    np.testing.assert_allclose(back[:, [X, Y]], -ahead[:, [X, Y]], atol=1e-5)
    others = [SPEED, LONG_SPEED, CHANGE, TURN, DETOUR, STAY, SHAPE]
    np.testing.assert_allclose(back[:, others], ahead[:, others], atol=2e-3)


def test_jitter_of_a_pixel_changes_little():
    time_s = clock(10)
    noise = np.random.default_rng(0).normal(size=(len(time_s), 4)).astype(np.float32)
    for speed in (0, 80):
        box_xyxy = boxes(walk(time_s, speed))
        still, shaken = rows_of(time_s, box_xyxy), rows_of(time_s, box_xyxy + noise)
        difference = np.abs(still - shaken)
        assert difference[20:].max() < 0.5
        assert np.median(difference, axis=0).max() < 0.3
        assert difference.max() < 0.6  # windows of the first rows are short


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_a_row_depends_on_the_past_of_its_track_alone(seed):
    """With lost frames, boxes of other tracks among its own, and without what comes later."""
    rng = np.random.default_rng(seed)
    frames = np.sort(rng.choice(400, 300))  # several boxes of a frame, and frames without any
    track_id = rng.integers(-1, 4, 300)
    keep = np.unique(np.stack([frames, track_id]), axis=1, return_index=True)[1]
    frames, track_id = frames[np.sort(keep)], track_id[np.sort(keep)]
    n = len(frames)
    box_xyxy = boxes(300 + np.cumsum(rng.normal(size=(n, 2)), axis=0) * 5)
    regions = Regions(box_xyxy, frames, np.ones(n, np.float32), np.zeros(n, np.int64))
    trajectory = Trajectory(SPANS)
    whole = trajectory.extract_tracks(regions, frames / 25, track_id)
    assert np.isfinite(whole.values).all()
    end = int(rng.integers(1, n))
    past = trajectory.extract_tracks(regions.select(np.arange(end)), frames[:end] / 25, track_id[:end])
    np.testing.assert_array_equal(past.values, whole.values[: len(past)])
    one = int(rng.integers(0, 4))
    alone = np.flatnonzero(track_id == one)
    rows = trajectory.extract_tracks(regions.select(alone), frames[alone] / 25, track_id[alone])
    of_one = (whole.box_xyxy[:, None] == box_xyxy[alone]).all(axis=2).any(axis=1)
    np.testing.assert_array_equal(rows.values, whole.values[of_one])


def test_boxes_without_a_track_or_a_past_have_no_row():
    time_s = clock(3)
    n = len(time_s)
    regions = Regions(boxes(walk(time_s)), np.arange(n), np.ones(n, np.float32), np.zeros(n, np.int64))
    trajectory = Trajectory(SPANS)
    assert trajectory.extract_tracks(regions, time_s, np.full(n, -1)).values.shape == (0, 9)
    assert trajectory.extract_tracks(Regions.empty(), time_s[:0], np.zeros(0, np.int64)).values.shape == (0, 9)
    short = regions.select(np.arange(20))
    assert len(trajectory.extract_tracks(short, time_s[:20], np.zeros(20, np.int64))) == 0
    assert trajectory.extract_tracks(regions, time_s, np.zeros(n, np.int64)).frame_index.tolist() == list(range(20, n))


def test_a_path_has_the_same_numbers_by_a_slow_computation():
    """Points, speeds and stays of a wild track, by loops over its boxes."""
    rng = np.random.default_rng(4)
    time_s = np.cumsum(rng.uniform(0.02, 0.3, 120))
    foot = 300 + np.cumsum(rng.normal(size=(120, 2)), axis=0) * 9
    facts = facts_of(time_s, foot)
    points = []
    for now in time_s:
        recent = [i for i, t in enumerate(time_s) if now - 0.4 + 1e-6 < t <= now]
        points.append((np.mean(time_s[recent]), *np.mean(foot[recent].astype(np.float32), axis=0)))
    points = np.array(points)[np.flatnonzero(time_s - time_s[0] >= 0.4)[0] :]

    def at(t: float) -> np.ndarray:
        return np.array([np.interp(t, points[:, 0], points[:, column]) for column in (1, 2)])

    first = len(time_s) - len(points)
    for row, velocity, dwell in zip(facts.rows, facts.velocity, facts.dwell_s, strict=True):
        now = points[row - first, 0]
        window = min(1.0, now - points[0, 0])
        np.testing.assert_allclose(velocity, (at(now) - at(now - window)) / window / HEIGHT, atol=1e-4)
        fine = np.arange(0, now - points[0, 0], 0.4)
        outside = [t for t in fine if np.hypot(*(at(now - t) - at(now))) > 50]
        lag = time_s[row] - now
        if outside:
            assert outside[0] - 0.4 - 1e-6 <= dwell - lag <= outside[0] + 1e-6


def test_windows_have_to_hold_each_other():
    with pytest.raises(UsageError, match=r"smooth_s at most window_s, and window_s at most long_s, got 0.3, 6 and 5"):
        load_settings(overrides=["features.trajectory.window_s=6"])
    assert Trajectory(SPANS).fingerprint().items() >= vars(SPANS).items()
    own = load_settings(overrides=["features.trajectory.dwell_radius=0.7"]).features.for_extractor("trajectory")
    assert TRAJECTORY.build(own, Shared()).fingerprint()["dwell_radius"] == 0.7


USUAL = np.array([np.log2(0.9), np.log2(0.8), 0, np.log2(1 + np.radians(20)), 0, 0.75, 0, np.log2(3), 0], np.float32)
"""0.8 and 0.7 box heights per second, to the right, 20 degrees of turns, 2 s in place."""


def said(group: str, usual: np.ndarray = USUAL, **columns: float) -> str:
    """The sentence on a usual row with these columns changed, of which the group is the most unusual."""
    row = usual.copy()
    for name, value in columns.items():
        row[globals()[name.upper()]] = value
    rows = np.tile(usual, (60, 1))
    comparison = Comparison(row, rows, rows, is_local=True, is_object=True, groups=[(group, 0.9), ("stay", 0.1)],
                            score_rows=lambda rows: np.zeros(len(rows)))  # fmt: skip
    return TRAJECTORY.describe(comparison, TrajectorySettings(**vars(SPANS)))[0]


STANDING = np.array([np.log2(0.1), np.log2(0.1), 0, 0, 0, 0, 0, np.log2(31), 0], np.float32)


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("moves 3.1 times as fast as usual here over 1 s", said("speed", speed=np.log2(0.8 * 3.1 + 0.1))),
        ("moves at 50 % of the usual speed here over 5 s", said("speed", long_speed=np.log2(0.45))),
        ("hardly moves for 5 s, where things usually move", said("speed", long_speed=np.log2(0.1))),
        (
            "moves 0.9 times its height per second over 1 s, where things usually stay",
            said("speed", STANDING, speed=np.log2(1.0)),
        ),
        ("speeds up abruptly: 2.3 times as fast as 1 s before", said("change of speed", change=1)),
        ("slows down abruptly, to 47 % of its speed 1 s before", said("change of speed", change=-1)),
        ("starts to move abruptly, within 1 s", said("change of speed", change=3)),
        ("stops abruptly, within 1 s", said("change of speed", change=-3, speed=np.log2(0.11))),
        ("turns round, by 180 degrees within 5 s; usual are 20 here", said("turns", turn=np.log2(1 + np.pi))),
        ("turns by 90 degrees within 5 s; usual are 20 here", said("turns", turn=np.log2(1 + np.pi / 2))),
        ("goes to and fro: its way within 5 s is 4.0 times as long as straight on", said("turns", detour=2)),
        ("moves left, where less than 1 % of normal motion goes that way", said("direction", x=-0.75)),
        ("stands for 40 s, where things usually move on after 2 s", said("stay", stay=np.log2(41))),
        ("stands for at least 60 s, where things usually move on after 2 s", said("stay", stay=np.log2(61))),
        ("moves on after 2 s, where things usually stay for 30 s", said("stay", STANDING, stay=np.log2(3))),
        ("becomes 3.0 times as wide for its height within 1 s", said("shape", shape=np.log2(3))),
        ("becomes 3.0 times as tall for its width within 1 s", said("shape", shape=-np.log2(3))),
        ("stands for 40 s, where things usually move on after 2 s", said("shape", stay=np.log2(41))),  # the next group
        ("moves in an unusual way over 5 s", said("speed")),
    ],
)
def test_reasons_say_what_the_track_did(sentence, text):
    assert text == sentence
