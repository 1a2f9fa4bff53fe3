"""Rows of maps against loops over all boxes."""

from __future__ import annotations

import numpy as np

from mulde.reconstruction.peaks import frame_rows, object_rows


def test_a_frame_has_the_highest_mean_of_any_box():
    maps = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    height, width = 2, 2  # 1/16 and 14/256 of 32
    padded = np.pad(maps, ((0, 0), (0, 0), (height, height), (width, width)))
    expected = np.full((2, 3), -np.inf)
    for n, m, i, j in np.ndindex(2, 3, 33, 33):
        box = padded[n, m, i + 1 : i + 1 + height, j + 1 : j + 1 + width]
        expected[n, m] = max(expected[n, m], box.mean())
    np.testing.assert_allclose(frame_rows(maps), np.log(expected), rtol=1e-5)


def test_boxes_of_256_pixels_are_those_of_the_paper():
    maps = np.zeros((1, 1, 256, 256), np.float32)
    maps[0, 0, 100:116, 60:74] = 1
    np.testing.assert_allclose(frame_rows(maps), 0, atol=1e-6)
    maps[0, 0, 115] = 0
    np.testing.assert_allclose(np.exp(frame_rows(maps)), 15 / 16, rtol=1e-5)


def test_an_object_has_mean_and_maximum_inside_its_box():
    maps = np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)
    boxes = np.array([[10, 20, 30, 50], [0, 0, 128, 96], [127.2, 95.5, 128, 96], [5.1, 5.1, 5.2, 5.2]], np.float32)
    rows = object_rows(maps, boxes, (96, 128))
    parts = [(slice(13, 34), slice(5, 15)), (slice(0, 64), slice(0, 64)), (slice(63, 64), slice(63, 64)),
             (slice(3, 4), slice(2, 3))]  # fmt: skip
    for row, (y, x) in zip(rows, parts, strict=True):
        for m in range(3):
            inside = maps[m, y, x]
            np.testing.assert_allclose(np.exp(row[2 * m : 2 * m + 2]), [inside.mean(), inside.max()], rtol=1e-5)
    assert object_rows(maps, boxes[:0], (96, 128)).shape == (0, 6)


def test_nothing_unusual_is_a_finite_number():
    assert np.isfinite(frame_rows(np.zeros((1, 2, 32, 32), np.float32))).all()
    assert np.isfinite(
        object_rows(np.zeros((2, 32, 32), np.float32), np.array([[0, 0, 9, 9]], np.float32), (32, 32))
    ).all()
