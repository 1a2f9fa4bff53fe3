"""Videos of boxes alone through every command: a box three times as large as the others is the event.

Relatives looked for: settings that need pixels, alone and beside others; videos with pixels in the same command; a
changed description or file; drawings; a model of boxes for videos with pixels, and the other way round.
"""

from __future__ import annotations

import json
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mulde import cli
from mulde.datasets import open_dataset
from mulde.datasets.base import Video
from mulde.datasets.boxes.writing import BoxesVideo, write_boxes_folder
from mulde.files import read_json
from mulde.media import write_video
from mulde.pipeline.extraction.boxes_alone import settings_without_pixels
from mulde.progress import Reporter
from mulde.records import BoxesAlone, Regions
from mulde.settings_file import load_settings
from tests.conftest import moving_square
from tests.test_cli import run_main

QUICK = ["--set", 'density.method="neighbours"', "--set", "fusion.folds=2", "--device", "cpu"]
EVENT = (10, 30)


def boxes_video(split: str, name: str, *, seed: int, event: bool = False, num_frames: int = 100) -> BoxesVideo:
    """Two people who walk to the right; in an event the second is three times as large."""
    rng = np.random.default_rng(seed)
    frame_index = np.repeat(np.arange(num_frames), 2)
    person = np.tile([0, 1], num_frames)
    sides = np.array([20, 50]) * np.exp(rng.normal(0, 0.05, (2 * num_frames, 2)))
    if event:
        sides[(person == 1) & (frame_index >= EVENT[0]) & (frame_index < EVENT[1])] *= 3
    corner = np.stack([20 + 150 * person + 0.5 * frame_index, 40 + 10 * person], axis=1)
    regions = Regions(
        np.concatenate([corner, corner + sides], axis=1).astype(np.float32),
        frame_index,
        np.ones(2 * num_frames, np.float32),
        np.zeros(2 * num_frames, np.int64),
    )
    return BoxesVideo(split, name, regions, person.astype(np.int64), BoxesAlone((240, 320), num_frames, Fraction(25)))


