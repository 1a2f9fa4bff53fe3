"""One look at a camera's picture: numbers, and what is wrong by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mulde.health.picture import Thumbnail
from mulde.health.reference import HealthReference, Regime, RegimeReference, regime_of, shares
from mulde.health.view import SWAY_PX, Sight
from mulde.images import resized

HealthKind = Literal["moved", "covered", "blurred", "dark", "bright", "frozen"]
KINDS: tuple[HealthKind, ...] = ("moved", "covered", "blurred", "dark", "bright", "frozen")
_SAME_SHAPE_PX = 2
_DISPLACED, _FLAT, _IN_PLACE = 0.4, 0.3, 0.3
_ALL, _BLANK, _KEPT = 0.5, 0.03, 0.15


@dataclass(frozen=True)
class HealthMeasures:
    """What was measured of a picture. wrong: what is wrong with it by that, None for nothing, or nothing that could be
    told.

    brightness: mean grey level, brightness_ratio: in relation to the reference's; shift_pixels: in pixels of a picture
    360 wide, None where no shift brings it to the reference; background_ratio: share of the reference's edges that are
    where they belong; sharpness_ratio: fine detail in relation to coarse detail, 1 as in the reference; covered_share:
    of the parts of the picture that show nothing of the reference. None where there is no reference for it.
    is_compared: whether there is a view to compare with; regime: None where it is too dark to say; regime_is_new: the
    reference has the other one alone.
    """

    brightness: float
    wrong: HealthKind | None
    brightness_ratio: float | None = None
    shift_pixels: float | None = None
    background_ratio: float | None = None
    sharpness_ratio: float | None = None
    covered_share: float | None = None
    is_compared: bool = False
    regime: Regime | None = None
    regime_is_new: bool = False


def measure(picture: Thumbnail, reference: HealthReference | None) -> HealthMeasures:
    """Hold a picture against a reference; without one, only dark and bright can be told.

    In a regime that the reference has not, the other one's view tells of a shift, and of a cover over everything.
    """
    brightness = float(picture.grey.mean())
    regime = regime_of(picture)
    own = None if reference is None or regime is None else reference.regimes.get(regime)
    known = own or (next(iter(reference.regimes.values())) if reference is not None else None)
    ratio = None if known is None else brightness / max(known.brightness, 1e-3)
    dark, bright = shares(picture.grey)
    all_known = () if reference is None else tuple(reference.regimes.values())
    if dark >= max([0.9, *(each.max_dark for each in all_known)]):
        return HealthMeasures(brightness, "dark", ratio)
    if bright >= max([0.6, *(each.max_bright for each in all_known)]):
        return HealthMeasures(brightness, "bright", ratio)
    if known is None or not known.has_view or not _has_shape(picture, known):
        return HealthMeasures(brightness, None, ratio)
    grey = resized(picture.grey, known.view.size_hw)
    sight = known.view.look(grey)
    shift = None if sight.shift_px is None else float(np.hypot(*sight.shift_px))
    lost = known.lost_share(sight.likeness)
    wrong: HealthKind | None
    if own is None:
        wrong = _wrong_elsewhere(sight, known, shift, lost)
    else:
        wrong = _wrong(sight, own, Thumbnail(grey, picture.coloured), shift, lost)
    return HealthMeasures(
        brightness,
        wrong,
        ratio,
        shift,
        sight.background,
        sight.sharpness,
        lost,
        True,
        regime,
        own is None and regime is not None,
    )


def _has_shape(picture: Thumbnail, known: RegimeReference) -> bool:
    return bool(np.max(np.abs(np.subtract(picture.grey.shape, known.view.size_hw))) <= _SAME_SHAPE_PX)


def _wrong_elsewhere(sight: Sight, known: RegimeReference, shift: float | None, lost: float) -> HealthKind | None:
    """By the reference of another regime: what is lit there may be dark here."""
    if shift is not None and shift > SWAY_PX:
        return "moved"
    cells = known.lost_cells(sight.likeness)
    if lost >= _ALL and float(np.median(sight.activity[cells])) < _BLANK:
        return "covered"
    # A coloured cover makes a grey picture one in colour; what it leaves free is as ever, unlike at night.
    kept = (known.usual > 0) & ~cells & ~np.isnan(sight.likeness)
    is_as_ever = kept.mean() >= _KEPT and float(np.median((sight.likeness / np.maximum(known.usual, 1e-3))[kept])) >= 1
    return "covered" if lost >= known.max_lost and is_as_ever else None


def _wrong(
    sight: Sight, own: RegimeReference, picture: Thumbnail, shift: float | None, lost: float
) -> HealthKind | None:
    if shift is not None and shift > SWAY_PX:
        return "moved"
    if lost < own.max_lost:  # everything is about where it belongs
        if sight.sharpness is not None and sight.sharpness < own.min_sharpness:
            # A picture that is turned or zoomed matches less in fine detail, too, and its edges are elsewhere.
            return "blurred" if sight.background >= own.min_background else "moved"
        return None if sight.background >= own.min_background else "moved"
    if sight.background >= own.min_background:
        return "covered"
    cells = own.lost_cells(sight.likeness)
    if own.view.share_displaced(picture.grey, cells) >= _DISPLACED:
        return "moved"
    is_flat = float(np.median(sight.activity[cells])) < _FLAT
    return "covered" if is_flat or 1 - lost >= _IN_PLACE else "moved"
