"""Draws results into the frames of a video: boxes, tracks, events with their reasons, the curve."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from mulde.errors import VideoError
from mulde.events import Event, EventRegion
from mulde.records import Int64, LabelTrack, RegionScores, ScoreTrack, UInt8
from mulde.report import text
from mulde.report.colours import BLACK, BRIGHT, WHITE, score_range, shades, strengths
from mulde.report.strip import Strip

_MIN_FONT_PX, _MAX_FONT_PX = 10, 30
_HOLD_S = 2.0
"""A caption stays at least so long, to be read."""
_MAX_LINES = 3
_CAPTION_DIM = 0.35


class Painter:
    """For the frames of one video, scaled to `size_hw`; draws in place.

    The boxes are scaled from the size of `regions`. Above the alarm level lines are thicker, with a black rim.
    labels: one value per row of the track. heat: paints what is unusual into the picture of a row, in place.
    """

    def __init__(
        self,
        size_hw: tuple[int, int],
        track: ScoreTrack,
        regions: RegionScores | None = None,
        events: Sequence[Event] = (),
        labels: LabelTrack | None = None,
        alarm_level: float | None = None,
        heat: Callable[[UInt8, int], None] | None = None,
    ) -> None:
        self.size_hw, self._track, self._regions, self._level = size_hw, track, regions, alarm_level
        self._heat = heat
        self._font_px = int(np.clip(round(math.sqrt(math.prod(size_hw)) / 50), _MIN_FONT_PX, _MAX_FONT_PX))
        self._thin = max(1, round(min(size_hw) / 400))
        self._events = sorted(events, key=lambda event: event.start_frame)  # which do not overlap
        self._strip = Strip(size_hw, self._font_px, track, None if labels is None else labels.anomalous, alarm_level)
        if regions is not None:
            self._scale = np.array([size_hw[1] / regions.size_hw[1], size_hw[0] / regions.size_hw[0]] * 2)
            ends = score_range(regions.anomaly_score, alarm_level)
            self._colours = shades(strengths(regions.anomaly_score, ends))

    def paint(self, image: UInt8, frame_index: int) -> int:
        """Everything into the picture (H, W, 3) of a frame; its row in the track. Raises VideoError as `row` does."""
        at = self.row(frame_index)
        self._strip.darken(image)
        self.paint_boxes(image, frame_index)
        self._strip.draw(image, at)
        event = self._current(float(self._track.time_s[at]))
        self._draw_header(image, at)
        if event is not None:
            self._draw_caption(image, event)
        return at

    def paint_boxes(self, image: UInt8, frame_index: int) -> None:
        """Only the map of where it is unusual and the boxes, the one of the present event with a second rim."""
        if self._heat is not None:
            self._heat(image, self.row(frame_index))
        regions = self._regions
        if regions is None:
            return
        rows = np.arange(*np.searchsorted(regions.frame_index, [frame_index, frame_index + 1]))
        event = self._event_at(frame_index)
        subject = self._subject(regions, event, rows, frame_index) if event is not None else -1
        ascending = rows[np.argsort(regions.anomaly_score[rows], kind="stable")]
        for row in ascending:  # the highest on top
            self._draw_box(image, regions, int(row), is_subject=row == subject)
        if event is not None and event.reason is not None and event.reason.region is not None and subject < 0:
            self._draw_subject_alone(image, event.reason.region, frame_index)

    def row(self, frame_index: int) -> int:
        """The row of a frame in the track. Raises VideoError for a frame without a score."""
        at = int(np.searchsorted(self._track.frame_index, frame_index))
        if at == len(self._track) or self._track.frame_index[at] != frame_index:
            raise VideoError(
                f"{self._track.video}: frame {frame_index} has no score",
                expected=f"the {len(self._track)} frames that were scored",
                hint="score the video again",
            )
        return at

    def _event_at(self, frame_index: int) -> Event | None:
        last = bisect_right(self._events, frame_index, key=lambda event: event.start_frame) - 1
        return self._events[last] if last >= 0 and frame_index < self._events[last].end_frame else None

    def _current(self, time_s: float) -> Event | None:
        """The event whose caption is shown: the one that began last."""
        last = bisect_right(self._events, time_s, key=lambda event: event.start_s) - 1
        if last < 0:
            return None
        event = self._events[last]
        return event if time_s <= max(event.end_s, event.start_s + _HOLD_S) else None

    def _subject(self, regions: RegionScores, event: Event, rows: Int64, frame_index: int) -> int:
        """The row of the box that the event is about: the one on its track, else the highest above the level; -1 where
        there is none."""
        region = None if event.reason is None else event.reason.region
        if not rows.size:
            return -1
        if region is not None and region.track_id >= 0:
            same = rows[regions.track_id[rows] == region.track_id]
            if same.size:
                return int(same[0])
        if region is not None and region.frame_index == frame_index:
            apart = np.abs(regions.box_xyxy[rows] - np.array(region.box_xyxy)).max(axis=1)
            return int(rows[apart.argmin()]) if apart.min() < 1 else -1
        best = int(rows[regions.anomaly_score[rows].argmax()])
        return best if self._is_alarm(regions, best) else -1

    def _is_alarm(self, regions: RegionScores, row: int) -> bool:
        return self._level is not None and bool(regions.anomaly_score[row] >= self._level)

    def _draw_box(self, image: UInt8, regions: RegionScores, row: int, *, is_subject: bool) -> None:
        import cv2

        x0, y0, x1, y1 = np.rint(regions.box_xyxy[row] * self._scale).astype(int).tolist()
        colour = tuple(self._colours[row].tolist())
        is_alarm = self._is_alarm(regions, row)
        thickness = 2 * self._thin if is_alarm else self._thin
        if is_alarm or is_subject or self._thin > 1:  # a rim; thin boxes of small pictures would drown in it
            cv2.rectangle(image, (x0, y0), (x1, y1), BLACK, thickness + 2)
        cv2.rectangle(image, (x0, y0), (x1, y1), colour, thickness)
        if is_subject:
            self._draw_rim(image, (x0, y0, x1, y1))
        self._draw_tag(image, regions, row, (x0, y0, x1, y1), is_alarm=is_alarm or is_subject, is_subject=is_subject)

    def _draw_rim(self, image: UInt8, box: tuple[int, int, int, int]) -> None:
        import cv2

        apart = 3 * self._thin + 2
        corners = (box[0] - apart, box[1] - apart), (box[2] + apart, box[3] + apart)
        cv2.rectangle(image, *corners, BLACK, self._thin + 2)
        cv2.rectangle(image, *corners, WHITE, self._thin)

    def _draw_subject_alone(self, image: UInt8, region: EventRegion, frame_index: int) -> None:
        if region.frame_index == frame_index:
            box = np.rint(np.array(region.box_xyxy) * self._scale).astype(int).tolist()
            self._draw_rim(image, (box[0], box[1], box[2], box[3]))

    def _draw_tag(
        self,
        image: UInt8,
        regions: RegionScores,
        row: int,
        box: tuple[int, int, int, int],
        *,
        is_alarm: bool,
        is_subject: bool,
    ) -> None:
        """Track id, and above the level the score, above the box or, at the upper border, below it."""
        track, score = int(regions.track_id[row]), regions.anomaly_score[row]
        words = [f"#{track}"] if track >= 0 else []
        words += [f"score {score:.1f}" if is_subject else f"{score:.1f}"] if is_alarm else []
        if not words:
            return
        size = self._font_px if is_alarm else max(self._font_px - 2, 8)
        tag = " ".join(words)
        weight = text.BOLD if is_alarm else text.REGULAR
        apart = 4 * self._thin + 3 if is_alarm else self._thin + 2
        above = box[1] - apart
        y = above if above > 2 * self._font_px + 4 else box[3] + apart + size
        x = min(max(box[0], 0), max(self.size_hw[1] - text.width(tag, size, weight) - 2, 0))
        text.write(image, tag, x, y, size, BRIGHT if is_alarm else WHITE, weight)

    def _draw_header(self, image: UInt8, at: int) -> None:
        track = self._track
        words = f"{track.video} · {text.clock(track.time_s[at])} · frame {track.frame_index[at]}"
        words = text.fitting(words, self.size_hw[1] - 8, self._font_px)
        text.write(image, words, 4, self._font_px + 2, self._font_px)

    def _draw_caption(self, image: UInt8, event: Event) -> None:
        import cv2

        words = event.reason.text if event.reason and event.reason.text else "the score is above the alarm level"
        size, room = self._font_px + 1, self.size_hw[1] - 8
        title = "SUPPRESSED: " if event.suppression else "UNUSUAL: "
        lines = text.wrapped(title + words, room, size, text.BOLD, max_lines=_MAX_LINES)
        top = self._font_px + 6
        bottom = min(top + len(lines) * (size + 3) + 4, self.size_hw[0])
        band = image[top:bottom]
        if band.size:
            cv2.convertScaleAbs(band, band, alpha=_CAPTION_DIM)
        for number, line in enumerate(lines):
            text.write(image, line, 4, top + (number + 1) * (size + 3) - 1, size, BRIGHT, text.BOLD)
