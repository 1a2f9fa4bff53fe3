"""Pose: key points from a network of known answers come back to the right place; real weights on real people."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.errors import UsageError
from mulde.extractors.detector import YoloRegions
from mulde.extractors.pose import KEY_POINTS, Pose, Sheet, normalise_points
from mulde.extractors.yolo import YoloNetwork
from mulde.media import open_video
from mulde.records import Frames, Regions, Window

RNG = np.random.default_rng(0)


class BrightestPixel:
    """Stands in for a pose network: in every cell of the picture its 17 key points are the brightest pixel."""

    batch_size, image_size = 1, 640
    canvas_hw = (480, 640)

    def __init__(self, columns: int, rows: int, silent: tuple[int, ...] = ()) -> None:
        self.columns, self.rows, self.silent = columns, rows, silent
        self.seen: list[np.ndarray] = []
        self.poses: list[np.ndarray] = []

    def fingerprint(self):
        return {}

    def answers(self, canvases):
        for canvas in canvases:
            self.seen.append(canvas)
            yield canvas

    def candidates(self, canvas):
        height, width = self.canvas_hw[0] // self.rows, self.canvas_hw[1] // self.columns
        found = []
        for cell in range(self.rows * self.columns):
            y0, x0 = (cell // self.columns) * height, (cell % self.columns) * width
            grey = canvas[y0 : y0 + height, x0 : x0 + width].sum(axis=2)
            y, x = np.unravel_index(int(grey.argmax()), grey.shape)
            points = np.tile([x0 + x + 0.5, y0 + y + 0.5, 0.9], KEY_POINTS)
            middle = [x0 + width / 2, y0 + height / 2, width, height]
            if cell not in self.silent:
                found.append([*middle, 0.2, *points])
                found.append([*middle, 0.1, *np.zeros(3 * KEY_POINTS)])  # a worse one in the same cell
        return np.array(found, np.float32).reshape(-1, 5 + 3 * KEY_POINTS)

    def detect(self, images, *, confidence):
        return self.poses


def scene(boxes: list[list[float]], frames: list[int], points: list[tuple[int, int]]) -> tuple[Window, Regions]:
    """Dark frames of 60 x 80 with one white pixel (x, y) per box."""
    images = np.zeros((3, 60, 80, 3), np.uint8)
    for frame, (x, y) in zip(frames, points, strict=True):
        images[frame, y, x] = 255
    n = len(boxes)
    regions = Regions(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(frames, np.int64), np.ones(n, np.float32), np.zeros(n, int)
    )
    return Window(Frames(images, np.arange(3), np.arange(3) / 25), 0, 3), regions


BOXES = [[0, 0, 10, 30], [40, 20, 71, 57], [70, 50, 80, 60], [5.5, 3.25, 25.75, 44.5], [30, 30, 50, 34]]
POINTS = [(4, 20), (60, 40), (75, 55), (12, 30), (40, 32)]


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 2), (4, 3)])
def test_points_come_back_to_where_they_are_in_the_frame(columns, rows):
    window, regions = scene(BOXES, [0, 0, 1, 2, 2], POINTS)
    network = BrightestPixel(columns, rows)
    table = Pose(network, columns=columns, rows=rows).extract(window, regions)
    assert table.values.shape == (5, 51)
    assert len(network.seen) == -(-5 // (columns * rows))  # crops of all frames share the pictures
    x0, y0, x1, y1 = regions.box_xyxy.T
    pixel = 1.01  # half of one of the frame, half of one of the network's picture
    for i, (x, y) in enumerate(POINTS):
        found = table.values[i].reshape(KEY_POINTS, 3)[5]
        assert abs(x0[i] + found[0] * (x1 - x0)[i] - (x + 0.5)) < pixel
        assert abs(y0[i] + found[1] * (y1 - y0)[i] - (y + 0.5)) < pixel
        assert found[2] == pytest.approx(0.9)


@pytest.mark.parametrize("margin", [0, 0.1, 0.5])
def test_the_corners_of_a_crop_lie_on_the_corners_of_what_it_shows(margin):
    window, regions = scene(BOXES, [0, 0, 1, 2, 2], POINTS)
    sheet = Sheet(window, regions, (481, 643), Pose(BrightestPixel(4, 3), columns=4, rows=3, margin=margin))
    for i, (x0, y0, x1, y1) in enumerate(BOXES):
        across, down = margin * (x1 - x0), margin * (y1 - y0)
        shown = np.array([max(x0 - across, 0), max(y0 - down, 0), min(x1 + across, 80), min(y1 + down, 60)])
        shown = np.concatenate([np.floor(shown[:2] + 1e-4), np.ceil(shown[2:] - 1e-4)])  # whole pixels
        cell = (np.array([i % 4, i // 4]) + 0.5) * sheet.cell_hw[::-1]
        drawn = sheet.zoom[i] * (shown[2:] - shown[:2])
        assert (drawn <= sheet.cell_hw[::-1] + 1e-3).all()
        assert sheet.corner[i] + drawn / 2 == pytest.approx(cell, abs=1)  # in the middle of its cell
        points = np.zeros((KEY_POINTS, 3), np.float32)
        points[:2, :2] = [sheet.corner[i], sheet.corner[i] + drawn]
        candidate = np.array([[*cell, 1, 1, 0.1, *points.ravel()]], np.float32)
        assert sheet.read(candidate)[i, :2, :2].ravel() == pytest.approx(shown, abs=1e-3)


def test_a_candidate_counts_in_the_cell_that_its_middle_is_in():
    window, regions = scene(BOXES, [0, 0, 1, 2, 2], POINTS)
    sheet = Sheet(window, regions, (480, 640), Pose(BrightestPixel(4, 3), columns=4, rows=3))
    middles = [(159.9, 80), (160, 80), (640, 80), (-1, 200), (80, -1), (700, 470)]  # cell 0, cell 1, four outside
    candidates = np.array([[x, y, 1, 1, 0.5, *np.full(3 * KEY_POINTS, 7)] for x, y in middles], np.float32)
    assert sheet.read(candidates)[:, 0, 2].tolist() == [7, 7, 0, 0, 0]


def test_a_cell_without_a_candidate_gives_no_confidence():
    window, regions = scene(BOXES, [0, 0, 1, 2, 2], POINTS)
    table = Pose(BrightestPixel(4, 3, silent=(1,)), columns=4, rows=3).extract(window, regions)
    confidence = table.values.reshape(5, KEY_POINTS, 3)[..., 2]
    assert confidence[1].max() == 0
    assert confidence[[0, 2, 3, 4]].min() == pytest.approx(0.9)


def test_only_boxes_of_the_wanted_classes_get_a_pose():
    window, regions = scene(BOXES, [0, 0, 1, 2, 2], POINTS)
    mixed = Regions(regions.box_xyxy, regions.frame_index, regions.confidence, np.array([0, -1, 2, 0, -1]))
    count = {ids: len(Pose(BrightestPixel(4, 3), class_ids=ids).extract(window, mixed)) for ids in ((0,), (0, -1), ())}
    assert count == {(0,): 2, (0, -1): 4, (): 5}
    nothing = Pose(BrightestPixel(4, 3), class_ids=(7,)).extract(window, mixed)
    assert nothing.values.shape == (0, 51)


def test_without_confidences_a_row_has_34_numbers():
    window, regions = scene(BOXES, [0, 0, 1, 2, 2], POINTS)
    with_them = Pose(BrightestPixel(4, 3)).extract(window, regions).values.reshape(5, KEY_POINTS, 3)
    without = Pose(BrightestPixel(4, 3), keep_confidence=False).extract(window, regions).values
    assert np.array_equal(without.reshape(5, KEY_POINTS, 2), with_them[..., :2])


def pose_at(box: list[float], value: float) -> np.ndarray:
    return np.array([*box, 0.9, 0, *np.full(3 * KEY_POINTS, value)], np.float32)


def test_poses_of_whole_frames_go_to_the_box_that_they_overlap_most_and_to_no_other():
    window, regions = scene([[0, 0, 20, 20], [4, 0, 24, 20], [50, 30, 70, 50]], [0, 0, 0], [(1, 1)] * 3)
    network = BrightestPixel(1, 1)
    network.poses = [np.stack([pose_at([5, 0, 24, 20], 10), pose_at([0, 30, 9, 50], 20), pose_at([1, 0, 21, 20], 30)])]
    table = Pose(network, mode="frame").extract(window, regions)
    assert table.box_xyxy is not None
    assert table.box_xyxy.tolist() == [[0, 0, 20, 20], [4, 0, 24, 20]]  # nothing was found in the third
    confidence = table.values.reshape(2, KEY_POINTS, 3)[:, 0, 2]
    assert confidence.tolist() == [30, 10]
    assert table.values[1, 0] == pytest.approx((10 - 4) / 20)


def test_one_pose_belongs_to_one_box_alone():
    window, regions = scene([[0, 0, 20, 20], [1, 0, 21, 20]], [0, 0], [(1, 1)] * 2)
    network = BrightestPixel(1, 1)
    network.poses = [pose_at([1, 0, 21, 20], 10)[None]]
    table = Pose(network, mode="frame").extract(window, regions)
    assert table.box_xyxy is not None
    assert table.box_xyxy.tolist() == [[1, 0, 21, 20]]


def test_points_are_shares_of_the_sides_of_the_box():
    box = np.array([[10, 20, 30, 60]], np.float32)
    points = np.zeros((1, 3, 3), np.float32)
    points[0, :, :2] = [[10, 20], [30, 60], [25, 10]]
    assert normalise_points(points, box)[0, :, :2].tolist() == [[0, 0], [1, 1], [0.75, -0.25]]


def test_a_network_of_other_key_points_is_a_sentence():
    window, regions = scene(BOXES[:1], [0], POINTS[:1])
    network = BrightestPixel(1, 1)
    network.candidates = lambda canvas: np.zeros((1, 5 + 3 * 9), np.float32)
    with pytest.raises(UsageError, match=r"pose network: expected one .* of 17 key points, got 27 numbers per person"):
        Pose(network, columns=1, rows=1).extract(window, regions)


def test_people_on_real_footage_have_sure_key_points_on_them(weights, ped2_clips):
    with open_video(ped2_clips / "Test" / "Test001.mp4", batch_size=2) as reader:
        window = Window(next(iter(reader)), 0, 2)
    detector = YoloRegions(YoloNetwork(str(weights / "yolov8n_int8_openvino_model"), task="detect", image_size=640))
    people = detector.find(window, Regions.empty())
    network = YoloNetwork(str(weights / "yolov8n-pose_int8_openvino_model"), task="pose", image_size=640)
    points = Pose(network).extract(window, people).values.reshape(-1, KEY_POINTS, 3)
    assert points[..., 2].mean() > 0.65
    inside = ((points[..., :2] > -0.2) & (points[..., :2] < 1.2)).all(axis=2)
    assert inside[points[..., 2] > 0.5].mean() > 0.95
    nose, ankle = points[:, 0, 1], points[:, 15:, 1].mean(axis=1)
    assert (ankle > nose).mean() > 0.95  # people stand on their feet
