"""A reproduction is a record that two people can diff, made once and resumed where it stopped."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mulde.datasets import DATASETS, write_world
from mulde.errors import UsageError
from mulde.media import write_video
from mulde.pipeline.experiments.record import across, changed_settings, portable
from mulde.pipeline.experiments.reproduce import pinned_config, run_reproduce, weights_as_changes
from mulde.pipeline.extraction.session import Session
from mulde.progress import Reporter
from mulde.report.published import PUBLISHED
from mulde.report.reproduction_page import leaves, to_markdown

TINY = """
[features]
extractors = ["velocity", "geometry"]
[density.options]
steps = 20
hidden = [16]
[fusion]
folds = 2
[run]
seeds = [0, 1]
"""
VOLATILE = "## Volatile"


@pytest.fixture(scope="module", autouse=True)
def _no_pictures():
    """Pictures take half of the time and are not what is looked at here."""
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, path, **options: Path(path).touch())
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(root, write_video=write_video, train_clips=3, test_clips=2, num_frames=40, size_hw=(90, 160))
    return root


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def reproduced(world, config, store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("first")
    reproduce(world, out, config, store)
    return out


def reproduce(world: Path, out: Path, config: Path, store: Path, **options):
    place = Session.open(store, "cpu", Reporter(quiet=True))
    return run_reproduce("synthetic", world, out, place, config=config, **options)


def record(out: Path) -> dict:
    return json.loads((out / "reproduction.json").read_text())


def test_two_people_get_the_same_record_but_for_what_is_volatile(world, config, reproduced, tmp_path):
    shutil.copytree(world, tmp_path / "elsewhere")
    outcome = reproduce(tmp_path / "elsewhere", tmp_path / "out", config, tmp_path / "store")
    assert set(outcome.evaluations) == {0, 1}
    mine, theirs = record(reproduced), record(tmp_path / "out")
    assert mine.pop("volatile")["source"] != theirs.pop("volatile")["source"]
    assert mine == theirs
    pages = [(out / "reproduction.md").read_text().split(VOLATILE) for out in (reproduced, tmp_path / "out")]
    assert pages[0][0] == pages[1][0]
    assert str(tmp_path) not in pages[1][0]
    assert str(tmp_path) in pages[1][1]


def test_figures_are_mean_and_spread_of_the_seeds(reproduced):
    found = record(reproduced)["figures"]["causal"]["scores"]
    rows = [json.loads((reproduced / f"seed-{s}" / "metrics.json").read_text())["rows"][1] for s in (0, 1)]
    values = [row["result"]["micro_auc"] for row in rows]
    assert values[0] != values[1]
    assert found["mulde"]["micro_auc"]["mean"] == pytest.approx(np.mean(values), abs=1e-6)
    assert found["mulde"]["micro_auc"]["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
    assert found["mulde"]["micro_auc"]["seeds"] == {str(s): round(v, 6) for s, v in enumerate(values)}
    assert set(found) == {"mulde", "random", "ramp", "triangle", "constant"}
    assert found["constant"]["micro_auc"]["mean"] == 0.5
    assert found["ramp"]["micro_auc"]["seeds"]["0"] == round(rows[0]["nulls"]["ramp"]["micro_auc"], 6)
    page = (reproduced / "reproduction.md").read_text()
    shown = found["mulde"]["micro_auc"]  # kept in six digits, so a value half way between two may be shown as either
    assert f"{100 * shown['mean']:.2f} ({100 * shown['std']:.2f})" in page


def test_the_record_says_what_it_was_made_of(reproduced, world):
    found = record(reproduced)
    assert list(found)[-1] == "volatile"
    assert found["features"] == "object-centric"
    assert found["videos"] == {"train": 3, "test": 2}
    assert found["settings"]["density"]["options"] == {"steps": 20, "hidden": [16]}
    assert "run" not in found["settings"]
    assert found["settings_changed"] == {}
    assert found["versions"]["mulde"]
    assert set(found["models_sha256"]) == {"0", "1"}
    assert found["models_sha256"]["0"] != found["models_sha256"]["1"]
    assert set(found["volatile"]["runs"]["0"]["wall_time_s"]) >= {"extract", "train", "score", "evaluate"}
    assert found["evaluation"]["num_frames"] == 80
    assert found["training"]["0"]["streams"]["velocity"]["columns"] == 8


def test_another_label_set_has_another_digest(world, config, store, reproduced, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(world, other)
    lines = (other / "labels.csv").read_text().splitlines()
    video, start, end = lines[1].split(",")
    (other / "labels.csv").write_text("\n".join([lines[0], f"{video},{int(start) + 1},{end}", *lines[2:]]) + "\n")
    reproduce(other, tmp_path / "out", config, store, seeds=[0])
    first, second = record(reproduced), record(tmp_path / "out")
    assert first["labels_sha256"] != second["labels_sha256"]
    assert first["videos_sha256"] == second["videos_sha256"]


def trained(out: Path, seed: int) -> int:
    return (out / f"seed-{seed}" / "model.safetensors").stat().st_mtime_ns


def test_a_finished_seed_is_evaluated_again_but_not_trained(world, config, store, tmp_path):
    out = tmp_path / "out"
    reproduce(world, out, config, store, seeds=[0])
    first, figures = trained(out, 0), record(out)["figures"]["raw"]["scores"]["mulde"]["micro_auc"]["seeds"]["0"]
    (out / "seed-0" / "metrics.json").unlink()
    reproduce(world, out, config, store, seeds=[0, 1])
    assert trained(out, 0) == first
    found = record(out)
    assert found["seeds"] == [0, 1]
    assert found["figures"]["raw"]["scores"]["mulde"]["micro_auc"]["seeds"]["0"] == figures

    (out / "seed-1" / "made_by.json").unlink()  # as if it had been stopped
    second = trained(out, 1)
    reproduce(world, out, config, store)
    assert trained(out, 0) == first
    assert trained(out, 1) > second


def test_other_settings_or_other_videos_are_trained_again(world, config, store, tmp_path, capsys):
    out, own = tmp_path / "out", tmp_path / "own"
    shutil.copytree(world, own)
    place = Session.open(store, "cpu", Reporter())
    run_reproduce("synthetic", own, out, place, config=config, seeds=[0])
    first = trained(out, 0)
    run_reproduce("synthetic", own, out, place, config=config, seeds=[0], changes=["fusion.smoothing_s=1"])
    second = trained(out, 0)
    assert second > first
    assert record(out)["settings_changed"] == {"fusion.smoothing_s": {"config": 0.5, "here": 1.0}}
    assert "because of another settings" in " ".join(capsys.readouterr().err.split())
    shutil.copy(own / "train" / "train01.mp4", own / "train" / "train02.mp4")
    run_reproduce("synthetic", own, out, place, config=config, seeds=[0], changes=["fusion.smoothing_s=1"])
    assert trained(out, 0) > second
    assert "because of another videos" in " ".join(capsys.readouterr().err.split())


def test_a_video_that_fails_is_on_record_and_tried_again(world, config, store, tmp_path):
    own, out = tmp_path / "own", tmp_path / "out"
    shutil.copytree(world, own)
    whole = (own / "train" / "train03.mp4").read_bytes()
    (own / "train" / "train03.mp4").write_bytes(whole[:200])
    outcome = reproduce(own, out, config, store, seeds=[0])
    assert [failure.video for failure in outcome.failures] == ["train03"]
    assert record(out)["failed"] == ["train03"]
    assert not (out / "seed-0" / "made_by.json").exists()
    (own / "train" / "train03.mp4").write_bytes(whole)
    assert not reproduce(own, out, config, store, seeds=[0]).failures
    assert record(out)["failed"] == []


def test_features_of_whole_frames_need_no_settings_of_boxes(world, config, store, tmp_path):
    reproduce(world, tmp_path, config, store, seeds=[0], changes=['features.extractors=["flow_histogram"]'])
    found = record(tmp_path)
    assert found["features"] == "frame-centric"
    assert found["settings_changed"] == {
        "features.extractors": {"config": ["velocity", "geometry"], "here": ["flow_histogram"]}
    }


def test_protocol_variants_stand_apart(world, config, store, tmp_path):
    reproduce(world, tmp_path, config, store, seeds=[0], compat="minmax")
    assert record(tmp_path)["compat"]["not_comparable"]
    assert "## Protocol variant: not comparable" in (tmp_path / "reproduction.md").read_text()
    with pytest.raises(UsageError, match=r"protocol variant: expected minmax or .* got 'maxmin'"):
        reproduce(world, tmp_path, config, store, compat="maxmin")


def test_weights_that_nothing_would_load_are_refused(world, config, store, tmp_path):
    with pytest.raises(UsageError, match=r"--pose p\.pt: expected settings that use features\.pose\.weights"):
        reproduce(world, tmp_path, config, store, weights={"pose": "p.pt", "detector": None})
    from mulde.settings_file import load_settings

    both = load_settings(overrides=['regions.finders=["yolo"]', 'features.extractors=["backbone"]'])
    assert weights_as_changes(both, {"detector": 'a "b".pt', "backbone": "c", "pose": None}) == [
        'regions.yolo.weights="a \\"b\\".pt"',
        'features.backbone.weights="c"',
    ]


def test_local_paths_of_weights_are_not_part_of_the_settings():
    from mulde.settings_file import load_settings

    here = load_settings(overrides=["regions.yolo.weights=/a/b/yolo.pt", "run.out=/somewhere"])
    there = load_settings(overrides=["regions.yolo.weights=/c/yolo.pt"])
    assert portable(here) == portable(there)
    assert changed_settings(portable(load_settings()), portable(here)) == {
        "regions.yolo.weights": {"config": "yolov8n.pt", "here": "yolo.pt"}
    }


@pytest.mark.parametrize(
    ("values", "together"),
    [
        ([3, 3], 3),
        (["a", "a"], "a"),
        ([None, None], None),
        ([0.5, 0.5], {"mean": 0.5, "std": 0.0, "seeds": {"0": 0.5, "4": 0.5}}),
        ([1, 2], {"mean": 1.5, "std": 0.707107, "seeds": {"0": 1, "4": 2}}),
        ([0.25, None], {"mean": 0.25, "std": None, "seeds": {"0": 0.25, "4": None}}),
        ([[0.1, 0.2], [0.1, 0.3]], {"seeds": {"0": [0.1, 0.2], "4": [0.1, 0.3]}}),
        ([{"a": 1, "b": 2}, {"a": 1}], {"a": 1, "b": {"mean": 2.0, "std": None, "seeds": {"0": 2, "4": None}}}),
        (
            [[{"name": "x", "n": 1}], [{"name": "y", "n": 1}, {"name": "x", "n": 1}]],
            {
                "x": {"name": "x", "n": 1},
                "y": {
                    "name": {"seeds": {"0": None, "4": "y"}},
                    "n": {"mean": 1.0, "std": None, "seeds": {"0": None, "4": 1}},
                },
            },
        ),
    ],
)
def test_what_seeds_have_in_common_and_what_not(values, together):
    assert across([0, 4], values) == together


def test_leaves_of_plain_data():
    data = {"b": {"mean": 0.5, "std": 0.25, "seeds": {}}, "a": {"y": [1], "x": None}, "c": {"seeds": {"0": 1, "1": 2}}}
    assert list(leaves(data)) == [("a.x", "-"), ("a.y", "[1]"), ("b", "0.5000 (0.2500)"), ("c.0", "1"), ("c.1", "2")]


def test_alarm_levels_are_a_table_of_their_own(reproduced):
    level = {"name": "oracle 1/h", "level": 0.5, "recall": 0.75, "num_alarms": 3, "delay_s_mean": None}
    found = record(reproduced)
    found["figures"]["raw"]["alarms"] = across([0, 1], [[level], [{**level, "recall": 0.25, "num_alarms": 4}]])
    found["figures"]["causal"]["alarms"] = across([0, 1], [[], [level]])
    lines = to_markdown(found).splitlines()
    assert "| smoothing | level | score | recall | num alarms | delay s mean |" in lines
    assert "| causal | oracle 1/h | 0.5000 | 0.7500 | 3.0000 | - |" in lines
    assert "| raw | oracle 1/h | 0.5000 | 0.5000 (0.3536) | 3.5000 (0.7071) | - |" in lines


def test_unknown_names_are_told_the_known_ones():
    with pytest.raises(UsageError, match=r"expected one of avenue-intervals, avenue-masks, .*ucsd-ped2, got 'avenue'"):
        pinned_config("avenue")
    with pytest.raises(UsageError, match=r"frame-centric .* shanghaitech, .* got 'ucsd-ped2'"):
        pinned_config("ucsd-ped2", frames=True)
    assert pinned_config("avenue-masks") == pinned_config("avenue-intervals")
    assert pinned_config("shanghaitech", frames=True).name == "shanghaitech-frames.toml"


def test_published_figures_are_those_of_the_method_page():
    mulde = {(name, p.kind): p.micro_auc_percent for name, ps in PUBLISHED.items() for p in ps if p.method == "MULDE"}
    assert mulde == {
        ("ucsd-ped2", "object-centric"): 99.7,
        ("avenue-masks", "object-centric"): 94.3,
        ("avenue-intervals", "object-centric"): 94.3,
        ("avenue-tracks", "object-centric"): 94.3,
        ("shanghaitech", "object-centric"): 86.7,
        ("shanghaitech", "frame-centric"): 81.3,
        ("ubnormal", "frame-centric"): 72.8,
        ("ucf-crime", "frame-centric"): 78.5,
    }
    assert set(PUBLISHED) <= set(DATASETS)
