"""Smoothing against sums written out, and the promises: no look-ahead, borders, constants, empty input."""

import math

import numpy as np
import pytest

from mulde.errors import UsageError
from mulde.evaluation.smoothing import SMOOTHING_MODES, Smoothing, smooth

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


def slow_in_time(scores, times, sigma, mode):
    """Each frame's weighted mean, written out; the past repeats itself mirrored half a frame beyond either end."""
    radius = int(4 * sigma + 0.5)
    there = [(float(t), float(s)) for t, s in zip(times, scores, strict=True)]
    low = times[0] - 0.5
    mirrors = list(there)
    while mode == "centred" and mirrors[0][0] > low - radius - 1:
        left, right = mirrors[0][0] - 0.5, mirrors[-1][0] + 0.5
        mirrors = (
            [(2 * left - t, s) for t, s in mirrors[::-1]] + mirrors + [(2 * right - t, s) for t, s in mirrors[::-1]]
        )
    out = []
    for at, (t, _) in enumerate(there):
        seen = mirrors if mode == "centred" else there[: at + 1]
        near = [(math.exp(-0.5 * ((t - u) / sigma) ** 2), s) for u, s in seen if abs(t - u) < radius + 0.5]
        out.append(sum(w * s for w, s in near) / sum(w for w, _ in near))
    return out


@pytest.mark.parametrize("mode", ["causal", "centred"])
@pytest.mark.parametrize("sigma", [0.5, 3.0])
@pytest.mark.parametrize("num_frames", [1, 2, 5, 40])
def test_uneven_frames_weigh_by_their_time(num_frames, sigma, mode):
    rng = np.random.default_rng(num_frames)
    times, scores = np.cumsum(rng.uniform(0.3, 3.0, num_frames)), rng.normal(size=num_frames)
    assert smooth(scores, sigma, mode, times) == pytest.approx(slow_in_time(scores, times, sigma, mode), abs=1e-12)


@pytest.mark.parametrize("mode", SMOOTHING_MODES)
def test_times_of_even_frames_change_nothing(mode):
    scores = np.random.default_rng(2).normal(size=60)
    even = smooth(scores, 3.0, mode)
    assert np.array_equal(smooth(scores, 3.0, mode, np.arange(60) + 7.0), even)
    nearly = np.arange(60) + np.where(np.arange(60) % 2, 1e-4, 0)  # this one goes the other way
    assert smooth(scores, 3.0, mode, nearly) == pytest.approx(even, abs=1e-3)
    if mode != "raw":
        assert not np.array_equal(smooth(scores, 3.0, mode, nearly), even)


@pytest.mark.parametrize("mode", ["causal", "centred"])
def test_frames_that_are_missing_have_no_weight(mode):
    """A hole in a constant stretch between two others changes no frame that is as far from it as the kernel reaches,
    and one lost frame moves the others little, where counting would move all behind it."""
    scores, there = np.sin(np.arange(80) / 9), np.arange(80) != 40
    whole, lost = smooth(scores, 2.0, mode), smooth(scores[there], 2.0, mode, np.flatnonzero(there).astype(float))
    assert lost[:30] == pytest.approx(whole[:30], abs=1e-12)
    assert lost[50:] == pytest.approx(whole[51:], abs=1e-12)
    assert np.abs(lost - whole[there]).max() < 0.05


def test_stamps_that_stand_still_end_in_time():
    """All frames at one time, and as many as a day has: each is compared with a bounded number of others."""
    smoothed = smooth(np.arange(20_000.0), 2.0, "centred", np.zeros(20_000))
    assert np.isfinite(smoothed).all()


@pytest.mark.parametrize("times", [np.arange(4.0), np.array([0.0, 2.0, 1.0]), np.array([0.0, np.nan, 1.0])])
def test_times_that_do_not_fit_are_refused(times):
    with pytest.raises(UsageError, match="times of scores: expected 3 numbers that do not fall"):
        smooth(np.zeros(3), 1.0, "causal", times)


def test_repeated_scores_have_no_weight():
    """One frame of two has a score of its own: smoothed as if the others were not there, then repeated."""
    scores, times = np.random.default_rng(3).normal(size=12), np.arange(24) / 2
    smoothing = Smoothing(4.0, 2 * times, np.arange(24) % 2 == 0, 2.0)
    for mode in SMOOTHING_MODES:
        assert np.array_equal(smoothing(np.repeat(scores, 2), mode), np.repeat(smooth(scores, 2.0, mode), 2))
    assert np.array_equal(Smoothing(2.0)(scores, "causal"), smooth(scores, 2.0, "causal"))
