"""Whether a picture has colour."""

from __future__ import annotations

import numpy as np

from mulde.records import UInt8

_MIN_CHROMA, _SHARE, _DARK = 12, 0.95, 16


def is_coloured(image: UInt8) -> bool | None:
    """Whether a picture (H, W) or (H, W, 3) has colour: a twentieth of its pixels is 12 levels from grey or more. None
    where it is too dark to say."""
    if image.ndim == 2:
        return False
    few = image[::4, ::4]
    if few.max() < _DARK:
        return None
    chroma = few.max(axis=-1).astype(np.int16) - few.min(axis=-1)
    return bool(np.quantile(chroma, _SHARE) >= _MIN_CHROMA)
