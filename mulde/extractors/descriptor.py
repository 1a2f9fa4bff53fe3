"""A hand-crafted appearance of a box: shape of its edges and its colours. Needs no weights."""

from __future__ import annotations

import numpy as np

from mulde.extractors.base import Fingerprint
from mulde.extractors.boxes import crop
from mulde.extractors.spec import ExtractorSpec, NoSettings, Shared
from mulde.records import FeatureTable, Float32, Regions, UInt8, Window

_CROP_HW = (64, 32)
_CELLS_HW = (4, 2)
_ORIENTATIONS = 9
_BLOCK = 2
_NUM_COLOURS = 6  # the last columns


def oriented_gradients(grey: Float32) -> Float32:
    """Histogram of oriented gradients of a (64, 32) picture, values 0..255: (108,) in 0..1.

    Cells of 16 x 16 pixels, 9 unsigned orientations shared between the two nearest bins, blocks of 2 x 2 cells
    brought to unit length with a floor that keeps flat crops near zero (Dalal & Triggs, CVPR 2005).
    """
    gy, gx = np.gradient(grey)
    magnitude = np.hypot(gx, gy)
    position = (np.arctan2(gy, gx) % np.pi) * (_ORIENTATIONS / np.pi)
    low = np.floor(position).astype(np.int64)
    share = position - low
    rows, columns = _CELLS_HW
    cell_y = np.arange(_CROP_HW[0])[:, None] * rows // _CROP_HW[0]
    cell_x = np.arange(_CROP_HW[1])[None, :] * columns // _CROP_HW[1]
    cell = (cell_y * columns + cell_x) * _ORIENTATIONS
    size = rows * columns * _ORIENTATIONS
    histogram = np.zeros(size)
    for orientation, weight in ((low, 1 - share), (low + 1, share)):
        index = cell + orientation % _ORIENTATIONS
        histogram += np.bincount(index.ravel(), weights=(magnitude * weight).ravel(), minlength=size)
    cells = histogram.reshape(rows, columns, _ORIENTATIONS) / (_CROP_HW[0] * _CROP_HW[1] / (rows * columns))
    blocks = np.stack(
        [
            cells[y : y + _BLOCK, x : x + _BLOCK].ravel()
            for y in range(rows - _BLOCK + 1)
            for x in range(columns - _BLOCK + 1)
        ]
    )  # (3, 36)
    unit = blocks / np.sqrt((blocks**2).sum(axis=1, keepdims=True) + 1.0)
    return np.asarray(unit.ravel(), np.float32)


def describe(image: UInt8) -> Float32:
    """Descriptor (114,) of one RGB crop: 108 gradient numbers, mean and spread of each Lab channel, in 0..1."""
    import cv2

    small = cv2.resize(image, _CROP_HW[::-1], interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32) / 255
    colour = np.concatenate([lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))])
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.concatenate([oriented_gradients(grey), colour]).astype(np.float32)


class Descriptor:
    """114 numbers per box: `describe` of its crop."""

    name = "descriptor"
    object_centric = True
    before = after = 0
    dim = 114

    def fingerprint(self) -> Fingerprint:
        import cv2

        return {"extractor": self.name, "version": 2, "opencv": cv2.__version__}

    def extract(self, window: Window, regions: Regions) -> FeatureTable:
        values = np.zeros((len(regions), self.dim), np.float32)
        for i, (box, frame) in enumerate(zip(regions.box_xyxy, regions.frame_index, strict=True)):
            values[i] = describe(crop(window.image(frame), box))
        return FeatureTable(values, regions.frame_index, regions.box_xyxy)


def _build(settings: NoSettings, shared: Shared) -> Descriptor:
    del settings, shared
    return Descriptor()


def _groups(dim: int, settings: NoSettings) -> tuple[str, ...]:
    del settings
    return ("edges",) * (dim - _NUM_COLOURS) + ("colour",) * _NUM_COLOURS


DESCRIPTOR = ExtractorSpec(name="descriptor", object_centric=True, build=_build, column_groups=_groups)
