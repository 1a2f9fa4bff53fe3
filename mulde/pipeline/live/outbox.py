"""Who still has to be told of what: the deliveries of revisions of alerts, in the SQLite file of the ledger."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mulde.names import valid_text
from mulde.pipeline.live.alerts import Alert
from mulde.pipeline.live.ledger_file import DeliveryState

WITHHELD = "more alerts within an hour than at_most_per_hour"
"""Why a delivery was given up that was never tried."""


@dataclass(frozen=True)
class Delivery:
    """One revision of an alert for one sink. tried_ms: when it was last tried or settled, None before; reason: why that
    failed. json: the alert as it was then."""

    number: int
    alert: str
    revision: int
    sink: str
    json: str
    state: DeliveryState
    tries: int
    not_before_ms: int
    tried_ms: int | None
    reason: str


@dataclass(frozen=True)
class OutboxCount:
    """Deliveries of a sink that wait, and that were given up. oldest_ms: the end of the alert, as it was then, that has
    waited longest; None where none waits."""

    num_waiting: int = 0
    num_given_up: int = 0
    oldest_ms: int | None = None


class Outbox:
    """The deliveries of a ledger. Its threads may share this object."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._lock = threading.Lock()

    def pending(self, sink: str, now_ms: int, limit: int) -> list[Delivery]:
        """The deliveries that a sink is to make now, in the order in which they were recorded, at most `limit`.

        A revision waits until the earlier ones of its alert are settled, so that no receiver sees an alert close before
        it opens.
        """
        # A try in the future: the clock was set back since, and not_before_ms says nothing.
        return self._deliveries(
            "sink = :sink AND state = 'waiting' AND (not_before_ms <= :now OR tried_ms > :now) AND NOT EXISTS ("
            "SELECT 1 FROM outbox AS earlier WHERE earlier.alert = outbox.alert AND earlier.sink = outbox.sink "
            "AND earlier.state = 'waiting' AND earlier.revision < outbox.revision) ORDER BY number LIMIT :limit",
            {"sink": sink, "now": now_ms, "limit": limit},
        )

    def undelivered(self, after: int = 0, limit: int = -1) -> list[Delivery]:
        """Those that wait and those that were given up, in the order in which they were recorded: at most `limit` with
        a number above `after`, all of them without a limit."""
        return self._deliveries(
            "state != 'acknowledged' AND number > :after ORDER BY number LIMIT :limit",
            {"after": after, "limit": limit},
        )

    def outbox_counts(self) -> dict[str, OutboxCount]:
        """How many deliveries are not made, by the name of each sink that has any."""
        with self._lock:
            rows = self._db.execute(
                "SELECT sink, state, count(*), min(number) FROM outbox WHERE state != 'acknowledged' "
                "GROUP BY sink, state ORDER BY sink"
            ).fetchall()
            oldest = {
                sink: self._db.execute("SELECT json FROM outbox WHERE number = ?", [number]).fetchone()["json"]
                for sink, state, _, number in rows
                if state == "waiting"
            }
        counts: dict[str, OutboxCount] = {}
        for sink, state, count, _ in rows:
            known = counts.get(sink, OutboxCount())
            if state == "waiting":
                counts[sink] = replace(known, num_waiting=count, oldest_ms=Alert.from_json(oldest[sink]).end)
            else:
                counts[sink] = replace(known, num_given_up=count)
        return counts

    def deliveries_of(self, sink: str, alert_id: str) -> list[Delivery]:
        """All of an alert for a sink, in order."""
        condition = "alert = :alert AND sink = :sink ORDER BY revision"
        return self._deliveries(condition, {"alert": alert_id, "sink": sink})

    def first_told(self, sink: str, since_ms: int) -> list[int]:
        """When a sink acknowledged the first message of each alert, from a time on, in order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT min(tried_ms) AS first_ms FROM outbox WHERE sink = ? AND state = 'acknowledged' "
                "GROUP BY alert HAVING first_ms >= ? ORDER BY first_ms",
                (sink, since_ms),
            ).fetchall()
        return [first_ms for (first_ms,) in rows]

    def num_withheld(self, sink: str) -> int:
        """How many alerts a sink was not told of, for its rate, since it acknowledged the last message."""
        with self._lock:
            (count,) = self._db.execute(
                "SELECT count(DISTINCT alert) FROM outbox WHERE sink = :sink AND state = 'given_up' AND reason = :why "
                "AND tried_ms >= (SELECT ifnull(max(tried_ms), 0) FROM outbox "
                "WHERE sink = :sink AND state = 'acknowledged')",
                {"sink": sink, "why": WITHHELD},
            ).fetchone()
        return int(count)

    def acknowledge(self, delivery: Delivery, now_ms: int) -> None:
        """The receiver has it."""
        self._settle(delivery, state="acknowledged", tries=delivery.tries + 1, tried_ms=now_ms, reason="")

    def failed(self, delivery: Delivery, now_ms: int, not_before_ms: int, reason: str) -> None:
        """Count a failed try; the next one is made at `not_before_ms`."""
        self._settle(
            delivery,
            tries=delivery.tries + 1,
            tried_ms=now_ms,
            not_before_ms=not_before_ms,
            reason=valid_text(reason),
        )

    def give_up(self, delivery: Delivery, now_ms: int, reason: str) -> None:
        """It is never tried again."""
        self._settle(delivery, state="given_up", tried_ms=now_ms, reason=valid_text(reason))

    def _settle(self, delivery: Delivery, **values: object) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        with self._transaction():
            self._db.execute(f"UPDATE outbox SET {columns} WHERE number = ?", (*values.values(), delivery.number))

    def _deliveries(self, condition: str, values: Mapping[str, object]) -> list[Delivery]:
        with self._lock:
            rows = self._db.execute(f"SELECT * FROM outbox WHERE {condition}", values).fetchall()
        return [Delivery(**row) for row in rows]

    def _told(self, alert_id: str) -> tuple[str, ...]:
        """The sinks that have any revision of an alert, within a transaction."""
        rows = self._db.execute("SELECT DISTINCT sink FROM outbox WHERE alert = ?", [alert_id]).fetchall()
        return tuple(sink for (sink,) in rows)

    def _post(self, alert_id: str, revision: int, json: str, sinks: Sequence[str]) -> None:
        """Put a revision out for sinks, within a transaction."""
        self._db.executemany(
            "INSERT INTO outbox (alert, revision, sink, json) VALUES (?, ?, ?, ?)",
            [(alert_id, revision, sink, json) for sink in sinks],
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite has ended it by itself where the disk is full
                    self._db.execute("ROLLBACK")
                raise
