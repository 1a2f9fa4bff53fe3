"""The tables of one video: its frames are decoded once, tables are written part by part and joined at the end.

A run that was stopped resumes after the last part that all tables have. Parts are kept only if the video was the same
while they were made as when it was hashed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from mulde.datasets.base import Origin
from mulde.errors import StoreError, VideoError
from mulde.extractors.finders import unite
from mulde.extractors.given import GivenTracks
from mulde.extractors.tracks import Tracker
from mulde.media import Conversion, ConvertedReader, Snapshot, VideoReader
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.extraction.windows import ordered_map, prefetch, windows
from mulde.progress import Advance
from mulde.records import Int64, Regions, Window
from mulde.store import store as tables
from mulde.store.store import FeatureStore, Passport

_WINDOWS_IN_PART = 8
_UNDECODED = "undecoded"


@dataclass(frozen=True)
class Undecoded:
    """Frames of a video that could not be decoded: half-open `ranges` of their numbers, and how many damaged places
    there are where numbers are not known."""

    ranges: tuple[tuple[int, int], ...]
    num_unplaced: int = 0

    @classmethod
    def from_reader(cls, reader: VideoReader) -> Undecoded:
        """From a reader at the end of its video."""
        return cls(tuple((gap.start, gap.stop) for gap in reader.missing), reader.num_unplaced)

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> Undecoded | None:
        """As `as_notes` wrote it; None in a table of version 0.1. Raises StoreError."""
        if _UNDECODED not in notes:
            return None
        try:
            ranges = tuple((int(start), int(stop)) for start, stop in notes[_UNDECODED]["ranges"])
            return cls(ranges, int(notes[_UNDECODED]["num_unplaced"]))
        except (TypeError, ValueError, KeyError, OverflowError):
            got = f"{notes[_UNDECODED]!r:.80}"
            raise StoreError("a stored note on missing frames", expected="ranges of numbers", got=got) from None

    def as_notes(self) -> dict[str, Any]:
        return {_UNDECODED: asdict(self)}


def write_tables(
    reader: VideoReader,
    snapshot: Snapshot,
    plan: ExtractionPlan,
    store: FeatureStore,
    passports: Mapping[str, Passport],
    missing: Mapping[str, Passport],
    pool: Executor,
    advance: Advance,
    origin: Origin,
) -> None:
    """Decode the video once and write every missing table but those that are made from other tables. origin: of its
    frames.

    Raises VideoError, and removes all parts, if the video cannot be read or has changed in the meantime.
    """
    drops_frames = isinstance(reader, ConvertedReader) and reader.conversion.thins
    elsewhere = {*plan.derived, "frames"} if drops_frames else plan.derived
    kinds = {kind: passport for kind, passport in missing.items() if kind not in elsewhere}
    start = _resume_at(store, kinds.values(), reader.options.batch_size)
    advance(start)
    known = None
    if plan.regions is not None and "regions" not in missing:
        known = _StoredRegions(store, passports["regions"])
    try:
        num_frames = _write_parts(reader, snapshot, plan, store, kinds, known, start, pool, advance, origin)
        if num_frames == 0:
            raise VideoError(f"no frame of {reader.path} could be decoded")
        snapshot.check_content()
    except VideoError:
        for passport in kinds.values():
            store.drop_parts(passport)
        raise
    notes = Undecoded.from_reader(reader).as_notes()
    for kind in sorted(kinds, key=lambda kind: kind == "frames"):  # the frames last: then the video is finished
        store.join_parts(kinds[kind], num_frames, notes if kind == "frames" else None)
    if isinstance(reader, ConvertedReader) and drops_frames and "frames" in missing:
        with store.writer(missing["frames"], tables.FRAMES_SCHEMA, notes) as append:
            append(tables.frames_to_arrow(reader.source_index, reader.source_time_s))


def _write_parts(
    reader: VideoReader,
    snapshot: Snapshot,
    plan: ExtractionPlan,
    store: FeatureStore,
    kinds: Mapping[str, Passport],
    known: _StoredRegions | None,
    start: int,
    pool: Executor,
    advance: Advance,
    origin: Origin,
) -> int:
    """Describe the frames from number `start` on, and return the number of frames of the video.

    Before each part is written the video is compared with its snapshot, so that the part belongs to the hash.
    """
    core = reader.options.batch_size
    reader.options = replace(reader.options, start_frame=max(start - plan.before, 0))

    def work(item: tuple[Window, Regions | None]) -> tuple[Window, dict[str, pa.Table]]:
        return item[0], plan.describe(*item, kinds, origin)

    def write() -> None:
        files = (seen[0], seen[-1] + 1) if not isinstance(reader, ConvertedReader) else (0, None)
        snapshot.check(*files)
        for kind, passport in kinds.items():
            store.write_part(passport, part_start, at, pa.concat_tables([rows[kind] for rows in part]))

    with ThreadPoolExecutor(1, "decode") as decoding:
        cut = prefetch(windows(reader, plan.before, plan.after, core, start), decoding)
        items = ((window, known.within(window) if known else None) for window in cut)
        part: list[dict[str, pa.Table]] = []
        seen: list[int] = []
        at = part_start = start
        for window, described in ordered_map(work, items, pool, plan.threads + 1):
            part.append(described)
            seen += window.frames.frame_index.tolist()
            at += len(window.core_index)
            advance(len(window.core_index))
            if len(part) == _WINDOWS_IN_PART:
                write()
                part, seen, part_start = [], [], at
        if part:
            write()
    return at


def _resume_at(store: FeatureStore, passports: Iterable[Passport], core: int) -> int:
    """The number of frames for which every table has parts; parts beyond it are removed."""
    needed = list(passports)
    if not needed:
        return 0
    shared = set.intersection(*(set(store.finished(passport)) for passport in needed))
    done = max(end for end in shared if end % core == 0)  # not after a short part at the end of the video
    for passport in needed:
        store.trim_parts(passport, done)
    return done


class _StoredRegions:
    """Regions from the store, read as the windows need them."""

    def __init__(self, store: FeatureStore, passport: Passport) -> None:
        self._chunks = map(tables.regions_from_arrow, store.stream(passport))
        self._buffer = Regions.empty()

    def within(self, window: Window) -> Regions:
        """The regions in the core of a window; windows must come in order."""
        low, high = int(window.core_index[0]), int(window.core_index[-1]) + 1
        while not (len(self._buffer) and self._buffer.frame_index[-1] >= high):
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._buffer = unite(self._buffer, chunk)
        first, last = np.searchsorted(self._buffer.frame_index, [low, high])
        regions = self._buffer.select(np.arange(first, last))
        self._buffer = self._buffer.select(np.arange(last, len(self._buffer)))
        return regions


def write_derived(
    plan: ExtractionPlan,
    store: FeatureStore,
    passports: Mapping[str, Passport],
    missing: Mapping[str, Passport],
    conversion: Conversion | None,
) -> None:
    """Write the missing ones of the tables that are made from other tables: of tracks, and of features of tracks."""
    frame_index, time_s = tables.frames_from_arrow(store.read(passports["frames"]))
    if conversion is not None and conversion.thins:
        kept = conversion.kept(time_s)
        frame_index, time_s = conversion.numbers(time_s)[kept], time_s[kept]
    if plan.tracker is not None and "tracks" in missing:
        _write_tracks(plan.tracker, frame_index, store, passports)
    for extractor in plan.track_extractors:
        if extractor.name in missing:
            regions = tables.regions_from_arrow(store.read(passports["regions"]))
            track_id = store.read(passports["tracks"])["track_id"].to_numpy()
            of_box = time_s[np.searchsorted(frame_index, regions.frame_index)]
            rows = tables.features_to_arrow(extractor.extract_tracks(regions, of_box, track_id))
            with store.writer(passports[extractor.name], rows.schema) as append:
                append(rows)


def _write_tracks(
    tracker: Tracker | GivenTracks, frame_index: Int64, store: FeatureStore, passports: Mapping[str, Passport]
) -> None:
    """Follow the stored regions through the frames, frame_index (T,), and store a track id for each."""
    waiting: deque[Int64] = deque()

    def segments() -> Iterator[tuple[Int64, Regions]]:
        first = 0
        for regions in map(tables.regions_from_arrow, store.stream(passports["regions"])):
            if len(regions):
                last = int(np.searchsorted(frame_index, regions.frame_index[-1], side="right"))
                waiting.append(regions.frame_index)
                yield frame_index[first:last], regions
                first = last

    with store.writer(passports["tracks"], tables.TRACKS_SCHEMA) as append:
        for track_id in tracker.track(segments()):
            append(tables.tracks_to_arrow(waiting.popleft(), track_id))
