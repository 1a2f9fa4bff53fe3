"""Scores meet the labels of their own frames, those that could not be decoded left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mulde.datasets.base import Video
from mulde.pipeline.evaluate import read_labels
from mulde.pipeline.score import ScoredVideo
from mulde.records import LabelTrack, ScoreTrack


class TenFrames:
    """A data set with one test video of ten frames, of which 4 to 7 are anomalous."""

    name, root = "ten", Path("ten")

    def videos(self, split: str) -> tuple[Video, ...]:
        return (Video("a", split, Path("a.mp4")),)

    def labels(self, video: Video, num_frames: int) -> LabelTrack:
        assert num_frames == 10
        return LabelTrack("a", np.isin(np.arange(10), range(4, 8)))


def scored(frames: list[int]) -> ScoredVideo:
    index, values = np.array(frames, np.int64), np.zeros(len(frames))
    return ScoredVideo(ScoreTrack("a", index, index / 25, values, values), 1.0, 0)


def test_labels_are_those_of_the_decoded_frames():
    whole = read_labels(TenFrames(), {"a": scored(list(range(10)))})["a"]
    assert np.flatnonzero(whole.anomalous).tolist() == [4, 5, 6, 7]
    holes = read_labels(TenFrames(), {"a": scored([0, 3, 4, 7, 8, 9])})["a"]
    assert holes.anomalous.tolist() == [False, False, True, True, False, False]
