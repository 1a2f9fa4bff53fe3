"""Audit of the training videos: their least normal events, each scored by densities that have not seen it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mulde.config import AlarmSettings
from mulde.errors import UsageError, sentence
from mulde.evaluation.alarms import EventRules
from mulde.evaluation.conformal import NormalVideo, alarm_level, event_p_values, lowest_rate
from mulde.events import Event
from mulde.extractors.boxes import crop
from mulde.files import write_csv
from mulde.images import write_png
from mulde.pipeline.events.explain import explain
from mulde.pipeline.events.tables import events_table
from mulde.pipeline.events.thumbnails import shown_frame, thumbnail
from mulde.pipeline.extraction.plan import ExtractionPlan, wanted_frames
from mulde.pipeline.extraction.video import StoredVideo
from mulde.pipeline.model.bundle import Bundle
from mulde.pipeline.model.training_record import TrainingRecord
from mulde.pipeline.scoring.frames import score_frames
from mulde.pipeline.scoring.threshold import DEFAULT_RATE_PER_HOUR, events_above
from mulde.pipeline.training.exclusions import CHOICE
from mulde.progress import Reporter
from mulde.records import Analysed, FeatureTable, Float64, Int64, ScoredVideo, ScoreTrack, UInt8
from mulde.report import text
from mulde.store.store import BOX_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

AUDIT = "audit"
MAX_EVENTS = 50
_HIGHEST_SHARE = 0.1  # of the normal frames: what the listed events consist of
_MUCH = 0.5
_MIN_BOX_SHARE, _MARGIN = 0.5, 0.5
_MAX_NAMED = 3
_COLUMNS = (
    "rank", "video", "start_frame", "end_frame", "start_s", "end_s", "peak_frame", "peak_s", "score", "p_value",
    "stream", "reason", "region_frame", *BOX_COLUMNS, CHOICE,
)  # fmt: skip
_TILE_PX, _TILES_ACROSS, _FONT_PX, _LINES, _APART_PX = 320, 5, 15, 4, 8
_INK, _PAPER = (0, 0, 0), 255


def write_audit(
    bundle: Bundle, videos: Sequence[StoredVideo], plan: ExtractionPlan, folder: Path, reporter: Reporter
) -> Path:
    """`<folder>/audit.csv`, the least normal events of the videos that `bundle` was just trained on, highest score
    first, and `audit.png` with a picture of each; the path of the table.

    `mulde train --exclude` excludes the rows in whose column leave_out a person has written `yes`.
    """
    parts = _parts(bundle, videos)
    events = _explained(least_normal_events(bundle, parts), parts, bundle)
    path, sheet = folder / f"{AUDIT}.csv", folder / f"{AUDIT}.png"
    write_csv(audit_table(events), path, float_format="%.8g")
    if not events:
        sheet.unlink(missing_ok=True)  # one of an earlier training
        reporter.say("no part of the training videos looks less normal than the rest")
        return path
    _write_sheet(events, {stored.video.name: stored for stored in videos}, plan, sheet, reporter)
    first = ", ".join(f"{event.video} {text.clock(event.peak_s)} ({_stream(event)})" for event in events[:_MAX_NAMED])
    reporter.say(
        f"the least normal training moments, {manner(bundle.training)}: {first}; see {sheet}. To exclude some, write "
        f"yes into the column {CHOICE} of {path} and train again with --exclude {path}"
    )
    if (warning := threshold_warning(events[0], bundle)) is not None:
        reporter.warn(warning)
    return path


@dataclass(frozen=True)
class HeldOutPart:
    """Frames of a video that were held out together: their name in `bundle.normal`, the fold that has not seen them,
    the frames (T,) with features and their smoothed scores (T,)."""

    name: str
    stored: StoredVideo
    fold: int
    frame_index: Int64
    smoothed: Float64

    @property
    def time_s(self) -> Float64:
        """Times of the frames (T,)."""
        return self.stored.time_s[self._rows]

    @property
    def track(self) -> ScoreTrack:
        """Its smoothed scores as a track, unsmoothed ones unknown."""
        name = self.stored.video.name
        return ScoreTrack(name, self.frame_index, self.time_s, self.smoothed, self.smoothed)

    @property
    def analysed(self) -> Analysed | None:
        """Which frames of the part were looked at: all that it has, by their own numbers where others lie between."""
        whole = self.stored.analysed
        return None if whole is None else Analysed(whole.number[self._rows], whole.rate)

    @property
    def _rows(self) -> Int64:
        return np.searchsorted(self.stored.frame_index, self.frame_index)


def _parts(bundle: Bundle, videos: Sequence[StoredVideo]) -> list[HeldOutPart]:
    by_name = {stored.video.name: stored for stored in videos}
    parts = []
    normal = bundle.smoothed_normal[bundle.settings.fusion.smoothing]
    for part, smoothed in zip(bundle.training.normal_parts, normal, strict=True):
        stored = by_name[part.video]
        frames = stored.frame_index[stored.described]
        first, last = np.searchsorted(frames, [part.start_frame, part.end_frame])
        parts.append(HeldOutPart(part.name, stored, part.fold, frames[first:last], smoothed.scores))
    return parts


def least_normal_events(bundle: Bundle, parts: Sequence[HeldOutPart]) -> list[tuple[Event, HeldOutPart]]:
    """The events that the highest tenth of the normal frames form, highest first, at most 50.

    Their p-value is the one that an event of new video with the same peak would get.
    """
    scores = np.concatenate([np.zeros(0), *(part.smoothed for part in parts)])
    if not scores.size:
        return []
    # Always above the lowest score: where all frames score the same, no event stands out.
    level = max(float(np.quantile(scores, 1 - _HIGHEST_SHARE)), float(np.nextafter(scores.min(), np.inf)))
    rules = EventRules(bundle.settings.alarms.merge_gap_s)
    events = [
        (event, part)
        for part in parts
        for event in events_above(part.track, float(part.stored.rate), level, rules, part.analysed)
    ]
    events = sorted(events, key=lambda pair: -pair[0].score)[:MAX_EVENTS]
    peaks = np.array([event.score for event, _ in events])
    normal = bundle.smoothed_normal[bundle.settings.fusion.smoothing]
    p_values = event_p_values(peaks, normal, merge_gap_s=rules.merge_gap_s)
    return [(replace(event, p_value=float(p)), part) for (event, part), p in zip(events, p_values, strict=True)]


def _explained(
    events: Sequence[tuple[Event, HeldOutPart]], parts: Sequence[HeldOutPart], bundle: Bundle
) -> list[Event]:
    """The events in their order, each with its reason from the densities of the fold that has not seen it."""
    reasons = {}
    for part in parts:
        events_of_part = [event for event, its_part in events if its_part is part]
        if events_of_part:
            streams = {
                name: replace(stream, densities=(stream.densities[part.fold],))
                for name, stream in bundle.streams.items()
            }
            unseen, name = replace(bundle, streams=streams), part.stored.video.name
            scored = _scored(part, unseen)
            for event in explain(events_of_part, {name: scored}, {name: part.stored}, unseen, None).events:
                reasons[event.event_id] = event.reason
    return [replace(event, reason=reasons[event.event_id]) for event, _ in events]


def _scored(part: HeldOutPart, bundle: Bundle) -> ScoredVideo:
    """The part as the streams of `bundle` score it."""
    stored, fusion = part.stored, bundle.settings.fusion

    def features(name: str) -> FeatureTable:
        table = stored.features(name)
        return table.select(np.isin(table.frame_index, part.frame_index))

    frames = score_frames(features, part.frame_index, bundle.streams, fusion.combine)
    track = replace(part.track, fused=frames.fused, streams=frames.streams)
    rate, is_causal = float(stored.rate), fusion.smoothing == "causal"
    empty = int(frames.empty.sum())
    return ScoredVideo(track, fusion.smoothing_s * rate, empty, rate, None, part.analysed, is_causal)


def audit_table(events: Sequence[Event]) -> pd.DataFrame:
    """One row per event, as in audit.csv."""
    table = events_table(events)
    table["rank"], table[CHOICE] = np.arange(1, len(table) + 1), ""
    return table[list(_COLUMNS)]


def manner(training: TrainingRecord) -> str:
    """How the videos of a training were audited, in words: which of them, and by which models."""
    heldout = training.heldout
    audited = {name for fold in heldout for name in fold}
    videos = audited.union(training.videos)
    if len(videos) == 1:
        if len(heldout) == 1:
            return "in the last part of a single video, scored by a model of the rest"
        return f"in a single video, cut in time into {len(heldout)} parts, each scored by a model of the others"
    if audited != videos:
        return (
            f"in the {len(audited)} of {len(videos)} videos that were held out (set fusion.folds above 1 to audit all)"
        )
    how = "leave one video out" if len(heldout) == len(videos) else f"{len(heldout)} folds of whole videos"
    return f"each video scored by a model that has not seen it ({how})"


def threshold_warning(event: Event, bundle: Bundle) -> str | None:
    """A sentence where the video of the highest event alone accounts for half of the distance from the median score to
    the threshold. On clips that are all normal (UCSD Ped2) one video accounts for a seventh to a third of it."""
    normal, parts = bundle.smoothed_normal[bundle.settings.fusion.smoothing], bundle.training.normal_parts
    others = [scores for scores, part in zip(normal, parts, strict=True) if part.video != event.video]
    level, without = _level(normal, bundle.settings.alarms), _level(others, bundle.settings.alarms)
    usual = float(np.median(np.concatenate([video.scores for video in normal])))
    if level is None or without is None or level - without <= _MUCH * (level - usual):
        return None
    highest = max(float(video.scores.max()) for video in others if video.scores.size)
    return (
        f"{event.video} alone raises the threshold from {without:.3g} to {level:.3g}: at "
        f"{text.clock(event.peak_s)} it scores {event.score:.3g}, the other videos {highest:.3g} at most. "
        "Is it normal?"
    )


def _level(normal: Sequence[NormalVideo], settings: AlarmSettings) -> float | None:
    """The threshold that these videos set, None where they cannot set one."""
    options = {"merge_gap_s": settings.merge_gap_s, "min_length_s": settings.min_length_s}
    try:
        wanted = settings.false_alarms_per_hour or max(DEFAULT_RATE_PER_HOUR, lowest_rate(normal, **options))
        return alarm_level(normal, wanted, **options).level
    except UsageError:
        return None


def _stream(event: Event) -> str:
    return event.reason.stream if event.reason else ""


def _write_sheet(
    events: Sequence[Event],
    videos: Mapping[str, StoredVideo],
    plan: ExtractionPlan,
    path: Path,
    reporter: Reporter,
) -> None:
    """A tile for each event: its frame with the box that drove it, rank, video, time, score, stream, reason."""
    pictures: dict[str, UInt8] = {}
    names = list(dict.fromkeys(event.video for event in events))
    with reporter.bar("audit", len(names), "videos") as advance:
        for name in names:
            try:
                pictures |= _thumbnails([event for event in events if event.video == name], videos[name], plan)
            except Exception as error:  # the training is done and must not be lost for a picture
                reporter.warn(f"{name}: no pictures of its events: {sentence(error, name)}")
            advance(1)
    height = max((len(picture) for picture in pictures.values()), default=0)
    tiles = [_tile(rank, event, pictures.get(event.event_id), height) for rank, event in enumerate(events, 1)]
    across = min(len(tiles), _TILES_ACROSS)
    blank = np.full_like(tiles[0], _PAPER)
    tiles += [blank] * (-len(tiles) % across)
    rows = [np.concatenate(tiles[i : i + across], axis=1) for i in range(0, len(tiles), across)]
    write_png(path, np.concatenate(rows))


def _thumbnails(events: Sequence[Event], stored: StoredVideo, plan: ExtractionPlan) -> dict[str, UInt8]:
    """The pictures of the events of one video by event id, in one pass up to the last of them."""
    pictures: dict[str, UInt8] = {}
    for frame, image in wanted_frames(stored.video, plan, map(shown_frame, events)):
        pictures |= {event.event_id: _picture(image, event) for event in events if shown_frame(event) == frame}
    return pictures


def _picture(image: UInt8, event: Event) -> UInt8:
    """The thumbnail of an event; a small object is shown enlarged in a corner."""
    import cv2

    small = thumbnail(image, event)
    region = event.reason.region if event.reason else None
    height, width = small.shape[:2]
    side = min(height, width) // 2
    if region is None:
        return small
    box = np.array(region.box_xyxy, np.float32)
    longer = float((box[2:] - box[:2]).max())
    if longer * width / image.shape[1] > _MIN_BOX_SHARE * height:
        return small
    size_wh = np.array(image.shape[1::-1], np.float32)
    half = min(longer * (0.5 + _MARGIN), float(size_wh.min()) / 2)
    middle = np.clip((box[:2] + box[2:]) / 2, half, size_wh - half)  # so that the square lies inside the frame
    close = cv2.resize(crop(image, np.concatenate([middle - half, middle + half])), (side, side))
    left = middle[0] > size_wh[0] / 2  # the corner that is farther from the box
    close[[0, -1]], close[:, [0, -1]] = _PAPER, _PAPER
    small[:side, slice(0, side) if left else slice(width - side, width)] = close
    return small


def _tile(rank: int, event: Event, picture: UInt8 | None, height: int) -> UInt8:
    line = _FONT_PX + 4
    tile = np.full((height + _LINES * line + 2 * _APART_PX, _TILE_PX + _APART_PX, 3), _PAPER, np.uint8)
    if picture is not None:
        tile[: len(picture), : picture.shape[1]] = picture
    reason = text.wrapped(event.reason.text if event.reason else "", _TILE_PX, _FONT_PX, max_lines=_LINES - 2)
    title = f"{rank}. {event.video}  {text.clock(event.peak_s)}"
    facts = f"score {event.score:.3g}, p {event.p_value:.2g}, {_stream(event)}"
    for i, words in enumerate([text.fitting(title, _TILE_PX, _FONT_PX, text.BOLD), facts, *reason]):
        weight = text.BOLD if i == 0 else text.REGULAR
        text.write(tile, words, 2, height + (i + 1) * line, _FONT_PX, _INK, weight, outline=None)
    return tile
