"""Records refuse what does not fit, with numbers."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from mulde.errors import MuldeError, RecordError, UsageError
from mulde.records import FeatureTable, Frames, LabelTrack, Regions, ScoreTrack, Window


def frames(n: int = 3) -> Frames:
    return Frames(np.zeros((n, 4, 6, 3), np.uint8), np.arange(n), np.arange(n) / 25)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_frames_know_their_size(n):
    assert len(frames(n)) == n
    assert frames(n).size_hw == (4, 6)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Frames(np.zeros((2, 4, 6), np.uint8), np.arange(2), np.zeros(2)),
            r"uint8 of shape \(\*, \*, \*, 3\), got uint8 of shape \(2, 4, 6\)",
        ),
        (lambda: Frames(np.zeros((2, 4, 6, 3)), np.arange(2), np.zeros(2)), "got float64"),
        (
            lambda: Frames(np.zeros((2, 4, 6, 3), np.uint8), np.array([3, 3]), np.zeros(2)),
            "strictly increasing values from 0 up, got 3 at row 1",
        ),
        (lambda: Window(frames(3), 1, 4), "0 <= first <= last <= 3, got 1:4"),
        (
            lambda: Regions(
                np.array([[5, 5, 5, 9]], np.float32),
                np.zeros(1, np.int64),
                np.ones(1, np.float32),
                np.zeros(1, np.int64),
            ),
            "x0 < x1",
        ),
        (
            lambda: FeatureTable(np.array([[0, np.nan]], np.float32), np.array([7])),
            r"nan in row 0 \(frame 7\), column 1",
        ),
        (lambda: FeatureTable(np.zeros((2, 1), np.float32), np.array([1, 1])), "strictly increasing"),
        (lambda: FeatureTable([[0.0]], np.array([0])), "got list"),
        (lambda: ScoreTrack("a", np.arange(2), np.zeros(2), np.zeros(2), np.array([0, np.inf])), "inf at row 1"),
        (lambda: LabelTrack("a", np.zeros(3)), "got float64"),
    ],
)
def test_a_bad_record_is_refused_with_numbers(make, sentence):
    with pytest.raises(RecordError, match=sentence):
        make()


def test_a_window_finds_the_picture_of_a_frame():
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(3, axis=3)
    window = Window(Frames(images, np.array([5, 6, 8, 9]), np.zeros(4)), 1, 3)
    assert [int(window.image(frame)[0, 0, 0]) for frame in (5, 8, 9)] == [0, 2, 3]


def test_no_rows_is_an_ordinary_value():
    assert len(Regions.empty()) == 0
    table = FeatureTable(np.zeros((0, 8), np.float32), np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    assert (len(table), table.dim) == (0, 8)


@pytest.mark.parametrize(
    ("anomalous", "spans"),
    [([], []), ([0, 0], []), ([1, 1], [(0, 2)]), ([0, 1, 1, 0, 1], [(1, 3), (4, 5)])],
)
def test_spans_are_half_open(anomalous, spans):
    assert LabelTrack("a", np.array(anomalous, np.bool_)).spans() == spans


def test_an_error_says_expected_got_and_what_to_try():
    error = UsageError("the thing", expected="a cat", got="a dog", hint="meow")
    assert str(error) == "the thing: expected a cat, got a dog. Try: meow"
    assert error.exit_code == 2
    assert MuldeError("x").exit_code == 1


def test_an_error_survives_the_way_between_processes():
    error = UsageError("the thing", expected="a cat", got="a dog", hint="meow")
    for copied in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(copied), str(copied)) == (UsageError, str(error))
