"""Audit of normal footage: the training moments that look least normal, each by densities that have not seen it."""

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
from mulde.pipeline.scoring.threshold import DEFAULT_RATE_PER_HOUR, seen_events
from mulde.pipeline.training.exclusions import MARK
from mulde.progress import Reporter
from mulde.records import FeatureTable, Float64, Int64, ScoredVideo, ScoreTrack, UInt8
from mulde.report import text
from mulde.store.store import BOX_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

AUDIT = "audit"
MAX_MOMENTS = 50
_HIGHEST_SHARE = 0.1  # of the normal frames: what moments are made of
_MUCH = 0.5
_MIN_BOX_SHARE, _MARGIN = 0.5, 0.5
_MAX_SAID = 3
_COLUMNS = (
    "rank", "video", "start_frame", "end_frame", "start_s", "end_s", "peak_frame", "peak_s", "score", "p_value",
    "stream", "reason", "region_frame", *BOX_COLUMNS, MARK,
)  # fmt: skip
_TILE_PX, _TILES_ACROSS, _FONT_PX, _LINES, _APART_PX = 320, 5, 15, 4, 8
_INK, _PAPER = (0, 0, 0), 255


def write_audit(
    bundle: Bundle, videos: Sequence[StoredVideo], plan: ExtractionPlan, folder: Path, reporter: Reporter
) -> Path:
    """`<folder>/audit.csv`, the least normal moments of the footage that `bundle` was just trained on, highest score
    first, and `audit.png` with a picture of each; the path of the table.

    A row of the table whose column leave_out a person fills in with `yes` is what `mulde train --exclude` leaves out.
    """
    parts = _parts(bundle, videos)
    moments = _explained(find_reference_samples(bundle, parts), parts, bundle)
    path, sheet = folder / f"{AUDIT}.csv", folder / f"{AUDIT}.png"
    write_csv(audit_table(moments), path, float_format="%.8g")
    if not moments:
        sheet.unlink(missing_ok=True)  # one of an earlier training
        reporter.say("no moment of the normal footage looks less normal than the rest")
        return path
    _write_sheet(moments, {stored.video.name: stored for stored in videos}, plan, sheet, reporter)
    said = ", ".join(f"{one.video} {text.clock(one.peak_s)} ({_stream(one)})" for one in moments[:_MAX_SAID])
    reporter.say(
        f"the least normal training moments, {manner(bundle.training)}: {said}; see {sheet}. Mark rows of {path} with "
        f"{MARK}=yes and train again with --exclude {path}"
    )
    if (warning := sets_the_level(moments[0], bundle)) is not None:
        reporter.warn(warning)
    return path


@dataclass(frozen=True)
class HeldOutPart:
    """What of a video was held out together: its entry in `bundle.normal`, the fold that has not seen it, its frames
    (T,) and their scores (T,), smoothed both ways."""

    name: str
    stored: StoredVideo
    fold: int
    frame_index: Int64
    smoothed: Float64

    @property
    def time_s(self) -> Float64:
        """Of its frames (T,)."""
        return self.stored.time_s[np.searchsorted(self.stored.frame_index, self.frame_index)]


def _parts(bundle: Bundle, videos: Sequence[StoredVideo]) -> list[HeldOutPart]:
    by_name = {stored.video.name: stored for stored in videos}
    parts = []
    for part, smoothed in zip(bundle.training.normal_parts, bundle.smoothed_normal["centred"], strict=True):
        stored = by_name[part.video]
        first, last = np.searchsorted(stored.frame_index, [part.start_frame, part.end_frame])
        parts.append(HeldOutPart(part.name, stored, part.fold, stored.frame_index[first:last], smoothed.scores))
    return parts


