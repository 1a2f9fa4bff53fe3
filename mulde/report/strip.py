"""The running curve at the lower border of a picture: the scores around now, and those of the whole video."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mulde.records import Bool, Float64, ScoreTrack, UInt8, spans
from mulde.report import text
from mulde.report.colours import BLACK, BRIGHT, GREY, WHITE, score_range, shades, strengths

WINDOW_S = 20.0
_SHARE = 0.17  # of the picture's height
_MIN_PX, _MAX_PX = 34, 170
_DIM = 0.3
_HATCH_PX = 6
_MAX_LEVELS = 4
"""The curve is cut off at this multiple of the alarm level, so that what is around the level can be seen."""


@dataclass(frozen=True)
class _View:
    """The visible part of the video: from start_s on, `px_per_s` pixels a second."""

    start_s: float
    px_per_s: float


class Strip:
    """Draws the curve of one video into frames of `size_hw`, in place. anomalous: (T,) the truth, where it is known."""

    def __init__(
        self,
        size_hw: tuple[int, int],
        font_px: int,
        track: ScoreTrack,
        anomalous: Bool | None,
        alarm_level: float | None,
    ) -> None:
        height, self._width = size_hw
        self.height = min(int(np.clip(round(_SHARE * height), _MIN_PX, _MAX_PX)), height)
        self._font_px, self._line = font_px, max(1, round(self.height / 60))
        self._track, self._level = track, alarm_level
        self._truth = [] if anomalous is None else spans(anomalous)
        self._length_s = _length_s(track.time_s)
        is_long = self._length_s > WINDOW_S
        self._window_s = WINDOW_S if is_long else self._length_s
        self._top = min(font_px + 4, self.height // 2)
        overview_px = max(4, self.height // 9) if is_long else 0
        self._bottom = self.height - overview_px - (2 if is_long else 0)
        self._overview = self._draw_overview(overview_px, anomalous) if is_long else None
        self._range = self._value_range()
        self._hatch_px = _HATCH_PX * self._line
        self._hatch = hatch(self._bottom, self._width + self._hatch_px, self._hatch_px, self._line)

    def darken(self, image: UInt8) -> None:
        """Draw the dark background of the curve."""
        import cv2

        strip = image[-self.height :]
        cv2.convertScaleAbs(strip, strip, alpha=_DIM)

    def draw(self, image: UInt8, position: int) -> None:
        """Draw the curve around row `position` of the track, the present."""
        import cv2

        strip = image[-self.height :]
        now_s = float(self._track.time_s[position])
        view = self._view(now_s)
        first, last = self._seen(view)
        x = np.rint((self._track.time_s[first:last] - view.start_s) * view.px_per_s).astype(np.int32)
        y = self._y(self._track.smoothed[first:last])
        self._draw_level(strip, x, y)
        self._draw_truth(strip, view, first, last)
        self._draw_curve(strip, np.stack([x, y], axis=1), position - first)
        if self._overview is not None:
            strip[self.height - len(self._overview) :] = self._overview
            at = round(now_s / self._length_s * (self._width - 1))
            cv2.line(strip, (at, self._bottom), (at, self.height), BLACK, 3 * self._line)
            cv2.line(strip, (at, self._bottom), (at, self.height), WHITE, self._line)
        at = round((now_s - view.start_s) * view.px_per_s)
        cv2.line(strip, (at, self._top), (at, self._bottom), WHITE, self._line)
        self._draw_words(strip, float(self._track.smoothed[position]))

    def _view(self, now_s: float) -> _View:
        latest = max(self._length_s - self._window_s, 0.0)
        return _View(min(max(now_s - self._window_s / 2, 0.0), latest), (self._width - 1) / self._window_s)

    def _seen(self, view: _View) -> tuple[int, int]:
        """The rows in view, and one more at either end, to which the curve goes."""
        times = self._track.time_s
        first = int(np.searchsorted(times, view.start_s)) - 1
        last = int(np.searchsorted(times, view.start_s + self._window_s, side="right")) + 1
        return max(first, 0), min(last, len(times))

    def _value_range(self) -> tuple[float, float]:
        smoothed = self._track.smoothed
        level = [] if self._level is None else [self._level]
        low, high = min([float(smoothed.min()), *level]), max([float(smoothed.max()), *level])
        if self._level is not None and self._level > 0:
            high = min(high, _MAX_LEVELS * self._level)
        span = (high - low) or 1.0
        return low - 0.1 * span, high + 0.1 * span

    def _y(self, values: Float64) -> np.ndarray:
        low, high = self._range
        with np.errstate(over="ignore", invalid="ignore"):  # ends that are all but the same
            share = np.clip((values - low) / (high - low), 0.0, 1.0)
        return np.rint(self._bottom - 2 - share * (self._bottom - self._top - 3)).astype(np.int32)

    def _draw_truth(self, strip: UInt8, view: _View, first: int, last: int) -> None:
        import cv2

        times, phase = self._track.time_s, round(view.start_s * view.px_per_s) % self._hatch_px
        for start, end in self._truth:
            if start >= last or end <= first:
                continue
            x0 = max(round((times[start] - view.start_s) * view.px_per_s), 0)
            x1 = min(round((times[min(end, len(times) - 1)] - view.start_s) * view.px_per_s) + 1, self._width)
            if x1 > x0:
                part = strip[self._top : self._bottom, x0:x1]
                lines = self._hatch[self._top : self._bottom, x0 + phase : x1 + phase]
                cv2.copyTo(np.full_like(part, 120), np.ascontiguousarray(lines), part)

    def _draw_level(self, strip: UInt8, x: np.ndarray, y: np.ndarray) -> None:
        """The alarm level as a dashed line; what of the curve x, y (N,) is above it, filled."""
        if self._level is None:
            return
        import cv2

        level_y = int(self._y(np.array([self._level]))[0])
        above = np.stack([x, np.minimum(y, level_y)], axis=1)
        ends = np.array([[x[-1], level_y], [x[0], level_y]], np.int32)
        cv2.fillPoly(strip, [np.concatenate([above, ends])], BRIGHT)
        dash = max(4, self._width // 90)
        cv2.line(strip, (0, level_y), (self._width, level_y), BLACK, self._line + 2)
        for start in range(0, self._width, 2 * dash):
            cv2.line(strip, (start, level_y), (start + dash - 1, level_y), WHITE, self._line)

    def _draw_curve(self, strip: UInt8, points: np.ndarray, now: int) -> None:
        import cv2

        cv2.polylines(strip, [points], False, BLACK, self._line + 2)
        cv2.polylines(strip, [points[now:]], False, GREY, self._line, cv2.LINE_AA)  # what is to come
        cv2.polylines(strip, [points[: now + 1]], False, WHITE, self._line + (self._line > 1), cv2.LINE_AA)

    def _draw_words(self, strip: UInt8, score: float) -> None:
        words, size = f"score {score:.1f}", max(self._font_px - 1, 9)
        if self._level is not None:
            words += f" · - - alarm level {self._level:.1f}"
        if self._truth:
            words += " · /// labelled anomalous"
        text.write(strip, text.fitting(words, self._width - 8, size), 4, self._top - 3, size)

    def _draw_overview(self, height: int, anomalous: Bool | None) -> UInt8:
        """The whole video as one row of shades, true anomalies as a dashed line below."""
        track, width = self._track, self._width
        row = column_maxima(track.time_s, track.smoothed, 0.0, self._length_s, width)
        ends = score_range(track.smoothed, self._level)
        picture = np.repeat(shades(strengths(np.nan_to_num(row, nan=ends[0]), ends))[None], height, axis=0)
        if anomalous is not None:
            true = column_maxima(track.time_s, anomalous.astype(np.float64), 0.0, self._length_s, width) > 0
            dashes = np.where(np.arange(width) // 3 % 2, 255, 0).astype(np.uint8)
            picture[-max(2, height // 3) :, true] = dashes[true, None]
        return picture


def hatch(height: int, width: int, period_px: int, line_px: int = 1) -> UInt8:
    """(height, width) of 0 and 255: diagonal lines."""
    down, across = np.indices((height, width))
    return np.where((down + across) % period_px < line_px, 255, 0).astype(np.uint8)


def column_maxima(time_s: Float64, values: Float64, start_s: float, length_s: float, columns: int) -> Float64:
    """The highest of values (T,) in each of `columns` stretches of the time from start_s on; NaN where there is none.

    A stretch between two frames has the value of the one before.
    """
    column = np.floor((time_s - start_s) / length_s * columns).astype(np.int64)
    first, last = np.searchsorted(column, [0, columns])
    best = np.full(columns, -np.inf)
    np.maximum.at(best, column[first:last], values[first:last])
    filled = np.where(np.isneginf(best), -1, np.arange(columns))
    if last > first:
        end = min(int(column[last - 1]) + _frame_columns(time_s, length_s, columns), columns)
        filled[:end] = np.maximum.accumulate(filled[:end])
    return np.where(filled < 0, np.nan, best[np.maximum(filled, 0)])


def _frame_columns(time_s: Float64, length_s: float, columns: int) -> int:
    frame_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else length_s
    return int(np.ceil(frame_s / length_s * columns))


def _length_s(time_s: Float64) -> float:
    return float(time_s[-1]) or 1.0 if len(time_s) else 1.0
