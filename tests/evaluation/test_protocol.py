"""The protocol: what it puts together, what it says, what it refuses, and the known null figures of Ped2."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulde.errors import LabelError, RecordError, UsageError
from mulde.evaluation.alarms import EventRules, operating_point
from mulde.evaluation.bootstrap import auc_intervals, draw_videos
from mulde.evaluation.metrics import Figures, LabelledScores, frame_figures
from mulde.evaluation.protocol import FiguresRow, evaluate_tracks
from mulde.evaluation.smoothing import smooth
from mulde.records import LabelTrack

MASKS = Path(__file__).resolve().parents[2] / ".." / "shared" / "ped2" / "ground_truth_masks.npz"
PED2_SIZE_HW = (240, 360)
NULL_NAMES = ["random", "ramp", "triangle", "constant"]


def track(video, anomalous):
    return LabelTrack(video, np.asarray(anomalous, bool))


@pytest.fixture
def world():
    """Three videos whose score follows the labels with noise; the last holds one class only."""
    rng = np.random.default_rng(0)
    labels = {
        "a": track("a", np.arange(80) > 60),
        "b": track("b", (np.arange(50) > 20) & (np.arange(50) < 30)),
        "c": track("c", np.zeros(30)),
    }
    return {v: t.anomalous + 0.8 * rng.normal(size=len(t)) for v, t in labels.items()}, labels


def test_each_row_is_the_metrics_of_the_smoothed_scores(world):
    scores, labels = world
    sigma = {"a": 2.0, "b": 5.0, "c": 0.0}
    evaluation = evaluate_tracks(scores, labels, sigma)
    assert [row.smoothing for row in evaluation.rows] == ["raw", "causal", "centred"]
    for row in evaluation.rows:
        videos = [LabelledScores(v, smooth(scores[v], sigma[v], row.smoothing), labels[v].anomalous) for v in scores]
        assert row.result == frame_figures(videos)
        assert row.result.num_macro_videos == 2
        assert row.intervals == auc_intervals(videos, draw_videos(3, 1000, seed=0))
        assert row.alarms == ()  # without frame rates
        assert list(row.nulls) == NULL_NAMES
        constant = row.nulls["constant"]
        assert (constant.micro_auc, constant.macro_auc, constant.equal_error_rate) == (0.5, 0.5, 0.5)
        assert constant.average_precision == constant.average_precision_chance == 28 / 160
    counts = (evaluation.num_videos, evaluation.num_frames, evaluation.num_anomalous_frames)
    assert counts == (3, 160, 28)
    assert evaluation.sigma_frames == sigma


def test_smoothing_never_crosses_a_video(world):
    """What one video's scores do to another's figure: nothing."""
    scores, labels = world
    shouted = {**scores, "c": scores["c"] + 1e6}
    plain, other = (evaluate_tracks(s, labels, 6.0) for s in (scores, shouted))
    assert [row.result.macro_auc for row in plain.rows] == [row.result.macro_auc for row in other.rows]
    assert [row.result.micro_auc for row in plain.rows] != [row.result.micro_auc for row in other.rows]


def test_order_of_the_videos_changes_nothing_and_the_seed_only_the_random_null(world):
    scores, labels = world
    one = evaluate_tracks(scores, labels, 3.0, seed=1)
    assert one == evaluate_tracks(dict(reversed(scores.items())), dict(reversed(labels.items())), 3.0, seed=1)
    other = evaluate_tracks(scores, labels, 3.0, seed=2)
    for row, other_row in zip(one.rows, other.rows, strict=True):
        assert row.result == other_row.result
        assert [n for n in NULL_NAMES if row.nulls[n] != other_row.nulls[n]] == ["random"]


def test_scores_are_not_changed(world):
    scores, labels = world
    before = {video: values.copy() for video, values in scores.items()}
    evaluate_tracks(scores, labels, 3.0)
    assert all(np.array_equal(scores[video], before[video]) for video in scores)


def test_json_round_trip_and_table(world):
    evaluation = evaluate_tracks(*world, 3.0, rates=25.0, levels={"raw": {"alarm": 1.5}}, compat="future-frame")
    as_dict = evaluation.to_dict()
    assert json.loads(json.dumps(as_dict, allow_nan=False)) == as_dict
    table = evaluation.as_table()
    assert [(line["smoothing"], line["score"]) for line in table] == [
        (smoothing, score) for smoothing in ("raw", "causal", "centred") for score in ("result", *NULL_NAMES)
    ]
    assert len({tuple(line) for line in table}) == 1
    assert table[0]["micro_auc"] == evaluation.rows[0].result.micro_auc


@pytest.mark.parametrize("level", [False, True])
def test_one_class_gives_none_everywhere_and_no_remark(level):
    evaluation = evaluate_tracks({"a": np.arange(4.0)}, {"a": track("a", np.full(4, level))}, 1.0)
    undefined = Figures(None, None, 0, None, None, float(level), None)
    assert all(f == undefined for row in evaluation.rows for f in (row.result, *row.nulls.values()))
    assert evaluation.remarks() == []
    json.dumps(evaluation.to_dict(), allow_nan=False)


def test_a_video_without_frames_counts_as_one_and_changes_no_figure(world):
    scores, labels = world
    more = evaluate_tracks({**scores, "z": np.zeros(0)}, {**labels, "z": track("z", [])}, 3.0)
    for row, without in zip(more.rows, evaluate_tracks(scores, labels, 3.0).rows, strict=True):
        assert (row.result, row.nulls) == (without.result, without.nulls)
    assert more.num_videos == 4


def figures(micro, macro):
    return Figures(micro, macro, 2, 0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("micro", "macro", "sentences"),
    [
        (0.76, 0.81, []),
        (0.75, 0.81, ["raw: micro AUC 0.750 is not above the ramp score (0.750), which never looks at the video."]),
        (0.76, 0.6, ["raw: macro AUC 0.600 is not above the triangle score (0.800), which never looks at the video."]),
        (None, None, []),
    ],
)
def test_a_result_that_is_not_above_its_best_null_is_said(micro, macro, sentences):
    row = FiguresRow("raw", figures(micro, macro), {"ramp": figures(0.75, 0.6), "triangle": figures(0.66, 0.8)})
    assert list(row.remarks()) == sentences


def test_a_result_whose_interval_reaches_its_best_null_is_said():
    nulls = {"ramp": figures(0.75, 0.6), "triangle": figures(0.66, 0.8)}
    near = {"micro_auc": (0.75, 0.9), "macro_auc": (0.801, 0.9)}
    assert list(FiguresRow("causal", figures(0.82, 0.85), nulls, near).remarks()) == [
        "causal: micro AUC 0.820 may not be above the ramp score (0.750), which never looks at the video: its 95 % "
        "interval over videos is 0.750 to 0.900."
    ]


def test_events_that_a_null_score_finds_as_well_are_said():
    """An anomaly in the middle of every video: the triangle finds it without a false alarm."""
    labels = {v: track(v, (np.arange(100) >= 45) & (np.arange(100) < 75)) for v in "ab"}
    own_level = {"raw": {"alarm": 0.5}}
    evaluation = evaluate_tracks(
        {v: t.anomalous * 1.0 for v, t in labels.items()}, labels, 0.0, rates=25.0, levels=own_level
    )
    assert evaluation.rows[0].alarms[0].null_recall["triangle"] == 1.0
    assert evaluation.rows[0].result.micro_auc > evaluation.rows[0].nulls["triangle"].micro_auc
    assert evaluation.remarks() == [  # and nothing of the oracle levels, which nobody can choose
        "raw: at alarm, the share of events found (100 %) is not above that of the triangle score (100 %, with no "
        "more false alarms and normal frames flagged), which never looks at the video."
    ]


def test_a_null_score_as_the_result_is_caught():
    labels = {v: track(v, np.arange(60) > start) for v, start in (("a", 30), ("b", 45))}
    evaluation = evaluate_tracks({v: np.linspace(0, 1, 60) for v in labels}, labels, 2.0)
    assert [sentence.split(" AUC")[0] for sentence in evaluation.remarks()] == [
        f"{smoothing}: {kind}" for smoothing in ("raw", "causal", "centred") for kind in ("micro", "macro")
    ]


def test_what_cannot_be_evaluated_is_refused(world):
    scores, labels = world
    with pytest.raises(LabelError, match=r"labels of b .*each of 49 scored frames, got 50 labels"):
        evaluate_tracks({**scores, "b": scores["b"][:-1]}, labels, 3.0)
    with pytest.raises(LabelError, match="1 of 3 videos have no labels: b"):
        evaluate_tracks(scores, {v: t for v, t in labels.items() if v != "b"}, 3.0)
    with pytest.raises(LabelError, match="2 of 3 videos have no scores: a, c"):
        evaluate_tracks({"b": scores["b"]}, labels, 3.0)
    with pytest.raises(LabelError, match="nothing to evaluate"):
        evaluate_tracks({}, {}, 3.0)
    with pytest.raises(RecordError, match="scores of a: expected finite numbers, got nan at frame 0"):
        evaluate_tracks({**scores, "a": np.full(80, np.nan)}, labels, 3.0)
    with pytest.raises(UsageError, match="one for each of 3, got none for b"):
        evaluate_tracks(scores, labels, {"a": 1.0, "c": 1.0})
    with pytest.raises(UsageError, match="0 or more, got -1"):
        evaluate_tracks(scores, labels, -1.0)
    with pytest.raises(UsageError, match="frame rate per video: expected one for each of 3, got none for b"):
        evaluate_tracks(scores, labels, 3.0, rates={"a": 25.0, "c": 25.0})
    with pytest.raises(UsageError, match="frame rate of a: expected more than 0 frames per second, got 0"):
        evaluate_tracks(scores, labels, 3.0, rates=0.0)
    with pytest.raises(UsageError, match="alarm levels without frame rates"):
        evaluate_tracks(scores, labels, 3.0, levels={"raw": {"alarm": 1.0}})
    with pytest.raises(UsageError, match=r"protocol variant: expected minmax or .*, got 'honest'"):
        evaluate_tracks(scores, labels, 3.0, compat="honest")


def test_event_figures_stand_at_the_given_levels_and_at_oracle_ones(world):
    scores, labels = world
    rules = EventRules(merge_gap_s=0.1)
    levels = {"raw": {"alarm": 1.2}, "centred": {"alarm": 0.4, "strict": 0.6}}
    evaluation = evaluate_tracks(
        scores, labels, 3.0, rates={"a": 25.0, "b": 10.0, "c": 25.0}, levels=levels, events=rules
    )
    oracle = ["oracle 1/h", "oracle 10/h", "oracle 60/h"]
    assert {row.smoothing: [point.name for point in row.alarms] for row in evaluation.rows} == {
        "raw": ["alarm", *oracle],
        "causal": oracle,
        "centred": ["alarm", "strict", *oracle],
    }
    centred = [LabelledScores(v, smooth(scores[v], 3.0, "centred"), labels[v].anomalous) for v in scores]
    expected = operating_point("alarm", 0.4, centred, {"a": 25.0, "b": 10.0, "c": 25.0}, rules)
    found = evaluation.rows[2].alarms[0]
    assert list(found.null_recall) == NULL_NAMES
    assert replace(found, null_recall={}) == expected
    assert evaluation.event_rules == rules


def test_a_level_without_labelled_anomalies_has_no_recall():
    labels = {v: track(v, np.zeros(50)) for v in "ab"}
    evaluation = evaluate_tracks(
        {v: np.arange(50.0) for v in "ab"}, labels, 0.0, rates=25.0, levels={"raw": {"alarm": 40}}
    )
    point = evaluation.rows[0].alarms[0]
    assert (point.recall, point.delay_s_mean, point.num_false_alarms) == (None, None, 2)
    assert point.false_alarms_per_hour == pytest.approx(2 / (100 / 25 / 3600))


def test_the_bootstrap_follows_the_seed_and_can_be_left_out(world):
    rng = np.random.default_rng(0)
    many = {f"v{i}": track(f"v{i}", rng.random(30) < 0.4) for i in range(12)}
    scores = {video: labels.anomalous + rng.normal(size=30) for video, labels in many.items()}
    one, same, other = (evaluate_tracks(scores, many, 0.0, seed=seed).rows[0].intervals for seed in (1, 1, 2))
    assert one == same != other
    assert set(one) == {"micro_auc", "macro_auc"}
    none = evaluate_tracks(*world, 3.0, bootstrap=0)
    assert [dict(row.intervals) for row in none.rows] == [{}, {}, {}]
    assert none.num_resamples == 0


@pytest.fixture(scope="module")
def ped2_labels():
    if not MASKS.exists():
        pytest.skip("the masks of UCSD Ped2 are not beside the checkout")
    height, width = PED2_SIZE_HW
    with np.load(MASKS) as packed:
        masks = {video: np.unpackbits(packed[video]).reshape(-1, height * width) for video in packed.files}
    return {video: track(video, pixels.any(axis=1)) for video, pixels in masks.items()}


def test_null_figures_on_the_labels_of_ped2(ped2_labels):
    evaluation = evaluate_tracks({v: np.zeros(len(t)) for v, t in ped2_labels.items()}, ped2_labels, 3.0)
    assert (evaluation.num_frames, evaluation.num_anomalous_frames) == (2010, 1648)
    raw = evaluation.rows[0]
    found = {name: (round(f.micro_auc, 3), round(f.macro_auc, 3)) for name, f in raw.nulls.items()}
    assert found["ramp"] == (0.749, 0.625)
    assert found["triangle"] == pytest.approx((0.66, 0.79), abs=0.005)
    assert found["random"] == pytest.approx((0.5, 0.5), abs=0.03)
    assert round(raw.result.average_precision_chance, 3) == 0.82
    assert raw.result.num_macro_videos == 8


def test_padded_macro_lifts_random_scores_on_ped2_to_69(ped2_labels):
    """Why that figure goes by its own name."""
    raw = evaluate_tracks({v: np.zeros(len(t)) for v, t in ped2_labels.items()}, ped2_labels, 0.0, bootstrap=0).rows[0]
    assert raw.nulls["random"].macro_padded_auc == pytest.approx(0.69, abs=0.015)
    # Without chance: half the pairs of frames with frames, all pairs with a fake one.
    classes = [(np.sum(~t.anomalous), np.sum(t.anomalous)) for t in ped2_labels.values()]
    expected = np.mean([(n * a / 2 + n + a + 1) / ((n + 1) * (a + 1)) for n, a in classes])
    assert raw.nulls["constant"].macro_padded_auc == pytest.approx(expected, abs=1e-12)
    assert round(expected, 2) == 0.69