def find_reference_samples(bundle: Bundle, parts: Sequence[HeldOutPart]) -> list[tuple[Event, HeldOutPart]]:
    """The highest of the stretches that the highest tenth of the normal frames form, highest first, at most 50.

    Their p-value is what an event of new video with such a peak would get.
    """
    scores = np.concatenate([np.zeros(0), *(part.smoothed for part in parts)])
    if not scores.size:
        return []
    # Above the lowest score in any case: of still footage nothing stands out.
    level = max(float(np.quantile(scores, 1 - _HIGHEST_SHARE)), float(np.nextafter(scores.min(), np.inf)))
    rules = EventRules(bundle.settings.alarms.merge_gap_s)
    found = [
        (event, part)
        for part in parts
        for event in seen_events(
            part.stored.video.name,
            part.frame_index,
            part.time_s,
            part.smoothed,
            float(part.stored.rate),
            level,
            rules,
        )
    ]
    found = sorted(found, key=lambda one: -one[0].score)[:MAX_MOMENTS]
    peaks = np.array([event.score for event, _ in found])
    p_values = event_p_values(peaks, bundle.smoothed_normal["centred"], merge_gap_s=rules.merge_gap_s)
    return [(replace(event, p_value=float(p)), part) for (event, part), p in zip(found, p_values, strict=True)]


def _explained(
    moments: Sequence[tuple[Event, HeldOutPart]], parts: Sequence[HeldOutPart], bundle: Bundle
) -> list[Event]:
    """The moments with their reasons, as the density sees them that has not seen them; in their order."""
    reasons = {}
    for part in parts:
        own = [event for event, of in moments if of is part]
        if own:
            streams = {
                name: replace(stream, densities=(stream.densities[part.fold],))
                for name, stream in bundle.streams.items()
            }
            unseen, name = replace(bundle, streams=streams), part.stored.video.name
            scored = _scored(part, unseen)
            for event in explain(own, {name: scored}, {name: part.stored}, unseen, None).events:
                reasons[event.event_id] = event.reason
    return [replace(event, reason=reasons[event.event_id]) for event, _ in moments]


def _scored(part: HeldOutPart, bundle: Bundle) -> ScoredVideo:
    """The part as the streams of `bundle` score it."""
    stored, fusion = part.stored, bundle.settings.fusion

    def features(name: str) -> FeatureTable:
        table = stored.features(name)
        return table.select(np.isin(table.frame_index, part.frame_index))

    frames = score_frames(features, part.frame_index, bundle.streams, fusion.combine)
    track = ScoreTrack(stored.video.name, part.frame_index, part.time_s, frames.fused, part.smoothed, frames.streams)
    rate = float(stored.rate)
    return ScoredVideo(track, fusion.smoothing_s * rate, int(frames.empty.sum()), rate)


def audit_table(moments: Sequence[Event]) -> pd.DataFrame:
    """One row per moment, as audit.csv holds it."""
    table = events_table(moments)
    table["rank"], table[MARK] = np.arange(1, len(table) + 1), ""
    return table[list(_COLUMNS)]


def manner(training: TrainingRecord) -> str:
    """Which of the videos were looked at, and by which models: as the training of a bundle records it."""
    heldout = training.heldout
    seen = {name for fold in heldout for name in fold}
    videos = seen.union(training.videos)
    if len(videos) == 1:
        if len(heldout) == 1:
            return "in the last part of a single video, scored by a model of the rest"
        return f"in a single video, cut in time into {len(heldout)} parts, each scored by a model of the others"
    if seen != videos:
        return f"in the {len(seen)} of {len(videos)} videos that were held out (fusion.folds above 1 looks at all)"
    how = "leave one video out" if len(heldout) == len(videos) else f"{len(heldout)} folds of whole videos"
    return f"each video scored by a model that has not seen it ({how})"


def sets_the_level(moment: Event, bundle: Bundle) -> str | None:
    """A sentence where the video of the highest moment alone makes up half of what the alarm level lies above the score
    of most frames. On clips that are all normal (UCSD Ped2) it makes up a seventh to a third."""
    normal, parts = bundle.smoothed_normal["centred"], bundle.training.normal_parts
    others = [scores for scores, part in zip(normal, parts, strict=True) if part.video != moment.video]
    level, without = _level(normal, bundle.settings.alarms), _level(others, bundle.settings.alarms)
    usual = float(np.median(np.concatenate([video.scores for video in normal])))
    if level is None or without is None or level - without <= _MUCH * (level - usual):
        return None
    highest = max(float(video.scores.max()) for video in others if video.scores.size)
    return (
        f"{moment.video} alone raises the alarm level from {without:.3g} to {level:.3g}: at "
        f"{text.clock(moment.peak_s)} it scores {moment.score:.3g}, the other videos {highest:.3g} at most. "
        "Is it normal?"
    )


