"""Pose of the people in boxes: 17 key points by a network (docs/method.md, Features; Reiss & Hoshen, 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from mulde.errors import UsageError
from mulde.extractors.base import Fingerprint
from mulde.extractors.boxes import clip_boxes, overlap, pixel_bounds
from mulde.extractors.known_networks import OTHER_FILES, NetworkKind, ultralytics_networks
from mulde.extractors.spec import ExtractorSpec, Requirement, Shared
from mulde.extractors.wording import Comparison, Wording, farness
from mulde.extractors.yolo import YoloNetwork
from mulde.records import Bool, FeatureTable, Float32, Regions, UInt8, Window
from mulde.section import PathText, Section

JOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
"""The key points of COCO, in the order of pose networks."""
KEY_POINTS = len(JOINTS)
_MAX_JOINTS, _SHARE_OF_JOINTS = 3, 2 / 3
_GREY = 114
"""The colour around the crops, as such networks have it around their pictures in training."""
_MIN_OVERLAP = 0.3
"""A pose found in the whole frame belongs to the box that it overlaps most, at least by this much (IoU)."""
_MILLIONS = {"yolov8": (3.3, 11.6, 26.4, 44.4, 69.4), "yolo11": (2.9, 9.9, 20.9, 26.2, 58.8)}


class PoseSettings(Section):
    weights: PathText = Field(
        "yolov8n-pose.pt", min_length=1, description="path of pose weights, or an official name, downloaded once"
    )
    mode: Literal["crops", "frame"] = Field(
        "crops", description="crops: one pose in every box; frame: poses found in whole frames, matched to the boxes"
    )
    class_ids: tuple[Annotated[int, Field(ge=-1, le=2**31 - 1)], ...] = Field(
        (0,), description="detector classes that have a pose (0 = person, -1 = moving region); empty = all boxes"
    )
    columns: Annotated[int, Field(ge=1, le=16)] = Field(
        4, description="for crops: crops side by side on one picture that the network sees"
    )
    rows: Annotated[int, Field(ge=1, le=16)] = Field(3, description="for crops: rows of crops on that picture")
    margin: float = Field(0.1, ge=0, le=2, description="for crops: what is shown around a box, as a share of its sides")
    image_size: int = Field(
        640, ge=32, le=4096, multiple_of=32, description="pixels of the longer side inside the network"
    )
    confidence: float = Field(0.25, ge=0, le=1, description="for frame: least confidence of a person")
    keep_confidence: bool = Field(True, description="keep the confidence of each key point as a number of its own")


def normalise_points(points: Float32, box_xyxy: Float32) -> Float32:
    """Key points (N, 17, 3), x, y in pixels and confidence, with x and y as shares of the sides of boxes (N, 4).

    (0, 0) is the upper left corner of the box, (1, 1) the lower right one; a joint may lie outside.
    """
    sides = box_xyxy[:, 2:] - box_xyxy[:, :2]  # (N, 2)
    shares = (points[..., :2] - box_xyxy[:, None, :2]) / sides[:, None]
    return np.concatenate([shares, points[..., 2:]], axis=2)


class Pose:
    """Key points of each box of the classes `class_ids` (empty: of all boxes), as shares of the box's sides.

    51 numbers a row: x, y and confidence of 17 COCO key points; 34 without `keep_confidence`. `crops` (top-down): crops
    of many frames, `columns` x `rows` of them side by side on one picture, and for each the best candidate whose centre
    lies in its cell, so that every box gets a row, even an unsure one. `frame` (bottom-up): the poses that the network
    finds in the whole frame with at least `confidence`; boxes that none of them overlaps get no row.
    """

    name = "pose"
    object_centric = True
    before = after = 0

    def __init__(
        self,
        network: YoloNetwork,
        *,
        mode: Literal["crops", "frame"] = "crops",
        class_ids: Sequence[int] = (0,),
        columns: int = 4,
        rows: int = 3,
        margin: float = 0.1,
        confidence: float = 0.25,
        keep_confidence: bool = True,
    ) -> None:
        self.network, self.mode, self.class_ids = network, mode, tuple(class_ids)
        self.columns, self.rows, self.margin = columns, rows, margin
        self.confidence, self.keep_confidence = confidence, keep_confidence

    def fingerprint(self) -> Fingerprint:
        names = {"crops": ("columns", "rows", "margin"), "frame": ("confidence",)}[self.mode]
        return {
            "extractor": self.name,
            "version": 1,
            **self.network.fingerprint(),
            "mode": self.mode,
            "class_ids": sorted(self.class_ids),
            "image_size": self.network.image_size,
            "keep_confidence": self.keep_confidence,
            **{name: getattr(self, name) for name in names},
        }

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        people = regions.select(np.isin(regions.class_id, self.class_ids)) if self.class_ids else regions
        find = self._in_crops if self.mode == "crops" else self._in_frames
        points, has_pose = find(window, people)  # (N, 17, 3), (N,)
        people = people.select(has_pose)
        values = normalise_points(points[has_pose], people.box_xyxy)
        values = values if self.keep_confidence else values[..., :2]
        flat = np.ascontiguousarray(values.reshape(len(people), values.shape[2] * KEY_POINTS), np.float32)
        return FeatureTable(flat, people.frame_index, people.box_xyxy)

    def _in_crops(self, window: Window, people: Regions) -> tuple[Float32, Bool]:
        per_canvas, hw = self.columns * self.rows, self.network.canvas_hw
        sheets = [
            Sheet(window, people.select(np.arange(i, min(i + per_canvas, len(people)))), hw, self)
            for i in range(0, len(people), per_canvas)
        ]
        answers = self.network.answers(sheet.canvas for sheet in sheets)
        points = [sheet.read(self.network.candidates(answer)) for sheet, answer in zip(sheets, answers, strict=True)]
        nothing = np.zeros((0, KEY_POINTS, 3), np.float32)
        return np.concatenate([nothing, *points]), np.ones(len(people), np.bool_)

    def _in_frames(self, window: Window, people: Regions) -> tuple[Float32, Bool]:
        points, has_pose = np.zeros((len(people), KEY_POINTS, 3), np.float32), np.zeros(len(people), np.bool_)
        frames = np.unique(people.frame_index)
        poses = self.network.detect([window.image(f) for f in frames], confidence=self.confidence)
        for frame, pose in zip(frames, poses, strict=True):
            boxes = np.flatnonzero(people.frame_index == frame)
            shared = overlap(people.box_xyxy[boxes], pose[:, :4])  # (boxes, poses)
            while shared.size and (best := float(shared.max())) >= _MIN_OVERLAP:
                i, j = np.unravel_index(int(np.argmax(shared == best)), shared.shape)
                points[boxes[i]], has_pose[boxes[i]] = _key_points(pose[j : j + 1, 6:])[0], True
                shared[i], shared[:, j] = -1, -1
        return points, has_pose


class Sheet:
    """Crops side by side on one picture, and the mapping from that picture back to the frames.

    The crop of box i, grown by the margin, is scaled to fit cell i and centred in it; cells are in reading order.
    """

    def __init__(self, window: Window, people: Regions, canvas_hw: tuple[int, int], layout: Pose) -> None:
        import cv2

        height, width = canvas_hw
        self.cell_hw = np.array([height // layout.rows, width // layout.columns])
        self.columns, n = layout.columns, len(people)
        self.canvas: UInt8 = np.full((height, width, 3), _GREY, np.uint8)
        self.origin, self.corner, self.zoom = (np.zeros((n, 2), np.float32) for _ in range(3))
        grow = (people.box_xyxy[:, 2:] - people.box_xyxy[:, :2]) * layout.margin
        grown = clip_boxes(people.box_xyxy + np.concatenate([-grow, grow], axis=1), window.frames.size_hw)
        for i, (box, frame) in enumerate(zip(grown, people.frame_index, strict=True)):
            x0, y0, x1, y1 = pixel_bounds(box, window.frames.size_hw)
            size_hw = np.array([y1 - y0, x1 - x0])
            small_hw = np.maximum(np.floor(size_hw * (self.cell_hw / size_hw).min()), 1).astype(int)
            y, x = self.cell_hw * divmod(i, self.columns) + (self.cell_hw - small_hw) // 2
            self.canvas[y : y + small_hw[0], x : x + small_hw[1]] = cv2.resize(
                window.image(frame)[y0:y1, x0:x1], small_hw[::-1].tolist()
            )
            self.origin[i], self.corner[i] = (x0, y0), (x, y)
            self.zoom[i] = (small_hw / size_hw)[::-1]

    def read(self, candidates: Float32) -> Float32:
        """Key points (n, 17, 3) of the crops in pixels of their frames, from all candidates on the picture."""
        column, row = candidates[:, :2].T // self.cell_hw[::-1, None]
        cell = np.where((column >= 0) & (column < self.columns), row * self.columns + column, -1)
        points = np.zeros((len(self.origin), KEY_POINTS, 3), np.float32)
        for i in range(len(points)):
            confidence = np.where(cell == i, candidates[:, 4], -1)
            best = int(confidence.argmax())
            if confidence[best] >= 0:  # else the cell is empty
                points[i] = _key_points(candidates[best : best + 1, 5:])[0]
                points[i, :, :2] = (points[i, :, :2] - self.corner[i]) / self.zoom[i] + self.origin[i]
        return points


def _key_points(columns: Float32) -> Float32:
    if columns.shape[1] != 3 * KEY_POINTS:
        raise UsageError(
            "pose network",
            expected=f"one that gives x, y and confidence of {KEY_POINTS} key points",
            got=f"{columns.shape[1]} numbers per person",
            hint="weights such as yolov8n-pose.pt",
        )
    return columns.reshape(-1, KEY_POINTS, 3)


def _build(settings: PoseSettings, shared: Shared) -> Pose:
    machine = shared.machine
    network = YoloNetwork(
        settings.weights, task="pose", image_size=settings.image_size, device=machine.device, threads=machine.threads
    )
    return Pose(network, **settings.model_dump(exclude={"weights", "image_size"}))


def _groups(dim: int, settings: PoseSettings) -> tuple[str, ...]:
    del settings
    return tuple(joint for joint in JOINTS for _ in range(dim // len(JOINTS)))


def _describe(comparison: Comparison, settings: PoseSettings) -> Wording:
    """The joints that make up most of what is unusual."""
    del settings
    joints: list[str] = []
    explained = 0.0
    for joint, share in comparison.groups[:_MAX_JOINTS]:
        if explained >= _SHARE_OF_JOINTS or share <= 0:
            break
        joints.append(joint)
        explained += share
    return ("unusual pose" + (f": {', '.join(joints)}" if joints else "")), farness(comparison)


POSE = ExtractorSpec(
    name="pose",
    object_centric=True,
    settings=PoseSettings,
    build=_build,
    column_groups=_groups,
    describe=_describe,
    requirements=(
        *(Requirement(key, 'mode="crops"', lambda p: p.mode == "crops") for key in ("columns", "rows", "margin")),
        Requirement("confidence", 'mode="frame"', lambda p: p.mode == "frame"),
    ),
    official_weights=True,
    networks=NetworkKind(
        "pose",
        lambda: ultralytics_networks(
            "pose", "features.pose.weights", _MILLIONS, ending="-pose", numbers=3 * KEY_POINTS
        ),
        lambda: OTHER_FILES,
    ),
)
