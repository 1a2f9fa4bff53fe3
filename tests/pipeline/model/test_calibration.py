"""Calibration, frame maximum and combination against hand-computed answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mulde.errors import FitError
from mulde.pipeline.model.calibration import Calibration, calibrate, combine, frame_maximum, learn_surprise


def test_frame_maximum_equals_a_loop():
    rng = np.random.default_rng(0)
    frames = np.arange(10, 40)
    row_frame = np.sort(rng.choice(frames[::2], 50))
    scores = rng.normal(size=50)
    expected = [
        max((s for s, f in zip(scores, row_frame, strict=True) if f == frame), default=-7.0) for frame in frames
    ]
    assert frame_maximum(scores, row_frame, frames, -7.0).tolist() == expected


def test_no_rows_at_all_gives_every_frame_the_floor():
    assert frame_maximum(np.zeros(0), np.zeros(0, np.int64), np.arange(3), -1.5).tolist() == [-1.5] * 3


def test_heldout_minimum_and_high_percentile_become_0_and_1():
    calibration = calibrate("a", np.arange(1001.0))
    assert calibration(np.array([0.0, 499.5, 999.0])) == pytest.approx([0, 0.5, 1], abs=1e-12)
    assert calibration(np.array([999 * np.e, 999 * np.e**2])) == pytest.approx([2, 3], abs=1e-12)


def test_equal_scores_and_no_scores_are_defined():
    assert calibrate("a", np.full(5, 3.0))(np.array([3.0, 4.0])).tolist() == [0.0, 1.0]
    with pytest.raises(FitError, match="calibration of a: expected normal rows, got none"):
        calibrate("a", np.zeros(0))


def test_calibration_keeps_the_order():
    scores = np.random.default_rng(1).normal(size=100)
    assert np.array_equal(np.argsort(Calibration(-3, 9)(scores)), np.argsort(scores))


def test_surprise_of_exponential_scores_is_known():
    """-log P(X >= x) = x where X is exponential, inside what was seen and far beyond it."""
    surprise = learn_surprise(np.random.default_rng(0).exponential(size=200_000))
    x = np.array([0.0, 0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 50.0])
    assert surprise(x) ** 2 / 2 == pytest.approx(x, rel=0.02, abs=0.005)


def test_surprise_comes_from_the_share_of_normal_frames_that_reach_a_score():
    frames = np.random.default_rng(2).normal(size=5000)
    surprise = learn_surprise(frames)
    for score in (-2.0, -0.5, 0.0, 1.0, 1.6):
        neg_log_p = -np.log(np.mean(frames >= score))
        assert surprise(np.array([score]))[0] == pytest.approx(np.sqrt(2 * neg_log_p), abs=0.02)


@given(
    frames=arrays(np.float64, st.integers(1, 50), elements=st.floats(-5, 5)),
    scores=arrays(np.float64, 20, elements=st.floats(-9, 9)),
)
def test_surprise_rises_from_0_and_stays_finite(frames, scores):
    found = learn_surprise(frames)(np.sort(scores))
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    assert (found >= 0).all()


def test_a_score_that_many_frames_share_is_reached_by_all_of_them():
    """Frames without rows all have the same, lowest score: no surprise."""
    frames = np.concatenate([np.zeros(50), np.linspace(1, 2, 50)])
    assert learn_surprise(frames)(np.array([-1.0, 0.0, 1.0])) == pytest.approx([0, 0, np.sqrt(2 * np.log(2))], abs=0.05)


def test_without_frames_there_is_no_scale():
    with pytest.raises(FitError, match="normal frames, got none"):
        learn_surprise(np.zeros(0))


@pytest.mark.parametrize(("how", "expected"), [("sum", [5.0, 1.0]), ("max", [4.0, 3.0])])
def test_streams_combine(how, expected):
    assert combine({"a": np.array([1.0, 3.0]), "b": np.array([4.0, -2.0])}, how).tolist() == expected
