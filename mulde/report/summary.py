"""A short view of a result for a notebook: curves, and the clearest events with pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from mulde.events import Event
from mulde.report.templating import render


@dataclass(frozen=True)
class EventSummary:
    """An event and its picture, a JPEG; None where there is none."""

    event: Event
    jpeg: bytes | None = None

    @property
    def picture(self) -> str | None:
        return None if self.jpeg is None else base64.b64encode(self.jpeg).decode("ascii")


def summary_html(
    *,
    title: str,
    curves: bytes,
    events: Sequence[EventSummary],
    num_hidden_videos: int = 0,
    num_hidden_events: int = 0,
    statement: str = "",
) -> str:
    """A piece of HTML without script that loads nothing. curves: a PNG; num_hidden_...: those that are not shown;
    statement: what the alarm level promises. Names and reasons come from outside: the template escapes them."""
    return render(
        "summary.html",
        title=title,
        curves=base64.b64encode(curves).decode("ascii"),
        events=events,
        num_hidden_videos=num_hidden_videos,
        num_hidden_events=num_hidden_events,
        statement=statement,
    )
