"""Tracks of made-up walkers whose identity is known, and of Ultralytics' trackers fed by hand."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulde.errors import RecordError, UsageError
from mulde.extractors.tracks import Tracker
from mulde.extractors.yolo import tracker_class
from mulde.records import Regions

both = pytest.mark.parametrize("kind", ["bytetrack", "botsort"])

CLUTTER = -1


def regions(rows) -> Regions:
    """Regions of rows (frame, x, y, width, height, confidence, class)."""
    table = np.array(rows, np.float64).reshape(-1, 7)
    boxes = np.concatenate([table[:, 1:3], table[:, 1:3] + table[:, 3:5]], 1).astype(np.float32)
    return Regions(boxes, table[:, 0].astype(np.int64), table[:, 5].astype(np.float32), table[:, 6].astype(np.int64))


def walkers(seed: int = 0, num_frames: int = 70) -> tuple[np.ndarray, Regions, np.ndarray]:
    """Frame indices, regions in a random order within each frame, and which walker each row is.

    0 and 1 cross; 2 vanishes for 5 frames; 3 is unsure for 15 frames; 4 appears late and is a moving region half of the
    time; clutter is there for one frame only.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for t in range(num_frames):
        here = [
            (0, 10 + 4.0 * t, 100, 24, 60, 0.9, 0),
            (1, 290 - 4.0 * t, 108, 26, 58, 0.8, 0),
            (3, 20 + 2.0 * t, 300, 25, 62, 0.3 if 20 <= t < 35 else 0.7, 0),
        ]
        if not 30 <= t < 35:
            here.append((2, 250 - 3.0 * t, 200, 24, 60, 0.85, 0))
        if t >= 12:
            here.append((4, 30 + 3.0 * t, 400, 40, 40, *((1, -1) if t % 20 < 10 else (0.6, 2))))
        if t and t % 3 == 0:
            here.append((CLUTTER, 40.0 * (t // 3 % 9), 600 + t, 15, 15, 0.95, 0))
        for i in rng.permutation(len(here)):
            who, x, y, w, h, confidence, number = here[i]
            dx, dy = rng.normal(0, 0.5, 2)
            rows.append((who, t, x + dx, y + dy, w, h, confidence, number))
    return np.arange(num_frames), regions([row[1:] for row in rows]), np.array([row[0] for row in rows])


def still(frames) -> Regions:
    """One box that stands still, in the frames given."""
    return regions([(f, 50, 50, 20, 40, 0.9, 0) for f in frames])


def ids(tracker: Tracker, frame_index, found: Regions, cuts=()) -> np.ndarray:
    """The ids of a video cut in front of the frames at the positions `cuts`."""
    edges = [0, *sorted(cuts), len(frame_index)]
    segments = [
        (part, found.select(np.isin(found.frame_index, part)))
        for part in (np.asarray(frame_index, np.int64)[a:b] for a, b in pairwise(edges))
    ]
    tracked = list(tracker.track(iter(segments)))
    assert [len(part) for part in tracked] == [len(part) for _, part in segments]
    return np.concatenate([np.zeros(0, np.int64), *tracked])


@both
@pytest.mark.parametrize("seed", range(3))
def test_each_walker_has_one_id_from_its_first_frame_to_its_last(kind, seed):
    frame_index, found, who = walkers(seed)
    track_id = ids(Tracker(kind), frame_index, found)
    assert track_id.dtype == np.int64
    per_walker = {walker: set(track_id[who == walker].tolist()) for walker in range(5)}
    assert all(len(numbers) == 1 for numbers in per_walker.values()), per_walker
    assert set.union(*per_walker.values()) == set(range(5))
    assert set(track_id[who == CLUTTER]) == {-1}
    _, first_rows = np.unique(track_id[track_id >= 0], return_index=True)
    assert (np.diff(first_rows) > 0).all()  # numbered in the order in which they appear


@both
def test_an_object_that_is_never_sure_has_no_track(kind):
    found = regions([(t, 50, 50, 20, 40, 0.49, 0) for t in range(10)])
    assert (ids(Tracker(kind), range(10), found) == -1).all()


@both
def test_a_box_that_vanishes_is_remembered_for_so_many_frames(kind):
    for away, same in [(5, True), (7, False)]:  # Ultralytics forgets one frame late
        seen = [*range(10), *range(10 + away, 20 + away)]
        track_id = ids(Tracker(kind, lost_frames=5), range(20 + away), still(seen))
        assert track_id.tolist() == [0] * 10 + [0 if same else 1] * 10


@both
@given(missing=st.sets(st.integers(1, 68)), lost_frames=st.integers(1, 12))
@settings(max_examples=15, deadline=None)
def test_frames_that_could_not_be_decoded_count_as_frames_without_boxes(kind, missing, lost_frames):
    frame_index, found, _ = walkers()
    found = found.select(~np.isin(found.frame_index, list(missing)))
    tracker = Tracker(kind, lost_frames=lost_frames)
    without = ids(tracker, frame_index, found)
    assert np.array_equal(ids(tracker, np.setdiff1d(frame_index, list(missing)), found), without)


@both
def test_a_gap_of_years_takes_no_time_and_ends_every_track(kind):
    seen = [*range(5), *range(10**12, 10**12 + 5)]
    assert ids(Tracker(kind), seen, still(seen)).tolist() == [0] * 5 + [1] * 5


@both
@given(cuts=st.lists(st.integers(0, 40), max_size=8))
@settings(max_examples=15, deadline=None)
def test_how_a_video_is_cut_makes_no_difference(kind, cuts):
    frame_index, found, _ = walkers(num_frames=40)  # equal cuts make segments without a frame
    whole = ids(Tracker(kind), frame_index, found)
    assert np.array_equal(ids(Tracker(kind), frame_index, found, cuts), whole)


@both
def test_without_boxes_there_are_no_ids(kind):
    assert list(Tracker(kind).track([])) == []
    assert ids(Tracker(kind), [], Regions.empty()).shape == (0,)
    assert ids(Tracker(kind), range(50), Regions.empty(), [7, 7, 30]).shape == (0,)
    assert ids(Tracker(kind), range(50), still([49])).tolist() == [-1]
    assert ids(Tracker(kind), [0], still([0])).tolist() == [0]  # Ultralytics trusts the first frame of a video


@both
def test_no_more_than_one_segment_is_taken_ahead(kind):
    taken = []

    def endless():
        while True:
            frame_index = np.arange(3) + 3 * len(taken)
            taken.append(frame_index)
            yield frame_index, still(frame_index)

    tracked = Tracker(kind).track(endless())
    for number in range(20):
        assert next(tracked).tolist() == [0, 0, 0]
        assert len(taken) == number + 2


@both
def test_videos_in_several_threads_do_not_disturb_each_other(kind):
    tracker = Tracker(kind)
    videos = [walkers(seed) for seed in range(4)]
    alone = [ids(tracker, frame_index, found) for frame_index, found, _ in videos]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda video: ids(tracker, video[0], video[1]), videos))
    assert all(map(np.array_equal, alone, together))


def fed_by_hand(kind: str, frame_index, found: Regions) -> np.ndarray:
    """What Ultralytics' own tracker says of each row when it gets its own records, as its `YOLO.track` feeds it."""
    made_by = tracker_class(kind)
    from ultralytics.engine.results import Boxes
    from ultralytics.utils import YAML, IterableSimpleNamespace
    from ultralytics.utils.checks import check_yaml

    arguments = YAML.load(check_yaml(f"{kind}.yaml"))
    arguments |= {"track_high_thresh": 0.4, "track_low_thresh": 0, "new_track_thresh": 0.5, "gmc_method": "none"}
    tracker = made_by(IterableSimpleNamespace(**arguments))
    result = np.full(len(found), -1)
    for frame in frame_index:
        rows = np.flatnonzero(found.frame_index == frame)
        columns = (found.box_xyxy[rows], found.confidence[rows, None], found.class_id[rows, None])
        boxes = Boxes(np.concatenate(columns, axis=1).astype(np.float32), (1000, 1000))
        for row in tracker.update(boxes):
            result[rows[int(row[-1])]] = int(row[4])
    return result


def crowd(seed: int) -> tuple[np.ndarray, Regions]:
    """People who come, go, hide and meet, found with any confidence, in 80 frames of which the first 5 are empty."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(14):
        start, length = rng.integers(5, 50), rng.integers(1, 60)
        place, speed, size = rng.uniform(0, 300, 2), rng.normal(0, 3, 2), rng.uniform(15, 50, 2)
        for t in range(start, min(start + length, 80)):
            if rng.random() < 0.85:
                where = place + (t - start) * speed + rng.normal(0, 1, 2)
                rows.append((t, *where, *size, rng.uniform(0.25, 1), rng.integers(-1, 3)))
    return np.arange(80), regions(sorted(rows, key=lambda row: row[0]))


@both
@pytest.mark.parametrize("seed", range(4))
def test_ids_are_those_of_ultralytics_but_for_numbers_and_first_frames(kind, seed):
    frame_index, found = crowd(seed)
    ours, theirs = ids(Tracker(kind), frame_index, found), fed_by_hand(kind, frame_index, found)
    both_have = theirs >= 0
    assert both_have.sum() > 100
    assert (ours[both_have] >= 0).all()
    renamed = set(zip(ours[both_have].tolist(), theirs[both_have].tolist(), strict=True))
    assert len(renamed) == len(set(theirs[both_have])) == len(set(ours[both_have]))
    assert {number for number, _ in renamed} == set(range(len(renamed)))
    for row in np.flatnonzero(~both_have & (ours >= 0)):  # the frame in front of the first one that has the id there
        later = found.frame_index[both_have & (ours == ours[row])]
        assert found.frame_index[row] == later.min() - 1


def test_what_cannot_be_tracked_is_refused():
    with pytest.raises(UsageError, match=r"tracker 'sort': expected one of bytetrack, botsort"):
        Tracker("sort")
    with pytest.raises(RecordError, match=r"boxes in the decoded frames only"):
        list(Tracker("bytetrack").track([(np.arange(3), still([2, 3]))]))
    with pytest.raises(RecordError, match=r"expected frames after 2, got frame 2"):
        list(Tracker("bytetrack").track([(np.arange(3), still([0])), (np.arange(2, 4), still([3]))]))


def test_the_fingerprint_tells_trackers_apart():
    made = [
        Tracker("bytetrack").fingerprint(),
        Tracker("botsort").fingerprint(),
        Tracker("botsort", lost_frames=9).fingerprint(),
    ]
    assert len({json.dumps(fingerprint) for fingerprint in made}) == 3
