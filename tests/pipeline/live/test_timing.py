"""Times of pictures from cameras whose clocks do what clocks do, against the times at which they were truly taken."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulde.pipeline.live.timing import BacklogEnd, SessionTimes, WantedFrames

STARTED_S = 5000.0
LAG_S = 0.2


def even(count: int, fps: float = 25.0) -> list[float]:
    return [STARTED_S + n / fps for n in range(count)]


def placed(taken_s: Iterable[float], stamp_of: Callable[[float], float | None], lags_s: Iterable[float] | None = None):
    """Times of pictures that were taken at `taken_s`; a jump begins a new session, as it does in a camera's reader."""
    times, made, sessions = SessionTimes(), [], 0
    for taken, lag_s in zip(taken_s, itertools.repeat(LAG_S) if lags_s is None else lags_s, strict=False):
        one = times.place(stamp_of(taken), taken + lag_s)
        if one is None:
            sessions += 1
            times = SessionTimes(times.uses_stamps)
            one = times.place(stamp_of(taken), taken + lag_s)
        made.append(one)
    return made, sessions, times


def errors_s(made: list, taken_s: list[float]) -> np.ndarray:
    return np.array([one.captured_s for one in made]) - taken_s


def test_a_sound_clock_is_followed_to_the_microsecond():
    taken_s = even(3000)
    made, jumps, times = placed(taken_s, lambda taken: taken - STARTED_S + 77)
    np.testing.assert_allclose(errors_s(made, taken_s), LAG_S, atol=1e-9)
    np.testing.assert_allclose([one.time_s for one in made], np.array(taken_s) - STARTED_S, atol=1e-9)
    assert (jumps, times.uses_stamps, times.remark) == (0, True, "")


def test_jitter_of_the_network_is_not_in_the_times():
    taken_s = even(2000)
    lags_s = LAG_S + np.random.default_rng(0).exponential(0.1, 2000)
    made, jumps, _ = placed(taken_s, lambda taken: taken, lags_s)
    np.testing.assert_allclose([one.time_s for one in made], np.array(taken_s) - STARTED_S, atol=1e-9)
    settled = errors_s(made, taken_s)[500:]
    assert 0 <= settled.min() - LAG_S < 0.01
    assert np.ptp(settled) < 0.01
    assert jumps == 0


def test_a_stall_is_a_backlog_and_no_jump():
    """Ten seconds of nothing, then all at once: the pictures keep the times at which they were taken."""
    taken_s = even(1000)
    arrived_s = [max(taken + LAG_S, STARTED_S + 20 if 10 <= taken - STARTED_S < 20 else 0) for taken in taken_s]
    made, jumps, times = placed(taken_s, lambda taken: taken, np.array(arrived_s) - taken_s)
    np.testing.assert_allclose(errors_s(made, taken_s), LAG_S, atol=1e-9)
    behind_s = np.array([one.behind_s for one in made])
    np.testing.assert_allclose(behind_s, np.array(arrived_s) - taken_s - LAG_S, atol=1e-9)
    assert behind_s.max() == pytest.approx(9.8)
    assert jumps == 0
    assert times.uses_stamps


@pytest.mark.parametrize("hours", [1, -1, 24, -0.01])
def test_a_clock_that_is_set_ends_the_session(hours):
    taken_s, at_s = even(2000), STARTED_S + 40
    made, jumps, times = placed(taken_s, lambda taken: taken + (3600 * hours if taken >= at_s else 0))
    np.testing.assert_allclose(errors_s(made, taken_s), LAG_S, atol=1e-9)
    assert jumps == 1
    assert made[1000].time_s == 0.0
    assert times.uses_stamps


@pytest.mark.parametrize("period_s", [2**32 / 90_000, 2**33 / 90_000, 2**32 / 1000])
def test_a_counter_that_wraps_is_none_that_jumps(period_s):
    taken_s = even(2000)
    made, jumps, _ = placed(taken_s, lambda taken: (taken - STARTED_S + period_s - 30) % period_s)
    np.testing.assert_allclose(errors_s(made, taken_s), LAG_S, atol=1e-6)
    np.testing.assert_allclose([one.time_s for one in made], np.array(taken_s) - STARTED_S, atol=1e-6)
    assert jumps == 0


@pytest.mark.parametrize(
    ("stamp", "remark"),
    [(None, "its pictures carry no time stamps"), (12.5, "its pictures carry the same time stamp")],
)
def test_without_stamps_pictures_are_placed_by_arrival(stamp, remark):
    taken_s = even(500)
    made, jumps, times = placed(taken_s, lambda _: stamp)
    assert np.abs(errors_s(made, taken_s) - LAG_S).max() < 0.2
    np.testing.assert_allclose(np.diff([one.time_s for one in made])[5:], 0.04, atol=1e-9)
    assert (jumps, times.uses_stamps) == (0, False)
    assert times.remark == f"{remark}: they are placed by their arrival"


@pytest.mark.parametrize(("true_fps", "percent"), [(21, "16 % slower"), (23.5, "6 % slower"), (28, "12 % faster")])
def test_a_wrong_rate_is_noticed_and_no_time_is_a_second_off(true_fps, percent):
    """Stamps that count 25 pictures a second, of which the camera takes more or fewer."""
    taken_s = even(true_fps * 180, true_fps) if isinstance(true_fps, int) else even(int(true_fps * 180), true_fps)
    made, jumps, times = placed(taken_s, lambda taken: round((taken - STARTED_S) * true_fps) / 25)
    assert np.abs(errors_s(made, taken_s) - LAG_S).max() < 1.0
    assert jumps == 0
    assert times.remark.startswith(f"its time stamps run {percent}")
    late = [one.time_s for one in made if one.captured_s > STARTED_S + 100]
    np.testing.assert_allclose(np.diff(late), 1 / true_fps, atol=1e-6)


