"""Drift of the cameras that are watched: tested once a day beside the loop, and put on record as an alert.

An alert of drift says that the camera, its surroundings or what happens there are no longer what the model learnt. It
closes when a week shows nothing any more, or when the camera gets another model. The model is never changed.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from mulde.errors import sentence
from mulde.pipeline.live.alerts import Alert, alert_id, free_start
from mulde.pipeline.live.daily_scores import ScoreHours
from mulde.pipeline.live.drift import CameraDrift, camera_drift
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.utc import DAY_MS, HOUR_MS
from mulde.progress import Reporter

GRACE_MS = 15 * 60_000
"""So long after midnight, UTC, the scores of the day are in their tables."""


class CameraToTest(Protocol):
    """What the drift of a camera is tested with. drift_days: wanted between two false notices, 0 for no test."""

    @property
    def name(self) -> str: ...

    @property
    def drift_days(self) -> float: ...

    @property
    def model_sha256(self) -> str: ...


class DriftWatch:
    """Tests the cameras of a run folder once a day, in a thread of its own; for one thread. What the disk does not take
    of an alert is tried again at the next turn."""

    def __init__(self, root: Path, ledger: AlertLedger, reporter: Reporter) -> None:
        self.root, self.ledger, self.reporter = root, ledger, reporter
        self._pool, self._stop = ThreadPoolExecutor(1, "drift"), threading.Event()
        self._hours: dict[str, ScoreHours] = {}
        self._running: Future[list[CameraDrift]] | None = None
        self._tested: dict[str, int] = {}  # the day up to which each camera was tested
        self._found: dict[str, CameraDrift] = {}
        self._waiting: dict[str, CameraDrift] = {}  # for the ledger
        self._said: set[str] = set()

    def turn(self, cameras: Sequence[CameraToTest], now_ms: int) -> None:
        """Begin the test of a day that is over, or put on record what it found."""
        if self._running is None:
            today = (now_ms - GRACE_MS) // DAY_MS
            due = [camera for camera in cameras if camera.drift_days and self._tested.get(camera.name) != today]
            if due:
                self._tested |= {camera.name: today for camera in due}
                self._running = self._pool.submit(self._test, due, today)
        elif self._running.done():
            done, self._running = self._running, None
            self._take(done)
        by_name = {camera.name: camera for camera in cameras}
        for name in list(self._waiting):
            drift = self._waiting.pop(name)
            if name in by_name:
                self._found[name] = drift
                self._record(by_name[name], drift)

    def forget(self, camera: str) -> None:
        """A camera is no longer watched, or gets another model: it is tested again when it is back."""
        self._tested.pop(camera, None)
        self._found.pop(camera, None)
        self._waiting.pop(camera, None)

    def state(self, camera: str) -> Mapping[str, Any] | None:
        """Evidence by stream, the threshold and what is to be said of a camera, as plain data; None before it was
        tested, and where it is not."""
        found = self._found.get(camera)
        if found is None:
            return None
        return {
            "evidence": {each.stream: each.evidence for each in found.streams},
            "gauge": {each.stream: each.last_gauge for each in found.streams},
            "threshold": found.threshold,
            "text": found.reason(),
            "refusal": found.refusal,
            "is_drifting": bool(found.drifting),
        }

    def close(self) -> None:
        """End a test that runs, and wait for nothing."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _test(self, cameras: Sequence[CameraToTest], today: int) -> list[CameraDrift]:
        found = []
        for camera in cameras:
            hours = self._hours.setdefault(camera.name, ScoreHours(camera.name, self.root / "scores" / camera.name))
            hours.read(today * (DAY_MS // HOUR_MS), self._stop)
            if self._stop.is_set():
                break
            found.append(camera_drift(hours.days(), camera.drift_days))
        return found

    def _take(self, done: Future[list[CameraDrift]]) -> None:
        try:
            self._waiting |= {drift.camera: drift for drift in done.result()}
        except Exception as error:  # the cameras go on, whatever it is
            self._say(f"drift was not tested: {sentence(error, self.root)}")

    def _record(self, camera: CameraToTest, drift: CameraDrift) -> None:
        try:
            known = next(
                (
                    stored.alert
                    for stored in self.ledger.open_alerts()
                    if stored.alert.kind == "drift" and stored.alert.camera == camera.name
                ),
                None,
            )
            alert = self._revision(camera, drift, known)
            if alert is not None:
                self.ledger.record([Revision(alert)])
                if alert.state != "updated":
                    self.reporter.warn(f"{camera.name}: drift ({alert.state}): {alert.reason}: mulde drift {self.root}")
        except sqlite3.Error as error:
            self._waiting[camera.name] = drift
            self._say(f"{camera.name}: an alert of drift waits for the disk: {error}")
        except Exception as error:  # the cameras go on, whatever it is
            self._say(f"{camera.name}: drift is not on record: {sentence(error, camera.name)}")

    def _revision(self, camera: CameraToTest, drift: CameraDrift, known: Alert | None) -> Alert | None:
        """What has to go on record; None where nothing has changed."""
        is_of_model = drift.days.model_sha256 == camera.model_sha256
        if known is not None and known.model_sha256 != camera.model_sha256:
            return known.next_revision("closed", reason=f"{known.reason}; the camera has another model now")
        if not is_of_model or drift.refusal:
            return None
        if not drift.drifting:
            if known is None:
                return None
            return known.next_revision("closed", reason=f"{known.reason}; over, as a week shows nothing any more")
        facts = self._facts(drift)
        if known is not None:
            return None if facts["reason"] == known.reason else known.next_revision("updated", **facts)
        start = self._free_start(camera.name, drift)
        return Alert(
            id=alert_id(camera.name, start, "drift"),
            revision=1,
            state="opened",
            kind="drift",
            camera=camera.name,
            start=start,
            model_sha256=camera.model_sha256,
            **facts,
        )

    def _free_start(self, camera: str, drift: CameraDrift) -> int:
        """When the first day began that is not like those before: with it, the id of the alert is the same whenever the
        days are tested."""
        firsts = [each.course.current.first for each in drift.drifting if each.course.current is not None]
        start_ms = drift.days.days[min(firsts)] * DAY_MS
        # One that is known is closed, as nobody watched the camera.
        return free_start(camera, start_ms, "drift", lambda identity: self.ledger.find(identity) is not None)

    def _facts(self, drift: CameraDrift) -> dict[str, Any]:
        strongest, end = drift.drifting[0], (drift.days.days[-1] + 1) * DAY_MS
        return {
            "peak": end,
            "end": end,
            "score": strongest.evidence,
            "level": drift.threshold,
            "stream": strongest.stream,
            "reason": drift.reason(),
            "streams": {each.stream: each.evidence for each in drift.streams},
        }

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.reporter.warn(text)
