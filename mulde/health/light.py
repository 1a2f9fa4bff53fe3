"""Sudden changes of the light: lamps, infra-red, a gain that ramps up. They say nothing of what happens in front of a
camera, and features of motion take them for motion everywhere."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from mulde.images import resized
from mulde.records import Float32, UInt8

BLANK_S, MAX_BLANK_S = 2.0, 4.0
"""Pictures are not scored until this long after the last change, and at most so long in all: light that never rests
must not stop a camera from being watched."""
_SIZE_HW = (32, 48)
_MIN_CHANGE, _MIN_RATIO, _SHARE = 12.0, 0.2, 0.6
_KEPT = 0.35  # correlation of what is left without the light
_BLACK = 25.0
_BLACK_SHARE = 0.95
_COLOUR, _GREY = 3.0, 1.0  # median chroma; infra-red pictures have none at all
_MAX_PAUSE_S = 30.0


@dataclass(frozen=True)
class Light:
    """What a picture is to be done with. is_blanked: it is not to be scored; has_changed: with it a change begins that
    was not said yet."""

    is_blanked: bool = False
    has_changed: bool = False


@dataclass(frozen=True)
class _Small:
    time_s: float
    grey: Float32
    detail: Float32
    chroma: float


class LightSwitch:
    """Takes every picture of a camera that would be scored, with its time in seconds."""

    def __init__(self) -> None:
        self._past: deque[_Small] = deque()
        self._first_s: float | None = None  # of the change that goes on
        self._last_s = 0.0

    def take(self, image: UInt8, time_s: float) -> Light:
        """image: (H, W, 3) RGB uint8."""
        now = _small(image, time_s)
        if self._past and not 0 <= time_s - self._past[-1].time_s <= _MAX_PAUSE_S:
            self._past.clear()
            self._first_s = None
        # With the one before, as lamps go on at once, and with an older one, as a gain ramps up.
        has_changed = bool(self._past) and (_is_light(self._past[-1], now) or _is_light(self._past[0], now))
        is_new = has_changed and self._first_s is None
        if has_changed:
            self._past.clear()
            self._first_s, self._last_s = time_s if is_new else self._first_s, time_s
        elif time_s - self._last_s >= BLANK_S:
            self._first_s = None
        while self._past and now.time_s - self._past[0].time_s > BLANK_S:
            self._past.popleft()
        self._past.append(now)
        is_blanked = self._first_s is not None and time_s - self._first_s < MAX_BLANK_S
        return Light(is_blanked, is_new)


def _small(image: UInt8, time_s: float) -> _Small:
    step = max(1, min(image.shape[0] // 128, image.shape[1] // 192))
    few = resized(image[::step, ::step], _SIZE_HW)
    grey = np.asarray(cv2.cvtColor(few, cv2.COLOR_RGB2GRAY), np.float32)
    chroma = float(np.median(few.max(axis=-1).astype(np.int16) - few.min(axis=-1)))
    return _Small(time_s, grey, grey - np.asarray(cv2.GaussianBlur(grey, (0, 0), 2.0)), chroma)


def _is_light(before: _Small, now: _Small) -> bool:
    """Whether two pictures show the same place in another light. What moves in front of the camera, or the camera
    itself, changes what is left without the light."""
    is_kept = _correlation(before.detail, now.detail) >= _KEPT
    least, most = sorted((before.chroma, now.chroma))
    if is_kept and least <= _GREY and most >= _COLOUR:
        return True
    change = np.abs(now.grey - before.grey) > np.maximum(_MIN_CHANGE, _MIN_RATIO * np.minimum(before.grey, now.grey))
    if float(change.mean()) < _SHARE:
        return False
    return is_kept or min(float(np.quantile(each.grey, _BLACK_SHARE)) for each in (before, now)) <= _BLACK


def _correlation(one: Float32, other: Float32) -> float:
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm > 1e-3 else 0.0