def run_and_fail(*arguments: object) -> None:
    """Run the command line, which must end with an exit code other than 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mulde", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    videos = [boxes_video("train", f"{i}", seed=i) for i in range(4)]
    videos += [boxes_video("test", "odd", seed=8, event=True), boxes_video("test", "plain", seed=9)]
    return write_boxes_folder(tmp_path_factory.mktemp("boxes"), videos, {"odd": [EVENT]})


@pytest.fixture(scope="module")
def finished(footage, tmp_path_factory) -> Path:
    """A folder with the `run` of the boxes and its `store`."""
    work = tmp_path_factory.mktemp("work")
    run_main("run", f"boxes:{footage}", "--out", work / "run", "--store", work / "store", *QUICK)
    return work


def test_the_known_event_is_found_with_its_track_and_its_reason(finished):
    rows = read_json(finished / "run" / "metrics.json")["rows"]
    (raw,) = (row for row in rows if row["smoothing"] == "raw")
    assert raw["result"]["micro_auc"] == 1.0
    events = pd.read_csv(finished / "run" / "events.csv")
    top = events.sort_values("score").iloc[-1]
    assert (top["video"], top["track_id"], top["stream"]) == ("odd", 1, "geometry")
    assert EVENT[0] <= top["region_frame"] < EVENT[1]
    assert top["reason"].startswith("person 1: 3.")


def test_the_settings_on_record_are_those_that_were_used(finished):
    settings = load_settings(finished / "run" / "settings.toml")
    assert settings.features.extractors == ("geometry",)
    assert (settings.regions.finders, settings.tracks.tracker) == (("imported",), "imported")
    assert (finished / "run" / "figures" / "odd.png").is_file()
    assert not (finished / "run" / "thumbnails").exists()


def test_the_rows_are_those_of_the_boxes(footage, finished):
    from mulde import extract

    (video,) = (video for video in open_dataset("boxes", footage).videos("test") if video.name == "odd")
    written = boxes_video("test", "odd", seed=8, event=True)
    table = extract(f"boxes:{footage}", store=finished / "store", progress=False)["geometry"]
    rows = table[table["video"] == video.name]
    assert rows[["x0", "y0", "x1", "y1"]].to_numpy(np.float32).tolist() == written.regions.box_xyxy.tolist()
    assert rows["track_id"].tolist() == written.track_id.tolist()
    assert rows["time_s"].tolist() == [frame / 25 for frame in written.regions.frame_index]
    sides = written.regions.box_xyxy[:, 2:] - written.regions.box_xyxy[:, :2]
    assert np.allclose(rows[["f0", "f1"]].to_numpy(), np.log2(sides / 240), atol=1e-6)


def test_the_report_and_the_timeline_need_no_pictures(finished):
    run_main("report", finished / "run", "-q")
    assert "odd" in (finished / "run" / "report.html").read_text()
    run_and_fail("overlay", finished / "run", "--clips", "-q")
    assert (finished / "run" / "timeline.png").is_file()


def test_the_same_command_again_computes_nothing_and_ends_with_the_same_scores(footage, finished, tmp_path, capfd):
    store = finished / "store"
    run_main("extract", f"boxes:{footage}", "--store", store)
    assert "0 videos computed, 6 already in" in capfd.readouterr().err
    run_main("score", f"boxes:{footage}", "--model", finished / "run" / "model.safetensors", "--out", tmp_path / "s",
             "--store", tmp_path / "store", "--device", "cpu", "-q")  # fmt: skip
    for name in ("odd", "plain"):
        runs = finished / "run", tmp_path / "s"
        first, second = (pd.read_parquet(run / "scores" / f"{name}.parquet") for run in runs)
        pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize(
    ("change", "num_computed"),
    [(None, 0), (("25,100,0", "50,100,0"), 6), (("320,240,", "640,480,"), 6), (("25,100,0", "25,101,0"), 6)],
)
def test_another_description_is_another_video(footage, finished, tmp_path, capfd, change, num_computed):
    shutil.copytree(footage, tmp_path / "boxes")
    shutil.copytree(finished / "store", tmp_path / "store")
    described = tmp_path / "boxes" / "videos.csv"
    if change is not None:
        described.write_text(described.read_text().replace(*change))
    run_main("extract", f"boxes:{tmp_path / 'boxes'}", "--store", tmp_path / "store")
    assert f"{num_computed} videos computed" in capfd.readouterr().err


def test_what_is_left_out_is_said_once(footage, tmp_path, capfd):
    run_main("extract", f"boxes:{footage}", "--store", tmp_path)
    said = capfd.readouterr().err
    assert said.count("there are no pixels, so no thumbnails, clips or overlay videos") == 1
    assert said.count("their tracks are those of their files; left out, as they need pixels: velocity, descriptor") == 1


def test_a_tracker_can_link_the_boxes_anew(footage, tmp_path, capfd):
    from mulde import extract

    tables = extract(f"boxes:{footage}", settings={"tracks.tracker": "bytetrack"}, store=tmp_path, progress=False)
    odd = tables["geometry"].query("video == 'plain'")
    assert odd.groupby("track_id")["x0"].count().tolist() == [100, 100]


def test_trajectories_follow_the_ids_of_the_file(footage, tmp_path):
    from mulde import extract

    settings = {"features.extractors": ["trajectory", "clip"]}
    tables = extract(f"boxes:{footage}", settings=settings, store=tmp_path, progress=False)
    assert [*tables] == ["trajectory"]
    rows = tables["trajectory"].query("video == 'plain' and time_s > 2")
    assert rows.groupby("track_id")["f0"].count().tolist() == [49, 49]
    speeds = 2 ** rows["f0"] - 0.1  # half a pixel a frame, in boxes of about 50 pixels
    assert np.allclose(speeds, 25 * 0.5 / 50, rtol=0.2)


def test_settings_of_a_stream_that_is_left_out_go_with_it(footage):
    settings = load_settings(
        overrides=[
            'features.extractors=["velocity", "geometry"]',
            'density.streams={velocity={method="mahalanobis"}, geometry={method="mixture"}}',
            'fusion.only_high=["velocity", "geometry"]',
        ]
    )
    fitting = settings_without_pixels(open_dataset("boxes", footage).videos("train"), settings, Reporter(quiet=True))
    assert (fitting.streams, fitting.fusion.only_high) == (("geometry",), ("geometry",))
    assert {name: own.method for name, own in fitting.density.streams.items()} == {"geometry": "mixture"}
    assert settings_without_pixels([Video("a", "train", Path("a.mp4"))], settings, Reporter(quiet=True)) is settings


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["extract", "{boxes}", "--set", 'features.extractors=["velocity"]'],
         'expected a feature that needs none, got velocity, which need pixels. Try: --set'),
        (["extract", "{boxes}", "--set", "video.working_size_px=64"], "video.working_size_px has no effect"),
        (["extract", "{boxes}", "{pixels}"], "all of one kind, got 6 of boxes alone and 1 with pixels"),
        (["extract", "{boxes}", "{pixels}", "--set", 'regions.finders=["imported"]'],
         'got velocity and descriptor'),
        (["score", "{boxes}", "--model", "{model}", "--overlay"], "--overlay of odd: expected a video with pixels"),
        (["overlay", "{run}"], "overlay or clip of odd: expected a video with pixels"),
        (["score", "{pixels}", "--model", "{model}"], "expected their name as regions.imported"),
        (["score", "{pixels}", "--model", "{model}", "--set", 'regions.finders=["motion"]', "--set",
          'tracks.tracker="none"'],
         "setting regions.finders cannot be changed for scoring"),
        (["extract", "{pixels}", "--set", 'tracks.tracker="imported"'], "['imported'], got ['motion']"),
        (["extract", "{pixels}", "--set", 'regions.finders=["imported", "motion"]'], "without other finders"),
        (["extract", "{pixels}", "--set", 'regions.imported="mine"'], 'expected regions.finders=["imp'),
        (["extract", "{boxes}", "--set", 'regions.finders=["imported"]', "--set", "regions.min_area_px=4"],
         "setting regions.min_area_px has no effect: expected regions.finders with yolo or motion"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_without_pixels_is_a_sentence(footage, finished, tmp_path, capfd, arguments, sentence):
    pixels = tmp_path / "clip.mp4"
    write_video(pixels, iter(moving_square(10)), Fraction(25))
    run = finished / "run"
    places = {"boxes": f"boxes:{footage}", "pixels": pixels, "model": run / "model.safetensors", "run": run}
    store = [] if arguments[0] == "overlay" else ["--store", tmp_path / "store"]
    run_and_fail(*(argument.format(**places) for argument in arguments), *store)
    said = " ".join(capfd.readouterr().err.split())
    assert sentence in said
    assert "Traceback" not in said


def test_a_damaged_file_stops_no_other(footage, tmp_path, capfd):
    shutil.copytree(footage, tmp_path / "boxes")
    damaged = tmp_path / "boxes" / "train" / "1.parquet"
    damaged.write_bytes(damaged.read_bytes()[:200])
    run_and_fail("extract", f"boxes:{tmp_path / 'boxes'}", "--store", tmp_path / "store")
    said = capfd.readouterr().err
    assert f"boxes {damaged} cannot be read" in said
    assert "5 videos computed" in said


def test_the_check_of_the_data_reads_the_boxes(footage, tmp_path, capfd):
    run_main("data", "check", f"boxes:{footage}")
    assert "0 faults" in capfd.readouterr().out
    shutil.copytree(footage, tmp_path / "boxes")
    shutil.copy(tmp_path / "boxes" / "train" / "1.parquet", tmp_path / "boxes" / "train" / "2.parquet")
    (tmp_path / "boxes" / "train" / "3.parquet").write_bytes(b"PAR1")
    described = tmp_path / "boxes" / "videos.csv"
    described.write_text(described.read_text().replace("test/odd,320", "test/odd,100"))
    run_and_fail("data", "check", f"boxes:{tmp_path / 'boxes'}", "--json")
    found = {(finding["kind"], finding["video"]) for finding in json.loads(capfd.readouterr().out)}
    assert {("duplicate", "train/2"), ("unreadable", "train/3"), ("boxes", "")} <= found
