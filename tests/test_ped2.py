"""The main job on real surveillance video: clips of UCSD Ped2. Skipped where ../shared/ped2 is not there."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from mulde.datasets import open_dataset
from mulde.files import write_text
from mulde.media.content_hash import content_hash
from mulde.records import spans
from tests.test_cli import run_main

FRAMES = {
    f"Test{i:03d}": n for i, n in enumerate((180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180), start=1)
}
TRUTH = {"Test001": (60, 180), "Test002": (94, 180)}  # half-open, from the official intervals
RECIPE = tomllib.loads((Path(__file__).parents[1] / "configs/ucsd-ped2.toml").read_text())["density"]["options"]
OPTIONS = ", ".join(f"{name}={json.dumps(value)}" for name, value in RECIPE.items())
SMALL = ["--set", f"density.options={{steps=400, hidden=[64, 64], {OPTIONS}}}", "--device", "cpu", "-q"]
"""The density of the recipe, in small."""


@pytest.fixture(scope="module")
def small_ped2(ped2_clips, tmp_path_factory) -> Path:
    """Four training and two test clips of Ped2 as own footage with labels."""
    root = tmp_path_factory.mktemp("ped2")
    for split, names in (("train", ["Train001", "Train004", "Train006", "Train014"]), ("test", list(TRUTH))):
        (root / split).mkdir()
        for name in names:
            (root / split / f"{name}.mp4").symlink_to((ped2_clips / split.capitalize() / f"{name}.mp4").resolve())
    rows = [f"{name},{first},{last}" for name, (first, last) in TRUTH.items()]
    (root / "labels.csv").write_text("\n".join(["video,start_frame,end_frame", *rows]))
    return root


@pytest.mark.slow
def test_the_whole_path_finds_real_anomalies_better_than_scores_that_never_look(small_ped2, weights, tmp_path):
    detector = weights / "yolov8n_int8_openvino_model"
    run_main(
        "run", small_ped2, "--detector", detector, "--out", tmp_path / "run", "--store", tmp_path / "store", *SMALL
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    centred = metrics["rows"][-1]
    assert metrics["num_frames"] == 360
    assert metrics["num_anomalous_frames"] == 206
    assert centred["result"]["micro_auc"] > 0.9
    best_null = max(figures["micro_auc"] for figures in centred["nulls"].values())
    assert centred["result"]["micro_auc"] > best_null


@pytest.fixture(scope="module")
def simple_model(small_ped2, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("simple")
    only = ["--set", 'features.extractors=["geometry"]', "--set", "density.method=mixture", "-q"]
    run_main("train", small_ped2, "--out", out, "--store", out / "store", *only)
    return out / "model.safetensors"


@pytest.mark.parametrize("names", [("Test003", "Test009", "Test010"), pytest.param(FRAMES, marks=pytest.mark.slow)])
def test_every_test_clip_gets_exactly_as_many_rows_as_it_has_frames(ped2_clips, simple_model, mulde, tmp_path, names):
    clips = [ped2_clips / "Test" / f"{name}.mp4" for name in names]
    code, _, said = mulde("score", *clips, "--model", simple_model, "--out", "out", "--store", "store", "-q")
    assert code == 0, said
    rows = {p.stem: pd.read_csv(p) for p in (tmp_path / "out" / "scores").glob("*.csv")}
    assert {name: len(table) for name, table in rows.items()} == {name: FRAMES[name] for name in names}
    for name, table in rows.items():
        assert table["frame_index"].tolist() == list(range(FRAMES[name]))
        assert table["time_s"].to_numpy() == pytest.approx(np.arange(FRAMES[name]) / 10, abs=1e-6)


ODD = ("Test006", "Test009", "Test012")  # in the archive, their masks are called frame001.bmp


def write_ped2(clips: Path, root: Path, *, published: bool) -> None:
    """Every twelfth frame of some clips, as tidied copies have them, or as the archive does with all its clutter."""
    packed = np.load(clips / "ground_truth_masks.npz")
    lines = ["TestVideoFile = {};"] + ["TestVideoFile{end+1}.gt_frame = [1:1];"] * 12
    for clip in ("Train/Train001", "Train/Train004", "Train/Train014", "Test/Test001", "Test/Test006", "Test/Test009"):
        (root / clip).mkdir(parents=True)
        with av.open(str(clips / f"{clip}.mp4")) as container:
            frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        for i, frame in enumerate(frames[::12], start=1):
            cv2.imwrite(str(root / clip / f"{i:03d}.tif"), frame)
        name = Path(clip).name
        if name in packed.files:
            masks = np.unpackbits(packed[name], count=len(frames) * 240 * 360).reshape(-1, 240, 360)[::12]
            (root / f"{clip}_gt").mkdir()
            front = "frame" if published and name in ODD else ""
            for i, mask in enumerate(masks, start=1):
                cv2.imwrite(str(root / f"{clip}_gt" / f"{front}{i:03d}.bmp"), mask * 255)
            (first, last), *_ = spans(masks.any(axis=(1, 2)))
            lines[int(name[4:])] = f"TestVideoFile{{end+1}}.gt_frame = [{first + 1}:{last}];"
    (root / "Test" / "UCSDped2.m").write_text("\n".join(lines))
    if published:
        (root / "Test" / "UCSDped2.m~").write_text("TestVideoFile{end+1}.gt_frame = [2:3];")
        (root / "Test" / "._UCSDped2.m").write_bytes(b"\0\5\x16\7")
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            (folder / ".DS_Store").write_bytes(b"Bud1")
            (folder / "._.DS_Store").write_bytes(b"\0\5\x16\7")


def test_the_published_archive_gives_the_figures_of_a_tidied_copy(ped2_clips, mulde, tmp_path, monkeypatch):
    """`data check`, `run` and `evaluate` on real frames and masks in both forms; features are those of the content."""
    # Drawing would take most of the time.
    monkeypatch.setattr("mulde.report.plots.save", lambda figure, path: write_text(path, "no picture"))
    tidy, archive = tmp_path / "tidy" / "UCSDped2", tmp_path / "data"
    write_ped2(ped2_clips, tidy, published=False)
    write_ped2(ped2_clips, archive / "UCSD_Anomaly_Dataset.v1p2" / "UCSDped2", published=True)
    for root in (tidy, archive):
        code, said, _ = mulde("data", "check", f"ucsd-ped2:{root}")
        assert (code, "0 faults" in said) == (0, True), said
    small = ["--set", 'features.extractors=["geometry"]', "--set", "density.method=mixture", "--device", "cpu"]
    code, _, said = mulde("run", f"ucsd-ped2:{archive}", *small, "--out", "run")
    assert code == 0, said
    assert f"ucsd-ped2 is read from {archive}/UCSD_Anomaly_Dataset.v1p2/UCSDped2" in said
    figures = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert figures["num_frames"] == 40
    code, _, said = mulde("evaluate", "run", "--labels", f"ucsd-ped2:{tidy}")
    assert code == 0, said
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["rows"] == figures["rows"]
    for split in ("train", "test"):  # features are found by content, so they are the same
        videos = [open_dataset("ucsd-ped2", root).videos(split) for root in (tidy, archive)]
        assert [content_hash(video.path) for video in videos[0]] == [content_hash(video.path) for video in videos[1]]
