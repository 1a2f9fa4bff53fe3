"""Calibration, frame maximum and combination against hand-computed answers."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.errors import FitError
from mulde.pipeline.fusion import Calibration, calibrate, combine, frame_maximum


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
    heldout = np.arange(1001.0)
    calibration = calibrate("a", heldout, np.array([500.0, -100.0]))
    assert calibration(np.array([0.0, 499.5, 999.0])) == pytest.approx([0, 0.5, 1], abs=1e-12)
    assert calibration(np.array([999 * np.e, 999 * np.e**2])) == pytest.approx([2, 3], abs=1e-12)
    assert calibration.floor == pytest.approx(-100 / 999)


def test_equal_scores_and_no_scores_are_defined():
    assert calibrate("a", np.full(5, 3.0), np.full(5, 3.0))(np.array([3.0, 4.0])).tolist() == [0.0, 1.0]
    with pytest.raises(FitError, match="calibration of a: expected normal rows, got none"):
        calibrate("a", np.zeros(0), np.ones(3))


def test_calibration_keeps_the_order():
    scores = np.random.default_rng(1).normal(size=100)
    assert np.array_equal(np.argsort(Calibration(-3, 9, 0)(scores)), np.argsort(scores))


@pytest.mark.parametrize(("how", "expected"), [("sum", [5.0, 1.0]), ("max", [4.0, 3.0])])
def test_streams_combine(how, expected):
    assert combine({"a": np.array([1.0, 3.0]), "b": np.array([4.0, -2.0])}, how).tolist() == expected
