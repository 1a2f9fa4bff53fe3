"""Text in pictures (RGB uint8, drawn in place), by OpenCV's own TrueType font, which has most scripts."""

from __future__ import annotations

from functools import cache
from typing import Any

from mulde.names import printable
from mulde.records import UInt8
from mulde.report.colours import BLACK, WHITE

Colour = tuple[int, int, int]
REGULAR, BOLD = 400, 600
_AROUND = ((-1, -1), (1, -1), (-1, 1), (1, 1))


@cache
def _font() -> Any:
    import cv2

    return cv2.FontFace("sans")


@cache
def width(text: str, size_px: int, weight: int = REGULAR) -> int:
    """How many pixels a line of text is wide."""
    import cv2

    x, _, w, _ = cv2.getTextSize((1, 1), text, (0, 0), _font(), size_px, weight)
    return int(x + w)


def write(image: UInt8, text: str, x: int, baseline_y: int, size_px: int, colour: Colour = WHITE,
          weight: int = REGULAR, outline: Colour | None = BLACK) -> None:  # fmt: skip
    """One line of text into `image`, with an outline that makes it readable on any ground."""
    import cv2

    for dx, dy in _AROUND if outline is not None else ():
        cv2.putText(image, text, (x + dx, baseline_y + dy), outline, _font(), size_px, weight)
    cv2.putText(image, text, (x, baseline_y), colour, _font(), size_px, weight)


def wrapped(text: str, width_px: int, size_px: int, weight: int = REGULAR, max_lines: int = 100) -> list[str]:
    """The text in at most `max_lines` lines no wider than `width_px`; an ellipsis marks what does not fit."""
    lines: list[str] = []
    rest = printable(" ".join(text.split())).split(" ") if text.strip() else []
    while rest and len(lines) < max_lines:
        line = rest.pop(0)
        while rest and width(f"{line} {rest[0]}", size_px, weight) <= width_px:
            line = f"{line} {rest.pop(0)}"
        lines.append(_shortened(line, width_px, size_px, weight, has_more=bool(rest) and len(lines) == max_lines - 1))
    return lines


def _shortened(line: str, width_px: int, size_px: int, weight: int, *, has_more: bool) -> str:
    if not has_more and width(line, size_px, weight) <= width_px:
        return line
    while line and width(f"{line}…", size_px, weight) > width_px:
        line = line[:-1]
    return f"{line.rstrip()}…"


def fitting(text: str, width_px: int, size_px: int, weight: int = REGULAR) -> str:
    """The text, cut to a width of `width_px`."""
    return next(iter(wrapped(text, width_px, size_px, weight, max_lines=1)), "")


def clock(time_s: float) -> str:
    """0:07.3, 12:07.3, 1:12:07.3."""
    tenths = round(time_s * 10)
    hours, minutes, seconds = tenths // 36000, tenths // 600 % 60, tenths % 600 / 10
    return f"{hours}:{minutes:02d}:{seconds:04.1f}" if hours else f"{minutes}:{seconds:04.1f}"
