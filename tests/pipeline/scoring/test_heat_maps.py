"""Heat maps against a loop over cells and boxes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulde.errors import MuldeError
from mulde.pipeline.scoring import heat_maps
from mulde.pipeline.scoring.heat_maps import write_heat_maps
from mulde.records import RegionScores, ScoreTrack

SIZE_HW = (90, 160)


def make_track(frames: np.ndarray, streams: tuple[str, ...], seed: int = 0) -> ScoreTrack:
    rng = np.random.default_rng(seed)
    own = {name: rng.uniform(0, 3, len(frames)) for name in streams}
    zeros = np.zeros(len(frames))
    return ScoreTrack("a/b", frames, frames / 10, zeros, zeros, own)


def make_regions(frames: np.ndarray, count: int, seed: int = 1) -> RegionScores:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-5, (150, 80), (count, 2))
    box = np.concatenate([corner, corner + rng.uniform(0.5, 40, (count, 2))], axis=1).astype(np.float32)
    index = np.sort(rng.choice(frames, count))
    scores = rng.uniform(-1, 9, count)
    nowhere = np.full(count, -1, np.int64)
    return RegionScores("a/b", SIZE_HW, box, index, scores, nowhere, {"velocity": np.full(count, np.nan)})


def brute(track: ScoreTrack, regions: RegionScores | None, how: str, cell: int, grid: tuple[int, int]) -> np.ndarray:
    out = np.zeros((len(track), *grid))
    for t, frame in enumerate(track.frame_index):
        whole = [values[t] for name, values in track.streams.items() if name != "velocity"]
        for row in range(grid[0]):
            for column in range(grid[1]):
                found = []
                for i in range(len(regions) if regions else 0):
                    x0, y0, x1, y1 = regions.box_xyxy[i]
                    touches = (
                        x0 < (column + 1) * cell and x1 > column * cell and y0 < (row + 1) * cell and y1 > row * cell
                    )
                    if regions.frame_index[i] == frame and touches:
                        found.append(regions.anomaly_score[i])
                parts = [*([max(found, default=0.0)] if regions else []), *whole]
                out[t, row, column] = sum(parts) if how == "sum" else max(parts)
    return out


@pytest.mark.parametrize("how", ["sum", "max"])
@pytest.mark.parametrize("streams", [("velocity",), ("velocity", "frame_clip", "video")])
def test_maps_are_those_of_a_loop(tmp_path: Path, monkeypatch, how: str, streams: tuple[str, ...]) -> None:
    monkeypatch.setattr(heat_maps, "_FRAMES_AT_ONCE", 3)
    frames = np.array([0, 1, 2, 5, 6, 9, 10], np.int64)  # some could not be decoded
    track, regions = make_track(frames, streams), make_regions(frames, 12)
    path = write_heat_maps(track, regions, SIZE_HW, how, tmp_path)
    assert path == tmp_path / "a" / "b.npy"
    maps = np.load(path)  # without pickle, as is numpy's default
    assert (maps.dtype, maps.shape) == (np.float16, (7, 30, 54))
    np.testing.assert_allclose(maps, brute(track, regions, how, 3, (30, 54)), rtol=1e-3, atol=1e-3)
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["frames"] == [[0, 3], [5, 7], [9, 11]]
    assert (facts["cell_px"], facts["size_hw"], facts["combined_by"]) == (3, [90, 160], how)
    assert facts["streams_on_boxes"] == ["velocity"]
    assert facts["streams_on_whole_frames"] == sorted(set(streams) - {"velocity"})
    assert sorted(p.name for p in path.parent.iterdir()) == ["b.json", "b.npy"]


def test_streams_of_whole_frames_alone(tmp_path: Path) -> None:
    track = make_track(np.arange(4), ("video",))
    maps = np.load(write_heat_maps(track, None, (720, 1280), "sum", tmp_path), mmap_mode="r")
    assert maps.shape == (4, 36, 64)
    np.testing.assert_allclose(maps, np.broadcast_to(track.streams["video"][:, None, None], maps.shape), rtol=1e-3)


def test_no_boxes_and_scores_beyond_what_16_bits_hold(tmp_path: Path) -> None:
    frames = np.arange(3)
    track = make_track(frames, ("velocity",))
    none = RegionScores("a/b", SIZE_HW, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0),
                        np.zeros(0, np.int64), {"velocity": np.zeros(0)})  # fmt: skip
    assert not np.load(write_heat_maps(track, none, SIZE_HW, "sum", tmp_path)).any()
    huge = make_regions(frames, 1)
    huge = replace(huge, anomaly_score=np.array([1e30]))
    assert np.load(write_heat_maps(track, huge, SIZE_HW, "sum", tmp_path)).max() == np.finfo(np.float16).max


def test_boxes_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MuldeError, match=r"boxes of a/b: expected frames of \(45, 80\), got \(90, 160\)"):
        write_heat_maps(make_track(np.arange(3), ()), make_regions(np.arange(3), 2), (45, 80), "sum", tmp_path)
    assert not list(tmp_path.iterdir())
