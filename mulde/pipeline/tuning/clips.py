"""Clips with insertions: stretches of held-out video into which one figure is set, as frames with labels of ours.

`<out>/inserted/<clip>/00000.png ...` and, written when the frames are whole, `<out>/inserted/<clip>.json`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from mulde.datasets.base import Video
from mulde.errors import MuldeError
from mulde.files import write_json
from mulde.images import write_png
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.training.folds import Share
from mulde.pipeline.tuning.courses import CONTROL, CONTROL_KIND, KINDS, Course, Kind
from mulde.pipeline.tuning.figures import MIN_PIXELS, CutOut, cut_out, empty_ground, insert, new_figure
from mulde.pipeline.tuning.scene import Scene, tracks_of
from mulde.progress import Reporter
from mulde.records import Bool, Int64, spans
from mulde.typed import Count, FileModel, VideoName, read_typed

FOLDER = "inserted"
ROUNDS, CONTROLS_PER_ROUND = 3, 2
_CLIP_S, _MIN_FRAMES, _MAX_FRAMES = 6.0, 30, 100
_CUT_OUTS_PER_VIDEO, _MAX_CUT_OUTS, _TRIES = 8, 40, 5


class Clip(FileModel):
    """The facts of a written clip: `kind` of the insertion, the `source` video and the frame of it that the clip starts
    at, its length, and which frames are anomalous, as half-open ranges; `shown`: the frame that shows it best."""

    name: VideoName
    kind: str
    source: str
    first: Count
    num_frames: Count
    anomalous: list[list[Count]]
    shown: Count
    box_xyxy: list[float]

    @property
    def labels(self) -> Bool:
        labels = np.zeros(self.num_frames, np.bool_)
        for start, end in self.anomalous:
            labels[start:end] = True
        return labels

    @property
    def is_control(self) -> bool:
        return self.kind == CONTROL


@dataclass(frozen=True)
class Insertion:
    """A clip that is to be made: which stretch, and the course of what kind of figure is set into it."""

    name: str
    kind: Kind
    share: Share
    frames: Int64
    course: Course


def kinds_of(scene: Scene) -> tuple[list[Kind], list[str]]:
    """The kinds of insertions that are anomalies in this scene, and sentences on those that are not."""
    reasons = {kind.name: kind.unfit(scene) for kind in KINDS}
    notes = [f"no anomalies of the kind {name!r}: {reason}" for name, reason in reasons.items() if reason]
    return [kind for kind in KINDS if not reasons[kind.name]], notes


def plan_insertions(scene: Scene, heldout: Sequence[Share], kinds: Sequence[Kind], seed: int) -> Iterator[Insertion]:
    """One after the other, in rounds of all kinds and some controls, so that any number of the first will do.

    Each is drawn by the seed and its number alone. A kind that the scene has no room for is left out.
    """
    places = [share for share in heldout if share.stored.size_hw == scene.size_hw]
    number = 0
    for _ in range(ROUNDS):
        for kind in (*kinds, *(CONTROL_KIND,) * CONTROLS_PER_ROUND):
            rng = np.random.default_rng([seed, number])
            insertion = _plan_one(f"{number:03d}-{kind.name.replace(' ', '-')}", kind, scene, places, rng)
            number += 1
            if insertion is not None:
                yield insertion


def _plan_one(
    name: str, kind: Kind, scene: Scene, places: Sequence[Share], rng: np.random.Generator
) -> Insertion | None:
    share = places[int(rng.integers(len(places)))]
    index = share.frame_index
    length = min(int(np.clip(_CLIP_S * scene.rate, _MIN_FRAMES, _MAX_FRAMES)), len(index))
    first = int(rng.integers(len(index) - length + 1))
    for _ in range(_TRIES):
        course = kind.plan(scene, length, rng)
        if course is None:
            return None
        if course.visible(scene.size_hw).sum() >= min(0.1 * length, 5):
            return Insertion(name, kind, share, index[first : first + length], course)
    return None


def cut_outs_of(shares: Sequence[Share], plan: ExtractionPlan, reporter: Reporter) -> list[CutOut]:
    """Objects of these videos, each without the ground behind it. Raises MuldeError where there are none."""
    found: list[CutOut] = []
    with reporter.bar("cut out", len(shares), "videos") as advance:
        for share in shares:
            tracks = sorted(tracks_of(share), key=len, reverse=True)[:_CUT_OUTS_PER_VIDEO]
            if tracks and len(found) < _MAX_CUT_OUTS:
                ground = empty_ground(share, plan)
                made = (cut_out(share, track, plan, ground) for track in tracks)
                found += [one for one in made if one is not None]
            advance(1)
    if not found:
        raise MuldeError(
            "no object of the held-out video can be cut out",
            expected="objects that differ from the ground, before a camera that stands still",
            hint="other footage, or boxes alone",
        )
    return found


def write_clip(
    insertion: Insertion, cut_outs: Sequence[CutOut], plan: ExtractionPlan, out: Path, seed: int, *, coloured: bool
) -> Clip:
    """The clip of an insertion, unless it is there; one that was interrupted is written again."""
    facts = out / FOLDER / f"{insertion.name}.json"
    if facts.exists():
        return read_typed(facts, Clip, hint="remove it, so that the clip is written again")
    rng = np.random.default_rng([seed, int(insertion.name.partition("-")[0]), 1])
    course, video = insertion.course, insertion.share.stored.video
    height = float(np.median(course.size[:, 1]))
    figure = new_figure(insertion.kind.figure, height, cut_outs, rng, coloured=coloured)
    folder, partial = out / FOLDER / insertion.name, out / FOLDER / f".{insertion.name}"
    for path in (folder, partial):
        shutil.rmtree(path, ignore_errors=True)
    partial.mkdir(parents=True)
    seen = np.zeros(len(insertion.frames), np.int64)
    for time, (_, frame) in enumerate(wanted_frames(video, plan, insertion.frames.tolist())):
        if course.present[time]:
            frame, seen[time] = insert(frame, figure, course, time, rng)
        write_png(partial / f"{time:05d}.png", frame)
    os.replace(partial, folder)
    labels = course.anomalous & (seen >= MIN_PIXELS)
    if labels.any():  # one event, whatever a single frame shows
        labels[np.argmax(labels) : len(labels) - np.argmax(labels[::-1])] = True
    best = int(np.argmax(np.where(labels, seen, 0))) if labels.any() else int(np.argmax(seen))
    clip = Clip(
        name=insertion.name,
        kind=insertion.kind.name,
        source=video.name,
        first=int(insertion.frames[0]),
        num_frames=len(insertion.frames),
        anomalous=[[start, end] for start, end in spans(labels)],
        shown=best,
        box_xyxy=[round(float(value), 2) for value in course.box_xyxy[best]],
    )
    write_json(facts, clip.model_dump(mode="json"))
    return clip


def clip_video(clip: Clip, out: Path, rate: Fraction) -> Video:
    """A written clip as a video of the extraction."""
    return Video(clip.name, "all", out / FOLDER / clip.name, frame_rate=rate, dataset=out.name)
