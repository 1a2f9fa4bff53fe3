"""Velocity and the histogram of frames: against a loop over pixels, known drifts and closed forms."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mulde.extractors.flow import DisFlow, SharedMotion
from mulde.extractors.flow_histogram import FlowHistogram, grid_histogram
from mulde.extractors.velocity import Velocity, ground_scale, orientation_histogram
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


class Steady:
    """A flow that is the same everywhere: what was here has come from (u, v) pixels further left and up."""

    def __init__(self, u: float, v: float) -> None:
        self.uv = u, v

    def fingerprint(self):
        return {"flow": "steady"}

    def of_pairs(self, images, pairs):
        for start, end in pairs:
            yield np.full((*images[start].shape[:2], 2), self.uv, np.float32) * (end - start)


def velocity_of(boxes, size_hw=(100, 80), **options):
    """Velocity, one bin, of boxes in a frame where everything moves at 5 pixels per frame."""
    regions = Regions(
        np.array(boxes, np.float32), np.ones(len(boxes), np.int64), np.ones(len(boxes), np.float32),
        np.zeros(len(boxes), np.int64),
    )  # fmt: skip
    window = windowed(np.zeros((2, *size_hw, 3), np.uint8))
    return Velocity(motion=SharedMotion(Steady(3, 4)), bins=1, **options).extract(window, regions).values.ravel()


def test_velocity_in_box_heights():
    boxes = [[0, 0, 10, 50], [5, 40, 9, 60], [5, 10, 9, 10.25]]  # the last one is lower than a pixel
    assert velocity_of(boxes) == pytest.approx([5, 5, 5])
    assert velocity_of(boxes, normalise="height") == pytest.approx([5 / 50, 5 / 20, 5])


def test_velocity_as_seen_at_the_lower_border():
    ground_point = [100, 60, 30, 22, 20, 10, 110]  # the horizon is at 20 of 100 pixels
    boxes = [[10, foot - 8, 20, foot] for foot in ground_point]
    scale = [1, 0.5, 0.125, 0.05, 0.05, 0.05, 1.125]
    assert ground_scale(np.array(boxes, np.float32), 100, 0.2) == pytest.approx(scale)
    assert velocity_of(boxes, normalise="perspective", horizon=0.2) == pytest.approx(5 / np.array(scale))


def test_perspective_makes_one_walk_over_the_ground_one_speed_at_any_depth():
    """A pinhole camera: a thing at depth z has its feet at horizon + rise / z and moves by speed / z pixels."""
    horizon_px, rise = 30.0, 700.0
    speeds = []
    for depth in (10, 20, 50):
        foot = horizon_px + rise / depth
        scale = ground_scale(np.array([[0, 0, 5, foot]], np.float32), 100, horizon_px / 100)[0]
        speeds.append(40 / depth / scale)
    assert speeds == pytest.approx([speeds[0]] * 3, rel=1e-5)


def test_a_far_horizon_is_no_perspective():
    boxes = [[0, 0, 10, 20], [0, 0, 10, 90]]
    assert velocity_of(boxes, normalise="perspective", horizon=-100) == pytest.approx([5, 5], rel=0.01)


@pytest.mark.parametrize("size_hw", [(7, 5), (12, 12), (2, 3)])
@pytest.mark.parametrize("bins", [1, 2, 8])
@pytest.mark.parametrize("grid", [1, 2, 4])
def test_the_grid_histogram_equals_a_loop_over_cells(size_hw, bins, grid):
    flow = np.random.default_rng(bins).normal(size=(*size_hw, 2)).astype(np.float32)
    expected = []
    for row in range(grid):
        for column in range(grid):
            ys = [y for y in range(size_hw[0]) if y * grid // size_hw[0] == row]
            xs = [x for x in range(size_hw[1]) if x * grid // size_hw[1] == column]
            empty = not ys or not xs  # more cells than pixels
            expected += [0.0] * bins if empty else slow_histogram(flow[np.ix_(ys, xs)], bins)
    assert grid_histogram(flow, grid, bins) == pytest.approx(expected, rel=1e-5)


def test_one_cell_is_the_histogram_of_a_box_as_large_as_the_frame():
    flow = np.random.default_rng(0).normal(size=(30, 40, 2)).astype(np.float32)
    assert grid_histogram(flow, 1, 8).tobytes() == orientation_histogram(flow, 8).tobytes()


def test_the_flow_histogram_has_a_row_per_core_frame_and_needs_no_boxes():
    window = windowed(drifting(2, 0), 2, 5)
    table = FlowHistogram(grid=2).extract(window, Regions.empty())
    assert table.values.shape == (3, 2 * 2 * 8)
    assert table.frame_index.tolist() == [2, 3, 4]
    assert table.box_xyxy is None
    assert table.values.reshape(3, 4, 8).argmax(axis=2).tolist() == [[0] * 4] * 3
    assert table.values.reshape(3, 4, 8)[:, :, 0] == pytest.approx(np.full((3, 4), 2), rel=0.1)
    assert FlowHistogram(grid=2).extract(windowed(drifting(2, 0), 3, 3), Regions.empty()).values.shape == (0, 32)


def test_velocity_and_flow_histogram_agree_on_directions():
    window, whole = windowed(drifting(0, 1.5), 1), one_box_per_frame(6, (0, 0, 128, 96)).select(np.arange(1, 6))
    assert np.array_equal(Velocity().extract(window, whole).values, FlowHistogram().extract(window, whole).values)


def test_settings_are_in_the_fingerprint():
    fast = SharedMotion(DisFlow("fast"))
    prints = [Velocity(), Velocity(step=2), Velocity(bins=1), Velocity(motion=fast), Velocity(normalise="height")]
    prints += [Velocity(normalise="perspective", horizon=h) for h in (0.0, 0.3)]
    prints += [FlowHistogram(), FlowHistogram(step=2), FlowHistogram(bins=1), FlowHistogram(grid=2)]
    prints += [FlowHistogram(motion=fast)]
    assert len({str(p.fingerprint()) for p in prints}) == len(prints)


def test_features_stored_before_there_was_a_choice_of_flow_and_unit_stay_valid():
    expected = {"extractor": "velocity", "version": 2, "step": 1, "bins": 8}
    expected |= {"flow": "dis", "preset": "medium", "opencv": cv2.__version__}
    assert Velocity().fingerprint() == Velocity(horizon=0.5).fingerprint() == expected
