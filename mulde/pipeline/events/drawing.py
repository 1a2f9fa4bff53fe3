"""One video with what was found drawn into it: a copy of it, or clips and contact sheets of its events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mulde.config import Settings
from mulde.datasets.base import Video
from mulde.events import Event
from mulde.images import resized
from mulde.media import Sound, VideoReader, VideoWriter, timing
from mulde.media.writer import Timing
from mulde.pipeline.events.tables import picture_path
from mulde.pipeline.extraction.boxes_alone import check_pixels
from mulde.pipeline.extraction.plan import open_with
from mulde.pipeline.extraction.windows import prefetch
from mulde.pipeline.scoring.pixel_maps import Heat
from mulde.progress import Reporter
from mulde.records import Frames, LabelTrack, RegionScores, ScoreTrack, UInt8
from mulde.report.painter import Painter
from mulde.report.sheets import CELL_PX, sheet_rows, write_sheet

_CRF = 23
_MAX_BATCH_BYTES, _MAX_BATCH = 2**25, 16
_AROUND_S, _MAX_FROM_PEAK_S = 2.0, 10.0
_CLIP_PX = 640


@dataclass(frozen=True)
class Findings:
    """What there is to draw about one video; labels, heat: one value or map per row of the track."""

    track: ScoreTrack
    regions: RegionScores | None = None
    events: Sequence[Event] = ()
    labels: LabelTrack | None = None
    alarm_level: float | None = None
    heat: Heat | None = None

    def painter(self, size_hw: tuple[int, int]) -> Painter:
        heat = None if self.heat is None else self.heat.paint
        return Painter(size_hw, self.track, self.regions, self.events, self.labels, self.alarm_level, heat)


def draw_overlay(
    video: Video,
    track: ScoreTrack,
    regions: RegionScores | None,
    events: Sequence[Event],
    labels: LabelTrack | None,
    settings: Settings,
    alarm_level: float | None,
    target: Path,
    reporter: Reporter,
) -> None:
    """A copy of the video with boxes, scores, reasons and the curve in it: as many frames, shown at the same times, of
    the same size, with the same sound. events: of any videos; labels: one value per row of the track.

    Raises VideoError where the video cannot be read or has frames without a score.
    """
    events = [event for event in events if event.video == track.video]
    draw_copy(video, Findings(track, regions, events, labels, alarm_level), settings, target, reporter)


def draw_copy(video: Video, findings: Findings, settings: Settings, target: Path, reporter: Reporter) -> None:
    """`target`: as many frames as the video has, shown at the same times, of the same size, with the same sound.

    Raises VideoError where the video cannot be read or has frames without a score.
    """
    name = findings.track.video
    with ExitStack() as opened:
        reader = opened.enter_context(_open(video, settings))
        if any(side % 2 for side in reader.size_hw):
            reporter.say(f"{name}: H.264 needs even sides, so its overlay is a pixel wider or higher")
        sound = None
        if reader.decoder != "frames":
            stream = settings.video.stream
            sound = opened.enter_context(Sound(video.path, None if stream == "auto" else stream))
        advance = opened.enter_context(reporter.bar(f"  {name}", len(findings.track), "frames"))
        when = timing(findings.track.time_s, reader.rate)
        writer = opened.enter_context(
            VideoWriter(target, when.rate, time_base=when.time_base, crf=_CRF, quick=True, sound=sound)
        )
        for frames, rows in _painted(reader, findings, opened):
            for image, row in zip(frames.images, rows, strict=True):
                writer.write(image, int(when.pts[row]))
            advance(len(frames))
    for remark in sound.remarks if sound is not None else ():
        reporter.warn(f"{name}: {remark}")


def _painted(reader: VideoReader, findings: Findings, opened: ExitStack) -> Iterator[tuple[Frames, list[int]]]:
    """The frames of a video, painted, and their rows in the track. While one batch is worked on, the next is painted
    and the one behind it decoded."""
    painter = findings.painter(reader.size_hw)

    def paint() -> Iterator[tuple[Frames, list[int]]]:
        for frames in decoded:
            rows = [painter.paint(image, int(i)) for image, i in zip(frames.images, frames.frame_index, strict=True)]
            yield frames, rows

    decoded = prefetch(iter(reader), opened.enter_context(ThreadPoolExecutor(1, "decode")))
    yield from prefetch(paint(), opened.enter_context(ThreadPoolExecutor(1, "paint")))


def draw_clips(video: Video, findings: Findings, settings: Settings, folder: Path, reporter: Reporter) -> None:
    """Each event of a video as a short video and as a contact sheet in `folder`, in one reading of the video.

    A clip lasts from 2 s before the event to 2 s after it, at most 20 s around its peak; its longer side has at most
    640 pixels. Raises VideoError as `draw_copy` does.
    """
    track = findings.track
    with ExitStack() as opened:
        reader = opened.enter_context(_open(video, settings))
        when = timing(track.time_s, reader.rate)
        waiting = [_Clip(event, track, when, folder) for event in findings.events]
        waiting.sort(key=lambda clip: clip.first, reverse=True)
        last = max((clip.last for clip in waiting), default=-1)
        sizes = [_scaled(reader.size_hw, longer_px) for longer_px in (_CLIP_PX, CELL_PX)]
        painters = [findings.painter(size) for size in sizes]
        advance = opened.enter_context(reporter.bar(f"  {track.video}", last + 1, "frames"))
        running: list[_Clip] = []
        for frames in prefetch(iter(reader), opened.enter_context(ThreadPoolExecutor(1, "decode"))):
            for image, frame in zip(frames.images, frames.frame_index, strict=True):
                row = painters[0].row(int(frame))
                while waiting and waiting[-1].first <= row:
                    running.append(waiting.pop())
                    opened.push(running[-1].opened)
                if running:
                    pictures = [image.copy() if image.shape[:2] == size else resized(image, size) for size in sizes]
                    painters[0].paint(pictures[0], int(frame))
                    painters[1].paint_boxes(pictures[1], int(frame))
                    for clip in running:
                        clip.add(row, *pictures)
                    running = [clip for clip in running if not clip.is_done]
            advance(len(frames))
            if int(frames.frame_index[-1]) >= (int(track.frame_index[last]) if last >= 0 else 0):
                break


class _Clip:
    """The clip and the contact sheet of one event, while its frames go by; first and last are rows of the track."""

    def __init__(self, event: Event, track: ScoreTrack, when: Timing, folder: Path) -> None:
        self.event, self._track, self._when = event, track, when
        from_s = max(event.start_s - _AROUND_S, event.peak_s - _MAX_FROM_PEAK_S)
        to_s = min(event.end_s + _AROUND_S, event.peak_s + _MAX_FROM_PEAK_S)
        self._sheet_rows = sheet_rows(event, track.time_s, track.frame_index)
        self._clip_first = int(np.searchsorted(track.time_s, from_s - 1e-6))
        self._clip_last = int(np.searchsorted(track.time_s, to_s + 1e-6)) - 1
        self.first = min(self._clip_first, int(self._sheet_rows[0]))
        self.last = max(self._clip_last, int(self._sheet_rows[-1]))
        self._paths = [picture_path(folder, event, ending) for ending in (".mp4", ".png")]
        self._cells: list[tuple[int, float, UInt8]] = []
        self._writer = VideoWriter(self._paths[0], when.rate, time_base=when.time_base, crf=_CRF, quick=True)
        self.opened, self.is_done = ExitStack(), False

    def add(self, row: int, picture: UInt8, small: UInt8) -> None:
        """The painted frame of a row, in the size of clips and in that of sheets."""
        if self._clip_first <= row <= self._clip_last:
            if row == self._clip_first:
                self.opened.enter_context(self._writer)
            self._writer.write(picture, int(self._when.pts[row] - self._when.pts[self._clip_first]))
            if row == self._clip_last:
                self.opened.close()
        if row in self._sheet_rows:
            self._cells.append((int(self._track.frame_index[row]), float(self._track.time_s[row]), small))
            if row == self._sheet_rows[-1]:
                write_sheet(self._paths[1], self.event, self._cells)
                self._cells = []
        self.is_done = row >= self.last


def _open(video: Video, settings: Settings) -> VideoReader:
    """A reader of the video in its own size, in small batches. Raises UsageError for a video of boxes alone."""
    check_pixels([video], "overlay or clip")
    reader = open_with(video, settings.video)
    num_frames = _MAX_BATCH_BYTES // (3 * math.prod(reader.size_hw))
    reader.options = replace(reader.options, batch_size=min(max(num_frames, 1), _MAX_BATCH))
    return reader


def _scaled(size_hw: tuple[int, int], longer_px: int) -> tuple[int, int]:
    """At most `longer_px` on the longer side, even sides."""
    scale = min(1.0, longer_px / max(size_hw))
    height, width = (max(2, 2 * round(side * scale / 2)) for side in size_hw)
    return height, width
