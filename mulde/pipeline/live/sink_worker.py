"""The thread that brings one sink what the outbox holds for it, at least once, however often that fails."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mulde.errors import MuldeError
from mulde.pipeline.live.alerting import PICTURES
from mulde.pipeline.live.alerts import HOUR_MS, Alert
from mulde.pipeline.live.camera import Clocks
from mulde.pipeline.live.outbox import WITHHELD, Delivery, Outbox
from mulde.progress import Reporter
from mulde.sinks.message import Message, Sink, SinkError, Surroundings
from mulde.sinks.opening import SinkSpec, open_sink

OnCommand = Callable[[str, float], object]
"""Takes the name of a camera and for how many seconds it is to pause, 0 to resume; it is called in other threads."""
SinkOpener = Callable[[SinkSpec, Surroundings], Sink]
OUTCOMES = ("acknowledged", "failed", "given_up")
_BATCH = 16
_POLL_S, _DISK_S = 5.0, 5.0
_MAX_WAIT_S = 60.0


@dataclass
class SinkStatus:
    """A sink as it is now. counts: deliveries of this process by outcome; problem: why it cannot be delivered to,
    empty while it can."""

    name: str
    kind: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    problem: str = ""


class SinkWorker:
    """Delivers to one sink: in order for each alert, as often as it takes, and waits longer after each failure in a
    row. Nothing here waits for another sink.

    An alert of which the first message would be one more than the sink's at_most_per_hour is given up with all of its
    revisions; one that the receiver knows is told to its end. `turn` is all that the thread does, and can be called
    without it. on_command: as in `Surroundings`. Raises MuldeError for a sink that cannot be used.
    """

    def __init__(
        self,
        spec: SinkSpec,
        outbox: Outbox,
        root: Path,
        reporter: Reporter,
        clocks: Clocks,
        *,
        on_command: OnCommand = lambda camera, seconds: None,
        opener: SinkOpener = open_sink,
    ) -> None:
        self.spec, self.status = spec, SinkStatus(spec.name, spec.settings.kind)
        self._outbox, self._root, self._reporter, self._clocks = outbox, root, reporter, clocks
        self._woken, self._is_draining, self._stop = threading.Event(), False, threading.Event()
        self.sink = opener(spec, Surroundings(self._stop, self.wake, self.reached, reporter.warn, on_command))
        self._hold_until_s, self._num_failures, self._said = 0.0, 0, ""
        self._unwritten: Callable[[], None] | None = None
        # A daemon: a receiver can be silent for longer than a program that ends may wait.
        self._thread = threading.Thread(target=self._run, name=f"sink {spec.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something to do. Any thread may call this."""
        self._woken.set()

    def reached(self) -> None:
        """The receiver can be reached again: what waits is tried at once."""
        self._hold_until_s = 0.0
        self._woken.set()

    def drain(self) -> None:
        """End as soon as nothing is due, or something fails."""
        self._is_draining = True
        self._woken.set()

    def stop(self) -> None:
        """End at once: a receiver that is waited for is not waited for any longer."""
        self._stop.set()
        self._woken.set()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread has ended within a time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._woken.clear()
            was_draining = self._is_draining
            try:
                wait_s = self.turn()
            except Exception as error:  # the next turn may go well, and nobody else would deliver
                self._warn(f"sink {self.spec.name}: unexpected {type(error).__name__}")
                wait_s = _DISK_S
            if self._stop.is_set() or (was_draining and wait_s > 0):
                break
            self._clocks.wait(self._woken, wait_s)
        self.sink.close()

    def turn(self) -> float:
        """Deliver what is due; for how many seconds there is nothing to do then, unless it is woken."""
        self.sink.turn()
        if (hold_s := self._hold_until_s - self._clocks.monotonic()) > 0:
            return hold_s
        try:
            if self._unwritten is not None:
                self._write(self._unwritten)
            deliveries = self._outbox.pending(self.spec.name, self._now_ms(), _BATCH)
            for delivery in deliveries:
                if self._stop.is_set() or (wait_s := self._deliver(delivery)):
                    return wait_s
        except sqlite3.Error as error:
            if self._stop.is_set():  # the ledger may be closed by now; what is not on record is sent again
                return _DISK_S
            self._warn(f"sink {self.spec.name}: deliveries wait for the disk: {error}")
            return _DISK_S
        return 0.0 if deliveries else _POLL_S

    def _deliver(self, delivery: Delivery) -> float:
        """For how many seconds the sink is to be left alone then."""
        try:
            if self._is_withheld(delivery):
                self._settle("given_up", lambda: self._outbox.give_up(delivery, self._now_ms(), WITHHELD))
                return 0.0
            self.sink.deliver(self._message(delivery))
        except SinkError as error:
            return self._failed(delivery, error)
        except sqlite3.Error:
            raise
        except Exception as error:  # its text may hold anything, an address with a password too
            return self._failed(delivery, SinkError(f"unexpected {type(error).__name__}", "message"))
        self._settle("acknowledged", lambda: self._outbox.acknowledge(delivery, self._now_ms()))
        self._num_failures = 0
        if self.status.problem:
            self.status.problem = self._said = ""
            self._reporter.say(f"sink {self.spec.name}: reached again")
        return 0.0

    def _failed(self, delivery: Delivery, error: SinkError) -> float:
        now_ms, reason = self._now_ms(), error.problem
        if error.retry == "never":
            self._warn(f"sink {self.spec.name}: a message is given up: {reason}")
            self._settle("given_up", lambda: self._outbox.give_up(delivery, now_ms, reason))
            return 0.0
        self.status.problem = reason
        self._warn(f"sink {self.spec.name}: {reason}; alerts wait")
        if error.retry == "message":  # the others go first, and where one of these fails too it is not the message
            hold_s = self._wait_s(self._num_failures - 1) if self._num_failures else 0.0
            own_s = max(self._wait_s(delivery.tries), error.wait_s)
        else:
            hold_s, own_s = max(self._wait_s(self._num_failures), error.wait_s), 0.0
        self._num_failures += 1
        self._hold_until_s = self._clocks.monotonic() + hold_s
        not_before_ms = now_ms + round(1000 * own_s)
        self._settle("failed", lambda: self._outbox.failed(delivery, now_ms, not_before_ms, reason))
        return hold_s

    def _wait_s(self, num_failures: int) -> float:
        """1 s, doubled up to a minute, each a quarter longer or shorter by chance."""
        return min(2.0 ** min(num_failures, 10), _MAX_WAIT_S) * self._clocks.uniform(0.75, 1.25)

    def _message(self, delivery: Delivery) -> Message:
        try:
            alert = Alert.from_json(delivery.json)
        except MuldeError as error:
            raise SinkError(f"damaged in the ledger: {error}", "never") from None
        picture = self._root / PICTURES / f"{alert.id}.jpg"
        limit = self.spec.settings.at_most_per_hour
        num_withheld = self._outbox.num_withheld(self.spec.name) if limit else 0
        return Message(delivery.json, picture if alert.picture and picture.is_file() else None, False, num_withheld)

    def _is_withheld(self, delivery: Delivery) -> bool:
        limit, now_ms = self.spec.settings.at_most_per_hour, self._now_ms()
        if not limit:
            return False
        earlier = self._outbox.deliveries_of(self.spec.name, delivery.alert)
        if any(known.state == "acknowledged" for known in earlier):
            return False
        if any(known.reason == WITHHELD for known in earlier):
            return True
        told = self._outbox.first_told(self.spec.name, now_ms - HOUR_MS)
        return sum(first_ms <= now_ms for first_ms in told) >= limit

    def _settle(self, outcome: str, write: Callable[[], None]) -> None:
        """Put on record what became of a delivery. Where the disk takes nothing it is kept, and nothing else is
        delivered before it is written: otherwise the receiver would be sent the same again and again."""
        self.status.counts[outcome] += 1
        self._unwritten = write
        self._write(write)

    def _write(self, write: Callable[[], None]) -> None:
        write()
        self._unwritten = None

    def _warn(self, text: str) -> None:
        if text != self._said:  # the next hundred tries would say the same
            self._said = text
            self._reporter.warn(text)

    def _now_ms(self) -> int:
        return round(1000 * self._clocks.utc())


def ended(workers: list[SinkWorker], timeout_s: float) -> None:
    """End workers side by side: within a time with what is due, then without."""
    end_s = time.monotonic() + timeout_s
    for worker in workers:
        worker.drain()
    for worker in workers:
        if not worker.join(max(end_s - time.monotonic(), 0)):
            worker.stop()
    for worker in workers:
        worker.join(max(end_s + 0.5 - time.monotonic(), 0))
