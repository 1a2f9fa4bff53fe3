"""Stage 1: videos into stored features, in one streaming pass per video."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from mulde.config import Settings, VideoSettings
from mulde.datasets.base import Video
from mulde.errors import MuldeError, StoreError, UsageError
from mulde.extractors.base import Extractor
from mulde.extractors.finders import UnitedRegions
from mulde.media import identity, open_video
from mulde.pipeline import store as tables
from mulde.pipeline.build import build_extractors, build_regions
from mulde.pipeline.progress import Advance, Reporter
from mulde.pipeline.store import FeatureStore, Passport
from mulde.records import FeatureTable, Float64, Frames, Int64, Regions, Window

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A video that could not be processed, and why in a sentence."""

    video: str
    reason: str


@dataclass(frozen=True)
class StoredVideo:
    """A video whose features are in the store; tables are read when they are asked for.

    frame_index (T,) int64 and time_s (T,) float64 of the decoded frames; `rate` in frames per second.
    """

    video: Video
    frame_index: Int64
    time_s: Float64
    rate: Fraction
    store: FeatureStore
    passports: Mapping[str, Passport]

    @property
    def num_frames(self) -> int:
        return len(self.frame_index)

    def features(self, extractor: str) -> FeatureTable:
        """The table of one extractor. Raises StoreError when the file was damaged or removed meanwhile."""
        return tables.features_from_arrow(self.store.read(self.passports[extractor]))


@dataclass
class Extraction:
    """What a run of `extract` did."""

    done: list[StoredVideo] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    computed: int = 0
    reused: int = 0


class ExtractionPlan:
    """Region finders and extractors of one configuration, built once and used for every video."""

    def __init__(self, settings: Settings, device: str) -> None:
        self.video: VideoSettings = settings.video
        self.regions: UnitedRegions = build_regions(settings.regions, device)
        self.extractors: list[Extractor] = build_extractors(settings.features, device)
        self.before = max([e.before for e in self.extractors] + [self.regions.before])
        self.after = max(e.after for e in self.extractors)

    def fingerprint(self) -> dict[str, Any]:
        """What made the features, apart from the video: the part of the passports that a model must share."""
        return {
            "decoder": self.video.decoder,
            "regions": self.regions.fingerprint(),
            "extractors": {e.name: e.fingerprint() for e in self.extractors},
        }

    def passports(self, sha256: str, decoder: dict[str, Any]) -> dict[str, Passport]:
        """Passport of each file that one video needs, by kind."""
        regions = self.regions.fingerprint()
        made = {
            "frames": Passport("frames", sha256, {"decoder": decoder}),
            "regions": Passport("regions", sha256, {"decoder": decoder, "regions": regions}),
        }
        for e in self.extractors:
            made_by = {
                "decoder": decoder,
                "regions": regions if e.object_centric else None,
                "extractor": e.fingerprint(),
            }
            made[e.name] = Passport(e.name, sha256, made_by)
        return made


def extract(videos: Sequence[Video], plan: ExtractionPlan, store: FeatureStore, reporter: Reporter) -> Extraction:
    """Features of every video, from the store where they are there. One bad video never stops the others.

    Raises UsageError for settings that fit no video and MuldeError when the disk is full; finished videos stay.
    """
    result = Extraction()
    with reporter.bar("extract", len(videos), "videos") as advance:
        for video in videos:
            try:
                stored, computed = _one_video(video, plan, store, reporter)
            except UsageError:
                raise
            except Exception as error:  # whatever a decoder or a model raises, the other videos go on
                _raise_if_disk_full(error, store)
                log.debug("%s failed", video.name, exc_info=True)
                reason = str(error) if isinstance(error, MuldeError) else f"{type(error).__name__}: {error}"
                result.failures.append(Failure(video.name, reason))
                reporter.warn(f"{video.name}: {reason}")
            else:
                result.done.append(stored)
                result.computed += computed
                result.reused += not computed
            advance(1)
    return result


def _raise_if_disk_full(error: Exception, store: FeatureStore) -> None:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise MuldeError(
            f"the disk of the feature store {store.root} is full",
            hint="free some space, or --store on another disk, and the same command again: finished videos are kept",
        ) from error


