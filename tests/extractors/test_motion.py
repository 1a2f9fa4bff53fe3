"""Moving regions on footage where the answer is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.extractors.finders import UnitedRegions
from mulde.extractors.motion import MotionRegions
from mulde.records import Frames, Regions, Window


def window(images: np.ndarray, first: int = 0, last: int | None = None) -> Window:
    n = len(images)
    return Window(Frames(images, np.arange(n), np.arange(n) / 25), first, n if last is None else last)


def appearing(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Two frames; white boxes (x0, y0, x1, y1) appear in the second."""
    images = np.full((2, 90, 120, 3), 50, np.uint8)
    for x0, y0, x1, y1 in boxes:
        images[1, y0:y1, x0:x1] = 200
    return images


def test_a_change_is_found_where_it_is():
    found = MotionRegions(blur_px=1, grow_px=0).find(window(appearing((30, 20, 50, 60))), Regions.empty())
    assert found.box_xyxy.tolist() == [[30, 20, 50, 60]]
    assert (found.frame_index.tolist(), found.class_id.tolist(), found.confidence.tolist()) == ([1], [-1], [1])


def test_a_still_picture_and_the_first_frame_have_none():
    finder = MotionRegions()
    assert len(finder.find(window(appearing()), Regions.empty())) == 0
    assert len(finder.find(window(appearing((30, 20, 50, 60)), 0, 1), Regions.empty())) == 0


@pytest.mark.parametrize(
    ("settings", "count"),
    [({}, 1), ({"threshold": 160}, 0), ({"min_area_px": 1000}, 0), ({"max_aspect": 1.5}, 0)],
)
def test_each_limit_counts(settings, count):
    found = MotionRegions(**settings).find(window(appearing((30, 20, 50, 60))), Regions.empty())
    assert len(found) == count


def test_regions_grow_but_not_over_the_border():
    found = MotionRegions(blur_px=1, grow_px=3).find(window(appearing((0, 20, 30, 60))), Regions.empty())
    assert found.box_xyxy.tolist() == [[0, 17, 33, 63]]


def test_known_boxes_are_blanked_with_a_margin():
    known = Regions(
        np.array([[32, 22, 48, 58]], np.float32), np.array([1]), np.ones(1, np.float32), np.zeros(1, np.int64)
    )
    found = MotionRegions(blur_px=1).find(window(appearing((30, 20, 50, 60), (80, 20, 100, 60))), known)
    assert found.box_xyxy.tolist() == [[78, 18, 102, 62]]


def test_joining_makes_one_region_of_near_changes_without_growing_it():
    images = appearing((30, 20, 50, 40), (30, 46, 50, 60))
    apart = MotionRegions(blur_px=1, grow_px=0, join_px=0).find(window(images), Regions.empty())
    joined = MotionRegions(blur_px=1, grow_px=0, join_px=3).find(window(images), Regions.empty())
    assert len(apart) == 2
    assert joined.box_xyxy.tolist() == [[30, 20, 50, 60]]


def test_united_finders_apply_the_overlap_rule_over_all():
    class Fixed:
        before = 0

        def __init__(self, boxes):
            self.boxes = np.array(boxes, np.float32)

        def fingerprint(self):
            return {"boxes": self.boxes.tolist()}

        def find(self, window, known):
            index = np.full(len(self.boxes), window.core_index[0])
            return Regions(self.boxes, index, np.ones(len(self.boxes), np.float32), np.zeros(len(self.boxes), np.int64))

    united = UnitedRegions([Fixed([[0, 0, 40, 40]]), Fixed([[5, 5, 30, 30], [50, 50, 70, 70]])])
    assert united.find(window(appearing(), 1, 2)).box_xyxy.tolist() == [[0, 0, 40, 40], [50, 50, 70, 70]]
    assert united.fingerprint() != UnitedRegions([Fixed([[0, 0, 40, 40]])]).fingerprint()


def test_cutting_the_stream_changes_nothing():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (9, 40, 50, 3)).astype(np.uint8)
    finder = MotionRegions(min_area_px=4, join_px=0)
    whole = finder.find(window(images), Regions.empty())
    pieces = [finder.find(window(images, a, b), Regions.empty()) for a, b in ((0, 4), (4, 5), (5, 9))]
    assert len(whole) > 9
    assert np.array_equal(whole.box_xyxy, np.concatenate([p.box_xyxy for p in pieces]))
