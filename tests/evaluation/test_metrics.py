"""Metrics against definitions that are obvious and slow, scikit-learn, and relations that must hold."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from mulde.errors import LabelError, RecordError
from mulde.evaluation.metrics import Counts, Figures, LabelledScores, frame_figures, mean_figures, padded_auc, roc_auc

NONE = np.zeros(0), np.zeros(0, bool)
ONE_CLASS = [NONE, (np.arange(3.0), np.zeros(3, bool)), (np.arange(3.0), np.ones(3, bool))]


def videos(*pairs):
    return [
        LabelledScores(f"v{i}", np.asarray(scores, float), np.asarray(anomalous, bool))
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
    assert frame_figures(halves).micro_auc == pytest.approx(pairwise_auc(scores, anomalous), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_the_step_sum_and_chance_is_the_share(seed):
    scores, anomalous = tied_sample(seed)
    found = frame_figures(videos((scores, anomalous)))
    assert found.average_precision == pytest.approx(precision_summed_over_recall(scores, anomalous), abs=1e-12)
    assert found.average_precision_chance == anomalous.sum() / len(anomalous)


@pytest.mark.parametrize("seed", range(5))
def test_equal_error_rate_is_where_a_fine_scan_crosses(seed):
    scores, anomalous = tied_sample(seed)
    assert Counts.of(scores, anomalous).equal_error_rate() == pytest.approx(scanned_eer(scores, anomalous), abs=2e-3)


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
    assert frame_figures(videos((scores, anomalous))).equal_error_rate == pytest.approx(eer, abs=1e-12)


def test_macro_auc_is_the_mean_over_the_videos_with_both_classes():
    pairs = [tied_sample(0, 20), tied_sample(1, 70), *ONE_CLASS]
    expected = (pairwise_auc(*pairs[0]) + pairwise_auc(*pairs[1])) / 2
    found = frame_figures(videos(*pairs))
    assert (found.macro_auc, found.num_macro_videos) == (pytest.approx(expected, abs=1e-12), 2)


def fakes_added(scores, anomalous, low=-100.0, high=100.0):
    """The padded AUC as publications compute it: with the two fake frames really there."""
    return roc_auc_score(np.concatenate([[0], anomalous, [1]]), np.concatenate([[low], scores, [high]]))


@pytest.mark.parametrize("pair", [tied_sample(0, 20), tied_sample(1, 70), *ONE_CLASS[1:]])
def test_padded_auc_is_the_auc_with_the_fake_frames_there(pair):
    scores, anomalous = pair
    num_normal, num_anomalous = int((~anomalous).sum()), int(anomalous.sum())
    found = padded_auc(roc_auc(scores, anomalous), num_normal, num_anomalous)
    assert found == pytest.approx(fakes_added(scores, anomalous), abs=1e-12)


def test_padded_macro_counts_the_videos_of_one_class_as_perfect():
    pairs = [tied_sample(0, 20), tied_sample(1, 70), *ONE_CLASS]
    expected = (fakes_added(*pairs[0]) + fakes_added(*pairs[1]) + 1 + 1) / 4  # the video without frames is left out
    assert frame_figures(videos(*pairs)).macro_padded_auc == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("pair", ONE_CLASS)
def test_one_class_or_no_frame_leaves_every_figure_undefined(pair):
    chance = float(pair[1][0]) if len(pair[1]) else None
    assert frame_figures(videos(pair)) == Figures(None, None, 0, None, None, chance, None)
    assert roc_auc(*pair) is None


def test_no_video_at_all_leaves_every_figure_undefined():
    assert frame_figures([]) == Figures(None, None, 0, None, None, None, None)


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_every_figure_is_that_of_scikit_learn(decimals):
    rng = np.random.default_rng(decimals)
    anomalous = rng.random(20_000) < 0.2
    scores = np.round(rng.normal(size=anomalous.size) + anomalous, decimals)
    found = frame_figures(videos((scores[:7000], anomalous[:7000]), (scores[7000:], anomalous[7000:])))
    halves = [roc_auc_score(anomalous[part], scores[part]) for part in (slice(7000), slice(7000, None))]
    false_positive_rate, true_positive_rate, _ = roc_curve(anomalous, scores)
    expected = Figures(
        micro_auc=roc_auc_score(anomalous, scores),
        macro_auc=np.mean(halves),
        num_macro_videos=2,
        macro_padded_auc=np.mean([fakes_added(scores[p], anomalous[p]) for p in (slice(7000), slice(7000, None))]),
        average_precision=average_precision_score(anomalous, scores),
        average_precision_chance=anomalous.mean(),
        equal_error_rate=np.interp(0, false_positive_rate + true_positive_rate - 1, false_positive_rate),
    )
    for name, value in vars(expected).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12), name


def test_counts_are_the_frames_at_or_above_each_score():
    scores, anomalous = tied_sample(3)
    counts = Counts.of(scores, anomalous)
    assert counts.scores.tolist() == sorted(set(scores.tolist()), reverse=True)
    assert counts.anomalous.tolist() == [int(np.sum((scores >= s) & anomalous)) for s in counts.scores]
    assert counts.normal.tolist() == [int(np.sum((scores >= s) & ~anomalous)) for s in counts.scores]


def test_mean_of_figures_averages_what_scores_change_and_keeps_what_labels_fix():
    one, two = Figures(0.5, 0.25, 3, 0.5, 0.5, 0.125, 0.5), Figures(0.75, 0.5, 3, 0.25, 1.0, 0.125, 0.0)
    assert mean_figures([one, two]) == Figures(0.625, 0.375, 3, 0.375, 0.75, 0.125, 0.25)
    undefined = Figures(None, None, 0, None, None, 1.0, None)
    assert mean_figures([undefined, undefined]) == undefined


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=2, max_size=40))
def test_relations_of_the_rank_figures(frames):
    scores = np.array([score for score, _ in frames], float)
    anomalous = np.array([label for _, label in frames])
    assert frame_figures(videos((scores, anomalous))) == frame_figures(videos((np.exp(scores / 5), anomalous)))
    auc, swapped = roc_auc(scores, anomalous), roc_auc(scores, ~anomalous)
    assert (auc is None) == (swapped is None)
    if auc is not None and swapped is not None:
        assert swapped == pytest.approx(1 - auc, abs=1e-12)
        assert roc_auc(-scores, anomalous) == pytest.approx(1 - auc, abs=1e-12)
        eer, eer_swapped = (Counts.of(scores, labels).equal_error_rate() for labels in (anomalous, ~anomalous))
        assert eer_swapped == pytest.approx(1 - eer, abs=1e-12)


def test_lengths_that_disagree_name_the_video_and_both_numbers():
    with pytest.raises(LabelError, match=r"Test007.*each of 5 scored frames, got 4 labels"):
        LabelledScores("Test007", np.zeros(5), np.zeros(4, bool))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_names_the_video_and_the_frame(bad):
    with pytest.raises(RecordError, match=rf"Test007.*finite numbers, got {bad} at frame 2"):
        LabelledScores("Test007", np.array([0.0, 1.0, bad]), np.zeros(3, bool))
