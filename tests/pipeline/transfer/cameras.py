"""Small normal footage of cameras that differ in how fast people are."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from mulde.datasets.synthetic.plan import Stage, plan_walkers
from mulde.datasets.synthetic.plaza import background
from mulde.datasets.synthetic.render import render
from mulde.media import write_video

SIZE_HW = (96, 160)
RATE = 25


def write_camera(
    folder: Path, seed: int, *, clips: int = 4, frames: int = 80, speed: int = 1, size=1.0, size_hw=SIZE_HW
) -> Path:
    """Clips of people who move `speed` times as fast and are `size` times as tall as usual."""
    folder.mkdir(parents=True, exist_ok=True)
    empty = background(size_hw, np.random.default_rng(seed))
    stage = Stage(size_hw, float(RATE), frames * speed)
    for number in range(clips):
        rng = np.random.default_rng([seed, number])
        actors = [
            replace(
                actor,
                first_frame=actor.first_frame // speed,
                states=actor.states[::speed],
                tallness=size * actor.tallness,
            )
            for actor in plan_walkers(stage, rng)
        ]
        images = (image for image, _ in render(replace(stage, num_frames=frames), empty, actors, rng))
        write_video(folder / f"clip{number}.mp4", images, Fraction(RATE))
    return folder
