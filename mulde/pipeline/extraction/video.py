"""Stage 1: the features of one video, in one streaming pass, into the store.

decode -> windows -> (regions -> extractors) -> parts -> finished tables. One thread decodes ahead, `plan.threads`
others work on a window each, and the rows come back in order. A run that was stopped goes on behind the last part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from mulde.datasets.base import Video
from mulde.errors import StoreError, VideoError
from mulde.media import Snapshot, missing_text
from mulde.pipeline.extraction.plan import ExtractionPlan, decoder_facts, known_rate
from mulde.pipeline.extraction.tables import Undecoded, write_tables, write_tracks
from mulde.pipeline.extraction.tracking import average_along_tracks, with_tracks
from mulde.pipeline.model.world import Match, ObservedVideo
from mulde.progress import Reporter
from mulde.records import Bool, FeatureTable, Float64, Int64, Regions
from mulde.store import store as tables
from mulde.store.catalogue import note
from mulde.store.store import FeatureStore, Passport


@dataclass(frozen=True)
class Extracted:
    """What was found out about a video whose features are in the store: small enough to come from another machine.

    rate: of the source; size_hw: of the frames that were worked on; match: how they were made from the source's;
    known_rate: the steady rate of the source, None where nobody names one.
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
    """A video whose features are in the store; tables are read when they are asked for.

    frame_index (T,) int64 and time_s (T,) float64 of the decoded frames; `rate` in frames per second; `size_hw` of the
    frames as they were worked on; `average_frames`: over how many frames before and after rows are averaged along their
    track. Where frames were left out to come to the rate that a model learnt, `match` says so: all frames are here,
    rows have the numbers of the source's frames, and those left out have none. `undecoded` is the record of frames that
    could not be decoded; version 0.1 made none.
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
        """Which frames (T,) were worked on: all of them, unless some were left out for the rate."""
        conversion = self.match.conversion
        return np.ones(self.num_frames, np.bool_) if conversion is None else conversion.kept(self.time_s)

    @property
    def held(self) -> Int64:
        """For each frame (T,) the place, among those worked on, of the last one not behind it: whose rows it takes."""
        return np.asarray(np.maximum(np.cumsum(self.described) - 1, 0), np.int64)

    @property
    def num_frames(self) -> int:
        return len(self.frame_index)

    @property
    def end_frame(self) -> int:
        """One behind the last frame's index: more than `num_frames` where frames could not be decoded."""
        return int(self.frame_index[-1]) + 1

    @property
    def missing(self) -> list[tuple[int, int]]:
        """The frames, as half-open ranges, that could not be decoded.

        Of a table without a record, those in front of or between the ones that could.
        """
        if self.undecoded is not None:
            return list(self.undecoded.ranges)
        edges = np.concatenate([[-1], self.frame_index])
        gaps = np.flatnonzero(np.diff(edges) > 1)
        return [(int(edges[i]) + 1, int(edges[i + 1])) for i in gaps]

    @property
    def missing_text(self) -> str:
        """Which frames are missing, in a sentence, or nothing."""
        said = []
        if self.missing:
            named = missing_text([range(*gap) for gap in self.missing])
            said.append(named.removesuffix(" is missing").removesuffix(" are missing") + " could not be decoded")
        if self.undecoded is not None and self.undecoded.num_unplaced:
            places = self.undecoded.num_unplaced
            said.append(f"{places} damaged place{'s' * (places > 1)}, of which the frames have no numbers")
        return "; ".join(said)

    def features(self, extractor: str) -> FeatureTable:
        """The table of one extractor. Raises StoreError when the file was damaged or removed meanwhile."""
        table = tables.features_from_arrow(self.store.read(self.passports[extractor]))
        if "tracks" in self.passports and table.box_xyxy is not None:
            regions = tables.regions_from_arrow(self.store.read(self.passports["regions"]))
            track_id = self.store.read(self.passports["tracks"])["track_id"].to_numpy()
            table = with_tracks(table, regions.frame_index, regions.box_xyxy, track_id)
            table = average_along_tracks(table, self.average_frames)
        return replace(table, frame_index=self._of_source(table.frame_index))

    def regions(self) -> Regions | None:
        """The boxes that were found; None where nothing looked for any. Raises StoreError as `features` does."""
        if "regions" not in self.passports:
            return None
        regions = tables.regions_from_arrow(self.store.read(self.passports["regions"]))
        return replace(regions, frame_index=self._of_source(regions.frame_index))

    def _of_source(self, frame_index: Int64) -> Int64:
        """The numbers (N,) of the source's frames, of numbers of the frames that were worked on."""
        conversion = self.match.conversion
        if conversion is None or conversion.every == 1:
            return frame_index
        numbers = conversion.numbers(self.time_s[self.described])
        of_source: Int64 = self.frame_index[self.described][np.searchsorted(numbers, frame_index)]
        return of_source

    def seen(self) -> ObservedVideo:
        """What is looked at of it to know, or to compare, the footage of a model."""
        regions = self.regions()
        frames = self.frame_index[self.described]
        count = (
            None if regions is None else np.bincount(np.searchsorted(frames, regions.frame_index), None, len(frames))
        )
        rate = None if self.known_rate is None else float(self.known_rate)
        return ObservedVideo(self.video.name, self.size_hw, rate, self.num_frames, self.coloured, count)


