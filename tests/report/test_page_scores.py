from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest

from mulde.evaluation.events import find_events
from mulde.report.page_scores import (
    STEPS,
    Grid,
    axis_text,
    bucket_frames,
    bucketed,
    is_regular,
    p_value_steps,
    packed,
)


def unpacked(text: str) -> np.ndarray:
    """One number at a time, as the page does it."""
    data = zlib.decompress(base64.b64decode(text))
    half, value, found = len(data) // 2, 0, []
    for low, high in zip(data[:half], data[half:], strict=True):
        zigzag = low + 256 * high
        value += zigzag // 2 if zigzag % 2 == 0 else -(zigzag + 1) // 2
        found.append(value % 65536)
    return np.array(found, np.uint16)


@pytest.mark.parametrize("values", [[], [0], [65535, 0, 65535], [7, 7, 8, 40000, 3]])
def test_packing_loses_nothing(values):
    values = np.array(values, np.uint16)
    np.testing.assert_array_equal(unpacked(packed(values)), values)


def test_packing_loses_nothing_of_random_numbers():
    values = np.random.default_rng(0).integers(0, 65536, 5000).astype(np.uint16)
    np.testing.assert_array_equal(unpacked(packed(values)), values)


@pytest.mark.parametrize("level", [None, 1.7, -2.0, 400.0])
def test_a_score_reaches_a_level_of_the_grid_exactly_when_its_number_does(level):
    scores = np.random.default_rng(1).normal(0, 5, 3000)
    grid = Grid.over([scores], level)
    scores[:100] = [grid.level(k) for k in range(0, STEPS, STEPS // 100)][:100]  # ties
    scores = np.clip(scores, *(grid.level(k) for k in (0, STEPS - 1)))
    numbers = grid.numbers(scores)
    for k in [0, 1, 777, 30_000, STEPS - 1, *([grid.alarm] if level is not None else [])]:
        np.testing.assert_array_equal(numbers >= k, scores >= grid.level(k), err_msg=str(k))


def test_the_alarm_level_is_on_the_grid_to_the_last_bit():
    scores = np.random.default_rng(2).gamma(2, 2, 2000)
    level = float(np.nextafter(scores[17], np.inf))
    grid = Grid.over([scores], level)
    assert grid.level(grid.alarm) == level
    found = find_events(grid.numbers(scores).astype(float), grid.alarm, merge_gap=4, min_length=2)
    expected = find_events(scores, level, merge_gap=4, min_length=2)
    assert [(e.start, e.end) for e in found] == [(e.start, e.end) for e in expected]


def test_a_grid_of_nothing_and_of_one_score():
    assert Grid.over([np.zeros(0)]).numbers(np.zeros(0)).size == 0
    grid = Grid.over([np.full(3, 2.5)])
    np.testing.assert_allclose([grid.level(int(k)) for k in grid.numbers(np.full(3, 2.5))], 2.5, atol=1e-4)


def test_buckets_hold_the_lowest_and_the_highest():
    values = np.array([3.0, 1.0, 2.0, 9.0, 4.0])
    np.testing.assert_array_equal(bucketed(values, 1), values)
    np.testing.assert_array_equal(bucketed(values, 2), [1, 3, 2, 9, 4, 4])
    assert bucket_frames(1000, 4) == 1
    size = bucket_frames(2_160_000, 4)
    assert 2 * 4 * 2_160_000 / size <= 800_000 < 2 * 4 * 2_160_000 / (size - 1)


def test_p_values_come_back_from_the_numbers():
    scores = np.random.default_rng(3).normal(0, 1, 800)
    p = (1 + np.array([(scores >= one).sum() for one in scores])) / 801
    grid = Grid.over([scores])
    numbers = grid.numbers(scores)
    starts, steps = p_value_steps(grid, [numbers], [p])
    found = [steps[np.searchsorted(starts, k, side="right") - 1] for k in numbers]
    np.testing.assert_allclose(found, p, atol=1.1 / 801)  # two scores of one number share a p-value
    assert np.all(np.array(found) >= p - 1e-4)
    assert starts[0] == 0


def test_p_values_of_several_models_are_left_out():
    grid = Grid.over([np.array([0.0, 1.0])])
    numbers = [np.array([0, 100], np.uint16)]
    assert p_value_steps(grid, numbers, [np.array([0.1, 0.9])]) is None


def test_many_p_values_are_thinned():
    p = np.linspace(1, 1e-6, 60_000)
    starts, steps = p_value_steps(Grid(0.0, 1.0), [np.arange(60_000, dtype=np.uint16)], [p])
    assert len(starts) <= 4096
    assert steps[0] == pytest.approx(1)
    assert steps[-1] == pytest.approx(1e-6)


def test_an_even_axis_needs_no_times():
    frames = np.arange(10)
    assert is_regular(frames, frames / 29.97, 29.97)
    assert is_regular(np.zeros(0, np.int64), np.zeros(0), 25.0)
    assert not is_regular(frames + (frames > 4), frames / 25, 25.0)
    assert not is_regular(frames, frames / 25 + (frames > 4) * 0.1, 25.0)
    steps = np.frombuffer(zlib.decompress(base64.b64decode(axis_text(frames[::2], frames[::2] / 4))), "<i4")
    np.testing.assert_array_equal(steps.reshape(2, -1).cumsum(axis=1), [frames[::2], frames[::2] * 250])
