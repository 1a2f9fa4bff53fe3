"""Protocol variants against the papers' scripts written out plainly, and what they do to meaningless scores."""

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.signal import medfilt
from sklearn.metrics import roc_auc_score

from mulde.evaluation.compat import VARIANTS, compat_figures
from mulde.evaluation.metrics import LabelledScores, frame_figures
from mulde.evaluation.smoothing import smooth

LENGTHS = (60, 45, 30, 50)
SIGMA = {f"v{i}": 2.0 + i for i in range(len(LENGTHS))}


@pytest.fixture
def world():
    """Positive scores, as calibrated ones are; the last video is wholly anomalous."""
    rng = np.random.default_rng(0)
    truth = {f"v{i}": rng.random(n) < 0.4 for i, n in enumerate(LENGTHS)}
    truth["v3"][:] = True
    return {v: 0.1 + rng.random(a.size) + 0.3 * a for v, a in truth.items()}, truth


def figures(name, world, nulls=None):
    scores, truth = world
    return compat_figures(name, scores, nulls or {}, truth, SIGMA)


def micro(parts, truth):
    return roc_auc_score(np.concatenate(truth), np.concatenate(parts))


def stretched(values):
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize(("name", "sigma"), [("reiss", 3), ("reiss-shanghaitech", 7)])
def test_reiss_smooths_by_fixed_frames_and_pads_the_macro_auc(name, sigma, world):
    scores, truth = world
    smoothed = {v: gaussian_filter1d(s, sigma) for v, s in scores.items()}
    padded = [
        roc_auc_score(np.concatenate([[0], truth[v], [1]]), np.concatenate([[0], s, [sys.float_info.max]]))
        for v, s in smoothed.items()
    ]
    found = figures(name, world)
    assert found.reported == ("micro_auc", "macro_padded_auc")
    assert found.result.micro_auc == pytest.approx(micro(list(smoothed.values()), list(truth.values())), abs=1e-12)
    assert found.result.macro_padded_auc == pytest.approx(np.mean(padded), abs=1e-12)


def test_future_frame_stretches_each_video_and_drops_four_frames(world):
    """The script repeats the fifth value over the first four, stretches, and then drops these four."""
    scores, truth = world
    repeated = [np.concatenate([np.full(4, s[4]), s[4:]]) for s in scores.values()]
    expected = micro([stretched(s)[4:] for s in repeated], [a[4:] for a in truth.values()])
    assert figures("future-frame", world).result.micro_auc == pytest.approx(expected, abs=1e-12)


def test_hf2_vad_drops_four_frames_and_takes_a_median(world):
    scores, truth = world
    expected = micro([medfilt(s[4:], 17) for s in scores.values()], [a[4:] for a in truth.values()])
    assert figures("hf2-vad", world).result.micro_auc == pytest.approx(expected, abs=1e-12)


def test_the_plain_variants_use_the_smoothing_of_the_run(world):
    scores, truth = world
    smoothed = {v: smooth(s, SIGMA[v], "centred") for v, s in scores.items()}
    honest = frame_figures([LabelledScores(v, s, truth[v]) for v, s in smoothed.items()])
    assert figures("padded-macro", world).result == honest
    by_minmax = figures("minmax", world).result
    assert by_minmax.micro_auc == pytest.approx(micro([stretched(s) for s in smoothed.values()], [*truth.values()]))
    assert by_minmax.macro_auc == honest.macro_auc  # within a video nothing changes its rank
    dropped = [smooth(s[4:], SIGMA[v], "centred") for v, s in scores.items()]
    assert figures("dropped-frames", world).result.micro_auc == pytest.approx(
        micro(dropped, [a[4:] for a in truth.values()])
    )


def test_minmax_makes_much_of_videos_that_differ_in_level():
    """Scores that are perfect inside each video but not across them: the variant hides that."""
    truth = {f"v{i}": np.arange(20) >= 10 for i in range(4)}
    scores = {v: 5.0 * i + truth[v] for i, v in enumerate(truth)}
    found = compat_figures("minmax", scores, {}, truth, dict.fromkeys(truth, 0.0))
    assert found.result.micro_auc == 1.0
    assert frame_figures([LabelledScores(v, scores[v], truth[v]) for v in truth]).micro_auc < 0.65


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_says_why_and_stands_beside_nulls_and_takes_odd_videos(name, world):
    scores, truth = world
    truth = {**truth, "short": np.array([True, False]), "none": np.zeros(0, bool)}
    scores = {**scores, "short": np.zeros(2), "none": np.zeros(0)}
    constant = {v: np.zeros(a.size) for v, a in truth.items()}
    found = compat_figures(name, scores, {"constant": [constant, constant]}, truth, dict.fromkeys(truth, 3.0))
    assert found.name == name
    assert found.steps
    assert len(found.not_comparable) > 20
    assert set(found.reported) <= set(vars(found.result))
    assert found.nulls["constant"].micro_auc == 0.5
