"""Alerts of a live run that were marked as normal, into suppressions; in a thread of its own, as all events are read.

What stands in the ledger is what people said; this brings `exemptions.json` up to it, also where an alert goes on and
its event is not known yet, and where the program was stopped in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mulde.errors import sentence
from mulde.pipeline.events.suppression import ScoringModel, suppressions_of
from mulde.pipeline.live.alert_book import AlertBook, BookedAlert
from mulde.pipeline.live.alerts import Alert
from mulde.pipeline.review.marking import mark_normal, unmark_normal

SOMEBODY = "page"
"""Who marked an alert, where nobody gave a name."""
_AGAIN_S, _JOIN_S = 5.0, 2.0
_MAX_TRIES = 24
"""To find the event of an alert that is closed."""
_MAX_AT_START = 10_000


@dataclass(frozen=True)
class _Wish:
    is_normal: bool
    who: str
    why: str


class NormalMarks:
    """model_of: what scored an alert. tables: whether the tables of events are this program's to write."""

    def __init__(
        self,
        root: Path,
        book: AlertBook,
        model_of: Callable[[Alert], ScoringModel],
        *,
        tables: bool,
        again_s: float = _AGAIN_S,
    ) -> None:
        self._root, self._book, self._model_of, self._tables, self._again_s = root, book, model_of, tables, again_s
        self._wishes: dict[str, _Wish] = {}
        self._tries: dict[str, int] = {}
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._is_ended = False
        self.problem = ""
        """Why the last one could not be done, as a sentence; empty while all is well."""
        self._thread = threading.Thread(target=self._work, name="marks", daemon=True)

    def __enter__(self) -> NormalMarks:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_ended = True
        self._wake.set()
        self._thread.join(_JOIN_S)

    def marked(self, booked: BookedAlert, who: str, why: str) -> None:
        self._wish(booked.alert.id, _Wish(True, who or SOMEBODY, why))

    def unmarked(self, booked: BookedAlert, who: str, why: str) -> None:
        self._wish(booked.alert.id, _Wish(False, who or SOMEBODY, why))

    def num_waiting(self) -> int:
        with self._lock:
            return len(self._wishes)

    def _wish(self, alert_id: str, wish: _Wish) -> None:
        with self._lock:
            self._wishes[alert_id] = wish
        self._wake.set()

    def _work(self) -> None:
        self._guarded(self._recall)
        while not self._is_ended:
            self._guarded(self.work_off)
            self._wake.wait(self._again_s if self.num_waiting() else None)
            self._wake.clear()

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
            self.problem = ""
        except Exception as error:  # tried again, whatever it is
            self.problem = f"what is normal here waits: {sentence(error, self._root)}"

    def _recall(self) -> None:
        """What was marked and never came to be a suppression."""
        marked = self._book.alerts(mark="normal", limit=_MAX_AT_START)
        known = {suppression.event_id for suppression in suppressions_of(self._root)} if marked else set()
        for booked in marked:
            event_id = _event_id(booked.alert)
            if event_id and event_id not in known:
                self.marked(booked, booked.who, booked.why)

    def work_off(self) -> None:
        """Do what can be done of what waits. Raises MuldeError where a file cannot be read or written."""
        with self._lock:
            wishes = dict(self._wishes)
        for alert_id, wish in wishes.items():
            if self._is_done(alert_id, wish):
                with self._lock:
                    self._tries.pop(alert_id, None)
                    if self._wishes.get(alert_id) is wish:
                        del self._wishes[alert_id]

    def _is_done(self, alert_id: str, wish: _Wish) -> bool:
        booked = self._book.find(alert_id)
        event_id = "" if booked is None else _event_id(booked.alert)
        if booked is None or not event_id:  # of a camera's health: there is no event that others could be like
            return True
        if wish.is_normal and booked.alert.state != "closed":
            return False
        how = {"who": wish.who, "why": wish.why}
        model = self._model_of(booked.alert)
        if not wish.is_normal:
            unmark_normal(self._root, event_id, model, tables=self._tables, **how)
            return True
        if mark_normal(self._root, event_id, model, tables=self._tables, **how) is not None:
            return True
        self._tries[alert_id] = self._tries.get(alert_id, 0) + 1
        return self._tries[alert_id] >= _MAX_TRIES


def _event_id(alert: Alert) -> str:
    return f"{alert.video}@{alert.peak_frame}" if alert.video and alert.peak_frame is not None else ""