def _one_video(video: Video, plan: ExtractionPlan, store: FeatureStore, reporter: Reporter) -> tuple[StoredVideo, bool]:
    """The features of one video and whether anything had to be computed for them."""
    sha256 = identity(video.path)
    rate = video.frame_rate or Fraction(plan.video.frame_rate).limit_denominator(100_000)
    with open_video(
        video.path, decoder=plan.video.decoder, batch_size=plan.video.batch_frames, frame_rate=rate
    ) as reader:
        decoder = {"name": reader.decoder, "version": reader.decoder_version}
        if reader.decoder == "frames":
            decoder["frame_rate"] = str(reader.rate)
        passports = plan.passports(sha256, decoder)
        missing = {kind: p for kind, p in passports.items() if not _is_sound(store, p, reporter)}
        if missing:
            known = None if "regions" in missing else tables.regions_from_arrow(store.read(passports["regions"]))
            with reporter.bar(f"  {video.name}", reader.num_frames_from_header, "frames") as advance:
                _compute(reader, plan, store, missing, known, advance)
        frame_index, time_s = tables.frames_from_arrow(store.read(passports["frames"]))
        return StoredVideo(video, frame_index, time_s, reader.rate, store, passports), bool(missing)


def _is_sound(store: FeatureStore, passport: Passport, reporter: Reporter) -> bool:
    """Whether a stored table can be used; one that is damaged is said to be and made again."""
    if passport not in store:
        return False
    try:
        store.read(passport)
    except StoreError as error:
        reporter.warn(f"{error.problem}; it is made again")
        return False
    return True


def _compute(
    batches: Iterable[Frames],
    plan: ExtractionPlan,
    store: FeatureStore,
    missing: Mapping[str, Passport],
    known: Regions | None,
    advance: Advance,
) -> None:
    """Decode the video once and write every missing table, row group by row group."""
    extractors = [e for e in plan.extractors if e.name in missing]
    with ExitStack() as stack:
        writers: dict[str, Callable[[pa.Table], None]] = {}

        def write(kind: str, table: pa.Table) -> None:
            if kind not in writers:  # the first table, even an empty one, tells the columns
                writers[kind] = stack.enter_context(store.writer(missing[kind], table.schema))
            elif table.num_rows == 0:
                return
            writers[kind](table)

        for window in windows(batches, plan.before, plan.after):
            frames, core = window.frames, slice(window.first, window.last)
            regions = plan.regions.find(window) if known is None else _within(known, window)
            if "frames" in missing:
                write("frames", tables.frames_to_arrow(frames.frame_index[core], frames.time_s[core]))
            if "regions" in missing:
                write("regions", tables.regions_to_arrow(regions))
            for extractor in extractors:
                write(extractor.name, tables.features_to_arrow(extractor.extract(window, regions)))
            advance(window.last - window.first)


def _within(regions: Regions, window: Window) -> Regions:
    index = window.core_index
    low, high = np.searchsorted(regions.frame_index, [index[0], index[-1] + 1])
    return regions.select(np.arange(low, high))


def windows(batches: Iterable[Frames], before: int, after: int) -> Iterator[Window]:
    """Cut a stream of frames into windows whose cores, put together, are the stream.

    Every core frame has `before` frames of context in front of it and `after` behind it, as far as the video reaches.
    Holds no more than one batch and the context.
    """
    held: Frames | None = None
    first = 0
    for batch in chain(batches, [None]):
        if batch is not None:
            held = batch if held is None else _join(held, batch)
        if held is None:
            return
        last = len(held) - (after if batch is not None else 0)
        if last <= first:
            continue
        yield Window(held, first, last)
        drop = max(0, last - before)
        held, first = _tail(held, drop), last - drop


def _join(a: Frames, b: Frames) -> Frames:
    return Frames(
        np.concatenate([a.images, b.images]),
        np.concatenate([a.frame_index, b.frame_index]),
        np.concatenate([a.time_s, b.time_s]),
    )


def _tail(frames: Frames, drop: int) -> Frames:
    return Frames(frames.images[drop:], frames.frame_index[drop:], frames.time_s[drop:])
