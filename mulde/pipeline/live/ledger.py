"""The ledger of alerts: what was raised, and who still has to be told, in one SQLite file that survives any kill.

An alert, the deliveries of its revision to each sink (the outbox) and the state of its camera's machine are written in
one transaction and reach the disk before it ends, so that no kill and no power cut raises an alert twice or loses one.
Deliveries are made at least once: who receives one drops what has an id and a revision that came before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mulde.errors import RecordError
from mulde.names import valid_text
from mulde.pipeline.live.alerts import HOUR_MS, Alert, AlertState, MachineState
from mulde.pipeline.live.ledger_file import opened
from mulde.pipeline.live.outbox import Outbox
from mulde.pipeline.run_folder import ALERTS
from mulde.typed import Count, validated_json

_FOREVER_MS = 2**62
DIED = "the process died"
"""Why a session ended that nobody ended."""

Recipients = Callable[[Alert, tuple[str, ...]], Sequence[str]]
"""The names of the sinks that are told of a revision, given those that have any revision of the alert in the outbox. It
is called within the transaction, so it must not use the ledger."""


@dataclass(frozen=True)
class Revision:
    """What is to be recorded of an alert, and who is told; None for those that the ledger's `recipients` names.
    covered_by: the id of the alert that stands for it, of a flood or of a camera that has moved, or empty; of its first
    revision it holds for all, and nobody is told of any."""

    alert: Alert
    sinks: tuple[str, ...] | None = None
    covered_by: str = ""


@dataclass(frozen=True)
class StoredAlert:
    """The current revision of an alert. covered_by: the id of the alert that stands for it, or empty."""

    alert: Alert
    covered_by: str


@dataclass(frozen=True)
class Session:
    """A connection to a camera. end_ms: None while it lasts, and where the process died in it; reason: why it ended, or
    empty; counters: name -> count, as of frames received."""

    camera: str
    id: str
    start_ms: int
    end_ms: int | None
    reason: str
    counters: Mapping[str, int]


class AlertLedger(Outbox):
    """The alerts of a run folder. One process writes; its threads may share this object. Any others read.

    Methods raise sqlite3.Error where the disk fails or is full, and then nothing of the call is written: the same call
    can be made again. Times are UTC in milliseconds since 1970.

    recipients: who is told of a revision that does not say so itself; on_recorded: called, by the thread that recorded
    them, when revisions are on the disk. Both are set before anything is recorded.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.recipients: Recipients = lambda alert, told: told
        self.on_recorded: Callable[[], object] = lambda: None

    @classmethod
    @contextmanager
    def open(cls, root: Path) -> Iterator[AlertLedger]:
        """The ledger of a run folder to be written, made where there is none. Raises MuldeError for one of another
        version, and for one that holds what `watch` never wrote."""
        with opened(root / ALERTS, write=True) as connection:
            yield cls(connection)

    @classmethod
    @contextmanager
    def read(cls, root: Path) -> Iterator[AlertLedger]:
        """The ledger of a run folder to be read, while `watch` may go on writing. Raises MuldeError like `open`, and
        where there is none."""
        with opened(root / ALERTS, write=False) as connection:
            yield cls(connection)

    # --- alerts

    def record(self, revisions: Sequence[Revision], machine: MachineState | None = None) -> None:
        """Write revisions of alerts of one camera, what is to be delivered of them, and the state of the camera's
        machine behind them (None leaves it), all or nothing.

        A revision that is on record as it is changes nothing. Raises RecordError for one that does not follow that on
        record, and for alerts of several cameras.
        """
        cameras = {revision.alert.camera for revision in revisions}
        if len(cameras) != 1:
            raise RecordError("alerts to record", expected="those of one camera", got=sorted(cameras))
        with self._transaction():
            for revision in revisions:
                self._record(revision)
            if machine is not None:
                self._keep(cameras.pop(), machine)
        self.on_recorded()

    def _record(self, revision: Revision) -> None:
        alert, text = revision.alert, revision.alert.to_json()
        row = self._db.execute(
            "SELECT revision, state, covered_by, json FROM alerts WHERE id = ?", [alert.id]
        ).fetchone()
        if row is not None and row["json"] == text:
            return
        number, state, covered_by = (0, "", revision.covered_by) if row is None else tuple(row)[:3]
        if alert.revision != number + 1 or (state == "closed" and alert.state != "closed"):
            raise RecordError(
                f"alert {alert.id}",
                expected=f"revision {number + 1}{' of a closed one' if state == 'closed' else ''}",
                got=f"revision {alert.revision}, {alert.state}",
            )
        self._db.execute(
            "INSERT INTO alerts (id, camera, state, revision, end_ms, covered_by, json) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET state = excluded.state, revision = excluded.revision, "
            "end_ms = excluded.end_ms, json = excluded.json",
            (alert.id, alert.camera, alert.state, alert.revision, alert.end, covered_by, text),
        )
        if not covered_by:
            sinks = self.recipients(alert, self._told(alert.id)) if revision.sinks is None else revision.sinks
            self._post(alert.id, alert.revision, text, sinks)

    def recover(self, now_ms: int, merge_gap_s: float) -> list[Alert]:
        """Put in order what a process left that died; to be called once, before anything is recorded.

        An alert that was open goes on (it stays in `open_alerts`, and the camera's machine knows it) where its last
        score above the level is at most `merge_gap_s` ago, a flood where its last alert is at most an hour ago, and one
        of a camera's picture always, as the next pictures show whether it is over. Others are closed as cut short, with
        a revision for each sink that was told of it: these are returned. Sessions end.
        """
        closed = []
        with self._transaction():
            self._db.execute("UPDATE sessions SET reason = ? WHERE reason = ''", [DIED])
            for alert in (stored.alert for stored in self._stored("state != 'closed'")):
                last_ms, max_gap_ms = self._last_activity(alert, round(1000 * merge_gap_s))
                if alert.kind == "camera":
                    continue
                if last_ms is not None and now_ms - last_ms <= max_gap_ms:
                    continue
                closed.append(alert.next_revision("closed", end=max(alert.end, last_ms or 0), cut_short=True))
                told = self._told(alert.id)
                sinks = self.recipients(closed[-1], told)
                self._record(Revision(closed[-1], tuple(sink for sink in sinks if sink in told)))
                machine = self._machine(alert.camera)
                if alert.kind == "unusual" and machine is not None:
                    self._keep(alert.camera, replace(machine, stretch=None))
        return closed

    def _last_activity(self, alert: Alert, merge_gap_ms: int) -> tuple[int | None, int]:
        """The last time at which something is known to have kept an open alert open, None where nobody could close it,
        and for how long it lasts without."""
        if alert.kind == "flood":
            query = "SELECT max(end_ms) FROM alerts WHERE covered_by = ?"
            (end_ms,) = self._db.execute(query, [alert.id]).fetchone()
            return max(alert.end, end_ms or 0), HOUR_MS
        if alert.kind == "drift":  # days pass without, and its camera is tested again
            return alert.end, _FOREVER_MS
        if alert.kind != "unusual":
            return alert.end, merge_gap_ms
        machine = self._machine(alert.camera)
        stretch = None if machine is None else machine.stretch
        if stretch is None or stretch.reported_score is None or stretch.start.utc_ms != alert.start:
            return None, merge_gap_ms
        return max(alert.end, stretch.last_above.utc_ms), merge_gap_ms

    def open_alerts(self) -> list[StoredAlert]:
        """Those that are not closed, in the order in which they were raised."""
        with self._lock:
            return self._stored("state != 'closed'")

    def alerts(
        self, since_ms: int = 0, camera: str | None = None, state: AlertState | None = None
    ) -> list[StoredAlert]:
        """Those that were open at `since_ms` or later, in the order in which they were raised."""
        with self._lock:
            return self._stored(
                "(end_ms >= :since OR state != 'closed') AND camera = ifnull(:camera, camera) "
                "AND state = ifnull(:state, state)",
                {"since": since_ms, "camera": camera, "state": state},
            )

    def find(self, alert_id: str) -> StoredAlert | None:
        """The alert with this id."""
        with self._lock:
            return next(iter(self._stored("id = :id", {"id": alert_id})), None)

    def _stored(self, condition: str, values: Mapping[str, object] | None = None) -> list[StoredAlert]:
        rows = self._db.execute(f"SELECT json, covered_by FROM alerts WHERE {condition} ORDER BY number", values or {})
        return [StoredAlert(Alert.from_json(text), covered_by) for text, covered_by in rows.fetchall()]

    # --- cameras

    def machine_state(self, camera: str) -> MachineState | None:
        """What was last kept of a camera's machine."""
        with self._lock:
            return self._machine(camera)

    def keep_machine(self, camera: str, state: MachineState) -> None:
        """Keep the state of a camera's machine between changes, so that a restart knows how long an alert lasted. What
        a push has changed is recorded first, or with it: see `record`."""
        with self._transaction():
            self._keep(camera, state)

    def _machine(self, camera: str) -> MachineState | None:
        row = self._db.execute("SELECT state FROM machines WHERE camera = ?", [camera]).fetchone()
        return None if row is None else MachineState.from_json(row["state"])

    def _keep(self, camera: str, state: MachineState) -> None:
        self._db.execute("INSERT OR REPLACE INTO machines VALUES (?, ?)", (camera, state.to_json()))

    def pauses(self) -> dict[str, int]:
        """Until when cameras raise no alerts, as somebody asked (`AlertBook.pause`)."""
        with self._lock:
            return {camera: until_ms for camera, until_ms in self._db.execute("SELECT camera, until_ms FROM pauses")}

    def session_started(self, camera: str, session_id: str, start_ms: int) -> None:
        """Raises sqlite3.IntegrityError for the id of another session."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO sessions (camera, id, start_ms) VALUES (?, ?, ?)", (camera, session_id, start_ms)
            )

    def session_ended(self, session_id: str, end_ms: int, reason: str, counters: Mapping[str, int]) -> None:
        """reason: why it ended, not empty."""
        with self._transaction():
            self._db.execute(
                "UPDATE sessions SET end_ms = ?, reason = ?, counters = ? WHERE id = ?",
                (end_ms, valid_text(reason), json.dumps(dict(counters)), session_id),
            )

    def sessions(self, since_ms: int = 0, camera: str | None = None) -> list[Session]:
        """Those that had not ended at `since_ms`, or are not known to have, in the order in which they started."""
        with self._lock:
            rows = self._db.execute(
                "SELECT camera, id, start_ms, end_ms, reason, counters FROM sessions "
                "WHERE ifnull(end_ms >= ?, 1) AND camera = ifnull(?, camera) ORDER BY number",
                (since_ms, camera),
            ).fetchall()
        counters = [validated_json(row["counters"], dict[str, Count], "counters of a session") for row in rows]
        return [Session(**{**dict(row), "counters": counts}) for row, counts in zip(rows, counters, strict=True)]

    def prune(self, before_ms: int) -> None:
        """Remove deliveries that were settled before a time, unless their alert is open, and sessions that ended before
        it. Alerts are kept."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM outbox WHERE state != 'waiting' AND tried_ms < ? "
                "AND alert NOT IN (SELECT id FROM alerts WHERE state != 'closed')",
                [before_ms],
            )
            self._db.execute("DELETE FROM sessions WHERE reason != '' AND ifnull(end_ms, start_ms) < ?", [before_ms])
