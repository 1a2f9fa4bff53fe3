"""The commands that follow scoring, one after the other as a person runs them: events, pictures, report, feedback."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from mulde.media import open_video, write_video
from tests.conftest import moving_square
from tests.test_cli import run_main

SPEED_ALONE = ["--set", 'features.extractors=["velocity"]', "--set", "features.velocity.bins=1"]
QUICK = ["--set", "density.method=mixture", *SPEED_ALONE, "--device", "cpu", "-q"]
RATE = ["--false-alarms-per-hour", 1000]  # 10 seconds of normal video support no fewer


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Own footage with a square that turns fast, a model of it, and scores with overlays and heat maps."""
    root = tmp_path_factory.mktemp("place")
    footage = root / "footage"
    for i in range(4):
        write_video(footage / "train" / f"normal{i}.mp4", iter(moving_square(60, seed=i)), Fraction(25))
    slow, fast = moving_square(60, seed=7), moving_square(40, seed=7, speed_px=9)
    write_video(footage / "test" / "odd.mp4", iter(np.concatenate([slow, fast])), Fraction(25))
    write_video(footage / "test" / "plain.mp4", iter(moving_square(30, seed=8)), Fraction(25))
    (footage / "labels.csv").write_text("video,start_frame,end_frame\nodd,60,100\n")
    store = ["--store", root / "store"]
    run_main("train", footage, "--out", root / "model", *store, *QUICK)
    model = ["--model", root / "model" / "model.safetensors"]
    run_main("score", footage, *model, "--out", root / "run", *store, *RATE, "--overlay", "--heat-maps", "-q")
    run_main("evaluate", root / "run", "--events", "--bootstrap", 0, "-q")
    return root


def events_of(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "events.csv", keep_default_na=False)


def test_an_event_has_a_reason_and_pictures(place):
    run = place / "run"
    first = events_of(run).iloc[0]
    assert (first["video"], first["stream"]) == ("odd", "velocity")
    assert first["start_frame"] < 100
    assert first["end_frame"] > 60
    assert "times as fast as usual" in first["reason"]
    event = next(one for one in json.loads((run / "events.json").read_text()) if one["event_id"] == first["event_id"])
    assert sum(event["reason"]["streams"].values()) == pytest.approx(event["score"], abs=1e-9)
    assert cv2.imread(str(run / "thumbnails" / "odd" / f"{first['peak_frame']:06d}.jpg")) is not None
    near = event["reason"]["nearest"]
    assert len(near) == 3
    assert all((run / "normal" / f"{moment['moment']}.jpg").is_file() for moment in near)


def test_overlays_and_heat_maps_have_all_frames(place):
    with open_video(place / "run" / "overlays" / "odd.mp4") as reader:
        images = np.concatenate([batch.images for batch in reader])
        assert (reader.rate, reader.num_frames_decoded, reader.size_hw) == (25, 100, (96, 128))
    with open_video(place / "footage" / "test" / "odd.mp4") as reader:
        plain = np.concatenate([batch.images for batch in reader])
    row = pd.read_parquet(place / "run" / "regions" / "odd.parquet").query("frame_index == 70").iloc[0]
    x, y = int(row["x0"]), int(row["y0"] + row["y1"]) // 2
    changed = np.abs(images[70].astype(int) - plain[70]).max(axis=-1)
    assert changed[y, max(x - 2, 0) : x + 3].max() > 60  # the left edge of its box
    maps = np.load(place / "run" / "heat_maps" / "odd.npy")
    assert len(maps) == 100
    assert maps[70].max() == pytest.approx(row["anomaly_score"], rel=1e-3)


def test_each_anomaly_stands_beside_the_event_that_found_it(place):
    found = pd.read_csv(place / "run" / "events_found.csv")
    assert found[["video", "start_frame", "end_frame", "found"]].to_numpy().tolist() == [["odd", 60, 100, True]]
    assert json.loads((place / "run" / "truth.json").read_text()) == {"odd": [[60, 100]], "plain": []}


def test_clips_sheets_and_the_report_are_made_of_a_run(mulde, place):
    run = place / "run"
    assert mulde("overlay", run, "--clips", "-q")[0] == 0
    event = events_of(run).iloc[0]
    clip = run / "clips" / "odd" / f"{event['peak_frame']:06d}"
    assert clip.with_suffix(".mp4").is_file()
    assert cv2.imread(str(clip.with_suffix(".png"))) is not None
    assert cv2.imread(str(run / "timeline.png")) is not None
    code, out, _ = mulde("report", run, "-q")
    assert code == 0
    assert out.strip() == str(run / "report.html")
    assert (run / "report.html").stat().st_size > 50_000
    assert mulde("overlay", run, "--video", "nobody", "-q")[0] == 2


def test_the_operators_word_is_shown_applied_carried_over_and_undone(mulde, place, tmp_path):
    run = place / "run"
    event = events_of(run).iloc[0]
    marks = tmp_path / "marks.csv"
    head = "event_id,video,start_frame,end_frame,mark,why,marked_at"
    marks.write_text(f"{head}\n{event['event_id']},odd,{event['start_frame']},{event['end_frame']},normal,a race,\n")
    before = (run / "events.csv").read_bytes()
    assert mulde("feedback", run, marks, "-q")[0] == 0
    assert (run / "events.csv").read_bytes() == before
    assert mulde("feedback", run, "--apply", "--who", "Ada", "-q")[0] == 0
    assert events_of(run).iloc[0]["exemption"] == 1
    model = place / "model" / "model.safetensors"
    again = ["--suppressions", run / "exemptions.json", "--store", place / "store", *RATE, "-q"]
    assert mulde("score", place / "footage", "--model", model, "--out", "again", *again)[0] == 0
    assert events_of(tmp_path / "again").iloc[0]["exemption"] == 1
    kept = json.loads((tmp_path / "again" / "exemptions.json").read_text())
    assert "Ada" in json.dumps(kept)
    assert mulde("feedback", run, "--undo", "1", "-q")[0] == 0
    assert (run / "events.csv").read_bytes() == before


def test_what_looks_least_normal_is_listed_and_can_be_left_out(mulde, place, tmp_path):
    audit = pd.read_csv(place / "model" / "audit.csv")
    assert audit["rank"].tolist() == list(range(1, len(audit) + 1))
    assert cv2.imread(str(place / "model" / "audit.png")) is not None
    (tmp_path / "mine.csv").write_text("video,start_frame,end_frame\nnormal1,10,60\n")
    command = ["train", place / "footage", "--out", "less", "--store", place / "store", *QUICK]
    assert mulde(*command, "--exclude", "mine.csv")[0] == 0
    training = json.loads((tmp_path / "less" / "run.json").read_text())["training"]
    assert training["left_out"] == [{"video": "normal1", "start_frame": 10, "end_frame": 60}]
    moments = pd.read_parquet(tmp_path / "less" / "normal_moments.parquet")
    assert moments.query("video == 'normal1'")["frame_index"].max() < 10
    assert mulde(*command, "--exclude", "none.csv")[0] == 2
