"""Metrics against definitions that are obvious and slow, and against relations that must hold."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.errors import LabelError, RecordError
from mulde.evaluation import metrics
from mulde.evaluation.metrics import ScoredVideo

NONE = np.zeros(0), np.zeros(0, bool)
ONE_CLASS = [NONE, (np.arange(3.0), np.zeros(3, bool)), (np.arange(3.0), np.ones(3, bool))]


def videos(*pairs):
    return [
        ScoredVideo(f"v{i}", np.asarray(scores, float), np.asarray(anomalous, bool))
        for i, (scores, anomalous) in enumerate(pairs)
    ]


def tied_sample(seed, n=60):
    """Scores with many ties, and both classes."""
    rng = np.random.default_rng(seed)
    anomalous = rng.random(n) < 0.3
    anomalous[:2] = True, False
    return np.round(rng.normal(size=n) + anomalous, 1), anomalous


def pairwise_auc(scores, anomalous):
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[anomalous] for b in scores[~anomalous]]
    return sum(wins) / len(wins)


def precision_summed_over_recall(scores, anomalous):
    """Davis and Goadrich's step sum: precision at each threshold times the recall gained there."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        flagged = scores >= threshold
        recall = np.sum(flagged & anomalous) / np.sum(anomalous)
        total += (recall - recall_before) * np.sum(flagged & anomalous) / np.sum(flagged)
        recall_before = recall
    return total


def scanned_eer(scores, anomalous, num_steps=20_000):
    """Walk along the straight pieces of the ROC in small steps; stop where false positives and misses are closest."""
    thresholds = [np.inf, *sorted(set(scores), reverse=True)]
    corners = [((scores >= t)[~anomalous].mean(), (scores < t)[anomalous].mean()) for t in thresholds]
    best = (np.inf, np.nan)
    for (false0, miss0), (false1, miss1) in pairwise(corners):
        for step in range(num_steps // len(corners) + 1):
            along = step / (num_steps // len(corners))
            false, miss = false0 + along * (false1 - false0), miss0 + along * (miss1 - miss0)
            best = min(best, (abs(false - miss), (false + miss) / 2))
    return best[1]


@pytest.mark.parametrize("seed", range(5))
def test_micro_auc_is_the_pairwise_probability(seed):
    scores, anomalous = tied_sample(seed)
    halves = videos((scores[:25], anomalous[:25]), (scores[25:], anomalous[25:]))
    assert metrics.micro_auc(halves) == pytest.approx(pairwise_auc(scores, anomalous), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_step_sum_and_chance_is_the_share(seed):
    scores, anomalous = tied_sample(seed)
    value, chance = metrics.average_precision(videos((scores, anomalous)))
    assert value == pytest.approx(precision_summed_over_recall(scores, anomalous), abs=1e-12)
    assert chance == anomalous.sum() / len(anomalous)


@pytest.mark.parametrize("seed", range(5))
def test_equal_error_rate_is_where_a_fine_scan_crosses(seed):
    scores, anomalous = tied_sample(seed)
    assert metrics.equal_error_rate(videos((scores, anomalous))) == pytest.approx(
        scanned_eer(scores, anomalous), abs=2e-3
    )


@pytest.mark.parametrize(
    ("scores", "anomalous", "eer"),
    [
        ([0, 1, 2, 3], [0, 0, 1, 1], 0.0),
        ([0, 1, 2, 3], [1, 1, 0, 0], 1.0),
        ([0, 0, 0, 0, 0], [0, 1, 1, 0, 1], 0.5),
        ([0, 0, 1], [0, 1, 1], 1 / 3),  # the ROC runs (0, 0) (0, 1/2) (1, 1): misses 1/2 - f/2 = f
    ],
)
def test_equal_error_rate_in_closed_form(scores, anomalous, eer):
    assert metrics.equal_error_rate(videos((scores, anomalous))) == pytest.approx(eer, abs=1e-12)


def test_macro_auc_is_the_mean_over_the_videos_with_both_classes():
    pairs = [tied_sample(0, 20), tied_sample(1, 70), *ONE_CLASS]
    expected = (pairwise_auc(*pairs[0]) + pairwise_auc(*pairs[1])) / 2
    assert metrics.macro_auc(videos(*pairs)) == (pytest.approx(expected, abs=1e-12), 2)


@pytest.mark.parametrize("pair", ONE_CLASS)
def test_one_class_or_no_frame_leaves_every_figure_undefined(pair):
    chance = float(pair[1][0]) if len(pair[1]) else None
    assert metrics.micro_auc(videos(pair)) is None
    assert metrics.macro_auc(videos(pair)) == (None, 0)
    assert metrics.average_precision(videos(pair)) == (None, chance)
    assert metrics.equal_error_rate(videos(pair)) is None


def test_no_video_at_all_leaves_every_figure_undefined():
    assert metrics.micro_auc([]) is None
    assert metrics.macro_auc([]) == (None, 0)
    assert metrics.average_precision([]) == (None, None)
    assert metrics.equal_error_rate([]) is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=2, max_size=40))
def test_relations_of_the_rank_figures(frames):
    scores = np.array([score for score, _ in frames], float)
    anomalous = np.array([label for _, label in frames])
    plain, stretched = videos((scores, anomalous)), videos((np.exp(scores / 5), anomalous))
    figures = (metrics.micro_auc, metrics.average_precision, metrics.equal_error_rate)
    assert [figure(plain) for figure in figures] == [figure(stretched) for figure in figures]
    auc, swapped = metrics.roc_auc(scores, anomalous), metrics.roc_auc(scores, ~anomalous)
    assert (auc is None) == (swapped is None)
    if auc is not None and swapped is not None:
        assert swapped == pytest.approx(1 - auc, abs=1e-12)
        assert metrics.roc_auc(-scores, anomalous) == pytest.approx(1 - auc, abs=1e-12)
        assert metrics.equal_error_rate(videos((scores, ~anomalous))) == pytest.approx(
            1 - metrics.equal_error_rate(plain), abs=1e-12
        )


def test_lengths_that_disagree_name_the_video_and_both_numbers():
    with pytest.raises(LabelError, match=r"Test007.*each of 5 scored frames, got 4 labels"):
        ScoredVideo("Test007", np.zeros(5), np.zeros(4, bool))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_names_the_video_and_the_frame(bad):
    with pytest.raises(RecordError, match=rf"Test007.*finite numbers, got {bad} at frame 2"):
        ScoredVideo("Test007", np.array([0.0, 1.0, bad]), np.zeros(3, bool))
