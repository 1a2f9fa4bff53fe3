"""A picture reduced to what its health is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mulde.images import is_coloured, shrunk, shrunk_size
from mulde.records import Float32, UInt8

THUMBNAIL_PX = 240
"""Longer side of what is measured: small enough for a check of a millisecond or two, and a move of one pixel in 360 is
still two thirds of a pixel."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: grey (H, W) uint8, and whether it has colour, None where it is too dark to say."""

    grey: UInt8
    coloured: bool | None


def thumbnail(image: UInt8) -> Thumbnail:
    """An image (H, W, 3) RGB uint8, its longer side at most THUMBNAIL_PX."""
    small = shrunk(image, THUMBNAIL_PX)
    return Thumbnail(np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)), is_coloured(small))


def thumbnail_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    """The size of the thumbnail of a picture."""
    return shrunk_size(size_hw, THUMBNAIL_PX)


def gradient(grey: Float32) -> tuple[Float32, Float32]:
    """How an image (H, W) changes to the right and down, slightly smoothed, so that noise and a shift by a fraction of
    a pixel change little."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    return (
        np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125)),
        np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)),
    )
