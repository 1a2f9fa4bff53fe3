"""What a bundle says of its training: written as noted, read from any version."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mulde.pipeline.model.training_record import FrameRange, StreamCounts, TrainingRecord

NOW = {
    "seed": 1,
    "videos": ["a", "b"],
    "heldout": [["a"], ["b"]],
    "left_out": [{"video": "a", "start_frame": 0, "end_frame": 5}],
    "normal_parts": [{"name": "a", "video": "a", "start_frame": 5, "end_frame": 9, "fold": 0}],
    "streams": {"pose": {"rows": [3, 4], "heldout_rows": [4, 3], "columns": 2, "learnt": [{"epochs": 1}, {}]}},
}


@pytest.mark.parametrize("facts", [{}, {"videos": ["a"], "seed": 3}, NOW, {**NOW, "of_a_newer_version": [1]}])
def test_what_is_read_is_written_again(facts):
    assert TrainingRecord.model_validate(facts).as_json() == facts


def test_a_record_of_one_fold_is_read_as_of_several():
    old = {"heldout": ["a", "b"], "streams": {"pose": {"rows": 7, "heldout_rows": 0, "columns": 2, "learnt": {}}}}
    record = TrainingRecord.model_validate(old)
    assert record.heldout == [["a", "b"]]
    assert record.streams["pose"] == StreamCounts(rows=[7], heldout_rows=[0], columns=2, learnt={})


def test_a_fold_without_videos_is_no_video():
    assert TrainingRecord.model_validate({"heldout": []}).heldout == []
    assert TrainingRecord.model_validate({"heldout": [[]]}).heldout == [[]]


@pytest.mark.parametrize("facts", [{"seed": "1"}, {"heldout": [1]}, {"left_out": [{"video": "a", "start_frame": -1}]}])
def test_another_type_is_refused(facts):
    with pytest.raises(ValidationError):
        TrainingRecord.model_validate(facts)


def test_ranges_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        FrameRange(video="a", start_frame=0, end_frame=1).video = "b"
