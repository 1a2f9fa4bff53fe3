"""Velocity: the histogram against a loop over pixels, the flow against known shifts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mulde.extractors.flow import DisFlow
from mulde.extractors.velocity import Velocity, orientation_histogram
from mulde.records import Frames, Regions, Window


def slow_histogram(flow, bins):
    height, width, _ = flow.shape
    total = [0.0] * bins
    for y in range(height):
        for x in range(width):
            u, v = (float(c) for c in flow[y, x])
            angle = np.degrees(np.arctan2(v, u)) % 360
            nearest = min(range(bins), key=lambda b: abs((angle - 360 * b / bins + 180) % 360 - 180))
            total[nearest] += (u * u + v * v) ** 0.5
    return [t / (height * width) for t in total]


@pytest.mark.parametrize("bins", [1, 4, 8, 9])
def test_the_histogram_equals_a_loop_over_pixels(bins):
    flow = np.random.default_rng(bins).normal(size=(7, 5, 2)).astype(np.float32)
    histogram = orientation_histogram(flow, bins)
    assert histogram == pytest.approx(slow_histogram(flow, bins), rel=1e-5)
    assert histogram.sum() == pytest.approx(np.linalg.norm(flow, axis=2).mean(), rel=1e-5)


@pytest.mark.parametrize(("u", "v", "direction"), [(3, 0, 0), (0, 3, 2), (-3, 0, 4), (0, -3, 6), (2, 2, 1)])
def test_each_direction_has_its_bin(u, v, direction):
    flow = np.zeros((6, 6, 2), np.float32)
    flow[:3] = u, v  # half of the pixels move
    expected = np.zeros(8)
    expected[direction] = np.hypot(u, v) / 2
    assert orientation_histogram(flow, 8) == pytest.approx(expected)


def drifting(shift_x: float, shift_y: float, num_frames: int = 6) -> np.ndarray:
    """(T, 96, 128, 3): a smooth texture that drifts by (shift_x, shift_y) pixels per frame."""
    rng = np.random.default_rng(1)
    ground = cv2.GaussianBlur(rng.integers(0, 255, (200, 240)).astype(np.uint8), (0, 0), 3)
    ground = cv2.normalize(ground, None, 0, 255, cv2.NORM_MINMAX)
    frames = []
    for t in range(num_frames):
        move = np.float32([[1, 0, -50 + shift_x * t], [0, 1, -50 + shift_y * t]])
        frames.append(cv2.warpAffine(ground, move, (128, 96), borderMode=cv2.BORDER_REFLECT))
    return np.repeat(np.stack(frames)[..., None], 3, axis=3)


def windowed(images, first=0, last=None):
    n = len(images)
    return Window(Frames(images, np.arange(n), np.arange(n) / 25), first, n if last is None else last)


def one_box_per_frame(n, box=(30, 20, 90, 80)):
    return Regions(
        np.tile(np.array(box, np.float32), (n, 1)), np.arange(n), np.ones(n, np.float32), np.zeros(n, np.int64)
    )


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(("x", "y", "direction"), [(2, 0, 0), (-2, 0, 4), (0, 1.5, 2)])
def test_a_known_drift_is_measured_in_every_frame(x, y, direction, step):
    table = Velocity(step=step).extract(windowed(drifting(x, y)), one_box_per_frame(6))
    assert table.values.argmax(axis=1).tolist() == [direction] * 6
    assert table.values[:, direction] == pytest.approx(abs(x) + abs(y), rel=0.1)


def test_a_video_too_short_for_motion_has_zero_velocity():
    table = Velocity().extract(windowed(drifting(2, 0, 1)), one_box_per_frame(1))
    assert table.values.tolist() == [[0.0] * 8]


def test_motion_belongs_to_the_pixels_of_the_frame_where_the_box_is():
    """A fast small thing: its box in frame t must see its speed, its old place must not."""
    rng = np.random.default_rng(3)
    thing = cv2.GaussianBlur(rng.integers(0, 255, (30, 30)).astype(np.uint8), (0, 0), 2)
    thing = cv2.normalize(thing, None, 0, 255, cv2.NORM_MINMAX)
    images = np.full((2, 96, 128, 3), 120, np.uint8)
    images[0, 30:60, 40:70] = thing[..., None]
    images[1, 30:60, 48:78] = thing[..., None]
    here = Regions(
        np.array([[52, 34, 74, 56]], np.float32), np.array([1]), np.ones(1, np.float32), np.zeros(1, np.int64)
    )
    speed = Velocity(bins=1).extract(windowed(images, 1), here).values[0, 0]
    assert speed == pytest.approx(8, rel=0.2)


def test_no_boxes_no_rows():
    table = Velocity(bins=4).extract(windowed(drifting(1, 0)), Regions.empty())
    assert table.values.shape == (0, 4)


def test_flow_of_a_tiny_picture_is_defined():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 9, 11, 3)).astype(np.uint8)
    assert DisFlow()(images[0], images[1]).shape == (9, 11, 2)


def test_settings_are_in_the_fingerprint():
    prints = [Velocity().fingerprint(), Velocity(step=2).fingerprint(), Velocity(bins=1).fingerprint()]
    prints.append(Velocity(flow=DisFlow("fast")).fingerprint())
    assert len({str(p) for p in prints}) == 4
