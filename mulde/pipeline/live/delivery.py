"""Alerts and states of cameras on their way to the receivers that the file of cameras names."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from mulde.errors import MuldeError, UsageError
from mulde.pipeline.events.thumbnails import write_jpeg
from mulde.pipeline.live.alerts import Alert, alert_id, utc_text
from mulde.pipeline.live.camera import Clocks
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.sink_worker import OnCommand, SinkOpener, SinkStatus, SinkWorker, ended
from mulde.progress import Reporter
from mulde.sinks.message import Message, Surroundings
from mulde.sinks.opening import SinkSpec, open_sink
from mulde.sinks.settings import MqttSettings

_RATE_S = 30.0
_STOP_S = 0.5
TEST_CAMERA = "mulde-test"


class Deliveries:
    """Brings every sink what it is to have, each in a thread of its own: one that is dead holds up nobody.

    It says whom the ledger is to tell of what (`recipients`), and is told of what was recorded (`wake`) and how the
    cameras fare (`show`). on_command: pauses cameras; None where they cannot be paused.
    """

    def __init__(
        self,
        ledger: AlertLedger,
        root: Path,
        reporter: Reporter,
        *,
        on_command: OnCommand | None = None,
        clocks: Clocks | None = None,
        opener: SinkOpener = open_sink,
    ) -> None:
        self._ledger, self._root, self._reporter = ledger, root, reporter
        self._on_command, self._clocks, self._opener = on_command, clocks or Clocks(), opener
        self._workers: dict[str, SinkWorker] = {}
        self._states = CameraStates()
        self._shown: Mapping[str, Mapping[str, Any]] | None = None
        ledger.recipients, ledger.on_recorded = self.recipients, self.wake

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        ended(list(self._workers.values()), _STOP_S)

    def opened(self, specs: Sequence[SinkSpec]) -> dict[str, SinkWorker]:
        """The workers of these sinks: those that run, where nothing has changed, and new ones that wait to be started
        by `follow`. Raises MuldeError for a sink that cannot be used, and nothing has changed then."""
        workers = {}
        for spec in specs:
            known = self._workers.get(spec.name)
            workers[spec.name] = known if known is not None and known.spec == spec else self._open(spec)
        return workers

    def _open(self, spec: SinkSpec) -> SinkWorker:
        if isinstance(spec.settings, MqttSettings) and spec.settings.commands and self._on_command is None:
            raise UsageError(f"sink {spec.name}: commands has no effect, as cameras cannot be paused here")
        return SinkWorker(
            spec,
            self._ledger,
            self._root,
            self._reporter,
            self._clocks,
            on_command=self._on_command or (lambda camera, seconds: None),
            opener=self._opener,
        )

    def follow(self, workers: Mapping[str, SinkWorker]) -> None:
        """Begin, change and end sinks; the others go on."""
        gone = [worker for worker in self._workers.values() if worker not in workers.values()]
        new = [worker for worker in workers.values() if worker not in self._workers.values()]
        self._workers = dict(workers)
        ended(gone, _STOP_S)
        for worker in new:
            if self._shown is not None:  # else nobody knows yet which cameras there are
                worker.sink.show(self._shown)
            worker.start()
        if new:
            self._reporter.say(f"alerts go to {', '.join(workers)}")
        for name, count in self._ledger.outbox_counts().items():
            if name not in workers and count.num_waiting:
                self._reporter.warn(
                    f"deliveries that wait for sink {name}, which is not in the file: {count.num_waiting}"
                )

    def recipients(self, alert: Alert, told: tuple[str, ...]) -> list[str]:
        """Who is told of a revision. The first that a sink is told of counts as opened, whatever came before it. An
        alert that a suppression covers is told to those alone that know it already. A sink that is not there now is
        told of the end of what it knows, for when it comes back."""
        names = []
        for name, worker in self._workers.items():
            settings = worker.spec.settings
            knows = name in told
            state = alert.state if knows else "opened"
            is_wanted = (not settings.only or alert.kind in settings.only) and state in settings.states
            if is_wanted and (knows or not alert.exemption):
                names.append(name)
        gone = [name for name in told if name not in self._workers]
        return names + (gone if alert.state == "closed" else [])

    def wake(self) -> None:
        """Something was recorded."""
        for worker in self._workers.values():
            worker.wake()

    def show(self, state: Mapping[str, Any]) -> None:
        """Take in how the cameras fare, as `LiveEngine.state` says it. It never waits."""
        self._shown = shown = self._states.of(state)
        for worker in self._workers.values():
            worker.sink.show(shown)

    def status(self) -> list[SinkStatus]:
        """Every sink as it is now; what waits is in `AlertLedger.outbox_counts`."""
        return [worker.status for worker in self._workers.values()]


class CameraStates:
    """What receivers are shown of cameras; the rate of scored frames is that of the last half minute."""

    def __init__(self) -> None:
        self._scored: dict[str, deque[tuple[float, int]]] = {}

    def of(self, state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """By camera, from `LiveEngine.state`."""
        cameras = state["cameras"]
        self._scored = {name: self._scored.get(name, deque()) for name in cameras}
        return {
            name: {
                "state": camera["state"] if camera["paused_until_ms"] is None else "paused",
                "health": [note["kind"] for note in camera["health"]],
                "since": utc_text(round(1000 * camera["since_utc_s"])),
                "fps": self._rate(name, state["utc_s"], camera["num_scored"]),
                "score": _finite(camera["score"]),
                "level": _finite(camera["level"]),
                "alert": camera["alert"],
                "drift": _drift(camera["drift"]),
            }
            for name, camera in cameras.items()
        }

    def _rate(self, name: str, utc_s: float, num_scored: int) -> float:
        scored = self._scored[name]
        if scored and (utc_s < scored[-1][0] or num_scored < scored[-1][1]):  # the clock, or the camera, began again
            scored.clear()
        scored.append((utc_s, num_scored))
        while utc_s - scored[0][0] > _RATE_S:
            scored.popleft()
        span_s = utc_s - scored[0][0]
        return round((num_scored - scored[0][1]) / span_s, 2) if span_s > 0 else 0.0


def _drift(drift: Mapping[str, Any] | None) -> float | None:
    """The highest evidence of any stream, in thresholds: from 1 on there is an alert."""
    evidence = [value for value in map(_finite, (drift or {}).get("evidence", {}).values()) if value is not None]
    return max(evidence) / drift["threshold"] if drift and evidence else None


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def send_test(specs: Sequence[SinkSpec], utc: Callable[[], float] = time.time) -> Iterator[tuple[str, bool]]:
    """Send one alert that is marked as a test to each sink; what became of it in a line, and whether it was
    acknowledged."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "test.jpg"
        write_jpeg(np.full((120, 160, 3), 128, np.uint8), picture)
        message = Message(_test_alert(round(1000 * utc())).to_json(), picture, is_test=True)
        for spec in specs:
            try:
                sink = open_sink(spec, Surroundings(threading.Event(), is_test=True))
                try:
                    sink.deliver(message)
                finally:
                    sink.close()
            except MuldeError as error:
                yield f"{spec.name}: {error}", False
            else:
                yield f"{spec.name}: acknowledged", True


def _test_alert(now_ms: int) -> Alert:
    return Alert(
        id=alert_id(TEST_CAMERA, now_ms),
        revision=1,
        state="opened",
        kind="unusual",
        camera=TEST_CAMERA,
        start=now_ms,
        peak=now_ms,
        end=now_ms,
        score=1.0,
        level=1.0,
        reason="a test of where alerts go; nothing happened",
    )
