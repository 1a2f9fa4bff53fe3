"""Clips with insertions for videos of boxes alone: the same courses, as boxes of one more track."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from mulde.datasets.base import Video
from mulde.datasets.boxes.writing import write_boxes
from mulde.pipeline.tuning.courses import PATCH, Course, Insertion
from mulde.pipeline.tuning.scene import Scene
from mulde.records import Bool, BoxesAlone, Float64, Regions

SIDES: Mapping[str, tuple[float, float]] = {
    "cyclist": (1.0, 1.05),
    "runner": (0.6, 1.0),
    "cart": (1.5, 1.1),
    "bag": (0.45, 0.3),
}
"""Width and height of the drawn figures, in heights of a person there."""
NO_BOXES = frozenset({PATCH})
"""Figures that differ from people in their pixels alone."""
_VISIBLE = 0.5


def write_boxes_clip(insertion: Insertion, path: Path, scene: Scene, rng: np.random.Generator) -> tuple[Bool, Course]:
    """The boxes of a stretch with those of the insertion, frames counted from 0; in which frames these are seen, (T,),
    and their course."""
    stored, frames = insertion.share.stored, insertion.frames
    regions = stored.regions()
    assert regions is not None  # the scene was learnt from them
    track_id = stored.store.read(stored.passports["tracks"])["track_id"].to_numpy()
    mine = np.isin(regions.frame_index, frames)
    own, ids = regions.select(mine), track_id[mine]
    course = sized(insertion.course, insertion.kind.figure)
    seen = course.visible(scene.size_hw, _VISIBLE)
    box = _as_detected(course, scene, rng)[seen]
    known = own.confidence[own.confidence > 0]
    usual = float(np.median(known)) if len(known) else 1.0
    times = np.flatnonzero(seen)
    frame_index = np.concatenate([np.searchsorted(frames, own.frame_index), times])
    order = np.argsort(frame_index, kind="stable")
    classes, counts = np.unique(regions.class_id, return_counts=True)
    write_boxes(
        path,
        Regions(
            np.concatenate([own.box_xyxy, box.astype(np.float32)])[order],
            frame_index[order].astype(np.int64),
            np.concatenate([own.confidence, np.full(len(times), usual, np.float32)])[order],
            np.concatenate([own.class_id, np.full(len(times), classes[np.argmax(counts)])])[order].astype(np.int64),
        ),
        np.concatenate([ids, np.full(len(times), track_id.max(initial=0) + 1)])[order].astype(np.int64),
    )
    return seen, course


def sized(course: Course, figure: str) -> Course:
    """The course of a drawn figure, with sides of its own."""
    if figure not in SIDES:
        return course
    return replace(course, size=course.size[:, 1:] * np.array(SIDES[figure]))


def _as_detected(course: Course, scene: Scene, rng: np.random.Generator) -> Float64:
    """The boxes (T, 4), as unsteady as those of a detector, cut at the border of the frame."""
    box, (height, width) = course.box_xyxy, scene.size_hw
    noise = rng.normal(0, scene.unsteady, box.shape) * course.size[:, 1:]
    return np.asarray(np.clip(box + noise, 0, (width, height, width, height)))


def boxes_video(name: str, path: Path, size_hw: tuple[int, int], num_frames: int, rate: Fraction, of: str) -> Video:
    """A written clip as a video of the extraction."""
    return Video(name, "all", path, frame_rate=rate, dataset=of, boxes=BoxesAlone(size_hw, num_frames, rate))
