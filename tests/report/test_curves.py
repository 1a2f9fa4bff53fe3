"""Curves lose points but nothing that one can see, and say the same as scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, roc_auc_score, roc_curve

from mulde.evaluation.protocol import evaluate_tracks
from mulde.evaluation.regions import RegionCurves
from mulde.evaluation.smoothing import Smoothing, smooth
from mulde.records import LabelTrack
from mulde.report.curves import (
    columns_per_video,
    frame_trade_offs,
    region_trade_offs,
    thin_path,
    thin_track,
    truth_frames,
)


def test_a_lone_peak_in_ten_hours_is_kept():
    values = np.zeros(900_000)
    values[[123_456, 700_001]] = 5, -3
    keep = thin_track(values, 600)
    assert len(keep) <= 1202
    assert {0, 123_456, 700_001, 899_999} <= set(keep.tolist())


@given(st.lists(st.integers(-5, 5), max_size=60), st.integers(1, 8))
def test_each_stretch_keeps_its_least_and_its_greatest(numbers, columns):
    values = np.array(numbers, np.float64)
    keep = thin_track(values, columns)
    assert np.array_equal(keep, np.unique(keep))
    assert len(keep) <= max(2 * columns + 2, 1)
    width = -(-len(values) // columns) or 1
    for start in range(0, len(values), width):
        kept = values[keep[(keep >= start) & (keep < start + width)]]
        assert kept.min() == min(numbers[start : start + width])
        assert kept.max() == max(numbers[start : start + width])


def test_a_thinned_path_stays_on_the_old_one():
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.random(50_000)), np.sort(rng.random(50_000))
    thin_x, thin_y = thin_path(x, y, 1000)
    assert len(thin_x) <= 1000
    assert (thin_x[0], thin_y[0], thin_x[-1], thin_y[-1]) == (x[0], y[0], x[-1], y[-1])
    before = np.searchsorted(thin_x, x, side="right") - 1
    assert (x - thin_x[before] + y - thin_y[before]).max() <= 2 / 999


def test_a_short_path_is_not_touched():
    x = np.array([0.0, 0.5, 1.0])
    assert thin_path(x, x, 3)[0] is x


@pytest.fixture(scope="module")
def some_scores():
    rng = np.random.default_rng(1)
    labels = {name: LabelTrack(name, rng.random(n) < 0.3) for name, n in (("b", 90), ("a", 140))}
    scores = {name: np.round(rng.random(len(t)) + 0.5 * t.anomalous, 2) for name, t in labels.items()}
    return scores, labels, evaluate_tracks(scores, labels, 2.0, seed=3, bootstrap=0)


def test_the_curves_are_those_of_the_figures(some_scores):
    scores, labels, evaluation = some_scores
    roc, precision = frame_trade_offs(evaluation, scores, labels, dict.fromkeys(labels, Smoothing(2.0)))
    assert [line.name for line in roc.lines] == [
        "raw", "causal", "centred", "null: random", "null: ramp", "null: triangle",
    ]  # fmt: skip
    truth = np.concatenate([labels[name].anomalous for name in "ab"])
    assert precision.chance == (truth.mean(), truth.mean())
    for row, one, other in zip(evaluation.rows, roc.lines, precision.lines, strict=False):
        pooled = np.concatenate([smooth(scores[name], 2.0, row.smoothing) for name in "ab"])
        assert auc(one.x, one.y) == pytest.approx(roc_auc_score(truth, pooled), abs=1e-12)
        assert auc(one.x, one.y) == pytest.approx(row.result.micro_auc, abs=1e-12)
        points = set(zip(one.x.round(9), one.y.round(9), strict=True))
        assert {(x.round(9), y.round(9)) for x, y in zip(*roc_curve(truth, pooled)[:2], strict=True)} <= points
        steps = -np.diff(other.x) @ other.y[:-1]  # each precision holds until the next lower recall
        assert steps == pytest.approx(average_precision_score(truth, pooled), abs=1e-12)


def test_fixed_null_lines_have_the_area_of_the_null_figures(some_scores):
    scores, labels, evaluation = some_scores
    lines = {
        line.name: line
        for line in frame_trade_offs(evaluation, scores, labels, dict.fromkeys(labels, Smoothing(2.0)))[0].lines
    }
    for name in ("ramp", "triangle"):
        line = lines[f"null: {name}"]
        assert line.never_looks
        assert auc(line.x, line.y) == pytest.approx(evaluation.rows[-1].nulls[name].micro_auc, abs=1e-12)


@pytest.mark.parametrize("anomalous", [False, True])
def test_one_class_has_no_curves(anomalous):
    labels = {"a": LabelTrack("a", np.full(5, anomalous))}
    scores = {"a": np.arange(5.0)}
    evaluation = evaluate_tracks(scores, labels, 1.0, bootstrap=0)
    assert frame_trade_offs(evaluation, scores, labels, {"a": Smoothing(1.0)}) == []


def test_only_region_curves_that_are_defined_are_drawn():
    x, none = np.linspace(0, 1, 3000), np.zeros(0)
    assert [one.key for one in region_trade_offs(RegionCurves(x, x, none, none, none))] == ["pixel-roc"]
    both = region_trade_offs(RegionCurves(none, none, x, x, x**2))
    assert [one.key for one in both] == ["rbdc", "tbdc"]
    assert max(len(one.lines[0].x) for one in both) <= 1000
    assert region_trade_offs(RegionCurves(none, none, none, none, none)) == []


def test_truth_is_told_in_frames_where_frames_are_missing():
    assert truth_frames(np.array([0, 1, 5, 6, 9]), [(1, 3), (4, 5)]) == [(1, 6), (9, 10)]


def test_a_page_of_many_videos_has_coarser_curves():
    assert columns_per_video(1) == 600
    assert columns_per_video(300) == 600
    assert columns_per_video(1000) == 200
    assert columns_per_video(0) == 600
