"""Alerts of several cameras on their way to a real broker that comes and goes, from a process that is killed."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.watching.broker import Broker, receiver, retained, wait_until
from benchmarks.watching.figures import Figure, Result
from mulde.pipeline.live.alerts import Alert, alert_id
from mulde.pipeline.live.delivery import Deliveries
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.progress import Reporter
from mulde.sinks.opening import SinkSpec
from mulde.sinks.settings import MqttSettings

CAMERAS = ("door", "gate", "hall", "yard")
NUM_REVISIONS = 3
_STATES = ("opened", "updated", "closed")
_START_MS = 1_795_874_201_300
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["benchmarks.watching.deliveries"])


def _start(number: int) -> tuple[str, int]:
    """The camera of an alert, and when it began."""
    return CAMERAS[number % len(CAMERAS)], _START_MS + 10_000 * number


def _script(num_alerts: int) -> Iterator[tuple[int, int]]:
    """Alerts by number and revision, in the order in which they are raised: one of each camera is open at a time."""
    for first in range(0, num_alerts, len(CAMERAS)):
        for revision in range(1, NUM_REVISIONS + 1):
            for number in range(first, min(first + len(CAMERAS), num_alerts)):
                yield number, revision


def _send(root: Path, spec: SinkSpec, num_alerts: int, parent: Connection) -> None:
    """Raise what is left of the script, a revision for each permit, and deliver; end when there is no permit."""
    with AlertLedger.open(root) as ledger, Deliveries(ledger, root, Reporter(quiet=True)) as deliveries:
        deliveries.follow(deliveries.opened([spec]))
        ledger.recover(_START_MS + 10**9, 1.0)
        open_alerts: dict[str, str | None] = dict.fromkeys(CAMERAS)
        deliveries.show(_state(open_alerts))
        for number, revision in _script(num_alerts):
            camera, start = _start(number)
            stored = ledger.find(alert_id(camera, start))
            known = None if stored is None else stored.alert
            if known is not None and (known.state == "closed" or known.revision >= revision):
                continue
            if not parent.recv():
                return
            if known is None:
                alert = Alert(
                    id=alert_id(camera, start), revision=1, state="opened", kind="unusual", camera=camera, start=start,
                    peak=start, end=start, score=9.0, level=6.0,
                )  # fmt: skip
            else:
                alert = known.next_revision(_STATES[revision - 1], end=start + 1000 * revision)
            ledger.record([Revision(alert)])
            open_alerts[camera] = None if alert.state == "closed" else alert.id
            deliveries.show(_state(open_alerts))
            parent.send(True)
        parent.send(False)
        while parent.recv():
            pass


def _state(open_alerts: dict[str, str | None]) -> dict[str, Any]:
    camera: dict[str, Any] = {
        "state": "live",
        "since_utc_s": _START_MS / 1000,
        "num_scored": 1,
        "score": 1.0,
        "level": 6.0,
    }
    camera |= {"health": [], "drift": None, "paused_until_ms": None}
    return {"utc_s": time.time(), "cameras": {name: {**camera, "alert": alert} for name, alert in open_alerts.items()}}


class Sender:
    """The process that raises alerts and delivers them to a sink."""

    def __init__(self, root: Path, spec: SinkSpec, num_alerts: int) -> None:
        self._arguments = (root, spec, num_alerts)
        self._root, self.is_over = root, False
        root.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        self._own, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_send, args=(*self._arguments, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.is_over = False

    def raise_some(self, count: int) -> int:
        """Have so many revisions recorded; how many there were to record."""
        for done in range(count):
            if self.is_over:
                return done
            self._own.send(True)
            self.is_over = not self._own.recv()
        return count

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._own.close()

    def end(self) -> None:
        """As a process that is told to end."""
        self._own.send(False)
        self._process.join(30)
        assert self._process.exitcode == 0
        self._own.close()

    def alerts(self) -> list[Alert]:
        with AlertLedger.read(self._root) as ledger:
            return [stored.alert for stored in ledger.alerts()]

    def num_waiting(self) -> int:
        with AlertLedger.read(self._root) as ledger:
            return sum(count.num_waiting for count in ledger.outbox_counts().values())

    def revisions(self) -> dict[tuple[str, int], str]:
        """All that were put out, as JSON."""
        with AlertLedger.read(self._root) as ledger:
            rows = ledger._db.execute("SELECT alert, revision, json FROM outbox").fetchall()
        return {(row["alert"], row["revision"]): row["json"] for row in rows}


@contextmanager
def _sending(folder: Path, num_alerts: int) -> Iterator[tuple[Broker, Sender, list[tuple[str, bytes]]]]:
    broker = Broker(folder / "broker")
    broker.start()
    sender = Sender(folder / "run", SinkSpec(MqttSettings(port=broker.port, home_assistant=True), {}), num_alerts)
    try:
        with receiver(broker.port) as got:
            yield broker, sender, got
    finally:
        sender.kill()
        broker.stop()


def measure(folder: Path, num_alerts: int, num_kills: int, seed: int) -> Result:
    """The broker is away at the start and at the end of the alerts and once in between, and the sender is killed so
    many times behind random revisions; then the broker forgets all, the sender is killed and ends."""
    rng = np.random.default_rng(seed)
    total = num_alerts * NUM_REVISIONS
    events = [(total // 4, "up"), (total // 2, "down"), (total * 5 // 8, "up"), (total * 3 // 4, "down")]
    events += [(int(place), "kill") for place in rng.integers(1, total, num_kills)]
    began_s = time.monotonic()
    with _sending(folder, num_alerts) as (broker, sender, got):
        broker.stop()
        sender.start()
        done = 0
        for place, event in sorted(events):
            done += sender.raise_some(place - done)
            if event == "kill":
                time.sleep(rng.uniform(0, 0.3))
                sender.kill()
                sender.start()
            else:
                broker.start() if event == "up" else broker.stop()
        sender.raise_some(total)
        broker.start()
        wait_until(lambda: sender.num_waiting() == 0, "all deliveries", 600)
        seconds = time.monotonic() - began_s
        revisions = sender.revisions()
        arrived = wait_for(got, revisions)
        wrong = _wrong_states(broker, b"online")
        broker.stop(forgets=True)
        broker.start()
        wait_until(lambda: len(retained(broker.port)) >= 1 + 2 * len(CAMERAS), "what is retained")
        wrong_behind_broker = _wrong_states(broker, b"online")
        sender.kill()
        wait_until(lambda: retained(broker.port).get("mulde/status") == b"offline", "the will")
        sender.start()
        wait_until(lambda: retained(broker.port).get("mulde/status") == b"online", "the sender")
        wrong_behind_kill = _wrong_states(broker, b"online")
        sender.end()
        wrong_behind_end = _wrong_states(broker, b"offline")
        alerts = sender.alerts()
        sender.start()  # what is killed at the end
    wrong_states = wrong + wrong_behind_broker + wrong_behind_kill + wrong_behind_end
    return Result(
        "deliveries",
        (*_figures(alerts, revisions, arrived), Figure("retained topics that are wrong", wrong_states, 0)),
        {"kills": num_kills, "seconds": round(seconds, 1)},
    )


def wait_for(got: list[tuple[str, bytes]], revisions: dict[tuple[str, int], str]) -> list[Alert]:
    """All alerts that were received, once each revision has been or none comes any more."""

    def arrived() -> list[Alert]:
        return [Alert.from_json(payload.decode()) for topic, payload in list(got) if topic.endswith("/alert")]

    try:
        wait_until(lambda: {(one.id, one.revision) for one in arrived()} >= set(revisions), "all revisions", 60)
    except TimeoutError:
        return arrived()  # which the figures say
    return arrived()


def first_arrivals(arrived: list[Alert]) -> dict[str, list[int]]:
    """The revisions of each alert in the order in which each came first."""
    first: dict[str, list[int]] = {}
    for alert in arrived:
        known = first.setdefault(alert.id, [])
        if alert.revision not in known:
            known.append(alert.revision)
    return first


def _figures(alerts: list[Alert], revisions: dict[tuple[str, int], str], arrived: list[Alert]) -> tuple[Figure, ...]:
    counts = Counter((alert.id, alert.revision) for alert in arrived)
    disorder = sum(sorted(numbers) != numbers for numbers in first_arrivals(arrived).values())
    unlike = sum(revisions.get((alert.id, alert.revision)) != alert.to_json() for alert in arrived)
    ended = {alert.id for alert in arrived if alert.state == "closed"}
    return (
        Figure("alerts", len(alerts)),
        Figure("alerts cut short by a kill", sum(alert.cut_short for alert in alerts)),
        Figure("revisions", len(revisions)),
        Figure("revisions that did not arrive", len(revisions.keys() - counts.keys()), 0),
        Figure("revisions that arrived more than once", sum(count > 1 for count in counts.values())),
        Figure("messages that are not as on record", unlike, 0),
        Figure("alerts whose revisions arrived in disorder", disorder, 0),
        Figure("alerts that did not end", sum(alert.id not in ended for alert in alerts), 0),
    )


def _wrong_states(broker: Broker, status: bytes) -> int:
    """How many topics that are retained are not what they have to be, once they have had time to become that."""

    def wrong() -> int:
        there = retained(broker.port)
        states = {name: there.pop(f"mulde/{name}/state", b"{}") for name in CAMERAS}
        configs = {name: there.pop(f"homeassistant/device/mulde_{name}/config", b"{}") for name in CAMERAS}
        return (
            (there.pop("mulde/status", b"") != status)
            + sum(json.loads(state).get("alert", "none") is not None for state in states.values())
            + sum("components" not in json.loads(config) for config in configs.values())
            + len(there)
        )

    try:
        wait_until(lambda: wrong() == 0, "states", 30)
    except TimeoutError:
        return wrong()
    return 0
