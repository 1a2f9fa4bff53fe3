"""Pixel figures of anomaly maps: is the anomaly found where it is? Exact, in a memory that does not grow.

Maps are float16, of which there are 65,536 at most: counts per value hold all that the figures need, so maps and masks
are read once, an image at a time.

Pixel AUC and average precision are over all pixels of all images together. PRO (per-region overlap; Bergmann et al.,
MVTec AD, CVPR 2019 and IJCV 2021): the mean over all true regions, which are connected components of the masks, of the
share that is flagged, against the share of normal pixels that is flagged, as area up to 30 % of these, over 30 %.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mulde.errors import LabelError
from mulde.records import Bool, Float64

Float16 = NDArray[np.float16]
MAX_FALSE_SHARE = 0.3
_NUM_VALUES = 2**15  # of float16 from 0 up


@dataclass(frozen=True)
class PixelFigures:
    """Figures in 0..1 of one map, None where undefined: no anomalous or no normal pixel.

    average_precision_chance: the share of anomalous pixels, which any score without knowledge has.
    """

    pixel_auc: float | None
    average_precision: float | None
    average_precision_chance: float | None
    pro: float | None
    num_images: int
    num_regions: int


@dataclass
class PixelCounts:
    """Counts of one map over the images that were added."""

    num_images: int = 0
    num_regions: int = 0
    _normal: Float64 = field(default_factory=lambda: np.zeros(_NUM_VALUES))
    _anomalous: Float64 = field(default_factory=lambda: np.zeros(_NUM_VALUES))
    _overlap: Float64 = field(default_factory=lambda: np.zeros(_NUM_VALUES))

    def add(self, anomaly_map: Float16, mask: Bool | None) -> None:
        """One image: map (H, W), finite and from 0 up, and mask (H, W); None for an image without an anomalous pixel.

        Raises LabelError where their sizes differ.
        """
        if mask is not None and mask.shape != anomaly_map.shape:
            raise LabelError("mask", expected=f"the size of its map, {anomaly_map.shape}", got=mask.shape)
        # The bits of a float16 from 0 up are a number that grows with it.
        values = np.ascontiguousarray(anomaly_map).view(np.uint16).astype(np.int64)
        self.num_images += 1
        if mask is None or not mask.any():
            self._normal += np.bincount(values.ravel(), minlength=_NUM_VALUES)
            return
        from scipy import ndimage

        self._normal += np.bincount(values[~mask], minlength=_NUM_VALUES)
        self._anomalous += np.bincount(values[mask], minlength=_NUM_VALUES)
        regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(regions.ravel())
        inside = regions[mask]
        self._overlap += np.bincount(values[mask], weights=1 / sizes[inside], minlength=_NUM_VALUES)
        self.num_regions += int(count)

    def figures(self) -> PixelFigures:
        num_normal, num_anomalous = self._normal.sum(), self._anomalous.sum()
        defined = bool(num_normal and num_anomalous)
        return PixelFigures(
            pixel_auc=self._auc() if defined else None,
            average_precision=self._average_precision() if defined else None,
            average_precision_chance=float(num_anomalous / (num_anomalous + num_normal)) if num_anomalous else None,
            pro=self._pro() if defined else None,
            num_images=self.num_images,
            num_regions=self.num_regions,
        )

    def _auc(self) -> float:
        """A pair with equal values counts half."""
        below = np.cumsum(self._normal) - self._normal / 2
        return float(self._anomalous @ below / (self._anomalous.sum() * self._normal.sum()))

    def _average_precision(self) -> float:
        found, false = np.cumsum(self._anomalous[::-1]), np.cumsum(self._normal[::-1])
        gained = self._anomalous[::-1]
        precision = found / np.maximum(found + false, 1)
        return float(gained @ precision / found[-1])

    def _pro(self) -> float:
        false = np.concatenate([[0.0], np.cumsum(self._normal[::-1])]) / self._normal.sum()
        overlap = np.concatenate([[0.0], np.cumsum(self._overlap[::-1])]) / self.num_regions
        inside = false <= MAX_FALSE_SHARE
        at_limit = np.interp(MAX_FALSE_SHARE, false, overlap)
        x, y = np.append(false[inside], MAX_FALSE_SHARE), np.append(overlap[inside], at_limit)
        return float(np.trapezoid(y, x) / MAX_FALSE_SHARE)
