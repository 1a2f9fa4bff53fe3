"""The tables of one video, from its frames: decoded once, written part by part, joined when all is known to be sound.

A run that was stopped goes on behind the last part that all tables have. No part is kept that was made while the video
was not what it had been when it was hashed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from mulde.errors import StoreError, VideoError
from mulde.extractors.finders import unite
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
    def by(cls, reader: VideoReader) -> Undecoded:
        """Of a reader at its end."""
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
) -> None:
    """Decode the video once and write every missing table but the tracks.

    Raises VideoError, and keeps no part, where the video cannot be read or was changed meanwhile.
    """
    drops_frames = isinstance(reader, ConvertedReader) and reader.conversion.every > 1
    elsewhere = {"tracks", "frames"} if drops_frames else {"tracks"}
    kinds = {kind: passport for kind, passport in missing.items() if kind not in elsewhere}
    start = _resume_at(store, kinds.values(), reader.options.batch_size)
    advance(start)
    known = None
    if plan.regions is not None and "regions" not in missing:
        known = _StoredRegions(store, passports["regions"])
    try:
        num_frames = _write_parts(reader, snapshot, plan, store, kinds, known, start, pool, advance)
        if num_frames == 0:
            raise VideoError(f"no frame of {reader.path} could be decoded")
        snapshot.check_content()
    except VideoError:
        for passport in kinds.values():
            store.drop_parts(passport)
        raise
    notes = Undecoded.by(reader).as_notes()
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
) -> int:
    """Describe the frames from number `start` on; returns how many the video has.

    The video is compared with its snapshot before each part is written: what was decoded before then is of its hash.
    """
    core = reader.options.batch_size
    reader.options = replace(reader.options, start_frame=max(start - plan.before, 0))

    def work(item: tuple[Window, Regions | None]) -> tuple[Window, dict[str, pa.Table]]:
        return item[0], plan.describe(*item, kinds)

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
    """The number of frames for which every one of the tables has parts; what reaches further is dropped."""
    needed = list(passports)
    if not needed:
        return 0
    shared = set.intersection(*(set(store.finished(passport)) for passport in needed))
    done = max(end for end in shared if end % core == 0)  # not behind a short part at the end of the video
    for passport in needed:
        store.trim_parts(passport, done)
    return done


class _StoredRegions:
    """Regions from the store, read on as the windows come."""

    def __init__(self, store: FeatureStore, passport: Passport) -> None:
        self._coming = map(tables.regions_from_arrow, store.stream(passport))
        self._held = Regions.empty()

    def within(self, window: Window) -> Regions:
        """The regions in the core of a window; windows must come in order."""
        low, high = int(window.core_index[0]), int(window.core_index[-1]) + 1
        while not (len(self._held) and self._held.frame_index[-1] >= high):
            more = next(self._coming, None)
            if more is None:
                break
            self._held = unite(self._held, more)
        first, last = np.searchsorted(self._held.frame_index, [low, high])
        found = self._held.select(np.arange(first, last))
        self._held = self._held.select(np.arange(last, len(self._held)))
        return found


def write_tracks(
    tracker: Tracker, store: FeatureStore, passports: Mapping[str, Passport], conversion: Conversion | None
) -> None:
    """Follow the stored regions through the video: a track id for each of them."""
    frame_index, time_s = tables.frames_from_arrow(store.read(passports["frames"]))
    if conversion is not None and conversion.every > 1:
        frame_index = conversion.numbers(time_s)[conversion.kept(time_s)]
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
