"""Clips with insertions: stretches of held-out video into which one figure is set, as frames with labels of ours.

`<out>/inserted/<clip>/00000.png ...`, of boxes alone `<out>/inserted/<clip>.parquet`, and, written when these are
whole, `<out>/inserted/<clip>.json`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from mulde import __version__
from mulde.datasets.base import Origin, Video
from mulde.digests import arrays_digest, fingerprint
from mulde.files import write_json
from mulde.images import write_png
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.training.folds import Fold
from mulde.pipeline.tuning.boxes import NO_BOXES, boxes_video, write_boxes_clip
from mulde.pipeline.tuning.courses import CONTROL, CONTROL_KIND, FOREIGN, FOREIGN_KIND, KINDS, Insertion, Kind
from mulde.pipeline.tuning.figures import MIN_PIXELS, CutOut, insert, new_figure
from mulde.pipeline.tuning.scene import Scene
from mulde.records import Bool, Int64, spans
from mulde.typed import Count, FileModel, VideoName, read_typed

FOLDER = "inserted"
ROUNDS, CONTROLS_PER_ROUND = 5, 2
_CLIP_S, _MIN_FRAMES, _MAX_FRAMES = 6.0, 30, 100
_TRIES = 5


class Clip(FileModel):
    """The facts of a written clip: `kind` of the insertion, the `source` video and the frame of it that the clip starts
    at, its length, and which frames are anomalous, as half-open ranges; `made_from`: the digest of all that it follows
    from; `shown`: the frame that shows it best."""

    name: VideoName
    kind: str
    source: str
    made_from: str
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


def kinds_of(scene: Scene, *, boxes_alone: bool, has_foreign: bool = False) -> tuple[list[Kind], list[str]]:
    """The kinds of insertions that are anomalies in this scene, and sentences on those that are not. has_foreign:
    whether there are objects of other footage."""
    reasons = {kind.name: kind.unfit(scene) for kind in KINDS}
    if boxes_alone:
        reasons |= {kind.name: "it needs pixels" for kind in KINDS if kind.figure in NO_BOXES}
    notes = [f"no anomalies of the kind {name!r}: {reason}" for name, reason in reasons.items() if reason]
    return [kind for kind in KINDS if not reasons[kind.name]] + [FOREIGN_KIND] * has_foreign, notes


def plan_insertions(scene: Scene, folds: Sequence[Fold], kinds: Sequence[Kind], seed: int) -> Iterator[Insertion]:
    """One after the other, in rounds of all kinds and some controls, so that any number of the first will do; into
    what all of the folds hold out.

    Each is drawn by the seed and its number alone. A kind that the scene has no room for is left out.
    """
    number = 0
    for _ in range(ROUNDS):
        for kind in (*kinds, *(CONTROL_KIND,) * CONTROLS_PER_ROUND):
            rng = np.random.default_rng([seed, number])
            insertion = _plan_one(f"{number:03d}-{kind.name.replace(' ', '-')}", kind, scene, folds, rng)
            number += 1
            if insertion is not None:
                yield insertion


def _plan_one(name: str, kind: Kind, scene: Scene, folds: Sequence[Fold], rng: np.random.Generator) -> Insertion | None:
    places = [(number, share) for number, fold in enumerate(folds) for share in fold.heldout]
    number, share = places[int(rng.integers(len(places)))]
    scene = scene.beside(share, folds[number].heldout)
    index = share.frame_index
    length = min(int(np.clip(_CLIP_S * scene.rate, _MIN_FRAMES, _MAX_FRAMES)), len(index))
    first = int(rng.integers(len(index) - length + 1))
    for _ in range(_TRIES):
        course = kind.plan(scene, length, rng)
        if course is None:
            return None
        if course.visible(scene.size_hw).sum() >= min(0.1 * length, 5):
            return Insertion(name, kind, number, share, index[first : first + length], course)
    return None


@dataclass(frozen=True)
class ClipWriter:
    """Writes clips below `out`; plan: of the frames; cut_outs: to be inserted, by fold, behind them those of
    other footage; none for videos of boxes alone."""

    out: Path
    scene: Scene
    plan: ExtractionPlan
    cut_outs: Sequence[Sequence[CutOut]]
    seed: int
    coloured: bool

    def write(self, insertion: Insertion) -> tuple[Clip, Video]:
        """The clip of an insertion, unless it is there, and the video of it; what was interrupted is written again, and
        what was made of other videos."""
        facts, made_from = self.out / FOLDER / f"{insertion.name}.json", self._made_from(insertion)
        clip = None
        if facts.exists():
            clip = read_typed(facts, Clip, hint="remove it, so that the clip is written again")
        if clip is None or clip.made_from != made_from:
            facts.unlink(missing_ok=True)
            clip = self._write(insertion, made_from)
            write_json(facts, clip.model_dump(mode="json"))
        return clip, self._video(clip, insertion)

    def _made_from(self, insertion: Insertion) -> str:
        """The digest of all that the clip follows from."""
        course, video = insertion.course, insertion.share.stored.passports["frames"].video_sha256
        objects = self._digests[_cut_from(insertion)] if self.cut_outs else ""
        text = [__version__, insertion.kind.name, video, self.seed, self.coloured, self.scene.unsteady, objects]
        arrays = {"frames": insertion.frames, **vars(course)}
        return arrays_digest(fingerprint(text), arrays.items())

    @cached_property
    def _digests(self) -> list[str]:
        return [arrays_digest("", (("", crop) for one in several for crop in one.crops)) for several in self.cut_outs]

    def _video(self, clip: Clip, insertion: Insertion) -> Video:
        stored, path = insertion.share.stored, self.out / FOLDER / clip.name
        if stored.video.boxes is None:
            origin = Origin(stored.passports["frames"].video_sha256, clip.first)
            rate = Fraction(stored.rate)
            return Video(clip.name, "all", path, frame_rate=rate, dataset=self.out.name, origin=origin)
        path = path.with_name(f"{clip.name}.parquet")
        return boxes_video(clip.name, path, stored.size_hw, clip.num_frames, Fraction(stored.rate), self.out.name)

    def _write(self, insertion: Insertion, made_from: str) -> Clip:
        rng = np.random.default_rng([self.seed, int(insertion.name.partition("-")[0]), 1])
        course = insertion.course
        if insertion.share.stored.video.boxes is None:
            seen = self._write_frames(insertion, rng)
            shown = seen >= MIN_PIXELS
        else:
            path = self.out / FOLDER / f"{insertion.name}.parquet"
            shown, course = write_boxes_clip(insertion, path, self.scene, rng)
            seen = shown.astype(np.int64)
        labels = course.anomalous & shown
        if labels.any():  # one event, whatever a single frame shows
            labels[np.argmax(labels) : len(labels) - np.argmax(labels[::-1])] = True
        best = int(np.argmax(np.where(labels, seen, 0))) if labels.any() else int(np.argmax(seen))
        return Clip(
            name=insertion.name,
            kind=insertion.kind.name,
            source=insertion.share.stored.video.name,
            made_from=made_from,
            first=int(insertion.frames[0]),
            num_frames=len(insertion.frames),
            anomalous=[[start, end] for start, end in spans(labels)],
            shown=best,
            box_xyxy=[round(float(value), 2) for value in course.box_xyxy[best]],
        )

    def _write_frames(self, insertion: Insertion, rng: np.random.Generator) -> Int64:
        """The frames as pictures; how many pixels of the figure each of them shows, (T,)."""
        course = insertion.course
        height = float(np.median(course.size[:, 1]))
        objects = self.cut_outs[_cut_from(insertion)]
        figure = new_figure(insertion.kind.figure, height, objects, rng, coloured=self.coloured)
        folder, partial = (self.out / FOLDER / f"{dot}{insertion.name}" for dot in ("", "."))
        for path in (folder, partial):
            shutil.rmtree(path, ignore_errors=True)
        partial.mkdir(parents=True)
        seen = np.zeros(len(insertion.frames), np.int64)
        pictures = wanted_frames(insertion.share.stored.video, self.plan, insertion.frames.tolist())
        for time, (_, frame) in enumerate(pictures):
            if course.present[time]:
                frame, seen[time] = insert(frame, figure, course, time, rng)
            write_png(partial / f"{time:05d}.png", frame)
        os.replace(partial, folder)
        return seen


def _cut_from(insertion: Insertion) -> int:
    """Which of the cut-outs an insertion is drawn from."""
    return -1 if insertion.kind.figure == FOREIGN else insertion.fold
