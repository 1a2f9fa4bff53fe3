"""Each run has a folder of its own: what a second command into it does.

Relatives that were looked for: other sources, model, settings; the folder of a training, of a watched folder, of
several seeds, of a run without its record or with a damaged one; a file; videos that are gone from the sources; new
content under an old name; pages and figures of an earlier run; names that collide; two processes at once.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mulde.config import Settings
from mulde.errors import UsageError
from mulde.files import write_json, write_text
from mulde.media import write_video
from mulde.pipeline.run_claim import claim, new_run, prune
from mulde.pipeline.run_folder import RunFolder, RunRecord
from mulde.settings_file import dump_toml, load_settings
from tests.pipeline.model.test_world import ODD, PLAIN, QUICK, RATE, STREAMS, scene
from tests.test_cli import run_main

DEFAULT, SMOOTHER = Settings(), load_settings(overrides=["fusion.smoothing_s=3"])


def made(root: Path, kind: str = "score", settings: Settings = DEFAULT, **facts) -> Path:
    """A run folder on record as of `kind`."""
    write_text(root / "settings.toml", dump_toml(settings))
    write_json(root / "run.json", {"kind": kind, "sources": ["/v/a.mp4"], "model_sha256": "m", **facts})
    return root


def test_the_same_run_goes_on(tmp_path):
    run = made(tmp_path / "r")
    assert claim(run, "score", ["/v/a.mp4"], DEFAULT, model_sha256="m").sources == ["/v/a.mp4"]
    faster = load_settings(overrides=["video.batch_frames=7", "regions.yolo.weights=/elsewhere.pt"])
    assert claim(run, "score", ["/v/a.mp4"], faster, model_sha256="m")
    assert claim(tmp_path / "new", "score", ["/v/a.mp4"], DEFAULT, model_sha256="m") is None
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert claim(tmp_path / "mine", "score", ["/v/a.mp4"], DEFAULT, model_sha256="m") is None


@pytest.mark.parametrize(
    ("kind", "facts", "sentence"),
    [
        ("score", {"sources": ["/v/b.mp4"]}, r"one of other sources. Try: another --out .*--add"),
        ("score", {"sources": ["/v/a.mp4", "/v/b.mp4"]}, "one of other sources"),
        ("score", {"model_sha256": "n"}, "one of another model"),
        (
            "score",
            {"settings": load_settings(overrides=["fusion.smoothing_s=3"])},
            "one with another fusion.smoothing_s",
        ),
        ("train", {}, "that of mulde train"),
        ("run", {}, "that of mulde run"),
        ("watch-folder", {}, "that of mulde watch-folder"),
    ],
)
def test_another_run_is_refused_with_the_ways_out(tmp_path, kind, facts, sentence):
    run = made(tmp_path / "r", kind, **facts)
    with pytest.raises(UsageError, match=f"r holds another run: {sentence}"):
        claim(run, "score", ["/v/a.mp4"], DEFAULT, model_sha256="m")


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"model": "/m", "sources": ["/v/a.mp4"]}, "score"),
        ({"seeds": [0], "sources": ["/v/a.mp4"]}, "run"),
        ({"seed": 0, "training": {}, "sources": ["/v/a.mp4"]}, "train"),
    ],
)
def test_runs_of_older_versions_are_known_by_what_they_noted(tmp_path, record, kind):
    write_json(tmp_path / "r" / "run.json", record)
    assert claim(tmp_path / "r", kind, ["/v/a.mp4"], DEFAULT)
    other = "train" if kind != "train" else "run"
    with pytest.raises(UsageError, match=f"that of mulde {kind}"):
        claim(tmp_path / "r", other, ["/v/a.mp4"], DEFAULT)


def test_parts_of_a_run_without_a_sound_record_are_left_alone(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").touch()
    with pytest.raises(UsageError, match=r"without a run\.json"):
        claim(tmp_path / "m", "score", ["/v/a.mp4"], DEFAULT)
    made(tmp_path / "d").joinpath("run.json").write_text("{")
    with pytest.raises(UsageError, match="holds a run that cannot be read"):
        claim(tmp_path / "d", "score", ["/v/a.mp4"], DEFAULT)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="a folder, or nothing yet, got a file"):
        claim(tmp_path / "file", "score", ["/v/a.mp4"], DEFAULT)


def test_a_training_may_be_done_again_on_its_sources_alone(tmp_path):
    run = made(tmp_path / "r", "train")
    other = load_settings(overrides=["density.preset=paper"])
    assert claim(run, "train", ["/v/a.mp4"], other)
    assert claim(run, "train", ["/v/b.mp4"], other), "nothing was learnt yet"
    (run / "model.safetensors").touch()
    assert claim(run, "train", ["/v/a.mp4"], other)
    with pytest.raises(UsageError, match=r"one of other sources\. Try: another --out$"):
        claim(run, "train", ["/v/b.mp4"], other)


def test_a_run_that_is_overwritten_leaves_nothing_of_the_one_before(tmp_path):
    run = made(tmp_path / "r", "run", settings=load_settings(overrides=["fusion.folds=9"]))
    kept, gone = ["exemptions.json", "notes.txt"], ["scores/x.parquet", "events.json", "report.html", "figures/x.png"]
    for name in (*kept, *gone):
        write_text(run / name, "x")
    assert claim(run, "run", ["/v/b.mp4"], DEFAULT, overwrite=True) is None
    assert all((run / name).exists() for name in kept)
    assert not any((run / name).exists() for name in gone)
    with pytest.raises(UsageError, match="that of mulde train"):
        claim(made(tmp_path / "t", "train"), "run", ["/v/a.mp4"], DEFAULT, overwrite=True)


def test_new_runs_are_numbered_behind_the_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [new_run("score").as_posix() for _ in range(2)] == ["runs/score-1", "runs/score-2"]
    (tmp_path / "runs" / "score-7").mkdir()
    (tmp_path / "runs" / "score-9x").mkdir()
    assert new_run("score").as_posix() == "runs/score-8"
    assert all(path.is_dir() for path in (tmp_path / "runs").iterdir())


def test_what_is_of_videos_that_are_gone_or_new_goes(tmp_path):
    run = RunFolder(tmp_path)
    per_video = ("scores/{}.csv", "scores/{}.parquet", "regions/{}.parquet", "figures/{}.png", "heat_maps/{}.npy",
                 "overlays/{}.mp4", "thumbnails/{}/000003.jpg", "clips/{}/000003.mp4")  # fmt: skip
    names = ("same", "changed", "gone", "in/a/folder")
    for name in names:
        for place in per_video:
            write_text(tmp_path / place.format(name), "x")
    for name in ("report.html", "metrics.json", "scores/mine.txt", "exemptions.json"):
        write_text(tmp_path / name, "x")
    from mulde import __version__

    before = RunRecord(mulde=__version__, video_sha256=dict.fromkeys(names, "1"))
    prune(run, before, {"same": "1", "changed": "2", "in/a/folder": "1", "new": "1"})
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    rewritten = {place.format("changed") for place in per_video[:4]}
    whole = {place.format(name) for name in ("same", "in/a/folder") for place in per_video}
    assert left == whole | rewritten | {"scores/mine.txt", "exemptions.json"}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A model, and three videos, two of one name."""
    root = tmp_path_factory.mktemp("claims")
    for i in range(2):
        write_video(root / "train" / f"n{i}.mp4", iter(scene(30, seed=i, y=36 + 4 * i)), RATE)
    for place, frames in (("a/odd", ODD), ("a/plain", PLAIN), ("b/odd", ODD[10:]), ("b/more", ODD[5:])):
        write_video(root / f"{place}.mp4", iter(frames), RATE)
    run_main("train", root / "train", "--out", root / "model", "--store", root / "store", "-q", "--device", "cpu",
             *QUICK, *STREAMS)  # fmt: skip
    return root


