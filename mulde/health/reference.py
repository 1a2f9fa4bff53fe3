"""What a camera's picture looked like in the footage that a model learnt, by regime: in colour and in grey."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from mulde.health.picture import Thumbnail, gradient
from mulde.health.view import BRIGHT, GRID, View
from mulde.records import Bool, Float32, Float64, UInt8

Regime = Literal["colour", "grey"]
REGIMES: tuple[Regime, ...] = ("colour", "grey")
MIN_PICTURES, MIN_SIDE_PX = 8, 16
"""Fewer pictures of a regime, or smaller ones, make no reference."""
DARK = 25
"""Grey levels at or below it show nothing."""
_MIN_EDGES = 200
_EDGE_SHARE, _STAYS = 0.15, 0.8
_MIN_BACKGROUND = 0.6
_MIN_USUAL = 0.35
_LOST = 0.5


@dataclass(frozen=True)
class Sample:
    """A picture of normal footage. video: which one it is of; is_still: whether a picture a second later is the same,
    None where there is none."""

    video: int
    picture: Thumbnail
    is_still: bool | None = None


@dataclass(frozen=True)
class RegimeReference:
    """The view in one regime, and what is usual in it.

    image (H, W) uint8: the median of pictures; edges (H, W) bool: that stay; usual (GRID) float32: the correlation that
    each cell seldom falls below, 0 where it says nothing. Of pictures that were compared with others, float32 (N,)
    each: background, lost, sharpness (of those that have one), as `Sight` and `lost_cells` say them, and dark and
    bright, the shares of such pixels; brightness: the median grey level.
    """

    image: UInt8
    edges: Bool
    usual: Float32
    background: Float32
    lost: Float32
    sharpness: Float32
    dark: Float32
    bright: Float32
    brightness: float

    @cached_property
    def view(self) -> View:
        return View(self.image, self.edges)

    @cached_property
    def has_view(self) -> bool:
        """Whether the pictures look at one place, of which enough stays to know it again."""
        if np.count_nonzero(self.edges) < _MIN_EDGES or not len(self.background):
            return False
        return float(np.median(self.background)) >= _MIN_BACKGROUND and bool((self.usual > 0).mean() >= 0.2)

    def lost_cells(self, likeness: Float64) -> Bool:
        """Which cells (GRID) have nothing of the reference, by their likeness, NaN where it cannot be told. Noise takes
        something from all of them, and counts not."""
        known = (self.usual > 0) & ~np.isnan(likeness)
        if not known.any():
            return np.zeros(GRID, np.bool_)
        noise = float(np.clip(np.quantile((likeness / np.maximum(self.usual, 1e-3))[known], 0.8), 0.5, 1.0))
        return known & (np.nan_to_num(likeness) < _LOST * noise * self.usual)

    def lost_share(self, likeness: Float64) -> float:
        """Share of the cells that say something which are lost."""
        known = (self.usual > 0) & ~np.isnan(likeness)
        return float(np.count_nonzero(self.lost_cells(likeness)) / max(int(np.count_nonzero(known)), 1))

    @cached_property
    def min_background(self) -> float:
        return min(0.75, 0.8 * _low(self.background))

    @cached_property
    def min_sharpness(self) -> float:
        return min(0.7, 0.8 * _low(self.sharpness))

    @cached_property
    def max_lost(self) -> float:
        return max(0.08, _high(self.lost) + 0.06)

    @cached_property
    def max_dark(self) -> float:
        return max(0.9, _high(self.dark) + 0.05)

    @cached_property
    def max_bright(self) -> float:
        return max(0.6, _high(self.bright) + 0.2)


def _low(values: Float32) -> float:
    return float(np.quantile(values, 0.01)) if len(values) else 0.0


def _high(values: Float32) -> float:
    return float(np.quantile(values, 0.99)) if len(values) else 0.0


@dataclass(frozen=True)
class HealthReference:
    """The reference of a model. still_share: of the pictures that were the same a second later."""

    regimes: Mapping[Regime, RegimeReference]
    still_share: float = 0.0

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Of the thumbnails, the same for all regimes."""
        return next((regime.view.size_hw for regime in self.regimes.values()), None)


