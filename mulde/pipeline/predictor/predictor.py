"""A model at work on videos whose features are in the store, in memory: scores, and events with their reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mulde.config import Settings
from mulde.errors import UsageError, VideoError
from mulde.events import Event
from mulde.extractors.base import TrainedExtractor
from mulde.extractors.class_names import class_names
from mulde.pipeline.events.explain import Explained, explain
from mulde.pipeline.events.location import located
from mulde.pipeline.events.tables import by_video
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle, check_extraction
from mulde.pipeline.model.loading import TrainedModel
from mulde.pipeline.model.normal_index import NormalIndex
from mulde.pipeline.model.world import in_lines, other_colour, other_objects
from mulde.pipeline.outcome import Failed
from mulde.pipeline.predictor.view import view_remark
from mulde.pipeline.scoring.frames import score_video
from mulde.pipeline.scoring.threshold import AlarmRule, find_alarms, learn_threshold
from mulde.progress import Reporter
from mulde.records import ScoredVideo


@dataclass(frozen=True)
class Predictor:
    """A model, the plan that extracts what it scores, and its alarm level (None: it came without normal scores).

    Its one set of settings is that of the bundle: those of the training with what scoring was asked to change.
    """

    model: TrainedModel
    plan: ExtractionPlan
    alarm: AlarmRule | None
    reporter: Reporter

    @property
    def bundle(self) -> Bundle:
        return self.model.bundle

    @property
    def settings(self) -> Settings:
        return self.model.bundle.settings

    @property
    def normal_index(self) -> NormalIndex | None:
        return self.model.normal_index

    @classmethod
    def open(
        cls, model: TrainedModel, path: Path, changes: Sequence[str], device: str, reporter: Reporter
    ) -> Predictor:
        """path: that of the model. changes: KEY=VALUE of its settings, to extract and to set
        the alarm level with.

        Raises BundleError for a model that was trained on other features, UsageError for a setting that scoring cannot
        change and for a rate of false alarms that the model does not support.
        """
        bundle = model.bundle
        if bundle.sha256 is None:
            reporter.say(f"{path} is of an older mulde and carries no digest: a change of it would not be seen")
        bundle = bundle.with_settings(changes, path.parent)
        if not bundle.classes:
            bundle = replace(bundle, classes=class_names(bundle.settings.regions.yolo.weights))
        alarm = learn_threshold(bundle, bundle.settings.alarms, reporter)
        plan = ExtractionPlan(bundle.settings, device, world=bundle.world)
        if bundle.world is None:
            reporter.warn(
                f"{path}: its sizes, rates and colour are not known, as an older version wrote it, so no "
                "difference of other footage can be reported"
            )
        for warning in check_extraction(bundle, plan.fingerprint()):
            reporter.warn(warning)
        return cls(replace(model, bundle=bundle), plan, alarm, reporter)

    @classmethod
    def trained(cls, model: TrainedModel, plan: ExtractionPlan, reporter: Reporter) -> Predictor:
        """Of a model that was just trained; a rate that it does not support is a warning, because the hours of training
        are not to be lost for it."""
        try:
            alarm = learn_threshold(model.bundle, model.bundle.settings.alarms, reporter)
        except UsageError as error:
            reporter.warn(f"no alarm level and no events: {error}")
            alarm = None
        return cls(model, plan, alarm, reporter)

    def compare(self, videos: Sequence[StoredVideo], *, say: bool = True) -> dict[str, list[str]]:
        """What of the videos is not as the model learnt, by video: what is converted, and what cannot be."""
        remarks = {stored.video.name: list(self._remarks(stored)) for stored in videos}
        if say:
            lines = ((stored.video.path.name, text) for stored in videos for text in remarks[stored.video.name])
            for line in in_lines(lines):
                self.reporter.warn(line)
        return {name: texts for name, texts in remarks.items() if texts}

    def _remarks(self, stored: StoredVideo) -> Iterator[str]:
        yield from stored.match.remarks
        missing = max((e.before for e in self.plan.extractors if isinstance(e, TrainedExtractor)), default=0)
        if stored.num_frames <= missing:
            looked_at = f"{missing} before each are looked at, and the first one stands for those"
            yield f"of {stored.num_frames} frames; {looked_at}"
        if (world := self.bundle.world) is not None:
            seen = stored.observed()
            yield from filter(None, (other_colour(world, seen.coloured), other_objects(world, seen.num_objects)))
        if self.settings.health.compare and (remark := view_remark(stored, self.bundle.health, self.plan)):
            yield remark

    def score(self, stored: StoredVideo) -> ScoredVideo:
        """Scores of the frames and of the boxes of a video."""
        return score_video(stored, self.bundle)

    def explained_events(
        self, videos: Sequence[StoredVideo], scored: Mapping[str, ScoredVideo], failed: Failed | None = None
    ) -> Explained:
        """The events of the scored videos with their reasons; none without an alarm level. failed: as `explain`."""
        if self.alarm is None:
            return Explained([], {})
        by_name = {stored.video.name: stored for stored in videos}
        explained = explain(find_alarms(scored, self.alarm), scored, by_name, self.bundle, self.normal_index, failed)
        placed: dict[str, Event] = {}
        for name, events in by_video(explained.events).items():
            try:
                placed |= {event.event_id: event for event in located(events, by_name[name], self.plan)}
            except VideoError as error:  # it can no longer be read: its pictures will say so too
                self.reporter.warn(f"{name}: events without a place: {error}")
        return replace(explained, events=[placed.get(event.event_id, event) for event in explained.events])
