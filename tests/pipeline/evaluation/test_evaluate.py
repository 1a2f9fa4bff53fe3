"""Scores meet the labels of their own frames, in frames or seconds, and boxes the annotated ones in the same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.datasets.folder.dataset import FolderDataset
from mulde.errors import LabelError
from mulde.pipeline.evaluation.evaluate import evaluate, region_pool
from mulde.pipeline.evaluation.labels import read_labels
from mulde.pipeline.run_folder import AlarmRecord
from mulde.progress import Reporter
from mulde.records import LabelTrack, RegionScores, ScoredVideo, ScoreTrack, TruthRegions
from mulde.settings_file import load_settings

SHRUNK = load_settings(overrides=["video.working_size_px=64"])


class TenFrames:
    """A data set with one test video of ten frames, of which 4 to 7 are anomalous."""

    name, root = "ten", Path("ten")

    def videos(self, split: str) -> tuple[Video, ...]:
        return (Video("a", split, Path("a.mp4")),)

    def labels(self, video: Video, num_frames: int) -> LabelTrack:
        assert num_frames == 10
        return LabelTrack("a", np.isin(np.arange(10), range(4, 8)))


def scored(frames: list[int], rate: float = 25.0, video: str = "a") -> ScoredVideo:
    index, values = np.array(frames, np.int64), np.zeros(len(frames))
    return ScoredVideo(ScoreTrack(video, index, index / rate, values, values), 1.0, 0, rate)


def test_labels_are_those_of_the_decoded_frames():
    whole = read_labels(TenFrames(), {"a": scored(list(range(10)))})["a"]
    assert np.flatnonzero(whole.anomalous).tolist() == [4, 5, 6, 7]
    holes = read_labels(TenFrames(), {"a": scored([0, 3, 4, 7, 8, 9])})["a"]
    assert holes.anomalous.tolist() == [False, False, True, True, False, False]


def test_a_video_of_another_data_set_is_refused():
    with pytest.raises(LabelError, match="scored video b: expected a test video of ten in ten, got 1 that it does not"):
        read_labels(TenFrames(), {"b": scored([0], video="b")})


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25), Fraction(15, 2)])
def test_labels_in_seconds_take_the_rate_that_was_found_in_the_file(tmp_path, rate):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.mp4").touch()
    (tmp_path / "labels.csv").write_text("video,start_s,end_s\na,10,200.2\n")
    labels = read_labels(FolderDataset(tmp_path), {"a": scored(list(range(7000)), float(rate))})["a"]
    expected = [n for n in range(7000) if 10 <= n / rate < Fraction("200.2")]
    assert np.flatnonzero(labels.anomalous).tolist() == expected


@pytest.mark.parametrize("missing", [[], [0, 1], [70, 71, 72]])
def test_labels_in_seconds_follow_uneven_times(tmp_path, missing):
    """A camera that pauses for 100 s and then takes its frames in bursts, some of which cannot be decoded."""
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "a.mp4").touch()
    (tmp_path / "labels.csv").write_text("video,start_s,end_s\na,2,101.01\na,103,105.001\n")
    times = np.array([0.04 * n if n < 60 else 100 + 0.5 * (n // 5 - 12) + 0.002 * (n % 5) for n in range(120)])
    kept = np.setdiff1d(np.arange(120), missing)
    track = ScoreTrack("a", kept, times[kept], np.zeros(len(kept)), np.zeros(len(kept)))
    one = ScoredVideo(track, 1.0, 0, 119 / times[-1])
    labels = read_labels(FolderDataset(tmp_path), {"a": one})["a"]
    inside = ((times >= 2) & (times < 101.01)) | ((times >= 103) & (times < 105.001))
    np.testing.assert_array_equal(labels.anomalous, inside[kept])


def test_labels_in_seconds_of_a_folder_of_frames_need_a_rate_of_their_own(tmp_path):
    """A folder of frames does not know its rate, and an assumed one would move the labels."""
    (tmp_path / "test" / "a").mkdir(parents=True)
    (tmp_path / "test" / "a" / "0.png").touch()
    (tmp_path / "labels.csv").write_text("video,start_s,end_s\na,1,2\n")
    with pytest.raises(LabelError, match=r"expected a frame rate .* a column frame_rate"):
        read_labels(FolderDataset(tmp_path), {"a": scored(list(range(100)))})


@dataclass(frozen=True)
class Annotated:
    """A data set with test videos a and b of four frames, 96 x 128 pixels, and whatever truth it is given."""

    root: Path
    truth: dict[str, TruthRegions] = field(default_factory=dict)
    mask: np.ndarray | None = None
    name: str = "annotated"

    def videos(self, split: str) -> tuple[Video, ...]:
        return tuple(Video(name, split, self.root / name) for name in "ab")

    def regions(self, video: Video) -> TruthRegions | None:
        return self.truth.get(video.name)

    def masks(self, video: Video) -> Iterator[np.ndarray] | None:
        return None if self.mask is None else iter([self.mask] * 4)


TRUE_BOX = [64, 48, 96, 80]
LABELS = {name: LabelTrack(name, np.ones(4, np.bool_)) for name in "ab"}
SCORED = {name: scored([0, 1, 2, 3], video=name) for name in "ab"}


@pytest.fixture
def frames(tmp_path) -> Path:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(4):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), np.zeros((96, 128, 3), np.uint8))
    return tmp_path


def boxes(box: list[float], size_hw: tuple[int, int]) -> dict[str, RegionScores]:
    """The same box in all frames of both videos."""
    box_xyxy, index = np.array([box] * 4, np.float32), np.arange(4)
    return {name: RegionScores(name, size_hw, box_xyxy, index, np.ones(4), index * 0) for name in "ab"}


def truth() -> dict[str, TruthRegions]:
    return {n: TruthRegions(n, np.array([TRUE_BOX] * 4, np.float32), np.arange(4), np.zeros(4, np.int64)) for n in "ab"}


def rbdc(found: dict[str, RegionScores], dataset: Annotated, settings: Settings) -> float | None:
    pool = region_pool(found, SCORED, LABELS, dataset, settings)
    assert pool is not None
    return pool.figures().rbdc


def test_annotated_boxes_are_in_pixels_of_the_original_frames(frames):
    """Boxes of frames that were shrunk to half are half as large, and find the truth all the same."""
    half = [side / 2 for side in TRUE_BOX]
    dataset = Annotated(frames, truth())
    assert rbdc(boxes(TRUE_BOX, (96, 128)), dataset, Settings()) == 1
    assert rbdc(boxes(half, (48, 64)), dataset, SHRUNK) == 1
    assert rbdc(boxes(half, (96, 128)), dataset, Settings()) == 0


def test_masks_are_in_pixels_of_the_original_frames(frames):
    mask = np.zeros((96, 128), np.bool_)
    mask[48:80, 64:96] = True
    assert rbdc(boxes([side / 2 for side in TRUE_BOX], (48, 64)), Annotated(frames, mask=mask), SHRUNK) == 1


def test_without_truth_or_without_boxes_of_every_video_there_are_no_region_figures(frames):
    found = boxes(TRUE_BOX, (96, 128))
    assert region_pool(found, SCORED, LABELS, Annotated(frames), Settings()) is None
    assert region_pool({}, SCORED, LABELS, Annotated(frames, truth()), Settings()) is None
    assert region_pool({"a": found["a"]}, SCORED, LABELS, Annotated(frames, truth()), Settings()) is None
    only_a = {"a": LABELS["a"]}
    assert region_pool({"a": found["a"]}, SCORED, only_a, Annotated(frames, truth()), Settings()) is not None


def test_the_level_of_a_run_stands_before_those_of_the_oracle():
    alarm = AlarmRecord(merge_gap_s=2.0, min_length_s=0.5, levels={"centred": {"alarm 1/h": 0.25}})
    labels = read_labels(TenFrames(), {"a": scored(list(range(10)))})
    options = {"alarm": alarm, "bootstrap": 0}
    found = evaluate({"a": scored(list(range(10)))}, labels, TenFrames(), Reporter(quiet=True), **options)
    rows = {row.smoothing: [point.name for point in row.alarms] for row in found.rows}
    assert rows["centred"][0] == "alarm 1/h"
    assert all(name.startswith("oracle ") for name in [*rows["raw"], *rows["causal"], *rows["centred"][1:]])
    assert (found.event_rules.merge_gap_s, found.event_rules.min_length_s) == (2.0, 0.5)
