"""Stage 1: the features of one video, in one streaming pass, into the store.

decode -> windows -> (regions -> extractors) -> parts -> finished tables. One thread decodes ahead, each of
`plan.threads` others works on a window, and the rows come back in order. A run that was stopped resumes after the last
part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from mulde.datasets.base import Origin, Video
from mulde.errors import StoreError, VideoError
from mulde.media import Conversion, Snapshot, missing_text
from mulde.pipeline.extraction.given_boxes import imported_digest, write_own_boxes
from mulde.pipeline.extraction.plan import ExtractionPlan, decoder_facts, known_rate
from mulde.pipeline.extraction.tables import Undecoded, write_derived, write_tables
from mulde.pipeline.extraction.tracking import average_along_tracks, with_tracks
from mulde.pipeline.model.world import Match, ObservedVideo
from mulde.progress import Reporter
from mulde.records import Analysed, Bool, FeatureTable, Float64, Int64, Regions
from mulde.store import store as tables
from mulde.store.catalogue import note
from mulde.store.store import FeatureStore, Passport


@dataclass(frozen=True)
class Extracted:
    """The facts of a video whose features are in the store: small enough to be sent from another machine.

    rate: of the source; size_hw: of the frames that features were computed on; match: how these were made from the
    source's frames; known_rate: the steady rate of the source, None if nothing names one.
    """

    sha256: str
    decoder: dict[str, Any]
    rate: Fraction
    size_hw: tuple[int, int]
    computed: bool
    match: Match = Match()  # noqa: RUF009 - frozen
    coloured: bool | None = None
    known_rate: Fraction | None = None


@dataclass(frozen=True)
class StoredVideo:
    """A video whose features are in the store; tables are read on demand.

    frame_index (T,) int64 and time_s (T,) float64 of the decoded frames; `rate` in frames per second; `size_hw` of the
    frames that features were computed on; `average_frames`: the number of frames before and after over which rows are
    averaged along their track. `match` says which frames were skipped to reach the rate that a model learnt:
    frame_index has them too, rows have the numbers of the source's frames, and skipped frames have no rows. `undecoded`
    records the frames that could not be decoded; version 0.1 kept no such record.
    """

    video: Video
    frame_index: Int64
    time_s: Float64
    rate: Fraction
    size_hw: tuple[int, int]
    store: FeatureStore
    passports: Mapping[str, Passport]
    average_frames: int = 0
    match: Match = Match()  # noqa: RUF009 - frozen
    coloured: bool | None = None
    known_rate: Fraction | None = None
    undecoded: Undecoded | None = None

    @cached_property
    def described(self) -> Bool:
        """Which frames (T,) have features: all of them, unless some were skipped for the rate."""
        conversion = self.match.conversion
        return np.ones(self.num_frames, np.bool_) if conversion is None else conversion.kept(self.time_s)

    @property
    def _thinning(self) -> Conversion | None:
        """What leaves frames without features; None where each has some."""
        conversion = self.match.conversion
        return conversion if conversion is not None and conversion.thins else None

    def _numbers(self, thinning: Conversion) -> Int64:
        """The numbers, on the grid, of the frames with features."""
        return thinning.numbers(self.time_s[self.described])

    @property
    def described_rate(self) -> Fraction:
        """Frames with features per second."""
        return self.rate if self._thinning is None else min(self.rate, self._thinning.rate)

    @property
    def analysed(self) -> Analysed | None:
        """Which frames have features, None for all."""
        thinning = self._thinning
        if thinning is None:
            return None
        return Analysed(self._numbers(thinning)[self.described_index], float(thinning.rate))

    @property
    def described_index(self) -> Int64:
        """For each frame (T,) the position, among those with features, of the last one not after it, whose rows it
        takes."""
        return np.asarray(np.maximum(np.cumsum(self.described) - 1, 0), np.int64)

    @property
    def origin(self) -> Origin:
        """Where its frames come from: another video, or its own content."""
        return self.video.origin or Origin(self.passports["frames"].video_sha256)

    @property
    def num_frames(self) -> int:
        return len(self.frame_index)

    @property
    def end_frame(self) -> int:
        """One more than the last frame's index: greater than `num_frames` where frames could not be decoded."""
        return int(self.frame_index[-1]) + 1

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The frames, as half-open ranges, that could not be decoded.

        Without a record of them, the gaps before and between the decoded frames.
        """
        if self.undecoded is not None:
            return list(self.undecoded.ranges)
        edges = np.concatenate([[-1], self.frame_index])
        gaps = np.flatnonzero(np.diff(edges) > 1)
        return [(int(edges[i]) + 1, int(edges[i + 1])) for i in gaps]

    @property
    def missing_text(self) -> str:
        """Which frames are missing, in a sentence; empty for none."""
        parts = []
        if self.missing:
            named = missing_text([range(*gap) for gap in self.missing])
            parts.append(named.removesuffix(" is missing").removesuffix(" are missing") + " could not be decoded")
        if self.undecoded is not None and self.undecoded.num_unplaced:
            places = self.undecoded.num_unplaced
            parts.append(f"{places} damaged place{'s' * (places > 1)}, of which the frames have no numbers")
        return "; ".join(parts)

    def features(self, extractor: str) -> FeatureTable:
        """The table of one extractor. Raises StoreError if its file is damaged or was removed in the meantime."""
        table = tables.features_from_arrow(self.store.read(self.passports[extractor]))
        if "tracks" in self.passports and table.box_xyxy is not None:
            regions = tables.regions_from_arrow(self.store.read(self.passports["regions"]))
            track_id = self.store.read(self.passports["tracks"])["track_id"].to_numpy()
            table = with_tracks(table, regions.frame_index, regions.box_xyxy, track_id)
            table = average_along_tracks(table, self.average_frames)
        return replace(table, frame_index=self._of_source(table.frame_index))

    def regions(self) -> Regions | None:
        """The boxes; None if no finder looked for any. Raises StoreError as `features` does."""
        if "regions" not in self.passports:
            return None
        regions = tables.regions_from_arrow(self.store.read(self.passports["regions"]))
        return replace(regions, frame_index=self._of_source(regions.frame_index))

    def grid_numbers(self, frame_index: Int64) -> Int64:
        """For numbers (N,) of the source's frames, those that finders and extractors know them by: of a frame without
        features, that of the next frame with them."""
        thinning = self._thinning
        if thinning is None:
            return frame_index
        numbers = self._numbers(thinning)
        numbers = np.append(numbers, numbers[-1] + 1)
        return np.asarray(numbers[np.searchsorted(self.frame_index[self.described], frame_index)], np.int64)

    def _of_source(self, frame_index: Int64) -> Int64:
        """Numbers (N,) of frames with features, as numbers of the source's frames."""
        thinning = self._thinning
        if thinning is None:
            return frame_index
        at = np.searchsorted(self._numbers(thinning), frame_index)
        of_source: Int64 = self.frame_index[self.described][at]
        return of_source

    def observed(self) -> ObservedVideo:
        """The facts that describe a model's training footage, or are compared with it."""
        regions = self.regions()
        frames = self.frame_index[self.described]
        count = (
            None if regions is None else np.bincount(np.searchsorted(frames, regions.frame_index), None, len(frames))
        )
        conversion = self.match.conversion
        rates = [self.known_rate, conversion.rate if conversion and conversion.every is None else None]
        rate = None if self.known_rate is None else min(float(each) for each in rates if each is not None)
        return ObservedVideo(self.video.name, self.size_hw, rate, self.num_frames, self.coloured, count)


