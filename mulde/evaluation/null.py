"""Scores that never look at the video, which a real score has to exceed. Higher = more anomalous."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mulde.records import Float64


def random(num_frames: int, rng: np.random.Generator) -> Float64:
    """Independent uniform scores in 0..1, (T,)."""
    return rng.random(num_frames)


def ramp(num_frames: int) -> Float64:
    """From 0 at the first frame of a video to 1 at its last, (T,)."""
    return np.linspace(0.0, 1.0, num_frames)


def triangle(num_frames: int) -> Float64:
    """From 0 at both ends of a video to 1 in its middle, (T,), where benchmarks often have the anomaly."""
    return 1.0 - np.abs(2.0 * ramp(num_frames) - 1.0)


def constant(num_frames: int) -> Float64:
    """The same score for every frame, (T,)."""
    return np.zeros(num_frames)


FIXED_NULLS: Mapping[str, Callable[[int], Float64]] = {"ramp": ramp, "triangle": triangle, "constant": constant}
