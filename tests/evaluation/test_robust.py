"""The robust average against a loop, and the formula of the published scores written out plainly."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mulde.errors import UsageError
from mulde.evaluation.compat import compat_figures
from mulde.evaluation.robust import PARTS, WEIGHTS, combined_scores, robust_average

LENGTHS = (40, 31, 25)


def plain(values: list[float], start: float) -> list[float]:
    """With lists and loops, as the description has it."""
    found = [start] * 5
    for i in range(len(values) - 10):
        window = values[i : i + 11]
        mean = sum(window) / 11
        nearest = sorted(range(11), key=lambda k: (abs(window[k] - mean), k))[:5]
        found.append(sum(window[k] * WEIGHTS[k] for k in nearest) / sum(WEIGHTS[k] for k in nearest))
    return found + [found[-1]] * 5


def test_the_average_is_that_of_the_description():
    values = np.random.default_rng(0).random(60)
    np.testing.assert_allclose(robust_average(values, start=1.0), plain(values.tolist(), 1.0), atol=1e-12)


def test_an_outlier_does_not_count():
    values = np.full(31, 0.25)
    values[15] = 100
    np.testing.assert_allclose(robust_average(values)[5:], 0.25)


def test_fewer_frames_than_a_window_are_the_start():
    np.testing.assert_array_equal(robust_average(np.arange(10.0), start=0.5), np.full(10, 0.5))
    np.testing.assert_array_equal(robust_average(np.zeros(0)), np.zeros(0))
    assert len(robust_average(np.arange(11.0))) == 11


@pytest.mark.parametrize("wrong", [{"keep": 0}, {"keep": 12}, {"weights": (1.0,)}, {"window": 9}])
def test_weights_that_do_not_fit_are_refused(wrong):
    with pytest.raises(UsageError, match="robust average"):
        robust_average(np.arange(20.0), **wrong)


@pytest.fixture
def published():
    """Three scores for each frame of three videos, and labels, in the manner of the published files."""
    rng = np.random.default_rng(1)
    truth = {f"v{i}": rng.random(n) < 0.5 for i, n in enumerate(LENGTHS)}
    return {v: [rng.random(a.size) + 0.4 * a for _ in range(3)] for v, a in truth.items()}, truth


def test_three_scores_become_one_as_published(published):
    """As the authors do it: high is normal there, so 1 minus each, the start is 1, and 1 minus the result is ours."""
    parts, truth = published
    listed: list[float] = []
    for of_video in parts.values():
        total = np.zeros(of_video[0].size)
        for weight, part in zip(PARTS, of_video, strict=True):
            total += weight * (1 - (part - part.min()) / (part.max() - part.min()))
        listed += (total / sum(PARTS)).tolist()
    normality = np.array(plain(listed, 1.0))
    ours = np.concatenate(list(combined_scores(parts).values())) / sum(PARTS)
    np.testing.assert_allclose(ours, 1 - normality, atol=1e-9)
    labels = np.concatenate(list(truth.values()))
    assert roc_auc_score(labels, ours) == pytest.approx(roc_auc_score(labels, 1 - normality), abs=1e-9)


def test_the_variant_does_it_to_one_score(published):
    parts, truth = published
    scores = {video: of_video[2] for video, of_video in parts.items()}
    listed: list[float] = []
    for values in scores.values():
        left = values[4:]
        listed += ((left - left.min()) / (left.max() - left.min())).tolist()
    labels = np.concatenate([anomalous[4:] for anomalous in truth.values()])
    expected = roc_auc_score(labels, plain(listed, 0.0))
    found = compat_figures("dmad", scores, {}, truth, dict.fromkeys(scores, 1.0))
    assert found.result.micro_auc == pytest.approx(expected, abs=1e-9)
    assert found.steps[-1].startswith("mean of the 5 of 11 frames")
