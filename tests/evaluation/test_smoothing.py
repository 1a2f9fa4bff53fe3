"""Smoothing against sums written out, and the promises: no look-ahead, borders, constants, empty input."""

import math

import numpy as np
import pytest

from mulde.errors import UsageError
from mulde.evaluation.smoothing import SMOOTHING_MODES, smooth

LENGTHS = (0, 1, 2, 5, 40)
SIGMAS = (0.5, 1.0, 3.0, 7.3)


def mirrored(t, num_frames):
    """Index into 0..num_frames-1 of position t of the endlessly mirrored sequence (c b a | a b c | c b a)."""
    t %= 2 * num_frames
    return t if t < num_frames else 2 * num_frames - 1 - t


def slow_centred(scores, sigma):
    radius = int(4 * sigma + 0.5)
    weight = {k: math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)}
    total = sum(weight.values())
    n = len(scores)
    return [sum(w * scores[mirrored(t + k, n)] for k, w in weight.items()) / total for t in range(n)]


def slow_causal(scores, sigma):
    radius = int(4 * sigma + 0.5)
    out = []
    for t in range(len(scores)):
        weight = {k: math.exp(-0.5 * (k / sigma) ** 2) for k in range(radius + 1) if k <= t}
        out.append(sum(w * scores[t - k] for k, w in weight.items()) / sum(weight.values()))
    return out


@pytest.mark.parametrize("num_frames", LENGTHS)
@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize(("mode", "slow"), [("centred", slow_centred), ("causal", slow_causal)])
def test_smoothing_equals_the_sum_written_out(num_frames, sigma, mode, slow):
    rng = np.random.default_rng(num_frames)
    noise = rng.normal(size=num_frames)
    spikes = np.where(rng.random(num_frames) < 0.1, noise, 0.0)
    for scores in (noise, spikes):
        assert smooth(scores, sigma, mode) == pytest.approx(slow(scores, sigma), abs=1e-12)


@pytest.mark.parametrize("num_frames", LENGTHS)
@pytest.mark.parametrize(("mode", "sigma"), [("raw", 3.0), ("centred", 0.0), ("causal", 0.0), ("centred", 0.05)])
def test_raw_and_a_vanishing_sigma_change_nothing_but_copy(num_frames, mode, sigma):
    scores = np.random.default_rng(0).normal(size=num_frames)
    smoothed = smooth(scores, sigma, mode)
    assert np.array_equal(smoothed, scores)
    assert not np.shares_memory(smoothed, scores)


@pytest.mark.parametrize("at", [0, 1, 9, 30])
def test_causal_does_not_look_ahead(at):
    scores = np.random.default_rng(1).normal(size=40)
    other = scores.copy()
    other[at + 1 :] = 100.0
    assert np.array_equal(smooth(scores, 3.0, "causal")[: at + 1], smooth(other, 3.0, "causal")[: at + 1])
    # The guard can fail: centred smoothing does look ahead.
    assert not np.array_equal(smooth(scores, 3.0, "centred")[: at + 1], smooth(other, 3.0, "centred")[: at + 1])


@pytest.mark.parametrize("mode", SMOOTHING_MODES)
@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("level", [0.1, -1 / 3, 1e6 / 7])
def test_a_constant_stretch_stays_exactly_constant(mode, sigma, level):
    """Else rounding would order frames that are equal, and a ranking figure would see it."""
    assert np.all(smooth(np.full(50, level), sigma, mode) == level)
    radius = int(4 * sigma + 0.5)
    stretch = np.concatenate([[5.0], np.full(3 * radius, level), [-5.0]])
    inside = smooth(stretch, sigma, mode)[radius + 1 : -radius - 1]
    assert len(inside) > 0
    assert np.all(inside == level)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_causal_keeps_a_constant_beginning_exactly_whatever_follows(sigma):
    for level in np.random.default_rng(0).normal(size=50):
        begun = np.concatenate([np.full(3, level), np.tile([9.0, -9.0], 25)])
        assert np.all(smooth(begun, sigma, "causal")[:3] == level)


@pytest.mark.parametrize("mode", SMOOTHING_MODES)
def test_scale_and_offset_pass_through(mode):
    scores = np.random.default_rng(2).normal(size=30)
    assert smooth(3 * scores - 7, 2.0, mode) == pytest.approx(3 * smooth(scores, 2.0, mode) - 7, abs=1e-12)


def test_centred_is_even_in_time():
    scores = np.random.default_rng(3).normal(size=30)
    assert smooth(scores[::-1], 2.0, "centred")[::-1] == pytest.approx(smooth(scores, 2.0, "centred"), abs=1e-12)


def test_unknown_mode_lists_the_known_ones():
    with pytest.raises(UsageError, match="expected raw or causal or centred, got 'median'"):
        smooth(np.zeros(3), 1.0, "median")


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_bad_sigma_is_refused(sigma):
    with pytest.raises(UsageError, match=f"finite number of frames, 0 or more, got {sigma}"):
        smooth(np.zeros(3), sigma, "centred")
