"""Filled and outlined shapes with sub-pixel corners, painted with OpenCV."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from mulde.records import Float64, UInt8

Color = tuple[int, int, int]
Point = tuple[float, float]
SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates

_CIRCLE = np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16, endpoint=False)])
# One row per corner of a capsule: its share of the half-width along and across the stroke, and of the ends a and b.
_HALF = [(np.cos(a), np.sin(a)) for a in np.linspace(-np.pi / 2, np.pi / 2, 5)]
_CAPSULE = np.array([(c, s, 0, 1) for c, s in _HALF] + [(-c, -s, 1, 0) for c, s in _HALF])


@dataclass(frozen=True)
class Shape:
    """A convex polygon: points (N, 2) xy in pixels, RGB colour; filled, or a closed outline `outline_px` wide."""

    points: Float64
    color: Color
    outline_px: int = 0


def disc(center: Point, radius_xy: Point, color: Color, outline_px: int = 0) -> Shape:
    """An ellipse with axes along x and y."""
    return Shape(_CIRCLE * radius_xy + center, color, outline_px)


def capsule(a: Point, b: Point, width: float, color: Color) -> Shape:
    """A thick stroke from `a` to `b` with round ends: a limb, a tube."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    scale = width / 2 / max((dx * dx + dy * dy) ** 0.5, 1e-6)
    along = dx * scale, dy * scale
    return Shape(_CAPSULE @ np.array([along, (-along[1], along[0]), a, b]), color)


def shade(color: Color, factor: float) -> Color:
    """A darker (factor < 1) or lighter colour."""
    r, g, b = color
    return int(min(255.0, r * factor)), int(min(255.0, g * factor)), int(min(255.0, b * factor))


def paint(canvas: UInt8, shapes: Iterable[Shape], value: int | None = None) -> None:
    """Draw `shapes` in order onto `canvas`, (H, W, 3) in their colours or (H, W) in one `value`."""
    for shape in shapes:
        corners = np.rint(shape.points * (1 << SHIFT)).astype(np.int32)
        color = shape.color if value is None else (value,)
        if shape.outline_px:
            cv2.polylines(canvas, [corners], True, color, shape.outline_px, cv2.LINE_AA, SHIFT)
        else:
            cv2.fillConvexPoly(canvas, corners, color, cv2.LINE_AA, SHIFT)
