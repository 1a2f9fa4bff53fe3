"""Tables that are made from other tables once the video has been read: features of tracks."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mulde.datasets.base import Video
from mulde.errors import UsageError
from mulde.media import write_video
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.store import store as tables
from tests.conftest import moving_square
from tests.pipeline.clips import clips, content, leftovers, plan_of, run, stopped_at
from tests.test_cli import run_main

LONG = 75
TRACKS = ('features.extractors=["geometry", "trajectory"]', "tracks.tracker=bytetrack", "video.batch_frames=4")
SHORT_WINDOWS = "features.trajectory.long_s=2"


def test_a_tracker_has_to_be_set():
    sentence = r"trajectory in features.extractors: expected a tracker, got tracks.tracker = 'none'. Try: --set tracks"
    with pytest.raises(UsageError, match=sentence):
        plan_of('features.extractors=["velocity", "trajectory"]')


def test_rows_are_those_of_the_stored_boxes_and_tracks(tmp_path):
    plan = plan_of(*TRACKS)
    stored = run(clips(tmp_path, 1, LONG), plan, tmp_path / "store").done[0]
    rows = stored.features("trajectory")
    regions = stored.regions()
    track_id = stored.store.read(stored.passports["tracks"])["track_id"].to_numpy()
    (extractor,) = plan.track_extractors
    expected = extractor.extract_tracks(regions, stored.time_s[regions.frame_index], track_id)
    assert len(rows) > LONG / 3
    np.testing.assert_array_equal(rows.values, expected.values)
    np.testing.assert_array_equal(rows.box_xyxy, expected.box_xyxy)
    assert (rows.track_id >= 0).all()
    assert plan.streams == ("geometry", "trajectory")


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (SHORT_WINDOWS, {"trajectory"}),
        ("tracks.lost_frames=9", {"tracks", "trajectory"}),
        ("regions.min_area_px=101", {"regions", "geometry", "tracks", "trajectory"}),
        ('features.extractors=["trajectory"]', set()),
    ],
)
def test_it_is_made_again_where_boxes_tracker_or_its_own_settings_change(tmp_path, change, again):
    videos, store = clips(tmp_path, 1, LONG), tmp_path / "store"
    run(videos, plan_of(*TRACKS), store)
    before = content(store).keys()
    run(videos, plan_of(*TRACKS, change), store)
    assert {Path(file).name.rsplit("-", 1)[0] for file in content(store).keys() - before} == again


def no_decoding(plan: ExtractionPlan) -> ExtractionPlan:
    return stopped_at(plan, 0)


@pytest.mark.parametrize("stop", ["in the video", "before the tracks", "before the rows", "while rows are written"])
def test_after_a_stop_it_ends_in_the_same_tables(tmp_path, monkeypatch, stop):
    videos, store = clips(tmp_path, 1, LONG), tmp_path / "store"
    run(videos, plan_of(*TRACKS), tmp_path / "undisturbed")

    def breaks_off(*args: object, **options: object) -> None:
        raise RuntimeError("the power went off")

    with monkeypatch.context() as patch:
        if stop == "before the tracks":
            patch.setattr("mulde.pipeline.extraction.tables._write_tracks", breaks_off)
        elif stop == "before the rows":
            patch.setattr("mulde.extractors.trajectory.follow", breaks_off)
        elif stop == "while rows are written":
            patch.setattr(
                tables.FeatureStore, "writer", _breaking("trajectory", tables.FeatureStore.writer, breaks_off)
            )
        plan = plan_of(*TRACKS)
        assert run(videos, stopped_at(plan, 45) if stop == "in the video" else plan, store).failures
    again = plan_of(*TRACKS)
    assert run(videos, again if stop == "in the video" else no_decoding(again), store).computed == 1
    assert content(store) == content(tmp_path / "undisturbed")
    assert leftovers(store) == []


def _breaking(kind, writer, breaks_off):
    def chosen(self, passport, *rest):
        if passport.kind == kind:
            with writer(self, passport, *rest):
                breaks_off()
        return writer(self, passport, *rest)

    return chosen


def test_a_video_without_tracks_has_no_rows(tmp_path):
    path = tmp_path / "still.mp4"
    write_video(path, iter(np.full((20, 64, 96, 3), 90, np.uint8)), Fraction(25))
    stored = run([Video("still", "all", path)], plan_of(*TRACKS), tmp_path / "store").done[0]
    assert stored.features("trajectory").values.shape == (0, 9)


def test_it_is_trained_scored_explained_ablated_and_exported(tmp_path):
    """Squares walk to the right, and in one video back again."""
    for i in range(4):
        write_video(tmp_path / "train" / f"normal{i}.mp4", iter(moving_square(100, seed=i)), Fraction(25))
    walk = moving_square(80, seed=7)
    write_video(tmp_path / "test" / "odd.mp4", iter(np.concatenate([walk, walk[::-1]])), Fraction(25))
    boxes = [[t, 0, 0, 127, 95] for t in range(80, 160)]
    (tmp_path / "tracks.json").write_text(json.dumps({"odd": {"tracks": [{"id": 0, "boxes": boxes}]}}))
    features = [
        "--set", 'features.extractors=["place", "trajectory"]', "--set", "tracks.tracker=bytetrack",
        "--set", "features.trajectory.long_s=2",
    ]  # fmt: skip
    quick = ["--set", "density.method=mixture", "--set", "fusion.folds=1", "-q"]
    store = ("--store", tmp_path / "store")
    run_main("run", tmp_path, "--out", tmp_path / "run", *store, *features, *quick)
    events = json.loads((tmp_path / "run" / "events.json").read_text())
    assert any("moves left, where less than 1 % of normal motion" in event["reason"]["text"] for event in events)
    run_main("ablate", tmp_path / "run", "-q")
    exported = tmp_path / "rows.parquet"
    run_main("cache", "export", tmp_path, "--extractor", "trajectory", "--out", exported, *store, *features, "-q")
    rows = pd.read_parquet(exported)
    assert {"track_id", "values"} <= {*rows.columns}
    assert len(rows["values"][0]) == 9