def look_up(video: Video, extracted: Extracted, plan: ExtractionPlan, store: FeatureStore) -> StoredVideo:
    """A video that is in the store. Raises StoreError if its imported features are not."""
    boxes_sha256 = imported_digest(video, extracted.sha256, plan, store)
    passports = plan.passports(extracted.sha256, extracted.decoder, extracted.match.conversion, boxes_sha256)
    imported = plan.imported_passports(extracted.sha256)
    for name, passport in imported.items():
        if passport not in store:
            raise StoreError(f"no features {name!r} of {video.name} in {store.root}", hint="mulde cache import")
    frame_index, time_s = tables.frames_from_arrow(store.read(passports["frames"]))
    return StoredVideo(
        video,
        frame_index,
        time_s,
        extracted.rate,
        extracted.size_hw,
        store,
        {**passports, **imported},
        plan.settings.tracks.average_frames,
        extracted.match,
        extracted.coloured,
        extracted.known_rate,
        Undecoded.from_notes(store.footer(passports["frames"]).notes),
    )


def extract_video(
    video: Video,
    plan: ExtractionPlan,
    store: FeatureStore,
    pool: Executor,
    reporter: Reporter,
    gives_up: Callable[[], bool] = lambda: False,
) -> Extracted:
    """Compute the features of a video that the store lacks, with the threads of `pool`.

    While another process works on the video, `gives_up` is polled; True ends the wait with StoreError. Raises
    SourceError, and keeps nothing, if the disk fails or the video changes in the meantime.
    """
    snapshot = Snapshot(video.path)
    try:
        return _extract(snapshot, video, plan, store, pool, reporter, gives_up)
    except VideoError:
        snapshot.check()  # for a video that has changed, any other error would mislead
        raise


def _extract(
    snapshot: Snapshot,
    video: Video,
    plan: ExtractionPlan,
    store: FeatureStore,
    pool: Executor,
    reporter: Reporter,
    gives_up: Callable[[], bool],
) -> Extracted:
    sha256 = snapshot.sha256
    with plan.open(video) as source:
        match = plan.match(video, source)
        reader, decoder = plan.converted(source, match), decoder_facts(source, plan.video)
        facts = match, source.coloured, known_rate(video, source, plan.video)
        extracted = Extracted(sha256, decoder, source.rate, reader.size_hw, False, *facts)
        passports = plan.passports(sha256, decoder, match.conversion, imported_digest(video, sha256, plan, store))
        snapshot.check()
        store.make_way(sha256)
        note(store.root, sha256, dataset=video.dataset, video=video.name, path=video.path)
        missing = _missing(passports, store, lambda text: None)
        if not missing:
            return extracted
        with store.lock(
            sha256, lambda: reporter.say(f"{video.name}: another process is working on it, waiting"), gives_up
        ):
            missing = _missing(missing, store, reporter.warn)  # another process may have finished it
            wanted = bool(missing)
            if video.boxes is not None:
                missing = write_own_boxes(video.path, video.boxes, snapshot, store, missing, plan.tracker)
            if set(missing) - plan.derived:
                origin = video.origin or Origin(sha256)
                with reporter.bar(f"  {video.name}", reader.num_frames_from_header, "frames") as advance:
                    write_tables(reader, snapshot, plan, store, passports, missing, pool, advance, origin)
            if plan.derived & set(missing):
                write_derived(plan, store, passports, missing, match.conversion)
        return replace(extracted, computed=wanted)


def _missing(
    passports: Mapping[str, Passport], store: FeatureStore, warn: Callable[[str], None]
) -> dict[str, Passport]:
    """What has to be computed: tables that are absent, and damaged ones, with a warning."""
    missing = {}
    for kind, passport in passports.items():
        try:
            if passport in store:
                store.check(passport)
                store.drop_parts(passport)  # left by a kill between the last two steps
                continue
        except StoreError as error:
            warn(f"{error.problem}; it is recomputed")
        missing[kind] = passport
    return missing
