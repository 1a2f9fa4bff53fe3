"""Where a camera looks: its picture held against a reference of the same view."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from mulde.health.picture import gradient
from mulde.records import Bool, Float32, Float64, Int64, UInt8

WIDTH_PX = 360
"""Shifts are told in pixels of a picture of this width, whatever the camera's."""
GRID = (6, 9)
"""Cells, down and across."""
SWAY_PX = 3.0
"""A shift up to this is the sway of a mast."""
BRIGHT = 245
"""Grey levels at or above it show nothing."""
_MAX_EDGES = 4000
_SEEN = 0.4  # of the contrast of the picture
_MIN_CONTRAST = 0.05  # of the reference's: less is noise
_MIN_IN_VIEW = 0.3  # of the edges, for a shift that can be confirmed
_CONFIRMED = 0.5
_FINE, _COARSE = (0.12, 0.30), (0.01, 0.08)  # bands of cycles per pixel
_CELL_BLUR_PX, _MIN_VARIANCE = 2.0, 0.3
_SEARCH_PX = 10
_GLARE = 0.3  # of a cell
_FOUND = 0.6  # correlation of a cell with a place in the picture

Spectrum = NDArray[np.complex64]


@dataclass(frozen=True)
class Sight:
    """What of a reference is seen in a picture.

    shift_px: (right, down) by which the picture lies beside the reference, in pixels of WIDTH_PX, None where no shift
    brings the edges together; background: share of the reference's edges that are where they belong, but for a sway;
    sharpness: fine detail in relation to coarse detail, 1 as in the reference, None where too little of it is seen;
    likeness (GRID): correlation of each cell with that of the reference, NaN where glare hides it; activity (GRID): its
    variance in relation to the reference's.
    """

    shift_px: tuple[float, float] | None
    background: float
    sharpness: float | None
    likeness: Float64
    activity: Float64


