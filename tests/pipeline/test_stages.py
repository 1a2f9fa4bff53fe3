"""The commands around an evaluation, as a person types them, on a small run with alarms and annotated boxes."""

from __future__ import annotations

import json
import math
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mulde.datasets import write_world
from mulde.media import write_video
from mulde.pipeline.model.bundle import load_bundle
from tests.conftest import moving_square
from tests.test_cli import run_main

QUICK = [
    "--set", "density.options={steps=20, hidden=[16]}", "--set", 'features.extractors=["velocity", "geometry"]',
    "--set", "fusion.folds=1", "--device", "cpu", "-q",
]  # fmt: skip
RATE = Fraction(30000, 1001)


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    """Pictures take half of the time and are not what is looked at here."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, path, **options: Path(path).touch())
        yield


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    """Slow squares to learn from and one that turns fast in frame 40, with the box that it moves in."""
    root = tmp_path_factory.mktemp("footage")
    for i in range(3):
        write_video(root / "train" / f"normal{i}.mp4", iter(moving_square(40, seed=i, speed_px=1 + i)), RATE)
    slow, fast = moving_square(40, seed=7), moving_square(40, seed=7, speed_px=9)
    write_video(root / "test" / "odd.mp4", iter(np.concatenate([slow, fast])), RATE)
    write_video(root / "test" / "plain.mp4", iter(moving_square(30, seed=8)), RATE)
    boxes = [[40 + t, 10 + t * 9 % 98, 40, 30 + t * 9 % 98, 60] for t in range(40)]
    (root / "tracks.json").write_text(json.dumps({"odd": {"tracks": [{"id": 0, "boxes": boxes}]}}))
    return root


@pytest.fixture(scope="module")
def finished(footage, tmp_path_factory) -> Path:
    """A folder with the `run` of the footage and its `store`."""
    work = tmp_path_factory.mktemp("work")
    run_main("run", footage, "--out", work / "run", "--store", work / "store", *QUICK)
    return work


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(finished / "run", tmp_path / "run"))


def metrics(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_a_run_has_alarms_regions_and_a_page(finished):
    run = finished / "run"
    record, figures = json.loads((run / "run.json").read_text()), metrics(run)
    alarm = record["alarm"]
    for row in figures["rows"][1:]:
        own = row["alarms"][0]
        assert own["name"] == "alarm"
        assert own["level"] == alarm["levels"][row["smoothing"]][own["name"]]
        assert own["num_true_events"] == 1
    assert figures["event_rules"]["merge_gap_s"] == alarm["merge_gap_s"] == 1.0
    assert figures["regions"]["regions_from"] == "tracks"
    assert (figures["regions"]["num_true_regions"], figures["regions"]["num_true_tracks"]) == (40, 1)
    assert figures["regions"]["num_region_frames"] == 110
    assert figures["regions"]["rbdc"] > 0
    events = pd.read_csv(run / "events.csv")
    assert record["num_events"] == len(events)
    assert (events["score"] >= alarm["levels"]["centred"][own["name"]]).all()
    assert alarm["statement"] in (run / "evaluation" / "evaluation.html").read_text()


def test_the_p_value_falls_as_the_smoothed_score_rises(finished):
    tables = [pd.read_parquet(path) for path in sorted((finished / "run" / "scores").glob("*.parquet"))]
    scores = pd.concat(tables).sort_values("smoothed")
    assert len(scores) == 110
    assert (scores["p_value"].diff().dropna() <= 0).all()
    assert scores["p_value"].between(0, 1, inclusive="right").all()
    assert scores["p_value"].nunique() > 1


def test_heldout_videos_score_as_the_model_says(mulde, footage, finished, tmp_path):
    model = finished / "run" / "model.safetensors"
    ((name, kept),) = load_bundle(model).normal.items()
    video = footage / "train" / f"{name}.mp4"
    assert mulde("score", video, "--model", model, "--out", "again", "--store", "s", "-q")[0] == 0
    again = pd.read_parquet(tmp_path / "again" / "scores" / f"{name}.parquet")
    np.testing.assert_allclose(again["fused"], kept.scores, rtol=1e-5)
    assert kept.rate == pytest.approx(float(RATE))


def test_compat_and_no_bootstrap(mulde, run):
    before = metrics(run)
    assert before["num_resamples"] == 1000
    code, out, _ = mulde("evaluate", run, "--compat", "minmax", "--bootstrap", 0)
    assert code == 0
    assert "not comparable" in out
    assert "95 % interval" not in out
    after = metrics(run)
    assert after["num_resamples"] == 0
    assert after["compat"]["name"] == "minmax"
    assert [row["result"] for row in after["rows"]] == [row["result"] for row in before["rows"]]
    assert "RBDC" in out
    code, _, err = mulde("evaluate", run, "--compat", "nonsense")
    assert code == 2
    assert "minmax" in err


def test_labels_in_seconds_for_a_file_of_29_97_frames_a_second(mulde, footage, run, tmp_path):
    labels = tmp_path / "seconds"
    (labels / "test").mkdir(parents=True)
    for name in ("odd", "plain"):
        (labels / "test" / f"{name}.mp4").symlink_to(footage / "test" / f"{name}.mp4")
    (labels / "labels.csv").write_text("video,start_s,end_s\nodd,1,2\n")
    code, _, err = mulde("evaluate", run, "--labels", f"folder:{labels}", "-q")
    assert code == 0, err
    assert metrics(run)["num_anomalous_frames"] == math.ceil(2 * RATE) - math.ceil(RATE) == 30
    assert metrics(run)["regions"] is None


def test_an_unsupported_rate_is_refused_before_anything_is_extracted(mulde, footage, finished, tmp_path):
    model = finished / "run" / "model.safetensors"
    options = ["--out", "out", "--store", "new", "-q", "--false-alarms-per-hour", 0.5]
    code, _, err = mulde("score", footage, "--model", model, *options)
    assert code == 2
    assert "false alarms per hour: expected at least" in err
    assert "of held-out normal video" in err
    assert "got 0.5" in err
    assert not list(tmp_path.iterdir())


def test_a_rate_of_ones_own_is_taken_where_it_is_supported(mulde, footage, finished, tmp_path):
    default = json.loads((finished / "run" / "run.json").read_text())["alarm"]
    model, wanted = finished / "run" / "model.safetensors", default["false_alarms_per_hour"]
    options = ["--out", "out", "--store", finished / "store", "-q", "--false-alarms-per-hour", wanted]
    assert mulde("score", footage, "--model", model, *options)[0] == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["alarm"] == default
    for name in ("events.csv", "events.json"):
        assert (tmp_path / "out" / name).read_text() == (finished / "run" / name).read_text()


def test_a_model_of_an_older_version_scores_without_alarms(mulde, footage, finished, tmp_path):
    with safe_open(finished / "run" / "model.safetensors", framework="np") as file:
        header = json.loads(file.metadata()["mulde"])
        tensors = {key: file.get_tensor(key) for key in file.keys() if not key.startswith(".normal/")}  # noqa: SIM118
    del header["normal"]
    header["schema"] = 2  # as it was before there were digests
    save_file(tensors, tmp_path / "old.safetensors", metadata={"mulde": json.dumps(header)})
    command = ["score", footage, "--model", "old.safetensors", "--out", "out", "--store", finished / "store", "-q"]
    code, _, err = mulde(*command, "--false-alarms-per-hour", 100)
    assert code == 2
    assert "expected a model that keeps the scores of its held-out normal video, got one of an older version" in err
    assert not (tmp_path / "out").exists()
    assert mulde(*command)[0] == 0
    new, old = (pd.read_parquet(folder / "scores" / "odd.parquet") for folder in (finished / "run", tmp_path / "out"))
    assert "p_value" not in old
    pd.testing.assert_frame_equal(old, new.drop(columns="p_value"))
    assert not list((tmp_path / "out").glob("events*"))
    assert "alarm" not in json.loads((tmp_path / "out" / "run.json").read_text())
    code, _, _ = mulde("evaluate", "out", "-q")
    assert code == 0
    names = {point["name"] for row in metrics(tmp_path / "out")["rows"] for point in row["alarms"]}
    assert all(name.startswith("oracle ") for name in names)


def test_footage_too_short_for_any_event_is_a_warning(mulde, footage, finished, tmp_path):
    changes = ["--set", "alarms.min_length_s=60", "--store", finished / "store", "--out", "out", "-q"]
    code, _, err = mulde("score", footage, "--model", finished / "run" / "model.safetensors", *changes)
    assert code == 0, err
    assert "no alarm level, so no events" in err
    assert not list((tmp_path / "out").glob("events*"))
    assert "p_value" in pd.read_parquet(tmp_path / "out" / "scores" / "odd.parquet")


def test_ablate_shows_each_stream(mulde, run):
    code, out, _ = mulde("ablate", run)
    assert code == 0
    for words in ("only velocity", "only geometry", "on test labels"):
        assert words in out
    lines = pd.read_csv(run / "ablation.csv")
    assert set(lines["streams"]) == {"all", "only velocity", "only geometry", "none"}
    for row in metrics(run)["rows"]:
        own = lines[(lines["streams"] == "all") & (lines["smoothing"] == row["smoothing"])]
        assert own["micro_auc"].tolist() == pytest.approx([row["result"]["micro_auc"]])


def test_data_sets_are_listed_as_json(mulde):
    code, out, _ = mulde("data", "list", "--json")
    assert code == 0
    found = {one["name"]: one for one in json.loads(out)}
    assert {"ucsd-ped2", "avenue-masks", "shanghaitech", "mvtec-ad"} <= set(found)
    assert found["ucsd-ped2"]["num_test_videos"] == 12
    code, out, _ = mulde("data", "list")
    assert code == 0
    assert "ucsd-ped2" in out


def test_data_check_ends_with_0_or_1(mulde, footage, tmp_path):
    code, out, err = mulde("data", "check", footage, "-q")
    assert code == 0, out + err
    assert "0 faults" in out
    own = Path(shutil.copytree(footage, tmp_path / "own"))
    (own / "test" / "empty.mp4").touch()
    code, out, _ = mulde("data", "check", own, "-q")
    assert code == 1
    assert "empty" in out
    code, out, _ = mulde("data", "check", own, "--json", "-q")
    assert code == 1
    assert {finding["video"] for finding in json.loads(out) if finding["severity"] == "fault"} == {"test/empty"}
    assert mulde("data", "check", tmp_path / "none", "-q")[0] in (1, 2)


def test_reproduce_from_a_config_of_ones_own(mulde, tmp_path):
    write_world(tmp_path / "w", write_video=write_video, train_clips=2, test_clips=1, num_frames=40, size_hw=(90, 160))
    (tmp_path / "tiny.toml").write_text(
        '[features]\nextractors = ["velocity"]\n[density.options]\nsteps = 20\nhidden = [16]\n'
    )
    command = ["reproduce", "synthetic", "--root", "w", "--config", "tiny.toml", "--seed", 3, "--out", "out"]
    code, out, err = mulde(*command, "--store", "s", "--device", "cpu", "-q")
    assert code == 0, err
    assert "micro AUC" in out
    assert json.loads((tmp_path / "out" / "reproduction.json").read_text())["seeds"] == [3]
    assert (tmp_path / "out" / "reproduction.md").is_file()
