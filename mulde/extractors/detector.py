"""Boxes of objects by a detector."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from mulde.errors import UsageError
from mulde.extractors.base import Fingerprint
from mulde.extractors.boxes import area, clip_boxes
from mulde.extractors.known_networks import OTHER_FILES, NetworkKind, ultralytics_networks
from mulde.extractors.yolo import YoloNetwork
from mulde.records import Regions, Window

_MILLIONS = {"yolov8": (3.2, 11.2, 25.9, 43.7, 68.2), "yolo11": (2.6, 9.4, 20.1, 25.3, 56.9)}
DETECTORS = NetworkKind(
    "detector",
    lambda: ultralytics_networks("detector", "regions.yolo.weights", _MILLIONS),
    lambda: OTHER_FILES,
)


class YoloRegions:
    """Boxes that a YOLO detector finds. `classes` are names or numbers that the weights know; None keeps all."""

    before = 0

    def __init__(
        self, network: YoloNetwork, *, confidence: float = 0.25, classes: tuple[str, ...] | None = None
    ) -> None:
        self.network, self.confidence, self.classes = network, confidence, classes

    def fingerprint(self) -> Fingerprint:
        return {
            "finder": "yolo",
            **self.network.fingerprint(),
            "confidence": self.confidence,
            "classes": sorted(self.classes) if self.classes is not None else None,
            "image_size": self.network.image_size,
        }

    def find(self, window: Window, known: Regions) -> Regions:
        del known  # a detector looks at the whole frame
        images = window.frames.images[window.first : window.last]
        detections = self.network.detect(images, confidence=self.confidence, classes=self._class_numbers)
        if not sum(map(len, detections)):
            return Regions.empty()
        rows = np.concatenate(detections)
        box_xyxy = clip_boxes(rows[:, :4], window.frames.size_hw)
        frame_index = np.repeat(window.core_index, [len(boxes) for boxes in detections])
        keep = area(box_xyxy) > 0
        return Regions(box_xyxy[keep], frame_index[keep], rows[keep, 4], rows[keep, 5].astype(np.int64))

    @cached_property
    def _class_numbers(self) -> list[int] | None:
        if self.classes is None:
            return None
        names = self.network.names
        numbers = {name: number for number, name in names.items()} | {str(n): n for n in names}
        unknown = [c for c in self.classes if c not in numbers]
        if unknown:
            raise UsageError(
                f"class {unknown[0]!r} of the detector",
                expected=f"one of {', '.join(names.values())}",
                hint="yolo.classes with names the weights know",
            )
        return [numbers[c] for c in self.classes]
