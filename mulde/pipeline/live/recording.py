"""Revisions of alerts on their way into the ledger: in order, all that one frame brings at once, and again where the
disk took nothing."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from mulde.errors import RecordError
from mulde.pipeline.live.alerts import MachineState
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.progress import Reporter

_KEEP_MS = 1000
"""Between two times that the state of an open stretch is kept, so that a restart knows how long it lasted."""


@dataclass
class _Batch:
    revisions: list[Revision]
    machine: MachineState
    is_said: bool = False


class RevisionQueue:
    """What one camera has for the ledger. A full disk delays it and loses nothing; errors are said once."""

    def __init__(self, camera: str, ledger: AlertLedger, reporter: Reporter) -> None:
        self._camera, self._ledger, self._reporter = camera, ledger, reporter
        self._batches: list[_Batch] = []
        self._kept_ms = 0

    def __len__(self) -> int:
        return sum(len(batch.revisions) for batch in self._batches)

    def knows(self, alert_id: str) -> bool:
        """Whether there is an alert with this id, on record or on its way."""
        if any(revision.alert.id == alert_id for batch in self._batches for revision in batch.revisions):
            return True
        try:
            return self._ledger.find(alert_id) is not None
        except sqlite3.Error:  # it is told apart again where it is recorded
            return False

    def put(self, revisions: list[Revision], machine: MachineState) -> None:
        """Record revisions of alerts with the state of the camera's machine behind them, after all before."""
        if revisions:
            self._batches.append(_Batch(revisions, machine))
        self.flush()

    def flush(self) -> None:
        """Record what waits, as far as the disk takes it."""
        while self._batches:
            batch = self._batches[0]
            try:
                self._ledger.record(batch.revisions, batch.machine)
            except sqlite3.Error as error:
                if not batch.is_said:
                    batch.is_said = True
                    self._reporter.warn(f"{self._camera}: an alert waits for the disk: {error}")
                return
            except RecordError as error:  # two that began in one millisecond, after a step of the clock
                self._reporter.warn(f"{self._camera}: an alert is not on record: {error}")
            self._batches.pop(0)

    def keep(self, machine: MachineState, utc_ms: int, *, at_once: bool) -> None:
        """Keep the state of the camera's machine, now and then unless it has to be at once."""
        if self._batches or not (at_once or abs(utc_ms - self._kept_ms) >= _KEEP_MS):
            return  # what was changed before is recorded first
        try:
            self._ledger.keep_machine(self._camera, machine)
            self._kept_ms = utc_ms
        except sqlite3.Error as error:
            self._reporter.warn(f"{self._camera}: the state of its alerts waits for the disk: {error}")
