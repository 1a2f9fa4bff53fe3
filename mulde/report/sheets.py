"""Contact sheets: a few frames of an event side by side, with their times and the reason below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mulde.events import Event
from mulde.images import write_png
from mulde.records import Float64, Int64, UInt8
from mulde.report import text
from mulde.report.colours import BLACK

NUM_FRAMES = 6
CELL_PX = 360
"""The longer side of a frame on a sheet."""
_COLUMNS, _GAP, _FONT_PX = 3, 10, 17
_MIN_S = 1.0  # of a shorter event what stands around it is shown as well


def sheet_rows(event: Event, time_s: Float64, frame_index: Int64) -> Int64:
    """The rows (at most NUM_FRAMES, ascending) of time_s (T,) whose frames are shown: evenly spread, one the peak."""
    middle_s, half_s = (event.start_s + event.end_s) / 2, max(event.end_s - event.start_s, _MIN_S) / 2
    first = int(np.searchsorted(time_s, middle_s - half_s - 1e-9))
    last = max(int(np.searchsorted(time_s, middle_s + half_s + 1e-9)) - 1, first)
    rows = np.rint(np.linspace(first, last, NUM_FRAMES)).astype(np.int64)
    peak = int(np.searchsorted(frame_index, event.peak_frame))
    rows[np.abs(rows - peak).argmin()] = peak
    return np.unique(np.minimum(rows, len(time_s) - 1))


def write_sheet(path: Path, event: Event, frames: Sequence[tuple[int, float, UInt8]]) -> None:
    """A PNG of frames (frame index, seconds, RGB picture, all of one size) of an event; black on white."""
    import cv2

    height, width, _ = frames[0][2].shape
    columns = min(_COLUMNS, len(frames))
    line_px = _FONT_PX + 7
    page_width = columns * (width + _GAP) + _GAP
    words = event.reason.text if event.reason is not None else ""
    lines = [line for part in (_title(event), words) for line in text.wrapped(part, page_width - 2 * _GAP, _FONT_PX)]
    num_rows = -(-len(frames) // columns)
    page = np.full((num_rows * (height + line_px + _GAP) + _GAP + len(lines) * line_px + _GAP, page_width, 3), 255,
                   np.uint8)  # fmt: skip
    for number, (frame, time_s, picture) in enumerate(frames):
        row, column = divmod(number, columns)
        x, y = _GAP + column * (width + _GAP), _GAP + row * (height + line_px + _GAP)
        page[y : y + height, x : x + width] = picture
        is_peak = frame == event.peak_frame
        words = f"{text.clock(time_s)}  frame {frame}{'  (peak)' if is_peak else ''}"
        weight = text.BOLD if is_peak else text.REGULAR
        text.write(page, text.fitting(words, width, _FONT_PX, weight), x, y + height + _FONT_PX + 2, _FONT_PX, BLACK,
                   weight, outline=None)  # fmt: skip
        if is_peak:
            cv2.rectangle(page, (x - 3, y - 3), (x + width + 2, y + height + 2), BLACK, 3)
    y = _GAP + num_rows * (height + line_px + _GAP)
    for number, line in enumerate(lines):
        text.write(page, line, _GAP, y + (number + 1) * line_px - 5, _FONT_PX, BLACK, outline=None)
    write_png(path, page)


def _title(event: Event) -> str:
    span = f"{text.clock(event.start_s)} to {text.clock(event.end_s)}"
    return f"{event.video}, {span}: score {event.score:.1f}, p-value {event.p_value:.2g}"
