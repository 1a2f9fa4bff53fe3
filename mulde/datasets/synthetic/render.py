"""From the script of a clip to its frames and exact masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from mulde.datasets.synthetic.figures import shadow
from mulde.datasets.synthetic.plan import Actor, Stage, State
from mulde.datasets.synthetic.plaza import person_height
from mulde.datasets.synthetic.shapes import paint
from mulde.records import Bool, UInt8

SHADOW_DEPTH = 42  # grey levels
NOISE_STD = 2.2  # grey levels of the sensor
LIGHT_CHANGE = 0.05  # share of the brightness by which it slowly rises and falls


@dataclass(frozen=True)
class Light:
    """Slow change of the brightness: a sine of `period_s`, `phase` in radians."""

    period_s: float
    phase: float

    def gain(self, time_s: float) -> float:
        return float(1 + LIGHT_CHANGE * np.sin(2 * np.pi * time_s / self.period_s + self.phase))


def render(stage: Stage, empty: UInt8, actors: list[Actor], rng: np.random.Generator) -> Iterator[tuple[UInt8, Bool]]:
    """Frames (H, W, 3) RGB and masks (H, W) of the visible pixels of anomalous actors."""
    light = Light(rng.uniform(12, 28), rng.uniform(0, 2 * np.pi))
    noise = np.empty(empty.shape, dtype=np.float32)
    for frame in range(stage.num_frames):
        # Whoever stands lower in the picture is nearer to the camera and hides the others.
        present = [(actor, state) for actor in actors if (state := actor.at(frame)) is not None]
        present.sort(key=lambda pair: pair[1].y)
        canvas = _cast_shadows(empty, present)
        mask = np.zeros(stage.size_hw, dtype=np.uint8)
        abnormal = any(actor.anomalous for actor, _ in present)
        for actor, state in present:
            shapes = actor.shapes(state)
            paint(canvas, shapes)
            if abnormal:
                paint(mask, shapes, value=255 if actor.anomalous else 0)
        rng.standard_normal(out=noise, dtype=np.float32)
        gain = light.gain(frame / stage.frame_rate)
        image = cv2.addWeighted(canvas.astype(np.float32), gain, noise, NOISE_STD, 0, dtype=cv2.CV_8U)
        # Edges are blended: a pixel belongs to the actor that covers at least half of it.
        yield np.asarray(image, dtype=np.uint8), mask >= 128


def _cast_shadows(empty: UInt8, present: list[tuple[Actor, State]]) -> UInt8:
    dark = np.zeros(empty.shape[:2], dtype=np.uint8)
    patches = [shadow(state.x, state.y, person_height(state.y), 0.85 * actor.width) for actor, state in present]
    paint(dark, patches, value=SHADOW_DEPTH)
    return np.asarray(cv2.subtract(empty, cv2.merge([dark, dark, dark])), dtype=np.uint8)
