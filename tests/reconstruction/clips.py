"""Footage for pixel models: a bright square that goes its way over a textured ground, and clips of it."""

from __future__ import annotations

import numpy as np


def walk(num_frames: int, seed: int, side: int = 64) -> np.ndarray:
    """(T, side, side, 3) uint8: a square of 8 pixels with a speed and a direction that are drawn, on one ground."""
    rng = np.random.default_rng(seed)
    ground = np.random.default_rng(9).integers(60, 120, (side, side, 3)).astype(np.uint8)
    place, speed = rng.uniform(5, side - 15, 2), rng.uniform(-1.5, 1.5, 2)
    frames = np.repeat(ground[None], num_frames, axis=0)
    for frame in frames:
        place = (place + speed) % (side - 10)
        x, y = place.astype(int)
        frame[y : y + 8, x : x + 8] = 230
    return frames


class Walks:
    """All clips of some videos, as `reconstruction.pixel_model.Clips`."""

    def __init__(self, seeds: range, length: int = 5, num_frames: int = 30, side: int = 64) -> None:
        videos = [walk(num_frames, seed, side) for seed in seeds]
        self.clips = [video[i : i + length] for video in videos for i in range(num_frames - length + 1)]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.clips[number]