def look_up(video: Video, found: Extracted, plan: ExtractionPlan, store: FeatureStore) -> StoredVideo:
    """A video that is in the store. Raises StoreError where features that were made elsewhere are not."""
    passports = plan.passports(found.sha256, found.decoder, found.match.conversion)
    imported = plan.imported_passports(found.sha256)
    for name, passport in imported.items():
        if passport not in store:
            raise StoreError(f"no features {name!r} of {video.name} in {store.root}", hint="mulde cache import")
    frame_index, time_s = tables.frames_from_arrow(store.read(passports["frames"]))
    return StoredVideo(
        video,
        frame_index,
        time_s,
        found.rate,
        found.size_hw,
        store,
        {**passports, **imported},
        plan.settings.tracks.average_frames,
        found.match,
        found.coloured,
        found.known_rate,
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
    """Bring what is missing of a video's features into the store; windows are worked on in `pool`.

    `gives_up` is asked while another process has the video, and ends the waiting with StoreError. Raises SourceError,
    and keeps nothing, where the disk did not deliver the video or it was changed meanwhile.
    """
    snapshot = Snapshot(video.path)
    try:
        return _extract(snapshot, video, plan, store, pool, reporter, gives_up)
    except VideoError:
        snapshot.check()  # of a video that was changed, anything else would mislead
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
        found = Extracted(sha256, decoder, source.rate, reader.size_hw, False, *facts)
        passports = plan.passports(sha256, decoder, match.conversion)
        snapshot.check()
        store.make_way(sha256)
        note(store.root, sha256, dataset=video.dataset, video=video.name, path=video.path)
        missing = _missing(passports, store, lambda text: None)
        if not missing:
            return found
        with store.lock(sha256, lambda: reporter.say(f"{video.name}: another process is at it, waiting"), gives_up):
            missing = _missing(missing, store, reporter.warn)  # another process may have made it meanwhile
            if set(missing) - {"tracks"}:
                with reporter.bar(f"  {video.name}", reader.num_frames_from_header, "frames") as advance:
                    write_tables(reader, snapshot, plan, store, passports, missing, pool, advance)
            if plan.tracker is not None and "tracks" in missing:
                write_tracks(plan.tracker, store, passports, match.conversion)
        return replace(found, computed=bool(missing))


def _missing(
    passports: Mapping[str, Passport], store: FeatureStore, warn: Callable[[str], None]
) -> dict[str, Passport]:
    """What has to be made: what is not there, and what is damaged, which is said."""
    missing = {}
    for kind, passport in passports.items():
        try:
            if passport in store:
                store.check(passport)
                store.drop_parts(passport)  # a kill between the last two steps leaves them
                continue
        except StoreError as error:
            warn(f"{error.problem}; it is made again")
        missing[kind] = passport
    return missing
