from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.errors import RecordError
from mulde.evaluation.events import ScoreEvent, find_events


def events_frame_by_frame(scores, level, merge_gap, min_length, number):
    """The rules as they are said: a row of all frames, each above or not, in which gaps are filled one by one."""
    position = {int(n): i for i, n in enumerate(number)}
    frames = range(min(position), max(position) + 1) if position else range(0)
    flags = {n: n in position and scores[position[n]] >= level for n in frames}
    for n in frames:
        if flags[n]:
            following = next((m for m in range(n + 1, n + 2 + merge_gap) if flags.get(m)), None)
            if following is not None:
                flags.update((m, True) for m in range(n, following))
    events, n = [], frames.start
    while n < frames.stop:
        last = n
        while flags.get(n) and flags.get(last + 1):
            last += 1
        if flags[n] and last - n + 1 >= min_length:
            inside = [position[m] for m in range(n, last + 1) if m in position]
            peak = max(inside, key=lambda i: (scores[i], -i))
            events.append(ScoreEvent(inside[0], inside[-1] + 1, peak, float(scores[peak])))
        n = last + 1
    return events


@st.composite
def numbered_scores(draw):
    scores = draw(st.lists(st.integers(0, 4), max_size=40))
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 3, 7]), min_size=len(scores), max_size=len(scores)))
    first = draw(st.integers(-5, 10**12))
    return np.array(scores, np.float64), first + np.cumsum(np.array(steps, np.int64))


@settings(max_examples=500, deadline=None)
@given(numbered_scores(), st.integers(0, 5), st.integers(0, 4), st.integers(1, 6))
def test_missing_frames_count_as_frames_below_the_level(numbered, level, merge_gap, min_length):
    scores, number = numbered
    found = find_events(scores, level, merge_gap=merge_gap, min_length=min_length, number=number)
    assert found == events_frame_by_frame(scores, level, merge_gap, min_length, number)


@settings(max_examples=200, deadline=None)
@given(numbered_scores(), st.integers(0, 5), st.integers(0, 4), st.integers(1, 6), st.integers(-3, 3))
def test_without_numbers_no_frame_is_missing(numbered, level, merge_gap, min_length, first):
    scores, _ = numbered
    found = find_events(scores, level, merge_gap=merge_gap, min_length=min_length)
    number = first + np.arange(scores.size)
    assert found == find_events(scores, level, merge_gap=merge_gap, min_length=min_length, number=number)
    assert found == events_frame_by_frame(scores, level, merge_gap, min_length, number)


def test_a_stretch_ends_where_more_frames_are_missing_than_a_gap_may_have():
    scores = np.array([9.0, 8.0, 9.5, 7.0])
    number = np.array([10, 11, 14, 18])
    found = find_events(scores, 5, merge_gap=2, number=number)
    assert found == [ScoreEvent(0, 3, 2, 9.5), ScoreEvent(3, 4, 3, 7.0)]
    assert find_events(scores, 5, merge_gap=2, min_length=5, number=number) == found[:1]
    assert find_events(scores, 5, merge_gap=2, min_length=6, number=number) == []


@pytest.mark.parametrize("number", [[1, 2], [1, 2, 2], [3, 2, 4]])
def test_numbers_that_do_not_fit_are_refused(number):
    with pytest.raises(RecordError, match="expected 3 that increase"):
        find_events(np.ones(3), 0.5, number=np.array(number))
