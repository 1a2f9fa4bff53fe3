"""`mulde transfer`: models on their own footage, held out, and on that of other cameras."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from mulde.datasets.sources import open_sources
from mulde.evaluation.conformal import count_events
from mulde.images import read_image
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.model.loading import load_model
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.transfer.units import OwnFootage, ks_distance, unit_scores
from mulde.progress import Reporter

from .cameras import write_camera
from .conftest import run


def transfer(cameras, out, *more, on=("yard", "gate"), models=("yard", "gate")):
    words = [cameras / f"runs/{name}/model.safetensors" for name in models]
    where = ("--store", cameras / "store", "--device", "cpu", "--out", out)
    return run("transfer", *words, *where, *more, "--on", *(cameras / f"normal/{name}" for name in on))


@pytest.fixture(scope="module")
def matrix(cameras, tmp_path_factory):
    out = tmp_path_factory.mktemp("matrix") / "out"
    result = transfer(cameras, out)
    assert result.exit_code == 0, result.output
    return result, out


@pytest.fixture(scope="module")
def stored(cameras):
    """The predictor of the yard, and its own videos in the store."""
    path = cameras / "runs/yard/model.safetensors"
    session = Session.open(cameras / "store", "cpu", Reporter(quiet=True), keeps_record=False)
    predictor = Predictor.open(load_model(path), path, [], "cpu", session.reporter)
    videos = open_sources([str(cameras / "normal/yard")], None).videos
    return predictor, session.extract(videos, predictor.plan).done


def cells_of(out):
    cells = json.loads((out / "transfer.json").read_text())
    return {(cell["model"], cell["footage"]): cell for cell in cells}


def test_the_diagonal_is_held_out_and_within_the_promise_and_the_others_are_beyond(matrix):
    cells = cells_of(matrix[1])
    assert list(cells) == [("yard", "yard"), ("yard", "gate"), ("gate", "yard"), ("gate", "gate")]
    for name in ("yard", "gate"):
        own = cells[name, name]
        assert own["is_held_out"]
        assert own["is_within"]
        assert own["num_own"] == own["num_videos"] == 4
        assert own["alarms_per_hour"] <= own["expected_per_hour"] + 1e-9
        assert own["mean_p"] == pytest.approx(0.5, abs=0.2)
        assert own["mean_p_interval"][0] < 0.5 < own["mean_p_interval"][1]
        assert max(own["ks"].values()) < 0.1
    other = cells["yard", "gate"]
    assert not other["is_held_out"]
    assert other["is_within"] is False
    assert other["alarm_share"] > 0.5
    assert other["mean_p"] < cells["yard", "yard"]["mean_p"]
    assert other["ks"]["velocity"] > 0.3


def test_tables_say_the_same(matrix):
    result, out = matrix
    table, cells = pd.read_csv(out / "transfer.csv"), cells_of(out)
    assert list(zip(table["model"], table["footage"], strict=True)) == list(cells)
    assert list(table["alarms_per_hour"]) == pytest.approx([cell["alarms_per_hour"] for cell in cells.values()])
    assert read_image(out / "transfer.png").ndim == 3
    assert "within, held out" in result.stdout
    assert "beyond" in result.stdout
    assert result.stdout.splitlines()[-1] == str(out)
    printed = transfer(matrix[1].parent, matrix[1], models=(), on=())
    assert printed.exit_code == 2


def test_held_out_scores_are_those_that_the_model_keeps(stored):
    predictor, videos = stored
    bundle, alarm = predictor.bundle, predictor.alarm
    own = OwnFootage.of(bundle)
    for video in videos:
        (unit,) = unit_scores(video, predictor, alarm, own)
        assert unit.is_own
        (part,) = [part for part in bundle.training.normal_parts if part.video == video.video.name]
        fused = sum(unit.streams.values())
        np.testing.assert_allclose(fused, bundle.normal[part.name].scores, rtol=1e-6, atol=1e-6)
        normal = dict(zip(bundle.normal, bundle.smoothed_normal["centred"], strict=True))[part.name]
        rules = alarm.rules
        expected = count_events(normal, alarm.threshold.level, rules.merge_gap_s, rules.min_length_s)
        assert unit.num_alarms == expected
        assert not np.allclose(predictor.score(video).track.fused, fused)  # all folds together have seen it


def test_the_distance_is_that_of_the_shares_that_reach_a_score(stored):
    predictor, videos = stored
    bundle, own = predictor.bundle, OwnFootage.of(predictor.bundle)
    scores = [unit.streams["velocity"] for v in videos for unit in unit_scores(v, predictor, predictor.alarm, own)]
    assert ks_distance(scores, bundle, "velocity") < 0.05
    far = [np.full(50, 100.0)]
    surprise = bundle.streams["velocity"].surprise
    lowest = float(np.exp(-surprise.neg_log_p.max()))
    assert ks_distance(far, bundle, "velocity") == pytest.approx(1 - lowest)
    assert ks_distance([], bundle, "velocity") is None


def test_own_footage_is_known_by_its_content_and_new_one_by_its_own(cameras, tmp_path):
    shutil.copytree(cameras / "normal/yard", tmp_path / "elsewhere")
    for number, path in enumerate(sorted((tmp_path / "elsewhere").iterdir())):
        path.rename(path.with_name(f"other name {number}.mp4"))
    shutil.copy(cameras / "normal/gate/clip0.mp4", tmp_path / "elsewhere/clip0.mp4")
    words = (cameras / "runs/yard/model.safetensors", "--store", cameras / "store", "--device", "cpu", "--json", "-q")
    result = run("transfer", *words, "--out", tmp_path / "out", "--on", tmp_path / "elsewhere")
    assert result.exit_code == 0, result.output
    (cell,) = cells_of(tmp_path / "out").values()
    assert (cell["num_own"], cell["num_videos"], cell["is_held_out"]) == (4, 5, False)
    assert any("4 of 5 videos are the model's own training footage" in note for note in cell["notes"])
    printed = json.loads(result.stdout[: result.stdout.rindex("]") + 1])
    assert printed == json.loads((tmp_path / "out/transfer.json").read_text())


def test_what_cannot_be_scored_is_a_sentence_in_its_cell(cameras, tmp_path):
    write_camera(tmp_path / "wide", 3, clips=1, frames=30, size_hw=(96, 256))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/model.safetensors").write_bytes(b"nothing")
    words = (cameras / "runs/yard/model.safetensors", tmp_path / "broken/model.safetensors")
    where = ("--store", cameras / "store", "--device", "cpu", "-q", "--out", tmp_path / "out")
    result = run("transfer", *words, *where, "--on", tmp_path / "wide", cameras / "normal/gate")
    assert result.exit_code == 3
    cells = cells_of(tmp_path / "out")
    assert "a picture of another shape" in cells["yard", "wide"]["failure"]
    assert cells["yard", "gate"]["failure"] == ""
    assert "broken" in cells["broken", "gate"]["failure"]
    assert "no score" in result.stdout
    assert (tmp_path / "out/transfer.png").is_file()
    assert "Traceback" not in result.stderr


def test_a_second_call_takes_the_features_from_the_store(cameras, tmp_path, matrix, monkeypatch):
    computed, extract = [], Session.extract

    def counting(*given):
        extraction = extract(*given)
        computed.append((extraction.computed, extraction.reused))
        return extraction

    monkeypatch.setattr(Session, "extract", counting)
    result = transfer(cameras, tmp_path / "again", "-q")
    assert result.exit_code == 0
    assert computed == [(0, 4)] * 4
    assert cells_of(tmp_path / "again") == cells_of(matrix[1])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("normal", "--on", "normal"), "expected models, as runs/*/model.safetensors, got none"),
        (("a.safetensors",), "Missing option '--on'"),
        (("a.safetensors", "a.safetensors", "--on", "normal"), "models: expected each once"),
        (("a.safetensors", "--on", "none"), "source none"),
    ],
)
def test_words_that_cannot_be_used(mulde, tmp_path, words, sentence):
    (tmp_path / "normal").mkdir()
    code, out, err = mulde("transfer", *words, "--device", "cpu")
    assert (code, out) == (2, "")
    assert sentence in err
    assert not (tmp_path / "runs").exists()
