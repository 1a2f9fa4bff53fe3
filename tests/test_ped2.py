"""The main job on real surveillance video: clips of UCSD Ped2. Skipped where ../shared/ped2 is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

FRAMES = {
    f"Test{i:03d}": n for i, n in enumerate((180, 180, 150, 180, 150, 180, 180, 180, 120, 150, 180, 180), start=1)
}
TRUTH = {"Test001": (60, 180), "Test002": (94, 180)}  # half-open, from the official intervals
SMALL = ["--set", "density.options={steps=400, hidden=[64, 64]}", "--device", "cpu", "-q"]


def mulde(*args: object) -> None:
    subprocess.run([sys.executable, "-m", "mulde.cli", *map(str, args)], check=True)


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


def test_the_whole_path_finds_real_anomalies_better_than_scores_that_never_look(small_ped2, weights, tmp_path):
    detector = weights / "yolov8n_int8_openvino_model"
    mulde("run", small_ped2, "--detector", detector, "--out", tmp_path / "run", "--store", tmp_path / "store", *SMALL)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    centred = metrics["rows"][-1]
    assert metrics["num_frames"] == 360
    assert metrics["num_anomalous_frames"] == 206
    assert centred["result"]["micro_auc"] > 0.9
    best_null = max(figures["micro_auc"] for figures in centred["nulls"].values())
    assert centred["result"]["micro_auc"] > best_null


def test_every_test_clip_gets_exactly_as_many_rows_as_it_has_frames(ped2_clips, small_ped2, tmp_path):
    only = ["--set", 'features.extractors=["geometry"]', "--set", "density.method=mixture", "-q"]
    store = ["--store", tmp_path / "store"]
    mulde("train", small_ped2, "--out", tmp_path / "model", *only, *store)
    mulde(
        "score",
        ped2_clips / "Test",
        "--model",
        tmp_path / "model" / "model.safetensors",
        "--out",
        tmp_path / "out",
        *store,
        "-q",
    )
    rows = {p.stem: pd.read_csv(p) for p in (tmp_path / "out" / "scores").glob("*.csv")}
    assert {name: len(table) for name, table in rows.items()} == FRAMES
    for name, table in rows.items():
        assert table["frame_index"].tolist() == list(range(FRAMES[name]))
        assert table["time_s"].to_numpy() == pytest.approx(np.arange(FRAMES[name]) / 10, abs=1e-6)
