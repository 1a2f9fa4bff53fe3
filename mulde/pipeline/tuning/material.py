"""From normal videos to what candidates are judged on: features of the videos, clips with insertions, and theirs."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mulde.config import FusionSettings, Settings
from mulde.datasets.base import Video
from mulde.errors import Failure, FitError
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.world import mixtures, size_text, world_of
from mulde.pipeline.training.folds import Share, split_folds
from mulde.pipeline.tuning.candidates import with_one_stream
from mulde.pipeline.tuning.clips import ROUNDS, Clip, ClipWriter, kinds_of, plan_insertions
from mulde.pipeline.tuning.courses import Insertion
from mulde.pipeline.tuning.figures import CutOut
from mulde.pipeline.tuning.judging import JudgedVideo
from mulde.pipeline.tuning.objects import cut_outs_by_fold, foreign_cut_outs
from mulde.pipeline.tuning.scene import learn_scene, usual_form
from mulde.pipeline.tuning.scoring import Folds, Footage

NUM_FOLDS = 2
"""Each half of the videos is judged by candidates that were fitted on the other."""
_BATCH, _MAX_NAMED = 4, 5
_SHARE_OF_EXTRACTION = 0.5


class Deadline:
    """The end of the time that a person gave, `hours` from now; None for no end."""

    def __init__(self, hours: float | None) -> None:
        self._start, self._seconds = time.monotonic(), None if hours is None else hours * 3600

    def is_over(self, share: float = 1.0) -> bool:
        """Whether a share of the time is up."""
        return self._seconds is not None and time.monotonic() - self._start >= share * self._seconds

    @property
    def is_set(self) -> bool:
        return self._seconds is not None


@dataclass
class Material:
    """Normal footage with the features of the settings, and the clips made of it; `videos` are those that judge, in the
    order of the folds; `notes` are sentences on what was not made."""

    folds: Folds
    clips: list[Clip]
    videos: list[JudgedVideo]
    rate: float
    notes: list[str] = field(default_factory=list)

    @property
    def shares(self) -> list[Share]:
        """All normal video that is used, each frame once."""
        return [share for fold in self.folds for share in fold.heldout]


class _Made(NamedTuple):
    """A clip, its features, and the fold that holds out what it was made of."""

    clip: Clip
    stored: StoredVideo
    fold: int


def make_material(
    videos: Sequence[Video],
    settings: Settings,
    out: Path,
    seed: int,
    session: Session,
    deadline: Deadline,
    failures: list[Failure],
    objects: Sequence[Video] = (),
    without: Collection[str] = (),
) -> Material | None:
    """None where the time was up before there was any clip. failures: what fails is added to them; objects: other
    footage whose objects are inserted as well; without: kinds that are not inserted, the others being the same.
    Raises FitError where no video can be read, nothing moves in any, or no anomaly fits into the scene."""
    plan = ExtractionPlan(settings, session.device)
    normal, unread = extract_until(videos, plan, session, deadline, _SHARE_OF_EXTRACTION)
    failures += unread
    if len(unread) == len(videos):
        raise FitError("tuning", expected="at least one normal video that could be read", got="none")
    if not normal or deadline.is_over():
        return None
    size_hw, _ = usual_form(normal)
    used = [video for video in normal if video.size_hw == size_hw]
    folds = split_folds(used, FusionSettings(folds=NUM_FOLDS), seed)
    scene = learn_scene([share for fold in folds for share in fold.heldout])
    boxes_alone = used[0].video.boxes is not None
    notes = _not_used(videos, normal, size_hw, unread)
    cut_outs = [] if boxes_alone else cut_outs_by_fold(folds, plan, session.reporter)
    coloured = any(video.coloured is not False for video in used)
    foreign = _foreign(objects, settings, session, deadline, coloured, notes, failures) if objects else []
    kinds, unfit = kinds_of(scene, boxes_alone=boxes_alone, has_foreign=bool(foreign))
    notes += unfit
    writer = ClipWriter(out, scene, plan, [*cut_outs, foreign] if cut_outs else [], seed, coloured)
    insertions = [one for one in plan_insertions(scene, folds, kinds, seed) if one.kind.name not in without]
    made = _make_clips(insertions, writer, plan, session, deadline, notes, failures)
    if not any(one.clip.anomalous for one in made):
        if deadline.is_over(_SHARE_OF_EXTRACTION):
            return None
        raise FitError("tuning", expected="an anomaly that could be inserted", got="; ".join(["none", *notes]))
    left_out = {kind.name for kind in kinds} - {one.clip.kind for one in made} - {*without}
    notes += [f"no anomalies of the kind {name!r}: --without" for name in sorted(without)]
    notes += [f"no anomalies of the kind {name!r}: none fits into the scene" for name in sorted(left_out)]
    judged: list[JudgedVideo] = []
    footage = []
    for number, fold in enumerate(folds):
        own = [one for one in made if one.fold == number]
        footage.append(Footage(fold.fitting, fold.heldout, tuple(one.stored for one in own)))
        judged += [
            JudgedVideo(share.label, "", np.zeros(len(share.frame_index), np.bool_), float(share.stored.rate))
            for share in fold.heldout
        ]
        judged += [JudgedVideo(clip.name, clip.kind, clip.labels, float(stored.rate)) for clip, stored, _ in own]
    return Material(tuple(footage), [one.clip for one in made], judged, scene.rate, notes)


def _foreign(
    objects: Sequence[Video],
    settings: Settings,
    session: Session,
    deadline: Deadline,
    coloured: bool,
    notes: list[str],
    failures: list[Failure],
) -> list[CutOut]:
    """The objects of other footage; what there is no time for, and what fails, is added to the notes and failures."""
    plan = ExtractionPlan(with_one_stream(settings, "geometry"), session.device)  # the cheapest: boxes are wanted alone
    done, failed = extract_until(objects, plan, session, deadline, _SHARE_OF_EXTRACTION)
    failures += failed
    if missing := len(objects) - len(done) - len(failed):
        notes.append(f"{missing} of {len(objects)} videos of other objects were not extracted: no time left")
    return foreign_cut_outs(done, plan, session.reporter, coloured=coloured) if done or not missing else []


def _make_clips(
    insertions: Sequence[Insertion],
    writer: ClipWriter,
    plan: ExtractionPlan,
    session: Session,
    deadline: Deadline,
    notes: list[str],
    failures: list[Failure],
) -> list[_Made]:
    """The clips of as many of the insertions as there is time for, round by round, with their features; what is left
    out and what fails is added to the notes and failures."""
    made: list[_Made] = []
    per_round = -(-len(insertions) // ROUNDS)
    for start in range(0, len(insertions), per_round or 1):
        if deadline.is_over(_SHARE_OF_EXTRACTION):
            notes.append(f"{len(insertions) - start} of {len(insertions)} clips were not made: no time left")
            break
        part = insertions[start : start + per_round]
        with session.reporter.bar("insert", len(part), "clips") as advance:
            written = []
            for insertion in part:
                written.append(writer.write(insertion))
                advance(1)
        extraction = session.extract([video for _, video in written], plan)
        failures += extraction.failures
        done = {video.video.name: video for video in extraction.done}
        made += [
            _Made(clip, done[clip.name], insertion.fold)
            for (clip, _), insertion in zip(written, part, strict=True)
            if clip.name in done and (clip.is_control or clip.anomalous)
        ]
    return made


def _not_used(
    videos: Sequence[Video], normal: Sequence[StoredVideo], size_hw: tuple[int, int], failures: Sequence[Failure]
) -> list[str]:
    """Sentences on videos that take no part, and on footage that is not of one kind."""
    notes = [f"the videos have {sentence}" for sentence in mixtures(world_of(video.observed() for video in normal))]
    if missing := len(videos) - len(normal) - len(failures):
        notes.append(f"{missing} of {len(videos)} videos were not extracted: no time left")
    if others := [video.video.name for video in normal if video.size_hw != size_hw]:
        named = ", ".join(others[:_MAX_NAMED]) + (", ..." if len(others) > _MAX_NAMED else "")
        notes.append(f"videos that are not {size_text(size_hw)} are not used ({len(others)}): {named}")
    return notes


def extract_until(
    videos: Sequence[Video], plan: ExtractionPlan, session: Session, deadline: Deadline, share: float = 1.0
) -> tuple[list[StoredVideo], list[Failure]]:
    """The features of as many of the videos as there is time for."""
    batch = _BATCH if deadline.is_set else max(len(videos), 1)
    done: list[StoredVideo] = []
    failures: list[Failure] = []
    for start in range(0, len(videos), batch):
        if deadline.is_over(share):
            break
        extraction = session.extract(videos[start : start + batch], plan)
        done += extraction.done
        failures += extraction.failures
    return done, failures


def folds_with_step(
    material: Material, settings: Settings, stream: str, step: int, session: Session, deadline: Deadline
) -> Folds | None:
    """The same folds with rows of one stream over `step` frames; None where there is no time for all of it."""
    plan = ExtractionPlan(with_one_stream(settings, stream, step=step), session.device)
    shares = {share.stored.video.path: share.stored.video for share in material.shares}
    videos = [*shares.values(), *(clip.video for fold in material.folds for clip in fold.clips)]
    done, failures = extract_until(videos, plan, session, deadline)
    if len(done) < len(videos) or failures:
        return None
    return tuple(fold.with_videos(done) for fold in material.folds)