@pytest.fixture
def score(mulde, work, monkeypatch):
    """`mulde score` of some of the videos."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **options: Path(path).touch())

    def run(*args: object) -> tuple[int, str, str]:
        paths = [work / arg if isinstance(arg, str) and arg[:2] in ("a/", "b/") else arg for arg in args]
        model = work / "model" / "model.safetensors"
        return mulde("score", *paths, "--model", model, "--store", work / "store", "--device", "cpu", "-q")

    return run


def test_the_default_folder_is_new_for_each_run_and_printed_last(score, tmp_path):
    assert score("a/plain.mp4")[:2] == (0, "runs/score-1\n")
    assert score("a/plain.mp4")[:2] == (0, "runs/score-2\n")
    assert score("a/plain.mp4", "--out", "mine")[:2] == (0, "mine\n")
    assert len(list((tmp_path / "runs").iterdir())) == 2
    code, _, err = score("a/plain.mp4", "--add")
    assert (code, "--add: expected --out with the run to add to" in err) == (2, True)
    assert score("a/none.mp4")[0] == 2
    assert len(list((tmp_path / "runs").iterdir())) == 2, "no folder for what could not begin"


def test_a_second_run_into_a_folder_is_refused_and_changes_nothing(score, work, tmp_path):
    score("a/odd.mp4", "--out", "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    for args in (("a/plain.mp4",), ("a/odd.mp4", "--set", "fusion.smoothing_s=2"), ("a/odd.mp4", "a/plain.mp4")):
        code, _, err = score(*args, "--out", "run")
        assert code == 2
        assert "run holds another run" in err
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    code, _, err = score("a/odd.mp4", "--out", work / "model")
    assert code == 2
    assert "that of mulde train" in err
    assert score("a/odd.mp4", "--out", "run")[0] == 0


def test_added_videos_stand_beside_the_others(score, mulde, tmp_path):
    """As if all had been scored at once."""
    score("a/odd.mp4", "--out", "run")
    assert score("a/plain.mp4", "b/more.mp4", "--out", "run", "--add")[0] == 0
    score("a/odd.mp4", "a/plain.mp4", "b/more.mp4", "--out", "whole")
    files = [{path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*")} for name in ("run", "whole")]
    assert files[0] == files[1]
    run, whole = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("run", "whole"))
    for key in ("sources", "video_sha256", "frames_without_rows", "num_events", "model_sha256", "kind"):
        assert run[key] == whole[key], key
    pd.testing.assert_frame_equal(*(pd.read_csv(tmp_path / name / "events.csv") for name in ("run", "whole")))
    assert score("a/plain.mp4", "--out", "run", "--add")[0] == 0, "the same again"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["sources"] == run["sources"]
    assert mulde("overlay", "run", "--video", "more", "-q")[0] == 0
    code, _, err = score("a/plain.mp4", "--out", "run", "--add", "--set", "fusion.smoothing_s=2")
    assert (code, "one with another fusion.smoothing_s" in err) == (2, True)


def test_a_name_that_the_run_has_is_not_added(score, tmp_path):
    score("a/odd.mp4", "--out", "run")
    code, _, err = score("b/odd.mp4", "--out", "run", "--add")
    assert code == 2
    assert "--add: the run holds another video called odd" in err


def test_what_is_gone_from_a_folder_is_gone_from_its_run(score, mulde, work, tmp_path):
    shutil.copytree(work / "a", tmp_path / "in")
    assert score(tmp_path / "in", "--out", "run")[0] == 0
    assert mulde("report", "run", "-q")[0] == 0
    (tmp_path / "in" / "odd.mp4").unlink()
    assert score(tmp_path / "in", "--out", "run")[0] == 0
    left = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert not [name for name in left if "odd" in name]
    assert {"scores/plain.csv", "figures/plain.png"} <= left
    assert "report.html" not in left, "it shows a video that is gone"
    assert "odd" not in (tmp_path / "run" / "events.csv").read_text()


def test_watching_and_training_into_the_folder_of_a_score_is_refused(score, mulde, work, tmp_path):
    score("a/odd.mp4", "--out", "run")
    watch = ("watch-folder", work / "a", "--model", work / "model" / "model.safetensors", "--once")
    code, _, err = mulde(*watch, "--out", "run")
    assert (code, "run holds another run: that of mulde score" in err) == (2, True)
    code, _, err = mulde("train", work / "train", "--out", "run", *QUICK, *STREAMS)
    assert (code, "run holds another run: that of mulde score" in err) == (2, True)
    code, _, err = mulde(*watch, "--out", work / "model")
    assert (code, "that of mulde train" in err) == (2, True)