def regime_of(picture: Thumbnail) -> Regime | None:
    """None where it is too dark to say."""
    return None if picture.coloured is None else ("colour" if picture.coloured else "grey")


def shares(grey: UInt8) -> tuple[float, float]:
    """The shares of dark and of bright pixels."""
    return float((grey <= DARK).mean()), float((grey >= BRIGHT).mean())


def learn_reference(samples: Sequence[Sample]) -> HealthReference | None:
    """The reference of normal pictures; None without enough of them, or of such that are too small.

    Pictures of another size than most are left out. What is usual is measured on pictures of other videos than those
    that they are compared with, or of another part where there is one video.
    """
    if not samples:
        return None
    ((size_hw, _),) = Counter(sample.picture.grey.shape for sample in samples).most_common(1)
    if min(size_hw) < MIN_SIDE_PX:
        return None
    fitting = [sample for sample in samples if sample.picture.grey.shape == size_hw]
    regimes: dict[Regime, RegimeReference] = {}
    for regime in REGIMES:
        own = [sample for sample in fitting if regime_of(sample.picture) == regime]
        if len(own) >= MIN_PICTURES:
            regimes[regime] = _learn_regime(own)
    still = [sample.is_still for sample in samples if sample.is_still is not None]
    return HealthReference(regimes, float(np.mean(still)) if still else 0.0) if regimes else None


def _learn_regime(samples: Sequence[Sample]) -> RegimeReference:
    pictures = np.stack([sample.picture.grey for sample in samples])
    videos = sorted({sample.video for sample in samples})
    if len(videos) > 1:
        second = np.array([videos.index(sample.video) % 2 == 1 for sample in samples])
    else:
        second = np.arange(len(samples)) >= len(samples) / 2
    sights = []
    for is_compared in (second, ~second):
        view = View(*_view(pictures[~is_compared]))
        sights += [view.look(picture) for picture in pictures[is_compared]]
    usual = np.quantile([sight.likeness for sight in sights], 0.05, axis=0)
    image, edges = _view(pictures)
    dark, bright = np.array([shares(picture) for picture in pictures], np.float32).T
    learnt = RegimeReference(
        image=image,
        edges=edges,
        usual=np.where(usual >= _MIN_USUAL, usual, 0).astype(np.float32),
        background=np.array([sight.background for sight in sights], np.float32),
        lost=np.zeros(0, np.float32),
        sharpness=np.array([s.sharpness for s in sights if s.sharpness is not None], np.float32),
        dark=dark,
        bright=bright,
        brightness=float(np.median(pictures.mean(axis=(1, 2)))),
    )
    lost = np.array([learnt.lost_share(sight.likeness) for sight in sights], np.float32)
    return RegimeReference(**{**learnt.__dict__, "lost": lost})


def _view(pictures: UInt8) -> tuple[UInt8, Bool]:
    """The median of pictures (N, H, W) in one light, and its edges that stay."""
    light = pictures.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    median = np.median(pictures / np.maximum(light, 1), axis=0) * np.median(light)
    image = np.clip(np.round(median), 0, 255).astype(np.uint8)
    right, down = gradient(image.astype(np.float32))
    squared = right * right + down * down
    stays = np.zeros(squared.shape, np.int64)
    for picture, gain in zip(pictures, np.median(light) / np.maximum(light[:, 0, 0], 1), strict=True):
        own_right, own_down = gradient(picture.astype(np.float32))
        stays += gain * (own_right * right + own_down * down) > 0.5 * squared
    strong = squared >= max(float(np.quantile(squared, 1 - _EDGE_SHARE)), 1.0)
    return image, strong & (stays >= _STAYS * len(pictures))