def _level(normal: Sequence[NormalVideo], settings: AlarmSettings) -> float | None:
    """The alarm level that the footage sets, None where it cannot."""
    options = {"merge_gap_s": settings.merge_gap_s, "min_length_s": settings.min_length_s}
    try:
        wanted = settings.false_alarms_per_hour or max(DEFAULT_RATE_PER_HOUR, lowest_rate(normal, **options))
        return alarm_level(normal, wanted, **options).level
    except UsageError:
        return None


def _stream(moment: Event) -> str:
    return moment.reason.stream if moment.reason else ""


def _write_sheet(
    moments: Sequence[Event],
    videos: Mapping[str, StoredVideo],
    plan: ExtractionPlan,
    path: Path,
    reporter: Reporter,
) -> None:
    """A tile for each moment: its frame with the box that drove it, rank, video, time, score, stream, reason."""

    pictures: dict[str, UInt8] = {}
    names = list(dict.fromkeys(moment.video for moment in moments))
    with reporter.bar("audit", len(names), "videos") as advance:
        for name in names:
            own = [moment for moment in moments if moment.video == name]
            try:
                pictures |= _thumbnails(own, videos[name], plan)
            except Exception as error:  # the training is done: it is not to be lost for a picture
                reporter.warn(f"{name}: no pictures of its moments: {sentence(error, name)}")
            advance(1)
    height = max((len(picture) for picture in pictures.values()), default=0)
    tiles = [_tile(rank, moment, pictures.get(moment.event_id), height) for rank, moment in enumerate(moments, 1)]
    across = min(len(tiles), _TILES_ACROSS)
    blank = np.full_like(tiles[0], _PAPER)
    tiles += [blank] * (-len(tiles) % across)
    rows = [np.concatenate(tiles[i : i + across], axis=1) for i in range(0, len(tiles), across)]
    write_png(path, np.concatenate(rows))


def _thumbnails(moments: Sequence[Event], stored: StoredVideo, plan: ExtractionPlan) -> dict[str, UInt8]:
    """The pictures of the moments of one video by event id, in one pass up to the last of them."""
    found: dict[str, UInt8] = {}
    for frame, image in wanted_frames(stored.video, plan, map(shown_frame, moments)):
        found |= {one.event_id: _picture(image, one) for one in moments if shown_frame(one) == frame}
    return found


def _picture(image: UInt8, moment: Event) -> UInt8:
    """The thumbnail of a moment, and in a corner what is small in it enlarged."""
    import cv2

    small = thumbnail(image, moment)
    region = moment.reason.region if moment.reason else None
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


def _tile(rank: int, moment: Event, picture: UInt8 | None, height: int) -> UInt8:
    line = _FONT_PX + 4
    tile = np.full((height + _LINES * line + 2 * _APART_PX, _TILE_PX + _APART_PX, 3), _PAPER, np.uint8)
    if picture is not None:
        tile[: len(picture), : picture.shape[1]] = picture
    reason = text.wrapped(moment.reason.text if moment.reason else "", _TILE_PX, _FONT_PX, max_lines=_LINES - 2)
    title = f"{rank}. {moment.video}  {text.clock(moment.peak_s)}"
    facts = f"score {moment.score:.3g}, p {moment.p_value:.2g}, {_stream(moment)}"
    for i, words in enumerate([text.fitting(title, _TILE_PX, _FONT_PX, text.BOLD), facts, *reason]):
        weight = text.BOLD if i == 0 else text.REGULAR
        text.write(tile, words, 2, height + (i + 1) * line, _FONT_PX, _INK, weight, outline=None)
    return tile
