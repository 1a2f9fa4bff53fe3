"""What is printed about an evaluation: it fits the page, and says what must stand beside a figure."""

import numpy as np
import pytest

from mulde.commands.console.evaluation import print_evaluations
from mulde.evaluation.protocol import evaluate_tracks
from mulde.evaluation.regions import RegionPool
from mulde.records import LabelTrack


@pytest.fixture
def evaluation():
    rng = np.random.default_rng(0)
    labels = {f"v{i}": LabelTrack(f"v{i}", (np.arange(400) // 50) % 3 == 1) for i in range(6)}
    scores = {video: track.anomalous + 0.7 * rng.normal(size=400) for video, track in labels.items()}
    levels = {mode: {"alarm": 1.0} for mode in ("raw", "causal", "centred")}
    return evaluate_tracks(scores, labels, 2.0, rates=25.0, levels=levels, regions=RegionPool(()), compat="reiss")


def lines(capsys, evaluations):
    print_evaluations(evaluations)
    return capsys.readouterr().out.splitlines()


def test_all_of_it_fits_in_110_columns(capsys, evaluation):
    assert max(len(line.rstrip()) for line in lines(capsys, {0: evaluation, 1: evaluation})) <= 110


def test_what_must_stand_beside_a_figure_does(capsys, evaluation):
    printed = lines(capsys, {0: evaluation})
    text = " ".join(" ".join(printed).split())
    low, high = evaluation.rows[0].intervals["micro_auc"]
    for expected in (
        f"{100 * low:.2f} to {100 * high:.2f}",
        "1000 bootstrap resamples of the videos",
        "oracle: threshold set on the test labels",
        "compat reiss: not comparable",
        f"not comparable: {evaluation.compat.not_comparable}",
        "regions: RBDC - %, TBDC - %",
    ):
        assert expected in text
    for row in evaluation.rows:
        for point in row.alarms:
            cells = [point.name, f"{point.num_found} of {point.num_true_events}", f"{point.num_false_alarms} ("]
            assert any(all(cell in line for cell in cells) for line in printed)


def test_an_evaluation_without_rates_or_extras_prints_the_frame_table_alone(capsys):
    labels = {"a": LabelTrack("a", np.arange(30) > 20)}
    text = "\n".join(lines(capsys, {0: evaluate_tracks({"a": np.arange(30.0)}, labels, 0.0)}))
    assert "micro AUC %" in text
    for absent in ("oracle", "compat", "regions", "interval"):
        assert absent not in text
