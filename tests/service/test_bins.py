from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulde.service.bins import binned


@given(
    st.lists(st.tuples(st.integers(0, 200), st.floats(-10, 10)), max_size=30),
    st.integers(0, 100), st.integers(1, 100), st.integers(1, 40),
)  # fmt: skip
def test_bins_have_the_lowest_and_the_highest_score_of_their_part(scores, start_ms, span_ms, points):
    times, values = np.array([t for t, _ in scores], np.int64), np.array([v for _, v in scores])
    found = binned([(times, values), (times[:3], values[:3])], start_ms, start_ms + span_ms, points)
    assert len(found) == points
    for i, part in enumerate(found):
        inside = [
            v
            for t, v in scores
            if start_ms * points + i * span_ms <= t * points < start_ms * points + (i + 1) * span_ms
        ]
        if part is None:
            assert not inside
            continue
        assert part[1:] == (min(inside), max(inside))
        assert part[0] == next(t for t in range(start_ms, start_ms + span_ms) if (t - start_ms) * points >= i * span_ms)


def test_more_points_than_milliseconds():
    assert binned([(np.array([5]), np.array([1.0]))], 5, 6, 3) == [(5, 1.0, 1.0), None, None]


def test_nothing_was_seen():
    assert binned([], 0, 10, 2) == [None, None]
    assert binned([(np.zeros(0, np.int64), np.zeros(0))], 0, 10, 1) == [None]


def test_memory_and_files_agree():
    rng = np.random.default_rng(0)
    times, values = np.sort(rng.integers(0, 10**6, 5000)), rng.normal(size=5000)
    whole = binned([(times, values)], 0, 10**6, 100)
    assert binned([(times[:3000], values[:3000]), (times[2000:], values[2000:])], 0, 10**6, 100) == whole
    assert min(part[1] for part in whole if part) == pytest.approx(values.min())
