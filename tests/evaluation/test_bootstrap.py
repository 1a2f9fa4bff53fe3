"""Bootstrap intervals against resampling the frames themselves, and scikit-learn's AUC on each resample."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mulde.evaluation.bootstrap import auc_intervals, draw_videos
from mulde.evaluation.metrics import LabelledScores


def made(lengths, seed=0, decimals=1):
    """Videos with ties; the first is all normal, the second all anomalous, the rest have both."""
    rng = np.random.default_rng(seed)
    videos = []
    for i, num_frames in enumerate(lengths):
        anomalous = rng.random(num_frames) < 0.4
        anomalous[:] = False if i == 0 else True if i == 1 else anomalous
        videos.append(LabelledScores(f"v{i}", np.round(rng.normal(size=num_frames) + anomalous, decimals), anomalous))
    return videos


def has_both(anomalous):
    return 0 < anomalous.sum() < anomalous.size


def naive_intervals(videos, draws):
    micro, macro = [], []
    own = {v.video: roc_auc_score(v.anomalous, v.scores) for v in videos if has_both(v.anomalous)}
    for draw in draws:
        drawn = [video for video, times in zip(videos, draw, strict=True) for _ in range(times)]
        scores, anomalous = (np.concatenate([getattr(v, name) for v in drawn]) for name in ("scores", "anomalous"))
        if has_both(anomalous):
            micro.append(roc_auc_score(anomalous, scores))
        each = [own[v.video] for v in drawn if v.video in own]
        if each:
            macro.append(np.mean(each))
    return {
        name: tuple(np.quantile(values, (0.025, 0.975)))
        for name, values in (("micro_auc", micro), ("macro_auc", macro))
    }


@pytest.mark.parametrize("lengths", [(20, 10, 30, 25), (5, 4, 6, 7, 0, 1, 30), (40,) * 12])
@pytest.mark.parametrize("decimals", [0, 9])
def test_intervals_are_those_of_resampled_frames(lengths, decimals):
    videos = made(lengths, seed=len(lengths), decimals=decimals)
    draws = draw_videos(len(videos), 60, seed=3)
    found, expected = auc_intervals(videos, draws), naive_intervals(videos, draws)
    assert set(found) == set(expected)
    for name, interval in expected.items():
        assert found[name] == pytest.approx(interval, abs=1e-12)


def test_draws_are_with_replacement_as_many_as_there_are_and_follow_the_seed():
    draws = draw_videos(6, 4000, seed=0)
    assert np.all(draws.sum(axis=1) == 6)
    # Of n drawn with replacement, a video is left out of a share (1 - 1/n)^n of the resamples.
    assert np.mean(draws == 0) == pytest.approx((5 / 6) ** 6, abs=0.01)
    assert np.array_equal(draws, draw_videos(6, 4000, seed=0))
    assert not np.array_equal(draws, draw_videos(6, 4000, seed=1))


def test_what_rests_on_fewer_than_two_videos_has_no_interval():
    normal, anomalous, both, other = made((10, 10, 30, 30))
    assert auc_intervals([], np.zeros((10, 0), np.int64)) == {}
    assert auc_intervals([both], draw_videos(1, 10, 0)) == {}
    assert set(auc_intervals([both, normal], draw_videos(2, 50, 0))) == {"micro_auc"}
    assert auc_intervals([normal, normal], draw_videos(2, 50, 0)) == {}
    assert auc_intervals([anomalous, anomalous], draw_videos(2, 50, 0)) == {}
    assert set(auc_intervals([both, other], draw_videos(2, 50, 0))) == {"micro_auc", "macro_auc"}
    assert auc_intervals([both, other], draw_videos(2, 0, 0)) == {}


def test_order_of_frames_and_a_monotone_transform_change_nothing():
    videos, draws = made((20, 10, 30, 25)), draw_videos(4, 300, 0)
    turned = [LabelledScores(v.video, np.exp(v.scores[::-1]), v.anomalous[::-1]) for v in videos]
    assert auc_intervals(turned, draws) == auc_intervals(videos, draws)


def test_alike_videos_leave_no_width():
    one = made((10, 10, 30))[2]
    for low, high in auc_intervals([one] * 5, draw_videos(5, 100, 0)).values():
        assert low == pytest.approx(high, abs=1e-12)
        assert low == pytest.approx(roc_auc_score(one.anomalous, one.scores), abs=1e-12)
