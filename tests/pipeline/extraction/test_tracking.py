"""Ids onto rows, and means along tracks, against loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mulde.pipeline.extraction.tracking import average_along_tracks, with_tracks
from mulde.records import FeatureTable


def boxes(num_rows: int, seed: int = 0) -> np.ndarray:
    corner = np.random.default_rng(seed).uniform(0, 100, (num_rows, 2))
    return np.concatenate([corner, corner + 10], axis=1).astype(np.float32)


def table(frame_index, box_xyxy=None, track_id=None, dim: int = 3) -> FeatureTable:
    values = np.random.default_rng(1).normal(size=(len(frame_index), dim)).astype(np.float32)
    return FeatureTable(values, np.asarray(frame_index, np.int64), box_xyxy, track_id)


@given(st.lists(st.integers(0, 9), max_size=30).map(sorted), st.data())
@settings(deadline=None)
def test_rows_get_the_id_of_their_box_in_their_frame(frames, data):
    frame_index = np.array(frames, np.int64)
    box_xyxy = boxes(5)[np.arange(len(frames)) % 5]  # a box stands in several frames
    _, first = np.unique(np.column_stack([frame_index, box_xyxy]), axis=0, return_index=True)
    frame_index, box_xyxy = frame_index[np.sort(first)], box_xyxy[np.sort(first)]
    track_id = np.random.default_rng(2).integers(-1, 6, len(frame_index))
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(first), max_size=len(first))), bool)
    shuffled = np.random.default_rng(3).permutation(len(frame_index))

    found = with_tracks(
        table(frame_index[kept], box_xyxy[kept]), frame_index[shuffled], box_xyxy[shuffled], track_id[shuffled]
    )
    assert found.track_id.dtype == np.int64
    assert found.track_id.tolist() == track_id[kept].tolist()


def test_a_box_that_is_not_among_the_regions_has_no_track():
    box_xyxy = boxes(3)
    moved = box_xyxy.copy()
    moved[1, 2] = np.nextafter(moved[1, 2], np.float32(np.inf))
    index = np.array([0, 1, 2])
    found = with_tracks(table([0, 1, 5], moved), index, box_xyxy, np.array([7, 8, 9]))
    assert found.track_id.tolist() == [7, -1, -1]
    nothing = with_tracks(table([0, 1, 2], box_xyxy), index[:0], box_xyxy[:0], index[:0])
    assert nothing.track_id.tolist() == [-1, -1, -1]
    assert with_tracks(table([], box_xyxy[:0]), index, box_xyxy, index).track_id.shape == (0,)


def test_tables_of_whole_frames_have_no_tracks():
    frames = table([0, 1, 2])
    assert with_tracks(frames, np.arange(3), boxes(3), np.arange(3)) is frames
    assert average_along_tracks(frames, 5) is frames


def mean_by_loops(features: FeatureTable, reach: int) -> np.ndarray:
    expected = []
    for row in range(len(features)):
        near = [
            features.values[other].astype(np.float64)
            for other in range(len(features))
            if features.track_id[other] == features.track_id[row]
            and abs(int(features.frame_index[other]) - int(features.frame_index[row])) <= reach
        ]
        expected.append(np.mean(near, axis=0) if features.track_id[row] >= 0 else features.values[row])
    return np.array(expected).reshape(features.values.shape)


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(-1, 3)), max_size=40).map(sorted),
    st.integers(1, 20),
    st.data(),
)
@settings(deadline=None)
def test_the_mean_is_over_the_near_rows_of_the_track(rows, reach, data):
    frame_index, track_id = np.array(rows, np.int64).reshape(-1, 2).T.copy()
    numbers = st.floats(-1000, 1000, width=32)
    values = data.draw(arrays.arrays(np.float32, (len(rows), 2), elements=numbers))
    features = FeatureTable(values, frame_index, boxes(len(rows)), track_id)
    averaged = average_along_tracks(features, reach)
    np.testing.assert_allclose(averaged.values, mean_by_loops(features, reach), rtol=1e-6, atol=1e-6)
    assert np.array_equal(averaged.values[track_id < 0], values[track_id < 0])
    assert averaged.frame_index is features.frame_index
    assert averaged.track_id is features.track_id
    assert averaged.box_xyxy is features.box_xyxy
    assert np.array_equal(features.values, values)  # the table that came in is left as it was


@pytest.mark.parametrize("reach", [1, 10_000])
def test_a_long_track_keeps_its_digits(reach):
    num_rows = 20_000
    features = FeatureTable(
        np.full((num_rows, 1), 0.1, np.float32), np.arange(num_rows), boxes(num_rows), np.zeros(num_rows, np.int64)
    )
    assert (average_along_tracks(features, reach).values == np.float32(0.1)).all()


def test_nothing_is_averaged_over_no_frames_or_without_tracks():
    tracked = table([0, 1], boxes(2), np.array([0, 0]))
    assert average_along_tracks(tracked, 0) is tracked
    untracked = table([0, 1], boxes(2))
    assert average_along_tracks(untracked, 5) is untracked
