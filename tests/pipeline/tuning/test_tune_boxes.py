"""Insertions into videos of boxes alone: exact boxes, and a stream that sees them is preferred to one of noise."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mulde.config import StreamDensitySettings
from mulde.datasets.boxes.formats import read_boxes
from mulde.datasets.boxes.writing import BoxesVideo, write_boxes_folder
from mulde.datasets.sources import open_sources
from mulde.errors import FitError, UsageError
from mulde.pipeline.extraction.boxes_alone import settings_without_pixels
from mulde.pipeline.tuning import candidates, clips, search
from mulde.pipeline.tuning.candidates import DensityCandidate
from mulde.pipeline.tuning.clips import FOLDER, Clip
from mulde.pipeline.tuning.courses import KINDS
from mulde.pipeline.tuning.material import Deadline, make_material
from mulde.pipeline.tuning.tune import run_tune
from mulde.records import BoxesAlone, Regions
from mulde.settings_file import load_settings
from mulde.typed import read_typed
from tests.pipeline.tuning.test_tune import session

RATE, SIZE_HW, FRAMES = Fraction(10), (240, 320), 100
TALL = 40.0


def walking(seed: int) -> BoxesVideo:
    """Three people, 40 pixels tall, who walk to the right at two pixels a frame, each in a lane of its own."""
    rng = np.random.default_rng(seed)
    time, person = np.repeat(np.arange(FRAMES), 3), np.tile(np.arange(3), FRAMES)
    x = 20 + 2.0 * time + 15 * person + rng.uniform(0, 20)
    y = 120.0 + 40 * person
    box = np.stack([x - 8, y - TALL, x + 8, y], axis=1) + rng.normal(0, 0.3, (3 * FRAMES, 4))
    regions = Regions(box.astype(np.float32), time, np.ones(3 * FRAMES, np.float32), np.zeros(3 * FRAMES, np.int64))
    return BoxesVideo("train", f"n{seed}", regions, person.astype(np.int64), BoxesAlone(SIZE_HW, FRAMES, RATE))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("boxes")
    write_boxes_folder(root / "data", [walking(seed) for seed in range(4)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "DENSITIES", (DensityCandidate("m", StreamDensitySettings(method="mahalanobis")),))
        patch.setattr(clips, "ROUNDS", 2)
        patch.setattr(search, "AVERAGE_S", ())
        settings = load_settings(
            overrides=['features.extractors=["velocity", "geometry", "place"]', 'density.method="mahalanobis"']
        )
        run_tune(f"boxes:{root / 'data'}", settings, root / "out", 0, session(root))
    return root / "out"


def clips_of(out: Path, kind: str) -> list[tuple[Clip, np.ndarray, np.ndarray]]:
    """The clips of a kind, each with frame (n,) and box (n, 4) of what was inserted."""
    found = []
    for path in sorted((out / FOLDER).glob("*.json")):
        clip = read_typed(path, Clip)
        if clip.kind == kind:
            given = read_boxes(path.with_suffix(".parquet"), BoxesAlone(SIZE_HW, clip.num_frames, RATE))
            mine = given.track_id == 3
            found.append((clip, given.regions.frame_index[mine], given.regions.box_xyxy[mine]))
    return found


@pytest.mark.parametrize(("kind", "low", "high"), [("large", 1.8, 2.4), ("small", 0.35, 0.5), ("control", 0.97, 1.03)])
def test_sizes_are_those_of_the_plan_and_the_rest_is_the_video(tuned, kind, low, high):
    found = clips_of(tuned, kind)
    assert found
    for clip, frame, box in found:
        inside = (box[:, 0] > 0) & (box[:, 2] < SIZE_HW[1]) & (box[:, 1] > 0)
        assert low * 0.95 <= np.median((box[:, 3] - box[:, 1])[inside]) / TALL <= high * 1.05
        assert np.array_equal(np.flatnonzero(clip.labels), [] if clip.is_control else frame)
        given = read_boxes(tuned / FOLDER / f"{clip.name}.parquet", BoxesAlone(SIZE_HW, clip.num_frames, RATE))
        whole = walking(int(clip.source[1:])).regions
        there = (whole.frame_index >= clip.first) & (whole.frame_index < clip.first + clip.num_frames)
        np.testing.assert_array_equal(given.regions.box_xyxy[given.track_id != 3], whole.box_xyxy[there])


def test_speeds_are_those_of_the_plan(tuned):
    def speed(kind: str) -> list[float]:
        return [
            float(np.median(np.diff((box[:, 0] + box[:, 2]) / 2)))
            for _, _, box in clips_of(tuned, kind)
            if len(box) > 3
        ]

    assert min(speed("fast")) > 2.5
    assert all(0.3 < one < 0.8 for one in speed("slow"))
    assert all(abs(one) < 0.2 for one in speed("standing"))
    assert all(abs(one + 2) < 0.2 for one in speed("reversed"))


def test_what_needs_pixels_is_left_out_and_said(tuned):
    record = json.loads((tuned / "run.json").read_text())
    assert "no anomalies of the kind 'patch': it needs pixels" in record["tuning"]["notes"]
    assert set(pd.read_csv(tuned / "candidates.csv").query("stage == 'streams'")["candidate"]) >= {"geometry", "place"}
    chosen = load_settings(tuned / "tuned.toml")
    assert "velocity" not in chosen.features.extractors


def test_each_half_judges_clips_of_its_own_also_when_footage_was_added(tmp_path, monkeypatch):
    """Clips that an earlier call made of fewer videos are made again, where they would be of the other half."""
    monkeypatch.setattr(clips, "ROUNDS", 1)
    settings = load_settings(overrides=['features.extractors=["geometry"]', "tracks.tracker=bytetrack"])
    for count in (3, 5):
        write_boxes_folder(tmp_path / "data", [walking(seed) for seed in range(count)])
        videos = open_sources([f"boxes:{tmp_path / 'data'}"], "train").videos
        work = session(tmp_path)
        fitting = settings_without_pixels(videos, settings, work.reporter)
        material = make_material(videos, fitting, tmp_path / "out", 0, work, Deadline(None), [])
        assert sorted(share.name for share in material.shares) == [f"n{seed}" for seed in range(count)]
        facts = {clip.name: clip for clip in material.clips}
        for fold in material.folds:
            heldout = {share.name for share in fold.heldout}
            assert not heldout & {share.name for share in fold.fitting}
            assert fold.clips
            assert {facts[clip.video.name].source for clip in fold.clips} <= heldout
        judging = [
            name for fold in material.folds
            for name in (*(share.label for share in fold.heldout), *(clip.video.name for clip in fold.clips))
        ]  # fmt: skip
        assert judging == [video.name for video in material.videos]


def test_a_kind_that_is_no_anomaly_here_is_left_out_and_the_other_clips_are_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "ROUNDS", 1)
    settings = load_settings(overrides=['features.extractors=["geometry"]', "tracks.tracker=bytetrack"])
    write_boxes_folder(tmp_path / "data", [walking(seed) for seed in range(3)])
    videos = open_sources([f"boxes:{tmp_path / 'data'}"], "train").videos
    work, made = session(tmp_path), {}
    fitting = settings_without_pixels(videos, settings, work.reporter)
    for without in ((), ("standing", "large")):
        material = make_material(videos, fitting, tmp_path / "out", 0, work, Deadline(None), [], without=without)
        made[without] = {clip.name: clip for clip in material.clips}
        said = [note for note in material.notes if note.endswith("--without")]
        assert said == [f"no anomalies of the kind {kind!r}: --without" for kind in sorted(without)]
    every, some = made.values()
    assert some == {name: clip for name, clip in every.items() if clip.kind not in ("standing", "large")}
    assert len(some) == len(every) - 2
    kinds = [kind.name for kind in KINDS]
    with pytest.raises(FitError, match="tuning: expected an anomaly that could be inserted, got none; "):
        make_material(videos, fitting, tmp_path / "out", 0, work, Deadline(None), [], without=kinds)


def test_kinds_are_left_out_by_the_names_that_the_help_gives(tmp_path):
    from typer.testing import CliRunner

    from mulde.cli import app

    text = " ".join(CliRunner().invoke(app, ["tune", "--help"], env={"COLUMNS": "200"}).output.split())
    kinds = [kind.name for kind in KINDS]
    for kind in kinds:
        assert re.search(rf"\b{kind}\b", text[text.index("Do not insert") :]), kind
    for without, message in (
        (["stading"], "--without: expected kinds among fast, slow, standing, .*, got stading"),
        (kinds, "--without: expected some kind of anomaly to be left, got all of them"),
    ):
        with pytest.raises(UsageError, match=message):
            run_tune("nowhere", load_settings(), tmp_path / "out", 0, session(tmp_path), without=without)
    assert not (tmp_path / "out").exists()


def test_boxes_and_features_of_other_programs_are_refused(tmp_path):
    write_boxes_folder(tmp_path / "data", [walking(0)])
    settings = load_settings(overrides=['features.imported=["mine"]'])
    with pytest.raises(UsageError, match=r"setting features.imported of mulde tune: expected finders and features"):
        run_tune(f"boxes:{tmp_path / 'data'}", settings, tmp_path / "out", 0, session(tmp_path))
