"""Test videos and labels have no way into what is chosen: there, replaced by other bytes or gone, all is the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mulde.config import StreamDensitySettings
from mulde.datasets.boxes.writing import BoxesVideo, write_boxes_folder
from mulde.datasets.sources import open_sources
from mulde.media import write_video
from mulde.pipeline.tuning import candidates, clips, search
from mulde.pipeline.tuning.candidates import DensityCandidate
from mulde.pipeline.tuning.tune import run_tune
from mulde.settings_file import load_settings
from tests.pipeline.tuning.test_tune import RATE, session, walkers
from tests.pipeline.tuning.test_tune_boxes import walking

WRITTEN = ("tuned.toml", "candidates.csv")


def with_pixels(root: Path, *, has_test: bool) -> str:
    for i in range(2):
        write_video(root / "train" / f"n{i}.mp4", iter(walkers(60, i)), RATE, crf=1)
    if has_test:
        write_video(root / "test" / "odd.mp4", iter(walkers(60, 7)[:, ::-1]), RATE, crf=1)
        (root / "labels").mkdir()
        np.save(root / "labels" / "odd.npy", np.arange(60) >= 30)
    return f"folder:{root}"


def of_boxes(root: Path, *, has_test: bool) -> str:
    videos = [walking(seed) for seed in range(3)]
    tests = [BoxesVideo("test", "odd", video.regions, video.track_id, video.facts) for video in [walking(9)]]
    ranges = {"odd": [(30, 60)]} if has_test else None
    write_boxes_folder(root, [*videos, *(tests if has_test else [])], ranges)
    return f"boxes:{root}"


def spoil(root: Path) -> None:
    """Other bytes in all files of the test videos and of the labels."""
    rng = np.random.default_rng(0)
    spoilt = [path for place in ("test", "labels") for path in (root / place).rglob("*") if path.is_file()]
    spoilt += [path for path in [root / "labels.csv"] if path.exists()]
    assert len(spoilt) == 2
    for path in spoilt:
        path.write_bytes(rng.bytes(1000))


@pytest.mark.parametrize("world", [with_pixels, of_boxes])
def test_what_is_chosen_is_the_same_whatever_lies_where_test_videos_and_labels_are(
    world: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "DENSITIES", (DensityCandidate("m", StreamDensitySettings(method="mixture")),))
    monkeypatch.setattr(clips, "ROUNDS", 1)
    monkeypatch.setattr(clips, "KINDS", [kind for kind in clips.KINDS if kind.name in ("fast", "large")])
    monkeypatch.setattr(search, "AVERAGE_S", ())
    settings = load_settings(
        overrides=['features.extractors=["geometry", "place"]', 'density.method="mahalanobis"', "fusion.smoothing_s=0"]
    )
    root, found = tmp_path / "data", {}
    for case in ("there", "spoilt", "gone"):  # at one path, which is written into the settings, and with nothing kept
        shutil.rmtree(root, ignore_errors=True)
        source = world(root, has_test=case != "gone")
        if case == "spoilt":
            spoil(root)
        assert len(open_sources([source], "train").videos) >= 2
        run_tune(source, settings, tmp_path / case / "out", 0, session(tmp_path / case))
        found[case] = [(tmp_path / case / "out" / name).read_bytes() for name in WRITTEN]
    assert b"chosen: " in found["there"][0]
    assert found["spoilt"] == found["there"]
    assert found["gone"] == found["there"]
