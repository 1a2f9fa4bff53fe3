"""Box geometry against brute force on pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulde.extractors.boxes import area, clip_boxes, covered_by_larger, crop, keep_boxes, overlap, pixel_bounds

whole_boxes = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 10), st.integers(1, 10)), max_size=6
).map(lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32).reshape(-1, 4))


def painted(box) -> np.ndarray:
    canvas = np.zeros((24, 24), bool)
    x0, y0, x1, y1 = (int(v) for v in box)
    canvas[y0:y1, x0:x1] = True
    return canvas


@given(whole_boxes, st.floats(0.1, 0.95))
def test_the_overlap_rule_counts_pixels(boxes, max_cover):
    canvases = [painted(box) for box in boxes]
    expected = [
        any(
            (b.sum() > a.sum() or (b.sum() == a.sum() and j < i)) and (a & b).sum() > np.float32(max_cover * a.sum())
            for j, b in enumerate(canvases)
            if j != i
        )
        for i, a in enumerate(canvases)
    ]
    assert covered_by_larger(boxes, max_cover).tolist() == expected
    assert area(boxes).tolist() == [c.sum() for c in canvases]


def test_boxes_of_other_frames_do_not_cover():
    boxes = np.array([[0, 0, 20, 20], [1, 1, 15, 15], [1, 1, 15, 15], [0, 0, 5, 5]], np.float32)
    kept = keep_boxes(boxes, np.array([0, 0, 1, 1]), min_area_px=100, max_cover=0.6)
    assert kept.tolist() == [True, False, True, False]  # the last is too small


@pytest.mark.parametrize(
    ("box", "bounds"),
    [
        ((2.2, 3.0, 5.1, 6.9), (2, 3, 6, 7)),
        ((-9, -9, 2, 2), (0, 0, 2, 2)),
        ((30, 30, 40, 40), (9, 7, 10, 8)),
        ((4.1, 4.1, 4.2, 4.2), (4, 4, 5, 5)),
    ],
)
def test_pixel_bounds_hold_at_least_one_pixel_of_the_picture(box, bounds):
    assert pixel_bounds(np.array(box, np.float32), (8, 10)) == bounds
    assert crop(np.zeros((8, 10, 3), np.uint8), np.array(box, np.float32)).size > 0


def test_clipping_keeps_x_to_the_width_and_y_to_the_height():
    assert clip_boxes(np.array([[-5, -5, 99, 99]], np.float32), (8, 10)).tolist() == [[0, 0, 10, 8]]


@given(whole_boxes, whole_boxes)
def test_overlap_counts_shared_pixels_among_all_pixels(a, b):
    expected = [[(painted(i) & painted(j)).sum() / (painted(i) | painted(j)).sum() for j in b] for i in a]
    assert overlap(a, b).shape == (len(a), len(b))
    assert overlap(a, b) == pytest.approx(np.array(expected, np.float32).reshape(len(a), len(b)))
    assert np.array_equal(overlap(a, b), overlap(b, a).T)
