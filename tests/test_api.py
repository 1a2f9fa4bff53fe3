"""The public functions: what they give, what they refuse, and what they leave on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

import mulde
from mulde.errors import BundleError, LabelError, MuldeError, MuldeWarning, UsageError, VideoError
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.stages import run_score
from mulde.progress import Reporter
from tests.api_world import QUICK, write_small_world

NAMES = {
    "train",
    "score",
    "load_model",
    "evaluate",
    "extract",
    "Model",
    "Result",
    "Evaluation",
    "MuldeDensity",
    "MuldeOptions",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_small_world(tmp_path_factory.mktemp("api") / "world")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("api") / "store"


@pytest.fixture(scope="module")
def model(world, store):
    return mulde.train(world / "train", settings=QUICK, store=store)


@pytest.fixture(scope="module")
def result(model, world, store):
    return model.score(world / "test", store=store)


def test_importing_it_loads_nothing_heavy():
    code = "import json, sys, mulde; print(json.dumps([sorted(dir(mulde)), sorted(sys.modules)]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, modules = json.loads(done.stdout)
    assert set(names) == NAMES | {"__version__", "errors"} == set(mulde.__all__)
    heavy = {"torch", "numpy", "pandas", "cv2", "av", "pydantic", "matplotlib", "sklearn", "rich"}
    assert not heavy & set(modules)
    assert {name for name in modules if name.startswith("mulde")} == {"mulde"}


def test_every_name_is_there_and_no_other():
    for name in mulde.__all__:
        assert getattr(mulde, name) is getattr(mulde, name)
    assert issubclass(mulde.errors.UsageError, mulde.errors.MuldeError)
    with pytest.raises(AttributeError, match="trian"):
        mulde.trian  # noqa: B018


def test_nothing_is_written_unless_a_path_is_given(world, tmp_path):
    """In a process of its own, whose home, working directory and place for temporary files are looked at."""
    places = {name: tmp_path / name for name in ("home", "cwd", "tmp")}
    for place in places.values():
        place.mkdir()
    code = f"""if True:
        import mulde
        model = mulde.train({str(world / "train")!r}, settings={QUICK!r})
        result = model.score({str(world / "test")!r})
        mulde.evaluate(result, {str(world / "labels.csv")!r}, bootstrap=10)
        mulde.extract({str(world / "test/test01.mp4")!r})
        print(result, len(result.frames), len(result.objects), len(result.events))
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MULDE_"))}
    environment |= {"HOME": str(places["home"]), "TMPDIR": str(places["tmp"])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=places["cwd"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Result(2 videos, 100 frames, ")
    assert [path for place in places.values() for path in place.rglob("*")] == []


def test_it_scores_as_the_command_does(model, result, world, store, tmp_path):
    model.save(tmp_path / "m.safetensors")
    session = Session.open(store, "cpu", Reporter(quiet=True))
    run_score([str(world / "test")], tmp_path / "m.safetensors", [], tmp_path / "run", session)
    written = pd.concat(pd.read_csv(path) for path in sorted((tmp_path / "run/scores").glob("*.csv")))
    pd.testing.assert_frame_equal(result.frames, written.reset_index(drop=True))
    pd.testing.assert_frame_equal(result.events, pd.read_parquet(tmp_path / "run/events.parquet"))
    boxes = pd.concat(pd.read_parquet(path) for path in sorted((tmp_path / "run/regions").glob("*.parquet")))
    pd.testing.assert_frame_equal(result.objects.drop(columns="video"), boxes.reset_index(drop=True))


def test_a_result_holds_all_videos(result, world):
    assert result.videos == ("test01", "test02")
    assert repr(result).startswith("Result(2 videos, 100 frames, ")
    for table in (result.frames, result.objects, result.events):
        assert set(table["video"]) <= {"test01", "test02"}
    assert result.frames["video"].value_counts().tolist() == [50, 50]
    assert len(result.events)
    assert result.events["reason"].str.len().min() > 10
    assert result.level <= result.events["score"].min()
    assert result.failures == ()


def test_a_saved_model_scores_the_same(model, result, world, store, tmp_path):
    model.save(tmp_path / "m.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.safetensors", "normal_moments.parquet"]
    again = mulde.load_model(tmp_path / "m.safetensors")
    assert repr(again) == repr(model) == "Model(velocity, geometry, descriptor; 0.1 minutes of normal video)"
    for scored in (again.score(world / "test", store=store), mulde.score(world / "test", tmp_path / "m.safetensors")):
        pd.testing.assert_frame_equal(scored.frames, result.frames)
        pd.testing.assert_frame_equal(scored.events, result.events)
    shutil.copy(tmp_path / "m.safetensors", tmp_path / "alone.safetensors")
    (tmp_path / "normal_moments.parquet").unlink()
    assert mulde.load_model(str(tmp_path / "alone.safetensors")).streams == model.streams


def test_the_alarm_level_follows_the_rate(model, world, store):
    often = model.score(world / "test/test01.mp4", false_alarms_per_hour=1500, store=store)
    assert often.level < model.score(world / "test/test01.mp4", store=store).level
    with pytest.raises(UsageError, match="false alarms per hour"):
        model.score(world / "test/test01.mp4", false_alarms_per_hour=0.001, store=store)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"fusion.speed": 1}, "setting fusion.speed: expected an existing setting"),
        ({"fusion": {"folds": 0}}, "setting fusion.folds: .*got 0"),
        ({"fusion.folds": None}, "setting fusion.folds: expected text, a number"),
        ({3: 1}, "settings: expected names as keys, got 3"),
        ({"regions.yolo.confidence": 0.5}, "setting regions.yolo.confidence has no effect"),
        ({"density.options": {"layers": 3}}, "density mulde: expected settings among .*got layers"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(world, settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        mulde.train(world / "train", settings=settings)


def test_settings_come_from_a_file_too(world, store, tmp_path):
    (tmp_path / "own.toml").write_text('[density]\nmethod = "mixture"\n[fusion]\nfolds = 2\n')
    model = mulde.train(world / "train", settings=tmp_path / "own.toml", seed=3, store=store)
    assert (model.settings.density.method, model.settings.fusion.folds) == ("mixture", 2)
    assert mulde.train(world / "train", settings=model.settings, store=store).settings == model.settings
    with pytest.raises(UsageError, match="settings: expected settings by name, or a path, got int"):
        mulde.train(world / "train", settings=3)


def test_settings_that_training_fixed_are_refused(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    changed = mulde.load_model(tmp_path / "m.safetensors", settings={"alarms": {"merge_gap_s": 0.5}})
    assert changed.settings.alarms.merge_gap_s == 0.5
    with pytest.raises(UsageError, match=r"fusion\.folds cannot be changed"):
        mulde.load_model(tmp_path / "m.safetensors", settings={"fusion.folds": 7})
    with pytest.raises(UsageError, match="settings by name"):
        mulde.load_model(tmp_path / "m.safetensors", settings="own.toml")


@pytest.mark.parametrize("source", [[], 3, ["a.mp4", None]])
def test_a_source_that_is_none_is_refused(model, source):
    with pytest.raises((UsageError, TypeError)):
        model.score(source)


def test_what_is_not_there_is_a_sentence(model, tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        model.score(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="nothing"):
        mulde.load_model(tmp_path / "nothing.safetensors")


def test_one_bad_video_does_not_stop_the_others(model, world, store, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    sources = [tmp_path / "bad.mp4", world / "test/test01.mp4"]
    with pytest.warns(MuldeWarning, match="bad") as told:
        result = model.score(sources, store=store)
    assert told[0].filename == __file__
    assert result.videos == ("test01",)
    assert [failure.video for failure in result.failures] == ["bad"]
    assert "1 failed" in repr(result)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(VideoError, match="bad"):
            model.score(tmp_path / "bad.mp4")


def test_progress_can_be_switched_off(model, world, store, capsys):
    model.score(world / "test/test01.mp4", store=store, progress=False)
    model.score(world / "test/test01.mp4", store=store)  # nobody watches
    assert capsys.readouterr() == ("", "")
    model.score(world / "test/test01.mp4", store=store, progress=True)
    assert "extract" in capsys.readouterr().err


def test_features_are_tables(world, store):
    tables = mulde.extract(world / "test", store=store, settings={"tracks.tracker": "bytetrack"})
    assert set(tables) == {"velocity", "geometry", "descriptor"}
    velocity = tables["velocity"]
    assert list(velocity.columns[:8]) == ["video", "frame_index", "time_s", "x0", "y0", "x1", "y1", "track_id"]
    assert list(velocity.columns[8:]) == [f"f{i}" for i in range(8)]
    assert set(velocity["video"]) == {"test01", "test02"}
    assert (velocity["time_s"] == velocity["frame_index"] / 25).all()
    whole = mulde.extract(world / "test/test01.mp4", settings={"features.extractors": ["flow_histogram"]})
    assert list(whole["flow_histogram"].columns[:4]) == ["video", "frame_index", "time_s", "f0"]
    assert len(whole["flow_histogram"]) == 50


def test_labels_of_every_form_give_the_same_figures(result, world, tmp_path):
    table = pd.read_csv(world / "labels.csv")
    arrays = {name: np.zeros(50, bool) for name in result.videos}
    for row in table.itertuples():
        arrays[row.video][row.start_frame : row.end_frame] = True
    forms = (world / "labels.csv", arrays, {k: v.astype(int).tolist() for k, v in arrays.items()}, f"synthetic:{world}")
    found = [mulde.evaluate(result, labels, bootstrap=20) for labels in forms]
    assert len({(one.micro_auc, one.macro_auc) for one in found}) == 1
    assert found[0].micro_auc > 0.5
    assert found[0].to_frame().loc[("centred", "result"), "micro_auc"] == found[0].micro_auc
    assert set(found[0].to_frame().loc["centred"].index) == {"result", "random", "ramp", "triangle", "constant"}
    assert repr(found[0]).startswith(f"Evaluation(micro_auc={found[0].micro_auc:.4f}, macro_auc=")
    assert "<table" in found[0]._repr_html_()
    assert found[3].regions is not None  # the data set has masks
    assert found[0].regions is None


def test_labels_of_the_scored_data_set_are_the_default(model, result, world, store):
    scored = model.score(f"synthetic:{world}", store=store)
    assert mulde.evaluate(scored, bootstrap=0).micro_auc == mulde.evaluate(result, world / "labels.csv").micro_auc
    with pytest.raises(UsageError, match="labels: expected a data set"):
        mulde.evaluate(result)


def test_labels_that_do_not_fit_are_refused(result, world, tmp_path):
    with pytest.raises(LabelError, match=r"labels of tset01: expected of scored videos: test01, test02"):
        mulde.evaluate(result, {"tset01": np.zeros(50)})
    with pytest.raises(LabelError, match="labels of test01: expected 50 values, one per frame, got 49"):
        mulde.evaluate(result, {"test01": np.zeros(49)})
    with pytest.raises(LabelError, match="true or false"):
        mulde.evaluate(result, {"test01": np.full(50, 2)})
    (tmp_path / "other.csv").write_text("video,start_frame,end_frame\nelsewhere,1,2\n")
    with pytest.raises(LabelError, match="got of elsewhere"):
        mulde.evaluate(result, tmp_path / "other.csv")
    (tmp_path / "odd.csv").write_text("video,start_frame,end_frame\ntest01,1,x\n")
    with pytest.raises(LabelError, match="line 2"):
        mulde.evaluate(result, tmp_path / "odd.csv")
    with pytest.raises(MuldeError):
        mulde.evaluate(result, tmp_path / "missing.csv")
    (tmp_path / "more.csv").write_text("video,start_frame,end_frame\ntest01,1,9\nelsewhere,1,2\n")
    with pytest.warns(MuldeWarning, match="elsewhere"):
        mulde.evaluate(result, tmp_path / "more.csv", bootstrap=0)


def test_unlabelled_videos_are_left_out_with_a_warning(result):
    labels = {"test01": np.arange(50) > 25}
    with pytest.warns(MuldeWarning, match="test02"):
        assert mulde.evaluate(result, labels, bootstrap=0).num_videos == 1


def test_a_figure_shows_one_or_all_videos(result):
    assert len(result.plot().axes) == 2
    (axes,) = result.plot("test02").axes
    assert axes.get_title(loc="left") == "test02"
    assert result.plot("test02")._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="video 'test03': expected one of test01, test02"):
        result.plot("test03")


def test_a_report_is_one_page(result, tmp_path):
    page = result.report(tmp_path / "door.html")
    assert [path.name for path in tmp_path.iterdir()] == ["door.html"]
    text = page.read_text()
    assert "<title>door" in text
    assert str(tmp_path) not in text
    assert "/tmp/mulde-" not in text


def test_overlays_are_videos(model, result, world, store, tmp_path):
    from mulde.media import open_video

    one = model.score(world / "test/test01.mp4", store=store)
    assert one.overlay(tmp_path / "one.mp4") == [tmp_path / "one.mp4"]
    assert result.overlay(tmp_path / "all") == [tmp_path / "all/test01.mp4", tmp_path / "all/test02.mp4"]
    with open_video(tmp_path / "all/test02.mp4") as reader:
        assert sum(len(batch) for batch in reader) == 50


def test_a_notebook_shows_curves_and_events(result):
    html = result._repr_html_()
    assert html.count("data:image/png;base64,") == 1
    assert html.count("data:image/jpeg;base64,") == min(len(result.events), 8)
    assert "2 videos, 100 frames" in html
    assert "<script" not in html


def test_names_from_outside_are_escaped_in_a_notebook(model, world, store, tmp_path):
    name = "<img src=x onerror=alert(1)>"
    shutil.copy(world / "test/test01.mp4", tmp_path / f"{name}.mp4")
    result = model.score(tmp_path / f"{name}.mp4", store=store, false_alarms_per_hour=1500)
    assert len(result.events)
    assert name in result.events["video"].iloc[0]
    assert "<img src=x" not in result._repr_html_()


def test_a_video_that_is_gone_costs_its_pictures(model, world, store, tmp_path):
    shutil.copy(world / "test/test01.mp4", tmp_path / "door.mp4")
    result = model.score(tmp_path / "door.mp4", store=store, false_alarms_per_hour=1500)
    assert len(result.events)
    (tmp_path / "door.mp4").unlink()
    assert "data:image/jpeg" not in result._repr_html_()
    with pytest.warns(MuldeWarning, match="door: no pictures: "):
        assert result.report(tmp_path / "report.html").stat().st_size > 10_000
    with pytest.raises(VideoError, match=r"door\.mp4"):
        result.overlay(tmp_path / "overlay.mp4")


def test_labels_that_are_not_there_are_called_labels(result, tmp_path):
    with pytest.raises(UsageError, match=r"labels .*none\.csv: expected a labels.csv, .* got nothing that is there"):
        mulde.evaluate(result, tmp_path / "none.csv")


def test_exclusions_that_cannot_be_read_are_refused_before_anything_is_extracted(world, tmp_path):
    with pytest.raises(UsageError, match=r"none\.csv cannot be read"):
        mulde.train(world / "train", exclude=tmp_path / "none.csv", store=tmp_path / "store")
    assert not (tmp_path / "store").exists()
