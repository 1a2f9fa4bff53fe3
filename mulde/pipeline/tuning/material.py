"""From normal videos to what candidates are judged on: features of the videos, clips with insertions, and theirs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mulde.config import FusionSettings, Settings
from mulde.datasets.base import Video
from mulde.errors import Failure, MuldeError
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.world import mixtures, size_text, world_of
from mulde.pipeline.training.folds import Share, split_folds
from mulde.pipeline.tuning.clips import ROUNDS, Clip, ClipWriter, cut_outs_of, kinds_of, plan_insertions
from mulde.pipeline.tuning.judging import JudgedVideo
from mulde.pipeline.tuning.scene import Scene, learn_scene
from mulde.pipeline.tuning.scoring import Footage

HELDOUT_SHARE = 0.25
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
    """Normal footage with the features of the settings, and the clips made of it; `notes` are sentences on what was not
    made, `failures` the videos that could not be read."""

    footage: Footage
    clips: list[Clip]
    videos: list[JudgedVideo]
    rate: float
    notes: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def make_material(
    videos: Sequence[Video], settings: Settings, out: Path, seed: int, session: Session, deadline: Deadline
) -> Material | None:
    """None where the time was up before there was any clip. Raises FitError for footage in which nothing moves."""
    plan = ExtractionPlan(settings, session.device)
    normal, failures = extract_until(videos, plan, session, deadline, _SHARE_OF_EXTRACTION)
    if not normal or deadline.is_over():
        return None
    fold = split_folds(normal, FusionSettings(folds=1, heldout_share=HELDOUT_SHARE), seed)[0]
    scene = learn_scene(fold.fitting)
    boxes_alone = fold.fitting[0].stored.video.boxes is not None
    kinds, notes = kinds_of(scene, boxes_alone=boxes_alone)
    heldout = [share for share in fold.heldout if share.stored.size_hw == scene.size_hw]
    if not heldout:
        raise MuldeError("no held-out video has the size that most videos have", hint="video.working_size_px")
    notes += _not_used(videos, normal, fold.heldout, scene, failures)
    cut_outs = [] if boxes_alone else cut_outs_of(heldout, plan, session.reporter)
    coloured = any(share.stored.coloured is not False for share in heldout)
    writer = ClipWriter(out, scene, plan, cut_outs, seed, coloured)
    clips: list[Clip] = []
    stored: list[StoredVideo] = []
    insertions = list(plan_insertions(scene, heldout, kinds, seed))
    per_round = -(-len(insertions) // ROUNDS)
    for start in range(0, len(insertions), per_round):
        if deadline.is_over(_SHARE_OF_EXTRACTION):
            notes.append(f"{len(insertions) - start} of {len(insertions)} clips were not made: no time left")
            break
        part = insertions[start : start + per_round]
        with session.reporter.bar("insert", len(part), "clips") as advance:
            made = []
            for insertion in part:
                made.append(writer.write(insertion))
                advance(1)
        extraction = session.extract([video for _, video in made], plan)
        failures += extraction.failures
        done = {video.video.name: video for video in extraction.done}
        used = [clip for clip, _ in made if clip.name in done and (clip.is_control or clip.anomalous)]
        clips += used
        stored += [done[clip.name] for clip in used]
    if not any(clip.anomalous for clip in clips):
        return None
    left_out = {kind.name for kind in kinds} - {clip.kind for clip in clips}
    notes += [f"no anomalies of the kind {name!r}: the scene has no room for them" for name in sorted(left_out)]
    judged = [
        JudgedVideo(share.label, "", np.zeros(len(share.frame_index), np.bool_), float(share.stored.rate))
        for share in heldout
    ]
    judged += [
        JudgedVideo(clip.name, clip.kind, clip.labels, float(video.rate))
        for clip, video in zip(clips, stored, strict=True)
    ]
    return Material(Footage(fold.fitting, tuple(heldout), tuple(stored)), clips, judged, scene.rate, notes, failures)


def _not_used(
    videos: Sequence[Video],
    normal: Sequence[StoredVideo],
    heldout: Sequence[Share],
    scene: Scene,
    failures: Sequence[Failure],
) -> list[str]:
    """Sentences on videos that take no part, and on footage that is not of one kind."""
    notes = [f"the videos have {sentence}" for sentence in mixtures(world_of(video.observed() for video in normal))]
    if missing := len(videos) - len(normal) - len(failures):
        notes.append(f"{missing} of {len(videos)} videos were not extracted: no time left")
    if others := [share.label for share in heldout if share.stored.size_hw != scene.size_hw]:
        named = ", ".join(others[:_MAX_NAMED]) + (", ..." if len(others) > _MAX_NAMED else "")
        notes.append(f"held-out videos that are not {size_text(scene.size_hw)} are not used ({len(others)}): {named}")
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


def footage_with_step(
    material: Material, settings: Settings, stream: str, step: int, session: Session, deadline: Deadline
) -> Footage | None:
    """The same footage with rows of one stream over `step` frames; None where there is no time for all of it."""
    data: dict[str, Any] = settings.model_dump(mode="json")
    data["features"] |= {"extractors": [stream], "imported": []}
    data["features"][stream]["step"] = step
    data["density"]["streams"], data["fusion"]["only_high"] = {}, []
    plan = ExtractionPlan(Settings.model_validate(data), session.device)
    shares = {share.stored.video.path: share.stored.video for share in
              (*material.footage.fitting, *material.footage.heldout)}  # fmt: skip
    videos = [*shares.values(), *(clip.video for clip in material.footage.clips)]
    done, failures = extract_until(videos, plan, session, deadline)
    return material.footage.with_videos(done) if len(done) == len(videos) and not failures else None
