"""The commands as a person types them: exit codes, sentences, files left behind."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from contextlib import redirect_stdout
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score

from mulde import cli
from mulde.media import write_video
from tests.conftest import moving_square

QUICK = ["--set", "density.options={steps=200, hidden=[32]}", "--device", "cpu", "-q"]
ONE_FOLD = ["--set", "fusion.folds=1"]


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    """Own footage: slow squares to learn from, one that turns fast halfway, and labels for it."""
    root = tmp_path_factory.mktemp("footage")
    for i in range(4):
        write_video(root / "train" / f"normal{i}.mp4", iter(moving_square(60, seed=i)), Fraction(25))
    slow, fast = moving_square(40, seed=7), moving_square(40, seed=7, speed_px=9)
    write_video(root / "test" / "odd.mp4", iter(np.concatenate([slow, fast])), Fraction(25))
    write_video(root / "test" / "plain.mp4", iter(moving_square(30, seed=8)), Fraction(25))
    (root / "labels.csv").write_text("video,start_frame,end_frame\nodd,40,80\n")
    return root


@pytest.fixture(scope="module")
def model(footage, tmp_path_factory) -> Path:
    """A small model of the footage and, beside it, its feature store."""
    out = tmp_path_factory.mktemp("model")
    run_main("train", footage, "--out", out, "--store", out / "store", *QUICK)
    return out / "model.safetensors"


@pytest.fixture(scope="module")
def store(model) -> Path:
    """The features of the footage, all of them where a model of it has been scored on it."""
    return model.parent / "store"


@pytest.fixture(scope="module")
def finished_run(footage, tmp_path_factory) -> tuple[Path, str]:
    """The folder of `mulde run` on the footage from its very start, and what was printed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    with redirect_stdout(io.StringIO()) as printed:
        run_main("run", footage, "--out", out, "--store", out.parent / "store", *QUICK)
    return out, printed.getvalue()