class View:
    """A reference: image (H, W) uint8 and its edges that stay, (H, W) bool."""

    def __init__(self, image: UInt8, edges: Bool) -> None:
        self.image, self.edges = image, edges
        self.size_hw = image.shape[0], image.shape[1]
        self.scale = WIDTH_PX / self.size_hw[1]

    def look(self, grey: UInt8) -> Sight:
        """Hold a picture (H, W) uint8 of the reference's size against it."""
        image = grey.astype(np.float32)
        spectrum = self._transformed(image)
        cross = spectrum * np.conj(self._spectrum)
        shift = self._shift(cross)
        is_sway = float(np.hypot(*shift)) * self.scale <= SWAY_PX
        slopes = gradient(image)
        background = self._seen(slopes, (0, 0))
        is_confirmed = is_sway
        if (whole := (round(shift[0]), round(shift[1]))) != (0, 0):
            at_shift = self._seen(slopes, whole)
            is_confirmed = is_sway or at_shift >= max(_CONFIRMED, background + 0.1)
            if is_sway:
                background = max(background, at_shift)
        likeness, activity = self._cells(image)
        likeness[_by_cell((grey >= BRIGHT).astype(np.float32)) > _GLARE] = np.nan
        return Sight(
            (float(shift[0]) * self.scale, float(shift[1]) * self.scale) if is_confirmed else None,
            background,
            self._sharpness(cross, shift if is_confirmed else np.zeros(2)),
            likeness,
            activity,
        )

    def share_displaced(self, grey: UInt8, cells: Bool) -> float:
        """Of some of the cells (GRID), the share that is found nearby in a picture: it was turned or zoomed there, not
        covered."""
        found = 0
        for row, column in zip(*np.nonzero(cells), strict=True):
            rows, columns = self._span(int(row), 0), self._span(int(column), 1)
            around = grey[
                max(rows[0] - _SEARCH_PX, 0) : rows[1] + _SEARCH_PX,
                max(columns[0] - _SEARCH_PX, 0) : columns[1] + _SEARCH_PX,
            ]
            cell = self.image[slice(*rows), slice(*columns)]
            found += float(cv2.matchTemplate(around, cell, cv2.TM_CCOEFF_NORMED).max()) >= _FOUND
        return found / max(int(np.count_nonzero(cells)), 1)

    def _span(self, cell: int, axis: int) -> tuple[int, int]:
        side, count = self.size_hw[axis], GRID[axis]
        return side * cell // count, side * (cell + 1) // count

    @cached_property
    def _points(self) -> tuple[Int64, Int64, Float32, Float32]:
        """Rows, columns and, (N,) each, the gradient divided by its squared length, so that a projection on it is 1."""
        rows, columns = np.nonzero(self.edges)
        right, down = gradient(self.image.astype(np.float32))
        gx, gy = right[rows, columns], down[rows, columns]
        squared = gx * gx + gy * gy
        kept = np.sort(np.argsort(-squared, kind="stable")[:_MAX_EDGES])
        weight = (1 / np.maximum(squared[kept], 1e-6)).astype(np.float32)
        return rows[kept].astype(np.int64), columns[kept].astype(np.int64), gx[kept] * weight, gy[kept] * weight

    def _seen(self, slopes: tuple[Float32, Float32], shift: tuple[int, int]) -> float:
        """Share of the edges that are seen at a shift (right, down) in whole pixels; 0 where too few are in view."""
        rows, columns, ux, uy = self._points
        height, width = self.size_hw
        y, x = rows + shift[1], columns + shift[0]
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        if np.count_nonzero(inside) < max(_MIN_IN_VIEW * len(rows), 1):
            return 0.0
        y, x = y[inside], x[inside]
        strength = slopes[0][y, x] * ux[inside] + slopes[1][y, x] * uy[inside]
        # What the light does to all edges alike is no loss of any.
        contrast = max(float(np.quantile(strength, 0.75)), _MIN_CONTRAST)
        return float((strength > _SEEN * contrast).mean())

    @cached_property
    def _window(self) -> Float32:
        return np.asarray(cv2.createHanningWindow(self.size_hw[::-1], cv2.CV_32F))

    @cached_property
    def _frequencies(self) -> tuple[Float32, Float32]:
        height, width = self.size_hw
        return np.fft.rfftfreq(width)[None, :].astype(np.float32), np.fft.fftfreq(height)[:, None].astype(np.float32)

    @cached_property
    def _bands(self) -> tuple[Bool, Bool, Float32]:
        """Fine detail, coarse detail, and how much each frequency counts for a shift."""
        length = np.hypot(*self._frequencies)
        fine, coarse = ((low <= length) & (length < high) for low, high in (_FINE, _COARSE))
        return fine, coarse, np.exp(-((length / 0.2) ** 2)) * (length > _COARSE[0])

    @cached_property
    def _spectrum(self) -> Spectrum:
        return self._transformed(self.image.astype(np.float32))

    @cached_property
    def _energies(self) -> tuple[float, float]:
        fine, coarse, _ = self._bands
        power = np.abs(self._spectrum) ** 2
        return float(power[fine].sum()), float(power[coarse].sum())

    def _transformed(self, image: Float32) -> Spectrum:
        return np.asarray(np.fft.rfft2((image - image.mean()) * self._window), np.complex64)

    def _shift(self, cross: Spectrum) -> Float64:
        """(right, down) by phase correlation, to a fraction of a pixel."""
        surface = np.fft.irfft2(cross / (np.abs(cross) + 1e-9) * self._bands[2], s=self.size_hw)
        height, width = self.size_hw
        y, x = np.unravel_index(int(np.argmax(surface)), surface.shape)
        down, right = np.arange(y - 2, y + 3), np.arange(x - 2, x + 3)
        around = np.maximum(surface[np.ix_(down % height, right % width)], 0)
        total = around.sum() + 1e-12
        found = np.array([(around.sum(0) * right).sum() / total, (around.sum(1) * down).sum() / total])
        half = np.array([width / 2, height / 2])
        return np.asarray((found + half) % (2 * half) - half)

    def _sharpness(self, cross: Spectrum, shift: Float64) -> float | None:
        """What is matched with the reference counts alone, so that noise and passers-by do not."""
        fine, coarse, _ = self._bands
        right, down = self._frequencies
        aligned = (cross * np.exp(2j * np.pi * (right * shift[0] + down * shift[1]))).real
        fine_energy, coarse_energy = self._energies
        matched = float(aligned[coarse].sum())
        if matched <= _MIN_CONTRAST * coarse_energy or fine_energy <= 0:
            return None
        return float(aligned[fine].sum()) / fine_energy / (matched / coarse_energy)

    @cached_property
    def _blurred(self) -> tuple[Float32, Float32, Float32]:
        """The reference without fine detail, and the mean and the variance of each cell of it."""
        image = cv2.GaussianBlur(self.image.astype(np.float32), (0, 0), _CELL_BLUR_PX)
        mean = _by_cell(image)
        return np.asarray(image), mean, np.maximum(_by_cell(image * image) - mean * mean, _MIN_VARIANCE)

    def _cells(self, image: Float32) -> tuple[Float64, Float64]:
        """Correlation with the reference, and variance in relation to it, by cell and without fine detail."""
        reference, its_mean, its_variance = self._blurred
        blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), _CELL_BLUR_PX))
        mean = _by_cell(blurred)
        variance = _by_cell(blurred * blurred) - mean * mean
        both = _by_cell(blurred * reference) - mean * its_mean
        likeness = both / np.sqrt(np.maximum(variance, _MIN_VARIANCE) * its_variance)
        return likeness.astype(np.float64), (variance / its_variance).astype(np.float64)


def _by_cell(image: Float32) -> Float32:
    return np.asarray(cv2.resize(image, GRID[::-1], interpolation=cv2.INTER_AREA))