@pytest.mark.parametrize("drift", [0.001, -0.001, 0.03, -0.03])
def test_a_clock_that_drifts_within_reason_is_used_and_followed(drift):
    taken_s = even(25 * 3600 // 4, 6.25)
    made, jumps, times = placed(taken_s, lambda taken: (taken - STARTED_S) * (1 - drift))
    assert np.abs(errors_s(made, taken_s) - LAG_S).max() < 1.0
    assert (jumps, times.uses_stamps) == (0, True)


def test_one_long_delay_is_not_another_rate():
    """A relay that buffers five more seconds from now on."""
    taken_s = even(3000)
    lags_s = [LAG_S + (5 if taken > STARTED_S + 50 else 0) for taken in taken_s]
    made, jumps, times = placed(taken_s, lambda taken: taken, lags_s)
    assert times.uses_stamps
    assert made[-1].behind_s == pytest.approx(0)
    assert jumps == 0


def test_pictures_that_are_sent_twice_have_one_time():
    times = SessionTimes()
    made = [times.place(stamp_s, 10 + stamp_s) for stamp_s in (0.0, 0.1, 0.1, 0.2, 0.3, 0.3, 0.4)]
    assert [one.time_s for one in made] == pytest.approx([0.0, 0.1, 0.1, 0.2, 0.3, 0.3, 0.4])
    assert times.uses_stamps


def test_a_first_picture_without_stamp_does_not_move_the_others():
    taken_s = even(100)
    made, _, _ = placed(taken_s, lambda taken: None if taken == STARTED_S else taken)
    np.testing.assert_allclose([one.time_s for one in made], np.array(taken_s) - STARTED_S, atol=1e-9)


@given(st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 5)), max_size=200))
def test_times_never_decrease(pictures):
    times, arrived_s, last = SessionTimes(), 100.0, None
    for stamp_s, waited_s in pictures:
        arrived_s += waited_s
        one = times.place(stamp_s, arrived_s)
        if one is None:
            times, last = SessionTimes(times.uses_stamps), None
            continue
        assert last is None or (one.time_s >= last.time_s and one.captured_s >= last.captured_s)
        assert one.time_s >= 0
        last = one


def test_memory_is_bounded():
    times = SessionTimes()
    for n in range(100_000):
        times.place(n / 10 + n % 7 / 1000, n / 10)
    assert all(len(value) < 100 for value in vars(times).values() if hasattr(value, "__len__"))


def test_frames_are_wanted_once_per_place_of_the_grid():
    wanted = WantedFrames(2.0)
    numbers = [wanted.number(n / 25) for n in range(76)]
    got = {n: number for n, number in enumerate(numbers) if number is not None}
    assert got == {0: 0, 12: 1, 24: 2, 37: 3, 49: 4, 62: 5, 74: 6}  # the first not before k / 2 s - 0.05 s


def test_a_grid_of_the_cameras_own_rate_takes_every_picture_in_spite_of_jitter():
    wanted = WantedFrames(10.0)
    jitter_s = np.random.default_rng(0).uniform(-0.009, 0.009, 500)
    assert [wanted.number(max(0, n / 10 + jitter_s[n])) for n in range(500)] == list(range(500))


def test_stamps_in_another_order_than_the_pictures_are_no_jump():
    """As of servers that stamp B frames in the order in which they are sent, and a stall behind one."""
    times = SessionTimes()
    stamps_s = [n / 25 + (0.04, 0.08, -0.04, -0.08)[n % 4] for n in range(200)]
    arrived_s = [100 + n / 25 + (5 if n >= 102 else 0) for n in range(200)]
    made = [times.place(stamp_s, arrived) for stamp_s, arrived in zip(stamps_s, arrived_s, strict=True)]
    assert None not in made
    assert times.uses_stamps


def test_places_that_nothing_comes_for_are_left_out():
    wanted = WantedFrames(2.0)
    assert [wanted.number(time_s) for time_s in (0.0, 3.1, 3.2, 3.2, 3.6)] == [0, 6, None, None, 7]


def test_no_grid_wants_every_picture():
    wanted = WantedFrames(0)
    assert [wanted.number(time_s) for time_s in (0.0, 0.0, 7.0)] == [0, 1, 2]


def backlog_ends(pictures: list[tuple[float | None, float]]) -> int | None:
    backlog = BacklogEnd()
    return next((n for n, one in enumerate(pictures) if backlog.take(*one)), None)


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        ([(n / 10, 5 + n / 10) for n in range(9)], 1),  # nothing is held back: the second comes when it should
        ([*((n / 10, 5.0) for n in range(30)), *((n / 10, 5 + (n - 29) / 10) for n in range(30, 40))], 30),
        ([(None, 5.0), (0.0, 5.0), (0.1, 5.0), (0.2, 5.1)], 3),  # as RTSP begins
        ([(None, 5.0), (None, 5.0)], 1),
        ([(3.0, 5.0), (3.0, 5.0)], 1),
        ([(n / 10, 5 + n / 1000) for n in range(9)], None),
        ([(0.2, 5.0), (0.1, 5.0), (0.4, 5.0), (0.3, 5.1), (0.5, 5.2)], 4),  # some servers send B frames like that
        ([(n / 1, 5 + n / 10) for n in range(120)], 101),  # faster than its stamps for good: after ten seconds
    ],
)
def test_the_backlog_of_a_new_connection_ends_where_pictures_come_when_they_are_due(pictures, expected):
    assert backlog_ends(pictures) == expected
