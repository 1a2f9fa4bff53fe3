"""Runs side by side: differences against resampling the frames themselves, with scikit-learn's AUC on each resample."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mulde.evaluation.alarms import EventRules
from mulde.evaluation.bootstrap import draw_videos
from mulde.evaluation.comparison import SeedScores, compare_runs
from mulde.evaluation.protocol import evaluate_tracks
from mulde.evaluation.smoothing import Smoothing
from mulde.records import LabelTrack

LENGTHS = {"a": 40, "b": 30, "c": 50, "d": 25, "e": 35}


@pytest.fixture
def labels():
    rng = np.random.default_rng(5)
    flags = {name: np.sort(rng.random(n)) > 0.6 for name, n in LENGTHS.items()}
    flags["d"] = np.zeros(25, np.bool_)
    return {name: LabelTrack(name, values) for name, values in flags.items()}


def run(labels, seed, strength, levels=None, sigma=1.5):
    rng = np.random.default_rng(seed)
    scores = {name: np.round(rng.normal(size=len(t)) + strength * t.anomalous, 1) for name, t in labels.items()}
    return SeedScores(
        scores, dict.fromkeys(labels, Smoothing(sigma)), dict.fromkeys(labels, 10.0), levels or {}, EventRules()
    )


def naive_aucs(scored, labels, draw, mode):
    """Micro and macro AUC of one resample, NaN where undefined."""
    drawn = [name for name, times in zip(sorted(labels), draw, strict=True) for _ in range(times)]
    scores = [scored.smoothing[name](scored.scores[name], mode) for name in drawn]
    truth = [labels[name].anomalous for name in drawn]
    pooled = np.concatenate(truth)
    micro = roc_auc_score(pooled, np.concatenate(scores)) if 0 < pooled.sum() < pooled.size else np.nan
    own = [roc_auc_score(t, s) for t, s in zip(truth, scores, strict=True) if 0 < t.sum() < t.size]
    return micro, np.mean(own) if own else np.nan


def test_differences_are_those_of_the_same_resamples_of_frames(labels):
    runs = {"one": [run(labels, 0, 0.5)], "two": [run(labels, s, 0.8) for s in (1, 2)]}
    found = compare_runs(runs, labels, num_resamples=25, seed=4)
    draws = draw_videos(len(labels), 25, seed=4)
    for mode in ("raw", "causal", "centred"):
        aucs = {
            name: np.mean([[naive_aucs(each, labels, draw, mode) for draw in draws] for each in seeds], axis=0)
            for name, seeds in runs.items()
        }
        difference = aucs["two"] - aucs["one"]
        row = found.row(mode, "two")
        for at, figure in enumerate(("micro_auc", "macro_auc")):
            defined = difference[:, at][~np.isnan(difference[:, at])]
            paired = row.differences[figure]
            expected = (*np.quantile(defined, (0.025, 0.975)), np.mean(defined > 0))
            assert (paired.low, paired.high, paired.share_higher) == pytest.approx(expected, abs=1e-12)
        assert not found.row(mode, "one").differences


def test_figures_are_those_of_each_seed_with_mean_and_standard_deviation(labels):
    seeds = [run(labels, s, 0.7) for s in range(4)]
    found = compare_runs({"x": [run(labels, 9, 0)], "y": seeds}, labels, num_resamples=0)
    row, pooled = found.row("raw", "y"), np.concatenate([labels[name].anomalous for name in labels])
    each = [np.concatenate([seed.scores[name] for name in labels]) for seed in seeds]
    for figure, metric in (("micro_auc", roc_auc_score), ("average_precision", average_precision_score)):
        values = [metric(pooled, scores) for scores in each]
        assert row.figures[figure] == pytest.approx((np.mean(values), np.std(values, ddof=1)), abs=1e-12)
    assert found.difference(row, "micro_auc") == pytest.approx(
        row.figures["micro_auc"][0] - found.row("raw", "x").figures["micro_auc"][0], abs=1e-15
    )
    assert row.num_seeds == 4
    assert found.row("raw", "x").figures["micro_auc"][1] is None
    assert not row.differences
    assert (found.num_videos, found.num_macro_videos, found.num_frames) == (5, 4, 180)


def test_events_are_those_at_the_own_level_of_each_run(labels):
    levels = {mode: {"alarm": 1.0} for mode in ("raw", "causal", "centred")}
    with_level, without = run(labels, 1, 2.0, levels), run(labels, 2, 2.0)
    found = compare_runs({"a": [with_level], "b": [without]}, labels, num_resamples=10)
    alone = evaluate_tracks(with_level.scores, labels, 1.5, rates=10.0, levels=levels, bootstrap=0)
    for row in alone.rows:
        (own,) = [point for point in row.alarms if point.name == "alarm"]
        compared = found.row(row.smoothing, "a")
        assert compared.num_found == (own.num_found, None)
        assert compared.false_per_hour == (own.false_alarms_per_hour, None)
        assert found.num_true_events == own.num_true_events
        assert found.row(row.smoothing, "b").num_found is None


def test_a_run_against_itself_a_monotone_twin_and_its_reverse(labels):
    one = run(labels, 0, 1.0, sigma=0.0)
    twin = SeedScores({n: np.exp(s) for n, s in one.scores.items()}, one.smoothing, one.rates)
    reverse = SeedScores({n: -s for n, s in one.scores.items()}, one.smoothing, one.rates)
    found = compare_runs({"one": [one], "twin": [twin], "reverse": [reverse]}, labels, num_resamples=200)
    same = found.row("raw", "twin").differences["micro_auc"]
    assert (same.low, same.high, same.share_higher) == (0, 0, 0)
    worse = found.row("raw", "reverse").differences["micro_auc"]
    assert worse.high < 0
    assert worse.share_higher == 0


def test_the_table_has_a_line_for_each_run_and_smoothing(labels):
    found = compare_runs({"a": [run(labels, 1, 1.0)], "b": [run(labels, 2, 1.0)]}, labels, num_resamples=20)
    lines = found.as_table()
    assert [(line["smoothing"], line["run"]) for line in lines] == [
        (mode, name) for mode in ("raw", "causal", "centred") for name in "ab"
    ]
    assert len({tuple(line) for line in lines}) == 1
    assert lines[0]["micro_auc_difference"] is None
    assert lines[1]["micro_auc_difference"] == lines[1]["micro_auc"] - lines[0]["micro_auc"]
    assert lines[1]["micro_auc_difference_low"] < lines[1]["micro_auc_difference_high"]


def test_labels_of_one_class_leave_nothing_to_compare():
    labels = {name: LabelTrack(name, np.zeros(9, np.bool_)) for name in "ab"}
    found = compare_runs({"x": [run(labels, 0, 0)], "y": [run(labels, 1, 0)]}, labels, num_resamples=20)
    row = found.row("raw", "y")
    assert row.figures["micro_auc"] == (None, None)
    assert found.difference(row, "micro_auc") is None
    assert not row.differences
