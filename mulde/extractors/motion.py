"""Moving regions by frame differencing, without weights (docs/method.md, Features)."""

from __future__ import annotations

import numpy as np

from mulde.extractors.base import Fingerprint
from mulde.extractors.boxes import clip_boxes, pixel_bounds
from mulde.records import Bool, Float32, Regions, UInt8, Window


class MotionRegions:
    """Boxes around what moved between a frame and the previous one, outside the boxes already known."""

    before = 1

    def __init__(
        self,
        *,
        threshold: int = 18,
        blur_px: int = 3,
        min_area_px: float = 100,
        max_aspect: float = 10,
        grow_px: int = 2,
        join_px: int = 0,
    ) -> None:
        self.threshold, self.blur_px, self.min_area_px = threshold, blur_px, min_area_px
        self.max_aspect, self.grow_px, self.join_px = max_aspect, grow_px, join_px

    def fingerprint(self) -> Fingerprint:
        import cv2

        names = ("threshold", "blur_px", "min_area_px", "max_aspect", "grow_px", "join_px")
        return {"finder": "motion", "opencv": cv2.__version__, **{name: getattr(self, name) for name in names}}

    def find(self, window: Window, known: Regions) -> Regions:
        boxes, indices = [], []
        for row in range(max(window.first, 1), window.last):
            frame = window.frames.frame_index[row]
            blank = known.box_xyxy[known.frame_index == frame]
            moved = self._between(window.frames.images[row - 1], window.frames.images[row], blank)
            boxes.append(moved)
            indices.append(np.full(len(moved), frame, np.int64))
        if not boxes:
            return Regions.empty()
        box_xyxy = np.concatenate(boxes)
        n = len(box_xyxy)
        return Regions(box_xyxy, np.concatenate(indices), np.ones(n, np.float32), np.full(n, -1, np.int64))

    def _between(self, previous: UInt8, current: UInt8, blank: Float32) -> Float32:
        """Boxes (N, 4) of what changed from one RGB image to the next, `blank` boxes left out."""
        changed = self._changed(previous, current)
        for box in blank:
            grown = box + np.array([-1, -1, 1, 1], np.float32) * self.grow_px
            x0, y0, x1, y1 = pixel_bounds(grown, changed.shape)
            changed[y0:y1, x0:x1] = False
        return self._outline(changed)

    def _changed(self, previous: UInt8, current: UInt8) -> Bool:
        import cv2

        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (previous, current)]
        if self.blur_px > 1:
            grey = [cv2.GaussianBlur(image, (self.blur_px, self.blur_px), 0) for image in grey]
        return np.asarray(cv2.absdiff(*grey) > self.threshold, np.bool_)

    def _outline(self, changed: Bool) -> Float32:
        import cv2

        mask = changed.astype(np.uint8)
        if self.join_px:
            mask = cv2.dilate(mask, np.ones((2 * self.join_px + 1,) * 2, np.uint8))
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        rects = np.array([cv2.boundingRect(c) for c in contours], np.float32).reshape(-1, 4)
        x, y, width, height = rects.T
        shrink = self.join_px  # the rectangle of what moved, not of what was dilated
        box_xyxy = np.stack([x + shrink, y + shrink, x + width - shrink, y + height - shrink], axis=1)
        width, height = np.maximum(width - 2 * shrink, 1), np.maximum(height - 2 * shrink, 1)
        aspect = np.maximum(width / height, height / width)
        keep = (width * height > self.min_area_px) & (aspect < self.max_aspect)
        grown = box_xyxy[keep] + np.array([-1, -1, 1, 1], np.float32) * self.grow_px
        return clip_boxes(grown, (changed.shape[0], changed.shape[1]))