def run_main(*args: object) -> None:
    """Run the command line where fixtures of a test's scope cannot be had; it must end well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mulde", *map(str, args)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert not stop.value.code


def test_run_does_everything_and_leaves_a_full_run_folder(finished_run, footage):
    run, out = finished_run
    assert "micro AUC" in out
    assert "random" in out
    assert "triangle" in out
    names = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    events = {name for name in names if "/events.out.tfevents." in name}
    folds = [f"tensorboard/{stream}-{fold}" for stream in ("descriptor", "geometry", "velocity") for fold in range(4)]
    assert sorted(name.rsplit("/", 1)[0] for name in events) == folds
    pictures = {name for name in names if name.startswith(("thumbnails/", "normal/"))}
    assert names - events - pictures == {
        "settings.toml", "run.json", "model.safetensors", "normal_moments.parquet", "metrics.json", "truth.json",
        "scores/odd.csv", "scores/odd.parquet", "scores/plain.csv", "scores/plain.parquet",
        "regions/odd.parquet", "regions/plain.parquet", "events.csv", "events.parquet", "events.json",
        "event_rows.parquet", "figures/odd.png", "figures/plain.png",
        "evaluation/evaluation.html", "evaluation/roc.png", "evaluation/pr.png",
        "evaluation/curves/odd.png", "evaluation/curves/plain.png",
    }  # fmt: skip
    record = json.loads((run / "run.json").read_text())
    assert set(record["wall_time_s"]) == {
        "extract", "train", "normal moments", "score", "evaluate", "draw"
    }  # fmt: skip
    assert record["versions"]["torch"]
    plain = hashlib.sha256((footage / "test" / "plain.mp4").read_bytes()).hexdigest()
    assert record["video_sha256"]["plain"] == plain
    assert set(record["video_sha256"]) == {"odd", "plain", *(f"normal{i}" for i in range(4))}
    metrics = json.loads((run / "metrics.json").read_text())
    assert [row["smoothing"] for row in metrics["rows"]] == ["raw", "causal", "centred"]
    assert set(metrics["rows"][0]["nulls"]) >= {"random", "triangle"}
    assert metrics["num_anomalous_frames"] == 40
    scores = pd.read_parquet(run / "scores" / "odd.parquet")
    assert metrics["rows"][0]["result"]["macro_auc"] == roc_auc_score(scores.frame_index >= 40, scores.fused)
    assert roc_auc_score(scores.frame_index >= 40, scores.score_velocity) > 0.95


def test_evaluate_again_gives_the_same_figures(mulde, finished_run, tmp_path):
    shutil.copytree(finished_run[0], tmp_path / "run")
    first = json.loads((tmp_path / "run" / "metrics.json").read_text())
    code, _, _ = mulde("evaluate", "run")
    assert code == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == first


def test_several_seeds_give_mean_and_spread(mulde, footage, store, tmp_path):
    code, out, _ = mulde("run", footage, "--out", "run", "--store", store, "--seed", 0, "--seed", 1, *QUICK, *ONE_FOLD)
    assert code == 0
    assert "mean of 2 seeds" in out
    summary = json.loads((tmp_path / "run" / "metrics.json").read_text())["centred"]["micro_auc"]
    each = [
        json.loads((tmp_path / "run" / f"seed-{s}" / "metrics.json").read_text())["rows"][-1]["result"]["micro_auc"]
        for s in (0, 1)
    ]
    assert summary["mean"] == pytest.approx(np.mean(each))
    assert summary["std"] == pytest.approx(np.std(each, ddof=1))


def test_run_takes_everything_from_a_toml(mulde, footage, store, tmp_path):
    (tmp_path / "run.toml").write_text(
        "[density.options]\nsteps = 200\nhidden = [32]\n[fusion]\nfolds = 2\n"
        f'[run]\nsource = "{footage}"\nout = "here"\nseeds = [5]\n'
    )
    assert mulde("run", "--config", "run.toml", "--store", store, "-q")[0] == 0
    record = json.loads((tmp_path / "here" / "run.json").read_text())
    assert record["seeds"] == [5]
    assert mulde("run", "--config", "here/settings.toml", "--out", "again", "--store", store, "-q")[0] == 0
    again, here = (pd.read_parquet(tmp_path / name / "scores" / "odd.parquet") for name in ("again", "here"))
    pd.testing.assert_frame_equal(again, here)


def test_a_scored_clip_has_a_row_per_frame_and_equals_the_run(mulde, footage, model, tmp_path):
    code, _, _ = mulde("score", footage / "test" / "odd.mp4", "--model", model, "--out", "one", "-q")
    assert code == 0
    code, _, _ = mulde("score", footage, "--model", model, "--out", "all", "--store", "other", "-q")
    assert code == 0
    alone, inside = (pd.read_csv(tmp_path / name / "scores" / "odd.csv") for name in ("one", "all"))
    assert list(alone.columns) == [
        "video", "frame_index", "time_s", "score_velocity", "score_geometry", "score_descriptor", "fused", "smoothed",
        "p_value",
    ]  # fmt: skip
    assert alone["frame_index"].tolist() == list(range(80))
    assert alone["time_s"].tolist() == pytest.approx((np.arange(80) / 25).tolist())
    numbers = alone.columns[1:]
    assert np.abs(alone[numbers] - inside[numbers]).max().max() < 1e-5
    table = pd.read_parquet(tmp_path / "one" / "scores" / "odd.parquet")
    pd.testing.assert_frame_equal(table, alone, check_exact=False, check_dtype=False)
    picture = cv2.imread(str(tmp_path / "all" / "figures" / "odd.png"))
    plain = cv2.imread(str(tmp_path / "one" / "figures" / "odd.png"))
    assert _shaded(picture) > 1000 > _shaded(plain)


def _shaded(picture: np.ndarray) -> int:
    """Pixels in the orange that marks labelled anomalies."""
    blue, green, red = (picture[..., i].astype(int) for i in range(3))
    return int(((red - blue > 50) & (red > green)).sum())


def test_a_bad_video_in_a_batch_is_named_at_the_end_with_exit_code_3(mulde, footage, model, tmp_path):
    (tmp_path / "cut.mp4").write_bytes((footage / "test" / "odd.mp4").read_bytes()[:3000])
    code, _, err = mulde(
        "score", tmp_path / "cut.mp4", footage / "test" / "plain.mp4", "--model", model, "--out", "out", "-q"
    )
    assert code == 3
    assert "1 video failed: cut: " in err
    assert len(pd.read_csv(tmp_path / "out" / "scores" / "plain.csv")) == 30


def sound_only(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)


def frames_of_two_sizes(path: Path) -> None:
    path.mkdir()
    cv2.imwrite(str(path / "1.png"), np.zeros((48, 64, 3), np.uint8))
    cv2.imwrite(str(path / "2.png"), np.zeros((48, 70, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "make", "code", "words"),
    [
        ("none.mp4", lambda p: None, 2, ["none.mp4", "does not exist"]),
        ("empty", lambda p: p.mkdir(), 2, ["empty", "without any"]),
        ("zero.mp4", lambda p: p.touch(), 1, ["zero.mp4", "0 bytes"]),
        ("text.mp4", lambda p: p.write_text("hello " * 99), 1, ["text.mp4"]),
        ("sound.mp4", sound_only, 1, ["sound.mp4", "video"]),
        ("sizes", frames_of_two_sizes, 1, ["2.png", "48", "64", "70"]),
    ],
)
@pytest.mark.parametrize("command", ["extract", "score"])
def test_bad_footage_is_a_sentence_and_the_right_exit_code(mulde, model, tmp_path, command, name, make, code, words):
    make(tmp_path / name)
    extra = ["--model", model, "--out", "out"] if command == "score" else []
    got, _, err = mulde(command, tmp_path / name, *extra, "--store", "store", "-q")
    assert got == code, err
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".parquet", ".csv")]


def test_a_one_frame_video_is_scored(mulde, model, tmp_path):
    write_video(tmp_path / "one.mp4", iter(moving_square(1)), Fraction(25))
    assert mulde("score", tmp_path / "one.mp4", "--model", model, "--out", "out", "-q")[0] == 0
    assert len(pd.read_csv(tmp_path / "out" / "scores" / "one.csv")) == 1


def test_footage_without_any_object_is_scored_low_and_cannot_be_trained_on(mulde, footage, model, tmp_path):
    still = np.full((12, 96, 128, 3), 90, np.uint8)
    write_video(tmp_path / "still.mp4", iter(still), Fraction(25))
    assert (
        mulde("score", tmp_path / "still.mp4", footage / "test" / "odd.mp4", "--model", model, "--out", "out", "-q")[0]
        == 0
    )
    scores = {n: pd.read_csv(tmp_path / "out" / "scores" / f"{n}.csv")["fused"] for n in ("still", "odd")}
    assert scores["still"].nunique() == 1
    assert scores["still"].max() <= scores["odd"].min() + 1e-9
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["frames_without_rows"]["still"] == 12
    assert record["model_sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    code, _, err = mulde("train", tmp_path / "still.mp4", "--out", "model", "-q")
    assert code == 1
    assert "no training rows for velocity: expected objects in the training videos, got none in 9 frames" in err


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("features.velocity.bins=4", "features.velocity.bins cannot be changed for scoring: the model learnt from"),
        ("regions.motion.threshold=30", "expected 18 as in training, got 30"),
    ],
)
def test_a_bundle_of_other_settings_is_refused_by_name(mulde, footage, model, override, sentence):
    code, _, err = mulde("score", footage, "--model", model, "--out", "out", "--set", override, "-q")
    assert code == 2
    assert sentence in err


def test_a_damaged_bundle_is_a_sentence(mulde, footage, model, tmp_path):
    whole = model.read_bytes()
    for name, data in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}.items():
        (tmp_path / name).write_bytes(data)
        code, _, err = mulde("score", footage, "--model", name, "--out", "out", "-q")
        assert code == 1
        assert f"model bundle {name} cannot be read" in err
        assert "a whole file written by `mulde train`" in err
    assert "nothing there" in mulde("score", footage, "--model", "none", "--out", "out", "-q")[2]


def test_videos_without_labels_are_named_and_left_out_of_the_figures(mulde, footage, model, tmp_path):
    mulde("score", footage, "--model", model, "--out", "out", "-q")
    some = tmp_path / "some"
    (some / "labels").mkdir(parents=True)
    (some / "test").symlink_to(footage / "test")
    np.save(some / "labels" / "odd.npy", np.arange(80) >= 40)
    code, _, err = mulde("evaluate", "out", "--labels", f"folder:{some}", "-q")
    assert code == 0
    assert "no labels: plain" in err
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["num_videos"] == 1


def test_labels_that_do_not_fit_are_a_sentence(mulde, footage, model, tmp_path):
    code, _, _ = mulde("score", footage, "--model", model, "--out", "out", "-q")
    assert code == 0
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "test").symlink_to(footage / "test")
    (wrong / "labels").mkdir()
    np.save(wrong / "labels" / "odd.npy", np.zeros(79))
    code, _, err = mulde("evaluate", "out", "--labels", f"folder:{wrong}", "-q")
    assert code == 1
    assert "80" in err
    assert "79" in err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["score", "x.mp4"], ["--model"]),
        (["nonsense"], ["nonsense"]),
        (["run", "-q"], ["without a source"]),
        (["extract", "x", "--set", "video.decoder=vlc"], ["'pyav' or 'decord'", "vlc"]),
        (["extract", "x", "--device", "abacus"], ["abacus", "Try: use cpu or auto"]),
        (["extract", "ucsd-ped3:x"], ["ucsd-ped2", "ucsd-ped3"]),
        (["evaluate", "x"], ["not a run folder"]),
    ],
)
def test_wrong_usage_names_what_is_known(mulde, args, words):
    code, out, err = mulde(*args)
    assert code == (1 if args[0] == "evaluate" else 2)
    for word in words:
        assert word in err + out


def test_settings_print_a_file_that_can_be_used(mulde, tmp_path):
    code, out, _ = mulde("settings", "--set", "density.preset=paper")
    assert code == 0
    (tmp_path / "s.toml").write_text(out)
    assert mulde("settings", "--config", "s.toml")[1] == out


def test_a_missing_detector_file_is_a_sentence_and_nothing_is_downloaded(mulde, footage):
    code, _, err = mulde("extract", footage, "--detector", "weights/none.pt", "--store", "store", "-q")
    assert code == 2
    assert "detector weights weights/none.pt: expected an existing file or folder, or an official name" in err


def test_a_training_that_is_stopped_goes_on_from_its_checkpoint(mulde, footage, model, monkeypatch, tmp_path):
    """Ctrl-C in a fold of the second stream, then the same command: the model is that of an undisturbed run."""
    import mulde.pipeline.training.fit as stage
    from mulde.density import trainer

    monkeypatch.setattr(trainer, "SAVE_EVERY_S", 0.0)
    shown, steps = stage.shown_and_logged, []

    def stop_in_the_second(advance, log, stopped):
        progress = shown(advance, log, stopped)

        def look(at):
            steps.append((log.folder.name, at.step))
            progress(at)
            if log.folder.name == "geometry-1" and at.step >= 150 and not resumed:
                raise KeyboardInterrupt

        return look

    resumed = False
    monkeypatch.setattr(stage, "shown_and_logged", stop_in_the_second)
    command = ["train", footage, "--out", "run", "--store", model.parent / "store", *QUICK]
    command += ["--set", "density.options.eval_every=50", "--set", "fusion.folds=2"]
    code, _, err = mulde(*command)
    assert code == 130
    assert "Run the same command again to continue" in err
    kept = {path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept >= {"geometry-1", *(f"velocity-{i}" for i in range(2))}
    assert "descriptor-0" not in kept
    resumed = True
    steps.clear()
    assert mulde(*command)[0] == 0
    assert not {f"velocity-{i}" for i in range(2)} & {name for name, _ in steps}  # were finished
    assert min(step for name, step in steps if name == "geometry-1") > 100  # the look at 150 was not saved
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert mulde(*command[:2], "--out", "undisturbed", *command[4:])[0] == 0
    once, twice = (load_file(tmp_path / name / "model.safetensors") for name in ("undisturbed", "run"))
    assert once.keys() == twice.keys()
    for name, array in once.items():
        np.testing.assert_array_equal(array, twice[name], err_msg=name)


def test_training_leaves_its_course_for_tensorboard(model):
    for stream in ("velocity", "geometry", "descriptor"):
        assert list((model.parent / "tensorboard" / f"{stream}-0").glob("events.*"))


def test_preset_is_a_flag(mulde, footage, model, tmp_path):
    options = ["--store", model.parent / "store", *QUICK, *ONE_FOLD]
    assert mulde("train", footage, "--out", "p", "--preset", "paper", *options)[0] == 0
    assert 'preset = "paper"' in (tmp_path / "p" / "settings.toml").read_text()
    code, _, err = mulde("train", footage, "--out", "q", "--preset", "huge", *QUICK)
    assert code == 2
    assert "density.preset: expected 'fast' or 'paper', got 'huge'" in err
