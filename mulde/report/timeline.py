"""The timeline of a run: a row per video (or per stretch of a long one), its scores as shades, its events as bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulde.events import Event
from mulde.images import write_png
from mulde.records import LabelTrack, ScoreTrack, UInt8
from mulde.report import text
from mulde.report.colours import BLACK, score_range, shades, strengths
from mulde.report.strip import column_maxima, hatch

MAX_ROWS = 200
_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 43200, 86400)
_NAMES_PX, _WIDTH_PX, _EDGE_PX = 230, 1400, 24
_FONT_PX, _SHADE_PX, _BAR_PX, _TRUTH_PX, _GAP_PX = 15, 18, 16, 8, 8
_ROW_PX = _SHADE_PX + _BAR_PX + _TRUTH_PX + _GAP_PX
_DARK = (60, 60, 60)
_MAX_COUNTED_STEPS = 12


@dataclass(frozen=True)
class _Row:
    """One row: a track from start_s on."""

    track: ScoreTrack
    start_s: float
    is_only: bool


def write_timeline(
    path: Path,
    tracks: Sequence[ScoreTrack],
    events: Sequence[Event],
    labels: Mapping[str, LabelTrack],
    alarm_level: float | None,
) -> None:
    """A PNG of a run. events: in the order of their ranks; labels: by video, one value per row of the track.

    A video longer than an hour goes on in the next row. Of more rows than 200 those with the best-ranked events, or
    else the highest scores, are shown, and a sentence says so.
    """

    rows, span_s = _rows(tracks)
    shown = _most_informative(rows, events, span_s)
    notes = _notes(rows, shown, alarm_level, has_truth=bool(labels))
    line_px = _FONT_PX + 7
    top = line_px * (len(notes) + 1) + 10
    page = np.full((top + len(shown) * _ROW_PX + _EDGE_PX, _NAMES_PX + _WIDTH_PX + _EDGE_PX, 3), 255, np.uint8)
    for number, note in enumerate(notes):
        text.write(page, text.fitting(note, page.shape[1] - 20, _FONT_PX), 10, (number + 1) * line_px, _FONT_PX, BLACK,
                   outline=None)  # fmt: skip
    _draw_axis(page, top, span_s)
    everything = np.concatenate([track.smoothed for track in tracks]) if tracks else np.zeros(0)
    ends = score_range(everything, alarm_level)
    rank = {event.event_id: number for number, event in enumerate(events, 1)}
    for number, row in enumerate(shown):
        y = top + number * _ROW_PX
        _draw_name(page, y, row)
        _draw_shades(page[y : y + _SHADE_PX], row, span_s, ends)
        own_events = [event for event in events if event.video == row.track.video]
        _draw_events(page, y + _SHADE_PX, row, span_s, own_events, rank)
        truth = labels.get(row.track.video)
        if truth is not None:
            _draw_truth(page[y + _SHADE_PX + _BAR_PX :][:_TRUTH_PX], row, span_s, truth)
    write_png(path, page)


def _rows(tracks: Sequence[ScoreTrack]) -> tuple[list[_Row], float]:
    """The rows that all tracks need, and how long each is: the shortest step that fits the longest video, or an hour,
    and lets all rows be shown."""
    longest = max((_end_s(track) for track in tracks), default=1.0)
    rows: list[_Row] = []
    for span_s in _STEPS_S:
        if span_s < min(longest, 3600):
            continue
        rows = []
        for track in tracks:
            parts = max(1, math.ceil(_end_s(track) / span_s))
            rows += [_Row(track, part * span_s, parts == 1) for part in range(parts)]
        if len(rows) <= MAX_ROWS or span_s >= longest:
            break
    return rows, float(span_s)


def _end_s(track: ScoreTrack) -> float:
    return float(track.time_s[-1]) if len(track) else 0.0


def _most_informative(rows: Sequence[_Row], events: Sequence[Event], span_s: float) -> list[_Row]:
    if len(rows) <= MAX_ROWS:
        return list(rows)
    best: dict[tuple[str, int], int] = {}
    for number, event in enumerate(events):
        best.setdefault((event.video, int(event.peak_s // span_s)), number)

    def merit(row: _Row) -> tuple[float, float]:
        seen = (row.track.time_s >= row.start_s) & (row.track.time_s < row.start_s + span_s)
        highest = float(row.track.smoothed[seen].max()) if seen.any() else -math.inf
        return float(best.get((row.track.video, int(row.start_s // span_s)), math.inf)), -highest

    kept = sorted(range(len(rows)), key=lambda number: merit(rows[number]))[:MAX_ROWS]
    return [rows[number] for number in sorted(kept)]


def _notes(rows: Sequence[_Row], shown: Sequence[_Row], alarm_level: float | None, *, has_truth: bool) -> list[str]:
    level = "" if alarm_level is None else f" (alarm level {alarm_level:.1f}: the middle of the shades)"
    notes = [f"Brighter: higher score{level} · Black bars: events, with their ranks"]
    if has_truth:
        notes[0] += " · Hatched: labelled anomalous"
    if len(shown) < len(rows):
        notes.append(f"{len(shown)} of {len(rows)} rows: those with the best-ranked events, then the highest scores.")
    return notes


def _x(time_s: float, row_start_s: float, span_s: float) -> int:
    return _NAMES_PX + round((min(max(time_s - row_start_s, 0.0), span_s)) / span_s * (_WIDTH_PX - 1))


def _draw_axis(page: UInt8, top: int, span_s: float) -> None:
    import cv2

    step = next(step for step in _STEPS_S if span_s / step <= _MAX_COUNTED_STEPS)
    for at_s in np.arange(0, span_s + 1e-9, step):
        x = _x(float(at_s), 0.0, span_s)
        cv2.line(page, (x, top - 5), (x, page.shape[0] - _EDGE_PX), (200, 200, 200), 1)
        label = text.clock(float(at_s)).removesuffix(".0")
        text.write(page, label, x - text.width(label, _FONT_PX) // 2, top - 8, _FONT_PX, _DARK, outline=None)


def _draw_name(page: UInt8, y: int, row: _Row) -> None:
    start = "" if row.is_only else f" +{text.clock(row.start_s).removesuffix('.0')}"
    room = _NAMES_PX - 20 - text.width(start, _FONT_PX)
    name = text.fitting(row.track.video, room, _FONT_PX) + start
    text.write(page, name, 10, y + _SHADE_PX - 3, _FONT_PX, BLACK, outline=None)


def _draw_shades(band: UInt8, row: _Row, span_s: float, ends: tuple[float, float]) -> None:
    values = column_maxima(row.track.time_s, row.track.smoothed, row.start_s, span_s, _WIDTH_PX)
    there = ~np.isnan(values)
    part = band[:, _NAMES_PX : _NAMES_PX + _WIDTH_PX]
    part[:, there] = shades(strengths(values[there], ends))


def _draw_events(
    page: UInt8, y: int, row: _Row, span_s: float, events: Sequence[Event], rank: Mapping[str, int]
) -> None:
    """Bars under the shades, each with its rank where there is room; the best-ranked first."""
    import cv2

    taken = np.zeros(page.shape[1], np.bool_)
    for event in sorted(events, key=lambda event: rank[event.event_id]):
        if event.end_s < row.start_s or event.start_s >= row.start_s + span_s:
            continue
        x0, x1 = _x(event.start_s, row.start_s, span_s), _x(event.end_s, row.start_s, span_s)
        cv2.rectangle(page, (x0, y + 1), (max(x1, x0 + 1), y + 4), BLACK, -1)
        label = f"{rank[event.event_id]}"
        room = slice(x0, x0 + text.width(label, _FONT_PX - 3) + 4)
        if event.peak_s >= row.start_s and not taken[room].any():
            taken[room] = True
            text.write(page, label, x0, y + _BAR_PX - 1, _FONT_PX - 3, BLACK, outline=None)


def _draw_truth(band: UInt8, row: _Row, span_s: float, truth: LabelTrack) -> None:
    true = column_maxima(row.track.time_s, truth.anomalous.astype(np.float64), row.start_s, span_s, _WIDTH_PX) > 0
    lines = hatch(len(band), _WIDTH_PX, 5) > 0
    part = band[:, _NAMES_PX : _NAMES_PX + _WIDTH_PX]
    part[:, true] = 225
    part[lines & true[None]] = 0
