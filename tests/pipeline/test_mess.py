"""One folder with every kind of mess: what can be read is scored, all else is named.

The relatives stand in mess.py, each as an entry of the folder.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest

from mulde.media import write_video
from mulde.names import output_path, printable
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.predictor import scorer
from mulde.pipeline.stages import run_train
from mulde.progress import Reporter
from mulde.settings_file import load_settings
from tests.conftest import moving_square
from tests.pipeline.mess import LOCKED, Mess, write_mess

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX file names")
QUICK = ['density.method="mixture"', 'features.extractors=["geometry"]', "fusion.folds=1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("model")
    for i in range(3):
        write_video(root / "train" / f"{i}.mp4", iter(moving_square(30, seed=i)), Fraction(25))
    place = Session.open(root / "store", "cpu", Reporter(quiet=True))
    run_train([str(root / "train")], load_settings(overrides=QUICK), root, 0, place)
    return root / "model.safetensors"


@pytest.fixture
def mess(tmp_path, monkeypatch) -> Mess:
    """The folder, of which one part cannot be read."""
    real = os.scandir

    def scandir(path="."):
        if str(path).endswith(LOCKED):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(scorer, "plot_scores", lambda track, path, **options: None)  # the curves take most of the time
    made = write_mess(tmp_path / "mess")
    yield made
    (made.root / LOCKED).chmod(0o755)


def shown(name: str) -> str:
    return " ".join(printable(name).split())


def test_every_readable_video_is_scored_and_every_other_thing_named(mulde, model, mess, tmp_path):
    assert mess.num_kinds >= 60
    code, _, err = mulde("score", mess.root, "--model", model, "--out", "out")
    assert code == 3, err
    assert "Traceback" not in err
    for name, num_frames in mess.videos.items():
        table = pd.read_parquet(output_path(tmp_path / "out" / "scores", name, ".parquet"))
        assert len(table) == num_frames, name
    assert len(list((tmp_path / "out" / "scores").rglob("*.parquet"))) == len(mess.videos)
    for name in mess.broken:
        assert f"{shown(name)}: " in err
    line = err[err.index("left out: ") :]
    for name in mess.left_out:
        assert shown(name) in line


def test_strict_refuses_before_anything_is_read(mulde, model, mess, tmp_path):
    code, _, err = mulde("score", mess.root, "--model", model, "--out", "out", "--strict", "--store", "store")
    assert code == 2
    assert "locked (Permission denied)" in err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "store").exists()


def test_what_mulde_writes_into_the_folder_of_the_footage_is_no_footage(mulde, monkeypatch, tmp_path):
    """Training and scoring in `.` again and again: run folders, pictures, overlays and the store are never taken."""
    monkeypatch.setattr(scorer, "plot_scores", lambda track, path, **options: None)
    for i in range(3):
        write_video(tmp_path / f"{i}.mp4", iter(moving_square(30, seed=i)), Fraction(25))
    options = [word for setting in QUICK for word in ("--set", setting)]
    for name in ("model", "again"):
        assert mulde("train", ".", "--out", f"runs/{name}", "--device", "cpu", "--strict", *options)[0] == 0
        model = f"runs/{name}/model.safetensors"
        (tmp_path / "runs" / name / "audit.png").touch()  # small models have none
        code, _, err = mulde("score", ".", "--model", model, "--out", f"{name} scores", "--overlay", "--strict")
        assert code == 0, err
        tables = (tmp_path / f"{name} scores" / "scores").glob("*.parquet")
        assert {path.stem for path in tables} == {"0", "1", "2"}
    assert "left out: 4 outputs of mulde: model scores, mulde-features, runs/again, runs/model" in err


def test_a_store_that_is_named_is_no_footage(mulde, model):
    code, _, err = mulde("extract", model.parent / "store")
    assert code == 2
    assert "got a folder without any; left out: 1 output of mulde: store" in err


@pytest.mark.parametrize("command", ["extract", "train", "run", "data check"])
def test_strict_is_for_every_command_that_takes_sources(mulde, tmp_path, command):
    for split in ("train", "test"):
        write_video(tmp_path / "set" / split / "a.mp4", iter(moving_square(4)), Fraction(25))
    (tmp_path / "set" / "train" / "folder.jpg").touch()
    code, _, err = mulde(*command.split(), "set", "--strict")
    assert code == 2
    assert "left out: 1 picture beside videos: train/folder.jpg. Try: move it elsewhere" in err
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
