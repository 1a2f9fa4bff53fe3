"""The alerts of a live run, as the service shows them: from the ledger, with their marks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mulde.pipeline.live.alert_book import AlertBook, as_json
from mulde.pipeline.live.alerting import PICTURES
from mulde.pipeline.live.clips import find_clips
from mulde.service.normal_marks import NormalMarks
from mulde.service.schema import AlertPage, MarkRequest
from mulde.service.source import AlertFiles, AlertJson, AlertQuery, Refusal


class BookedAlerts:
    """now_ms: UTC in milliseconds."""

    def __init__(self, root: Path, book: AlertBook, normal: NormalMarks, now_ms: Callable[[], int]) -> None:
        self._root, self._book, self._normal, self._now_ms = root, book, normal, now_ms

    def page(self, query: AlertQuery) -> AlertPage:
        found = self._book.alerts(
            camera=query.camera,
            state=query.state,
            mark=query.mark,
            since_ms=query.since_ms,
            before=query.before,
            limit=query.limit + 1,
        )
        shown = found[: query.limit]
        return AlertPage(
            alerts=[as_json(booked) for booked in shown],
            next=str(shown[-1].number) if len(found) > len(shown) else None,
        )

    def find(self, alert_id: str) -> AlertJson | None:
        booked = self._book.find(alert_id)
        return None if booked is None else as_json(booked)

    def files(self, alert_id: str) -> AlertFiles | None:
        booked = self._book.find(alert_id)
        if booked is None:
            return None
        alert = booked.alert
        clips = find_clips(self._root, alert.camera, alert.id)
        return AlertFiles(self._root / PICTURES / f"{alert.id}.jpg", clips[0] if clips else None)

    def mark(self, alert_id: str, request: MarkRequest) -> AlertJson | None:
        """On record first; what follows from `normal` is done behind it."""
        booked = self._book.find(alert_id)
        if booked is None:
            return None
        if not self._book.can_write:
            raise Refusal(409, "the ledger of alerts", expected="one that can be written", got="a read-only folder")
        self._book.mark(alert_id, request.mark, request.who, request.why, self._now_ms())
        if request.mark == "normal":
            self._normal.marked(booked, request.who, request.why)
        elif booked.mark == "normal":
            self._normal.unmarked(booked, request.who, request.why)
        return self.find(alert_id)

    def changes(self, after: int, limit: int) -> list[tuple[int, AlertJson]]:
        return [(number, as_json(booked)) for number, booked in self._book.changes(after, limit)]
