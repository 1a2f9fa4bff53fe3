"""`mulde train --per-camera`: a model for each folder, whatever becomes of the others."""

from __future__ import annotations

import shutil

import pytest

from mulde.errors import UsageError
from mulde.pipeline import stages
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.model.loading import load_model
from mulde.progress import Reporter
from mulde.settings_file import load_settings

from .cameras import write_camera
from .conftest import SETTINGS, run


@pytest.fixture
def copied(cameras, tmp_path):
    """The footage and models of the cameras, to be changed."""
    shutil.copytree(cameras / "normal", tmp_path / "normal")
    return tmp_path


def train(root, cameras, *more):
    changes = [word for setting in SETTINGS for word in ("--set", setting)]
    where = ("--out", root / "runs", "--store", cameras / "store", "--device", "cpu")
    return run("train", root / "normal", "--per-camera", *where, *changes, *more)


def test_each_camera_has_its_own_model(cameras):
    for name in ("yard", "gate"):
        training = load_model(cameras / f"runs/{name}/model.safetensors").bundle.training
        assert training.videos == [f"clip{n}" for n in range(4)]
        assert training.video_sha256.keys() == set(training.videos)
    assert not (cameras / "runs/model.safetensors").exists()


def test_a_second_call_trains_what_is_new_alone(cameras, copied):
    assert train(copied, cameras).exit_code == 0
    model = {name: copied / f"runs/{name}/model.safetensors" for name in ("yard", "gate")}
    times = {name: path.stat().st_mtime_ns for name, path in model.items()}
    write_camera(copied / "normal/door", 2, clips=2)
    shutil.copy(copied / "normal/door/clip0.mp4", copied / "normal/gate/later.mp4")
    result = train(copied, cameras)
    assert result.exit_code == 0
    assert "yard: trained already" in result.stderr
    assert "gate: training" in result.stderr
    assert model["yard"].stat().st_mtime_ns == times["yard"]
    assert model["gate"].stat().st_mtime_ns != times["gate"]
    assert (copied / "runs/door/model.safetensors").is_file()
    assert "yard: training" in train(copied, cameras, "--seed", "3").stderr


def test_a_camera_that_fails_does_not_stop_the_others(cameras, copied):
    shutil.rmtree(copied / "normal/gate")
    (copied / "normal/broken").mkdir()
    (copied / "normal/broken/clip.mp4").write_bytes(b"no video" * 100)
    (copied / "normal/empty").mkdir()
    result = train(copied, cameras, "-q")
    assert result.exit_code == 3
    assert "broken" in result.stderr
    assert (copied / "runs/yard/model.safetensors").is_file()
    assert not (copied / "runs/empty").exists()
    shutil.rmtree(copied / "normal/yard")
    assert train(copied, cameras, "-q").exit_code == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("normal", "normal"), "--per-camera: expected one folder, with a folder for each camera, got 2"),
        (("normal", "--exclude", "x.csv"), "--exclude has no effect with --per-camera"),
        (("normal/yard",), "expected a folder that holds a folder of videos for each camera"),
        (("none",), "expected a folder that holds a folder of videos for each camera"),
        (("ucsd-ped2:normal",), "expected a folder that holds a folder of videos for each camera"),
    ],
)
def test_words_that_cannot_be_used(mulde, tmp_path, words, sentence):
    (tmp_path / "normal/yard").mkdir(parents=True)
    code, out, err = mulde("train", *words, "--per-camera")
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


def test_a_full_disk_ends_it(tmp_path, cameras, monkeypatch):
    import errno

    from mulde.errors import cannot

    def full(*given, **more):
        raise cannot("written", "x", OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(stages, "run_train", full)
    session = Session.open(tmp_path / "store", "cpu", Reporter(quiet=True))
    with pytest.raises(OSError, match="No space left"):
        stages.run_train_per_camera(str(cameras / "normal"), load_settings(None, []), tmp_path / "out", 0, session)
    with pytest.raises(UsageError):
        stages.run_train_per_camera(str(tmp_path), load_settings(None, []), tmp_path / "out", 0, session)
