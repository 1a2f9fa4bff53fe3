"""Pictures of a place, and what can be done to them."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from mulde.datasets.synthetic.plaza import background
from mulde.health import HealthReference, Sample, learn_reference, thumbnail

SIZE_HW = (240, 360)
NOISE = np.random.default_rng(0).normal(0, 1, (700, 920, 3)).astype(np.float32)


@lru_cache
def place(seed: int = 1) -> np.ndarray:
    """The empty plaza, (240, 360, 3) RGB."""
    return background(SIZE_HW, np.random.default_rng(seed))


def noisy(image: np.ndarray, seed: int, gain: float = 1.0, sigma: float = 2.0) -> np.ndarray:
    """Another seed, another place of the same noise: fresh noise would take most of a test's time."""
    height, width = image.shape[:2]
    down, right = np.random.default_rng(seed).integers(0, 200, 2)
    noise = sigma * NOISE[down : down + height, right : right + width]
    return cv2.addWeighted(image.astype(np.float32), gain, noise, 1, 0, dtype=cv2.CV_8U)


def shifted(image: np.ndarray, right: float, down: float) -> np.ndarray:
    by = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return cv2.warpAffine(image, by, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def turned(image: np.ndarray, degrees: float, zoom: float = 1.0) -> np.ndarray:
    height, width = image.shape[:2]
    by = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
    return cv2.warpAffine(image, by, (width, height), borderMode=cv2.BORDER_REFLECT)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def covered(image: np.ndarray, top: float, left: float, bottom: float, right: float, grey: int = 60) -> np.ndarray:
    """Shares of the height and of the width."""
    height, width = image.shape[:2]
    image = image.copy()
    image[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = grey
    return image


def in_grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def reference_of(image: np.ndarray, count: int = 24, gains: tuple[float, ...] = (0.8, 1.0, 1.2)) -> HealthReference:
    """Of pictures of a place in changing light, of four videos."""
    samples = [Sample(n % 4, thumbnail(noisy(image, n, gains[n % len(gains)])), is_still=False) for n in range(count)]
    reference = learn_reference(samples)
    assert reference is not None
    return reference
