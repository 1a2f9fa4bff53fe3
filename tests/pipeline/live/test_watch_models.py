"""Which models can watch, which cannot, and what a look at a camera says of it."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from mulde.errors import UsageError
from mulde.media import write_video
from mulde.pipeline.live import watch as module
from mulde.pipeline.live.dry_run import look
from mulde.pipeline.live.rereading import Rereading
from mulde.pipeline.live.watch import Cameras, OneCamera
from mulde.pipeline.predictor import stream
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.scoring.frames import read_scores
from mulde.settings_file import load_settings
from tests.api_world import frames_of

from .small_world import Listener, played, player, predictor, still_clocks, watch


@pytest.fixture
def watching(mulde, live_world, model10, tmp_path):
    """Watches the scene with a model; its exit code and what it said."""

    def run(*more: object) -> tuple[int, str]:
        words = ("watch", live_world / "scene.mkv", "--as-live", "--speed", "0", "--model", model10, "--device", "cpu")
        code, _, err = mulde(*words, "--out", tmp_path / "run", *more)
        return code, err

    return run


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            ["tracks.average_frames=3", "tracks.tracker=bytetrack"],
            "averages along tracks (tracks.average_frames), which need whole videos",
        ),
        (['features.extractors=["trajectory"]', "tracks.tracker=bytetrack"], "features of tracks (trajectory)"),
    ],
)
def test_features_of_whole_videos_cannot_watch(watching, monkeypatch, tmp_path, change, sentence):
    real = Predictor.open

    def opened(model, *rest):
        known = real(model, *rest)
        bundle = replace(known.bundle, settings=load_settings(overrides=change, base=known.settings))
        return replace(known, model=replace(known.model, bundle=bundle))

    monkeypatch.setattr(module.Predictor, "open", opened)
    code, err = watching()
    assert code == 2
    assert err.count("error: ") == 1
    assert sentence in err
    assert not (tmp_path / "run").exists()


def test_a_model_that_looks_too_far_ahead_is_refused(watching, monkeypatch, tmp_path):
    monkeypatch.setattr(stream, "_delay", lambda extractor: 25)
    code, err = watching()
    assert code == 2
    assert "look 2.5 s ahead: expected at most max_delay_s, 2 s" in err
    assert not (tmp_path / "run").exists()
    code, err = watching("--max-delay-s", "2.5")
    assert code == 0
    assert "scores come 2.5 s late" in err


def test_scores_that_come_late_are_those_of_their_frames(live_world, model10, tmp_path, monkeypatch):
    using = predictor(model10)
    watch(tmp_path / "now", [played(live_world / "scene.mkv", using)], still_clocks())
    monkeypatch.setattr(stream, "_delay", lambda extractor: 7)
    watch(tmp_path / "late", [played(live_world / "scene.mkv", using)], still_clocks())
    now, late = (next(iter(read_scores(tmp_path / run / "scores").values())).track for run in ("now", "late"))
    np.testing.assert_array_equal(now.time_s, late.time_s)
    np.testing.assert_allclose(now.smoothed, late.smoothed, rtol=0, atol=1e-9)
    ours, theirs = ((tmp_path / run / "events.csv").read_text() for run in ("now", "late"))
    assert ours == theirs


def test_a_rate_that_the_normal_video_does_not_support_is_refused(watching, tmp_path):
    code, err = watching("--false-alarms-per-hour", "1")
    assert code == 2
    assert "false alarms per hour: expected at least 600" in err
    assert not (tmp_path / "run").exists()


def test_a_model_without_a_level_is_refused(watching, monkeypatch, tmp_path):
    real = Predictor.open
    monkeypatch.setattr(module.Predictor, "open", lambda *values: replace(real(*values), alarm=None))
    code, err = watching()
    assert code == 2
    assert "expected one with an alarm level, got one without" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("file", ["scores/a.csv", "model.safetensors", "run.json"])
def test_a_folder_of_another_command_is_refused(watching, tmp_path, file):
    path = tmp_path / "run" / file
    path.parent.mkdir(parents=True)
    path.write_text('{"kind": "train"}' if file == "run.json" else "")
    code, err = watching()
    assert code == 2
    assert "holds another run" in err
    assert [known for known in (tmp_path / "run").rglob("*") if known.is_file()] == [path]


def test_watch_again_continues(watching, mulde, tmp_path):
    """Another hour or the same: what is there stays."""
    assert watching()[0] == 0
    before = mulde("alerts", tmp_path / "run")[1].splitlines()
    assert watching()[0] == 0
    after = mulde("alerts", tmp_path / "run")[1].splitlines()
    assert after[: len(before)] == before
    assert len(after) == 2 * len(before)


def test_a_look_says_what_a_camera_sends(live_world, model10, tmp_path):
    using = predictor(model10)
    images = [image[:, :90] for image, _ in frames_of(live_world / "scene.mkv")]
    write_video(tmp_path / "narrow.mkv", iter(images[:20]), 25, crf=0)
    gone = replace(played(tmp_path / "narrow.mkv", using, "gone"), opener=player(tmp_path / "none.mkv"))
    specs = [played(live_world / "scene.mkv", using), played(tmp_path / "narrow.mkv", using, "gate"), gone]
    yard, gate, lost = look({spec.name: spec for spec in specs})
    assert yard[1]
    assert yard[0].startswith("yard: 160 x 96, 25 frames a second, first packet after ")
    assert yard[0].endswith(", the model fits")
    assert (gate[1], lost[1]) == (False, False)
    assert "a picture of another shape" in gate[0]
    assert lost[0] == "gone: unexpected FileNotFoundError"


def test_models_are_shared_by_cameras(model10):
    models = module._Models("cpu", Listener())
    first = models.get("yard", model10, 1200, 2.0)
    assert models.get("gate", model10, 1200, 2.0) is first
    assert models.get("gate", model10, 1800, 2.0) is not first


def test_a_file_that_is_read_again_changes_only_what_changed():
    class Engine:
        def __init__(self):
            self.cameras, self.done = {}, []

        def add(self, spec):
            self.cameras[spec.name] = Known(spec)
            self.done.append(("add", spec.name))

        def remove(self, name):
            del self.cameras[name]
            self.done.append(("remove", name))

    class Known:
        def __init__(self, spec):
            self.spec, self.reader, self.tries = spec, self, 0

        def retry(self):
            self.tries += 1

    spec = module.CameraSpec("a", None, None, "", "", settings=1)
    named = {name: replace(spec, name=name) for name in "abc"}
    engine = Engine()
    rereading = Rereading(engine, dict, threading.Event(), Listener())
    rereading.follow({"a": named["a"], "b": named["b"]})
    engine.done.clear()
    rereading.follow({"a": named["a"], "b": replace(named["b"], settings=2), "c": named["c"]})
    assert engine.done == [("remove", "b"), ("add", "b"), ("add", "c")]
    assert engine.cameras["a"].tries == 1
    engine.done.clear()
    rereading.follow({"c": named["c"]})
    assert engine.done == [("remove", "a"), ("remove", "b")]


@pytest.mark.parametrize("error", [UsageError("no camera"), OSError(5, "Input/output error"), ValueError("a bug")])
def test_a_file_that_cannot_be_read_again_leaves_all_as_it_is(error):
    def read():
        raise error

    said, asked = Listener(), threading.Event()
    asked.set()
    with Rereading(None, read, asked, said) as rereading:
        while not said.warnings:
            rereading.turn()
    (warning,) = said.warnings
    assert warning.startswith("the cameras stay as they are: ")
    assert not asked.is_set()


def test_a_video_is_called_by_its_name(live_world, model10, tmp_path):
    for name, expected in (("a b-ü.mkv", "ab-"), ("_x.mkv", "x"), ("ü.mkv", "camera")):
        (tmp_path / name).touch()
        one = OneCamera(str(tmp_path / name), model10, 1200)
        assert list(Cameras.of_video(one, 0, False, "cpu", Listener()).specs()) == [expected]


def test_what_an_address_asks_for_is_not_on_record(mulde, model10, tmp_path, monkeypatch):
    """The part behind the question mark is often a key."""
    monkeypatch.setattr(module.LiveEngine, "run", lambda self, stop, after_turn: None)
    address = "http://127.0.0.1:9/x.ts?token=hunter2"
    assert mulde("watch", address, "--model", model10, "--device", "cpu", "--out", tmp_path / "run")[0] == 0
    kept = (tmp_path / "run/run.json").read_text()
    assert "http://127.0.0.1:9/x.ts" in kept
    assert "hunter2" not in kept


@pytest.mark.parametrize(("content", "sentence"), [(b"hi", "is a text file, not a video"), (None, "is cut off")])
def test_a_file_that_cannot_be_played_is_not_tried_again(mulde, live_world, model10, tmp_path, content, sentence):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content or (live_world / "world/test/test01.mp4").read_bytes()[:3000])
    code, _, err = mulde("watch", path, "--as-live", "--model", model10, "--device", "cpu", "--out", tmp_path / "run")
    assert code == 1
    assert sentence in err


def test_a_video_of_which_nothing_is_scored_is_no_success(mulde, live_world, model10, tmp_path):
    images = [image[:, :90] for image, _ in frames_of(live_world / "scene.mkv")]
    write_video(tmp_path / "narrow.mkv", iter(images[:20]), 25, crf=0)
    words = ("watch", tmp_path / "narrow.mkv", "--as-live", "--speed", "0", "--model", model10, "--device", "cpu")
    code, _, err = mulde(*words, "--out", tmp_path / "run")
    assert code == 1
    assert "a picture of another shape" in err
