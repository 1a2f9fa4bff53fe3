"""What a predictor finds, as the files of a run folder: tables, events with reasons, pictures."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mulde.config import Settings
from mulde.digests import file_digest
from mulde.errors import VideoError, sentence, stops_all
from mulde.events import Event, sorted_events
from mulde.names import output_path
from mulde.pipeline.events.drawing import Findings, draw_copy
from mulde.pipeline.events.explain import Explained
from mulde.pipeline.events.parts import EventParts
from mulde.pipeline.events.suppression import (
    SUPPRESSIONS,
    ScoringModel,
    Suppression,
    apply_suppressions,
    merge_suppressions,
    narrow_reason,
    read_suppressions,
    suppressions_of,
    write_suppressions,
)
from mulde.pipeline.events.tables import (
    EVENTS,
    EventRows,
    by_video,
    read_event_rows,
    read_events,
    write_event_rows,
    write_events,
)
from mulde.pipeline.events.thumbnails import write_normal_pictures, write_pictures
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.session import Session
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.model.loading import TrainedModel, load_model
from mulde.pipeline.model.weights import remember
from mulde.pipeline.outcome import Failed
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.run_folder import HEAT_MAPS, OVERLAYS, PIXEL_MAPS, RunFolder
from mulde.pipeline.scoring.frames import score_path, write_scores
from mulde.pipeline.scoring.heat_maps import write_heat_maps
from mulde.pipeline.scoring.pixel_maps import Heat, draw_heat, mapping_stream, maps_pixels, write_pixel_maps
from mulde.pipeline.scoring.regions import read_regions_of, write_regions
from mulde.pipeline.scoring.threshold import AlarmRule
from mulde.records import LabelTrack, ScoredVideo, ScoreTrack
from mulde.report.curves import truth_frames
from mulde.report.plots import plot_scores

PICTURES_IN_FIGURE = 3


@dataclass(frozen=True)
class ScoreOptions:
    """What is also to be done: suppressions to apply, overlay videos, heat maps and maps of pixel models to write;
    pixel_maps None: of single images, where the model has such maps."""

    suppressions: Path | None = None
    overlay: bool = False
    heat_maps: bool = False
    pixel_maps: bool | None = None


@dataclass(frozen=True)
class Scorer:
    """A predictor whose results go to a run folder; `model` is what suppressions know of the model."""

    predictor: Predictor
    model: ScoringModel
    session: Session
    options: ScoreOptions
    given: tuple[Suppression, ...]

    @property
    def bundle(self) -> Bundle:
        return self.predictor.bundle

    @property
    def plan(self) -> ExtractionPlan:
        return self.predictor.plan

    @property
    def settings(self) -> Settings:
        return self.predictor.settings

    @property
    def alarm(self) -> AlarmRule | None:
        return self.predictor.alarm

    @classmethod
    def open(cls, model: Path, changes: Sequence[str], session: Session, options: ScoreOptions) -> Scorer:
        """changes: of the model's settings, as `load_settings` takes them, to extract and to set the alarm with.

        Raises BundleError for a model that cannot be read or was trained on other features, UsageError for a rate of
        false alarms that it does not support.
        """
        trained = load_model(model, session.device)
        predictor = Predictor.open(trained, model, changes, session.device, session.reporter)
        if options.pixel_maps:
            mapping_stream(predictor.plan)  # before anything is computed
        remember(predictor.settings, predictor.plan.fingerprint())
        return cls._of(predictor, model, session, options)

    @classmethod
    def trained(cls, trained: TrainedModel, plan: ExtractionPlan, model: Path, session: Session) -> Scorer:
        """Of a model that was just trained and saved."""
        return cls._of(Predictor.trained(trained, plan, session.reporter), model, session, ScoreOptions())

    @classmethod
    def _of(cls, predictor: Predictor, model: Path, session: Session, options: ScoreOptions) -> Scorer:
        known = ScoringModel(file_digest(model), predictor.normal_index)
        given = tuple(read_suppressions(options.suppressions)) if options.suppressions else ()
        for suppression in given:
            if why := narrow_reason(suppression, known):
                session.reporter.warn(f"suppression {suppression.id} covers only {suppression.event_id}: {why}")
        return cls(predictor, known, session, options, given)

    def look(self, videos: Sequence[StoredVideo], folder: RunFolder | None, *, say: bool = True) -> None:
        """Say, and put on record, what of the videos is not as the model learnt: what is converted, what cannot be."""
        remarks = self.predictor.compare(videos, say=say)
        if remarks and folder is not None:
            folder.note(not_as_learnt={**folder.record.not_as_learnt, **remarks})

    def score(
        self, videos: Sequence[StoredVideo], folder: RunFolder, *, add: bool, failed: Failed | None = None
    ) -> dict[str, ScoredVideo]:
        """Scores of the videos as tables; their events and reasons. The scores of boxes are only written: they may be
        many. add: what the run folder holds of other videos stays; scoring a video twice is the same as once. failed:
        gets what goes wrong with one video, which then has no scores; without it, it is raised."""
        scored = self._tables(videos, folder, failed)
        before = folder.record.frames_without_rows if add else {}
        without = {name: video.frames_without_rows for name, video in scored.items()}
        folder.note(frames_without_rows={**before, **without})
        if self.alarm is not None and scored:
            explained = self._explained(videos, scored, folder, failed)
            self._write_events(explained, scored, self.alarm, folder, add)
        elif not add:
            for left_over in folder.root.glob(f"{EVENTS}.*"):  # of an earlier command that had a level, or videos
                left_over.unlink()
        return scored

    def score_part(
        self, videos: Sequence[StoredVideo], folder: RunFolder
    ) -> tuple[dict[str, ScoredVideo], list[Event]]:
        """As `score` adds them, for a folder that grows without end: what is written does not grow with it. The events,
        which are returned too, wait beside the tables of events until `gather`."""
        scored = self._tables(videos, folder, None)
        if self.alarm is None or not scored:
            return scored, []
        explained = self._explained(videos, scored, folder, None)
        events = apply_suppressions(explained.events, explained.rows, self._suppressions(folder)[0], self.model)
        EventParts(folder.root).add(scored, events, explained.rows)
        return scored, events

    def gather(self, folder: RunFolder) -> None:
        """Bring into the tables of events what `score_part` left beside them, in this process or in one that died."""
        if self.alarm is None:
            return
        suppressions, are_new = self._suppressions(folder)

        def suppress(events: Sequence[Event], rows: EventRows) -> list[Event]:
            return apply_suppressions(events, rows, suppressions, self.model)

        num_events = EventParts(folder.root).gather(suppress, for_all=are_new)
        if are_new:
            write_suppressions(suppressions, folder.root / SUPPRESSIONS)
        if num_events is not None:
            folder.note(alarm=self.alarm.as_record(), num_events=num_events)

    def _suppressions(self, folder: RunFolder) -> tuple[list[Suppression], bool]:
        """Those of the run folder and those that were given, and whether any of the latter are new to the former."""
        known = list(suppressions_of(folder.root))
        merged = merge_suppressions(known, self.given)
        return merged, merged != known

    def _tables(
        self, videos: Sequence[StoredVideo], folder: RunFolder, failed: Failed | None
    ) -> dict[str, ScoredVideo]:
        scored = {}
        with self.session.reporter.bar("score", len(videos), "videos") as advance:
            for stored in videos:
                try:
                    scored[stored.video.name] = self._score(stored, folder)
                except Exception as error:
                    if failed is None or stops_all(error):
                        raise
                    _remove_scores(stored.video.name, folder)
                    failed(stored.video.name, sentence(error, stored.video.path), lost=True)
                advance(1)
        return scored

    def _score(self, stored: StoredVideo, folder: RunFolder) -> ScoredVideo:
        scored = self.predictor.score(stored)
        write_scores(scored, folder.scores)
        if scored.regions is not None:
            write_regions(scored.regions, folder.regions)
        if self.options.heat_maps:
            how = self.settings.fusion.combine
            write_heat_maps(scored.track, scored.regions, stored.size_hw, how, folder.root / HEAT_MAPS)
        if self._maps_pixels(stored):
            maps = folder.root / PIXEL_MAPS
            write_pixel_maps(stored, self.plan, self.predictor.normal_index, maps)
            if stored.num_frames == 1:
                draw_heat(stored, scored.track, self.plan, maps)
        return replace(scored, regions=None)

    def _maps_pixels(self, stored: StoredVideo) -> bool:
        if self.options.pixel_maps is None:
            return stored.num_frames == 1 and maps_pixels(self.plan)
        return self.options.pixel_maps

    def _explained(
        self,
        videos: Sequence[StoredVideo],
        scored: Mapping[str, ScoredVideo],
        folder: RunFolder,
        failed: Failed | None,
    ) -> Explained:
        explained = self.predictor.explained_events(videos, scored, failed)
        write_normal_pictures(explained.events, self.predictor.normal_index, folder.root)
        return explained

    def _write_events(
        self, explained: Explained, scored: Collection[str], alarm: AlarmRule, folder: RunFolder, add: bool
    ) -> None:
        root = folder.root
        others = [event for event in read_events(root) if event.video not in scored] if add else []
        kept = {event.event_id for event in others}
        rows = {key: row for key, row in read_event_rows(root).items() if key in kept} if kept else {}
        rows |= explained.rows
        suppressions, _ = self._suppressions(folder)
        events = apply_suppressions(sorted_events([*others, *explained.events]), rows, suppressions, self.model)
        write_event_rows(rows, root)
        write_events(events, root)
        if suppressions:
            write_suppressions(suppressions, root / SUPPRESSIONS)
        folder.note(alarm=alarm.as_record(), num_events=len(events))
        suppressed = sum(bool(event.suppression) for event in events)
        count = f"{len(events)} event{'s' * (len(events) != 1)}" + (f", {suppressed} suppressed" if suppressed else "")
        self.session.reporter.say(f"{count}: {root / EVENTS}.csv. {alarm.threshold.statement()}")

    def draw(
        self,
        videos: Sequence[StoredVideo],
        scored: Mapping[str, ScoredVideo],
        folder: RunFolder,
        labels: Mapping[str, LabelTrack] | None = None,
        failed: Failed | None = None,
        events: Sequence[Event] | None = None,
    ) -> None:
        """Figures of the scored videos, thumbnails of their events and, if wished, overlay videos. labels: to shade;
        failed: as `score` has it; events: of the videos, None for those of the run folder."""
        level = None if self.alarm is None else self.alarm.threshold.level
        events_of = by_video(read_events(folder.root) if events is None else events)
        with self.session.reporter.bar("draw", len(videos), "videos") as advance:
            for stored in [stored for stored in videos if stored.video.name in scored]:
                track = scored[stored.video.name].track
                try:
                    self._draw(
                        stored, track, events_of.get(track.video, []), level, (labels or {}).get(track.video), folder
                    )
                except Exception as error:  # its scores are there
                    no_pictures = VideoError(f"no pictures: {sentence(error, stored.video.path)}")
                    if failed is not None and not stops_all(error):
                        failed(track.video, no_pictures, lost=False)
                    elif isinstance(error, VideoError):
                        self.session.reporter.warn(f"{track.video}: {no_pictures}")
                    else:
                        raise
                advance(1)

    def _draw(
        self,
        stored: StoredVideo,
        track: ScoreTrack,
        events: Sequence[Event],
        level: float | None,
        truth: LabelTrack | None,
        folder: RunFolder,
    ) -> None:
        pictures = write_pictures(events, stored, self.plan, folder.root, _highest(track))
        plot_scores(
            track,
            output_path(folder.figures, track.video, ".png"),
            anomalous_spans=truth_frames(track.frame_index, truth.spans()) if truth is not None else None,
            alarm_level=level,
            moments=sorted(pictures.items()),
        )
        if self.options.overlay:
            regions = read_regions_of(folder.regions, track.video)
            heat = Heat.of(folder.root / PIXEL_MAPS, track)
            target = output_path(folder.root / OVERLAYS, track.video, ".mp4")
            found = Findings(track, regions, events, truth, level, heat)
            draw_copy(stored.video, found, self.settings, target, self.session.reporter)


def _remove_scores(video: str, folder: RunFolder) -> None:
    """What was written of a video that has failed."""
    for path in (score_path(folder.scores, video), score_path(folder.scores, video).with_suffix(".csv")):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _highest(track: ScoreTrack) -> list[int]:
    """The frames of the highest smoothed scores, a tenth of the video apart, in order of time."""
    apart = max(len(track) // 10, 1)
    left = track.smoothed.copy()
    peaks: list[int] = []
    while len(peaks) < min(PICTURES_IN_FIGURE, len(track)):
        peak = int(left.argmax())
        if np.isneginf(left[peak]):
            break
        peaks.append(int(track.frame_index[peak]))
        left[max(peak - apart, 0) : peak + apart + 1] = -np.inf
    return sorted(peaks)
