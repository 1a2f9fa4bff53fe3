"""What people say of alerts, beside what the ledger has of them; read and written over a connection of its own, so that
the loop that watches waits for nobody who reads."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulde.names import valid_text
from mulde.pipeline.live.alerts import Alert, utc_text
from mulde.pipeline.live.ledger_file import has_marks, opened
from mulde.pipeline.run_folder import ALERTS

_TO_LOOK_AT = "marks.mark IS NULL AND covered_by = '' AND json_extract(json, '$.exemption') = ''"
_COLUMNS = (
    "alerts.number, alerts.json, alerts.covered_by, ifnull(marks.mark, '') AS mark, ifnull(marks.who, '') AS who, "
    "ifnull(marks.why, '') AS why, marks.marked_ms"
)
_JOIN = "LEFT JOIN marks ON marks.alert = alerts.id"
_NO_MARKS = "WITH marks(alert, mark, who, why, marked_ms) AS (SELECT '', '', '', '', 0 WHERE 0) "
"""Of a ledger of an older version, which has none."""


@dataclass(frozen=True)
class BookedAlert:
    """An alert with what was said of it. number: its place among all; json: its current revision; covered_by: as of a
    StoredAlert; mark: `seen`, `normal`, `true`, or empty; marked_ms: UTC in milliseconds, None without a mark."""

    number: int
    json: str
    covered_by: str
    mark: str
    who: str
    why: str
    marked_ms: int | None

    @property
    def alert(self) -> Alert:
        return Alert.from_json(self.json)


class AlertBook:
    """The alerts of a run folder with their marks, and pauses of cameras. For any thread.

    Methods raise sqlite3.Error where the disk fails. Changes of an alert or its mark are numbered, by a trigger in the
    transaction that makes them, so that nobody who asks by number misses one.
    """

    def __init__(self, connection: sqlite3.Connection, *, can_write: bool) -> None:
        self._db, self._lock, self.can_write = connection, threading.Lock(), can_write
        self._has_marks = has_marks(connection)

    @classmethod
    @contextmanager
    def open(cls, root: Path, *, write: bool) -> Iterator[AlertBook]:
        """That of a run folder with a ledger. Raises MuldeError like `AlertLedger.open`."""
        with opened(root / ALERTS, write=write) as connection:
            yield cls(connection, can_write=write)

    def alerts(
        self,
        *,
        camera: str = "",
        state: str = "",
        mark: str = "",
        since_ms: int | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[BookedAlert]:
        """The newest first, behind the one with the number `before`. state: also `open`; mark: also `none`, for what is
        still to be looked at."""
        states = {"": "1", "open": "alerts.state != 'closed'"}
        marks = {"": "1", "none": _TO_LOOK_AT}
        return self._read(
            f"{states.get(state, 'alerts.state = :state')} AND {marks.get(mark, 'marks.mark = :mark')} "
            "AND (:camera = '' OR camera = :camera) AND (:since IS NULL OR end_ms >= :since OR state != 'closed') "
            "AND (:before IS NULL OR alerts.number < :before) ORDER BY alerts.number DESC LIMIT :limit",
            {"state": state, "mark": mark, "camera": camera, "since": since_ms, "before": before, "limit": limit},
        )

    def find(self, alert_id: str) -> BookedAlert | None:
        return next(iter(self._read("alerts.id = :id", {"id": alert_id})), None)

    def changes(self, after: int, limit: int) -> list[tuple[int, BookedAlert]]:
        """Alerts that changed behind a change, each as it is now with the number of its last change, rising."""
        if not self._has_marks:
            return []
        with self._lock:
            rows = self._db.execute(
                f"SELECT changes.number AS change, {_COLUMNS} FROM changes JOIN alerts ON alerts.id = changes.alert "
                f"{_JOIN} WHERE changes.number > ? ORDER BY changes.number LIMIT ?",
                (after, limit),
            ).fetchall()
        return [(row["change"], BookedAlert(*tuple(row)[1:])) for row in rows]

    def last_change(self) -> int:
        if not self._has_marks:
            return 0
        return int(self._value("SELECT ifnull(max(number), 0) FROM changes"))

    def num_to_look_at(self) -> int:
        return int(self._value(f"{self._with}SELECT count(*) FROM alerts {_JOIN} WHERE {_TO_LOOK_AT}"))

    def num_since(self, start_ms: int) -> int:
        """Unusual alerts that stand for themselves and started at a time or later."""
        return int(
            self._value(
                "SELECT count(*) FROM alerts WHERE end_ms >= :start AND covered_by = '' "
                "AND json_extract(json, '$.kind') = 'unusual' AND json_extract(json, '$.exemption') = '' "
                "AND json_extract(json, '$.start') >= :text",
                {"start": start_ms, "text": utc_text(start_ms)},
            )
        )

    def waiting(self) -> dict[str, int]:
        """How many deliveries wait, by sink."""
        with self._lock:
            rows = self._db.execute("SELECT sink, sum(state = 'waiting') FROM outbox GROUP BY sink").fetchall()
        return {sink: count for sink, count in rows}

    def deliveries(self) -> dict[tuple[str, str], int]:
        """How many tries there were of deliveries that are on record, by sink and outcome: acknowledged, failed,
        given_up."""
        with self._lock:
            rows = self._db.execute(
                "SELECT sink, sum(state = 'acknowledged'), sum(tries) - sum(state = 'acknowledged'), "
                "sum(state = 'given_up') FROM outbox GROUP BY sink"
            ).fetchall()
        outcomes = ("acknowledged", "failed", "given_up")
        return {(sink, name): count for sink, *counts in rows for name, count in zip(outcomes, counts, strict=True)}

    def num_by_kind(self) -> dict[tuple[str, str], int]:
        """How many alerts there are, by camera and kind."""
        with self._lock:
            rows = self._db.execute(
                "SELECT camera, json_extract(json, '$.kind') AS kind, count(*) FROM alerts GROUP BY camera, kind"
            ).fetchall()
        return {(camera, kind): count for camera, kind, count in rows}

    def watched_ms(self, start_ms: int, end_ms: int) -> dict[str, int]:
        """For how long each camera was watched between two times."""
        with self._lock:
            rows = self._db.execute(
                "SELECT camera, sum(min(ifnull(end_ms, CASE reason WHEN '' THEN :end ELSE start_ms END), :end) "
                "- max(start_ms, :start)) FROM sessions WHERE start_ms < :end "
                "AND ifnull(end_ms, CASE reason WHEN '' THEN :end ELSE start_ms END) > :start GROUP BY camera",
                {"start": start_ms, "end": end_ms},
            ).fetchall()
        return {camera: int(ms) for camera, ms in rows}

    # --- written

    def mark(self, alert_id: str, mark: str, who: str, why: str, now_ms: int) -> None:
        """Say what an alert was; an empty mark takes back what was said. The same again changes nothing."""
        with self._lock:
            if not mark:
                self._db.execute("DELETE FROM marks WHERE alert = ?", [alert_id])
                return
            self._db.execute(
                "INSERT INTO marks (alert, mark, who, why, marked_ms) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (alert) DO UPDATE SET mark = excluded.mark, who = excluded.who, why = excluded.why, "
                "marked_ms = excluded.marked_ms WHERE mark != excluded.mark OR who != excluded.who "
                "OR why != excluded.why",
                (alert_id, mark, valid_text(who), valid_text(why), now_ms),
            )

    def pause(self, camera: str, until_ms: int) -> None:
        """Keep until when a camera raises no alerts, in UTC in milliseconds."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO pauses VALUES (?, ?)", (camera, until_ms))

    def check_writable(self, now_ms: int) -> None:
        """Write to the disk. Raises sqlite3.Error where that cannot be done."""
        with self._lock:
            self._db.execute("INSERT OR REPLACE INTO checks VALUES (1, ?)", [now_ms])

    @property
    def _with(self) -> str:
        return "" if self._has_marks else _NO_MARKS

    def _read(self, condition: str, values: Mapping[str, Any]) -> list[BookedAlert]:
        query = f"{self._with}SELECT {_COLUMNS} FROM alerts {_JOIN} WHERE {condition}"
        with self._lock:
            rows = self._db.execute(query, values).fetchall()
        return [BookedAlert(*row) for row in rows]

    def _value(self, query: str, values: Mapping[str, Any] | None = None) -> Any:
        with self._lock:
            return self._db.execute(query, values or {}).fetchone()[0]


def as_json(booked: BookedAlert) -> dict[str, Any]:
    """The alert as it is told, with its mark."""
    return {
        **json.loads(booked.json),
        "covered_by": booked.covered_by,
        "mark": booked.mark,
        "marked_by": booked.who,
        "marked_utc_ms": booked.marked_ms,
        "why": booked.why,
    }
