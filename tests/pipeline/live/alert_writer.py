"""A process that records alerts by a script and sends them on, and one that kills it over and over."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from pathlib import Path

from mulde.pipeline.live.alerts import Alert, MachineState, Moment, Stretch, alert_id
from mulde.pipeline.live.ledger import AlertLedger, Revision

CAMERAS = ("door", "gate", "hall", "yard")
NUM_ALERTS, NUM_REVISIONS = 50, 3  # of each camera, of each alert
SINKS = ("broker", "hook")
STATES = ("opened", "updated", "closed")
START_MS, STEP_MS, GAP_S = 1_795_874_201_300, 10_000, 60.0
RECEIVED = "received.jsonl"


def step(camera: str, position: int) -> tuple[Alert, MachineState]:
    """The revision at a position of a camera's script, and its machine behind it."""
    first = position - position % NUM_REVISIONS
    start, here = (Moment(p, START_MS + p * STEP_MS + CAMERAS.index(camera)) for p in (first, position))
    state, score = STATES[position - first], 6.0 + position - first
    alert = Alert(
        id=alert_id(camera, start.utc_ms), revision=position - first + 1, state=state, kind="unusual", camera=camera,
        start=start.utc_ms, peak=here.utc_ms, end=here.utc_ms, score=score, level=5.0,
    )  # fmt: skip
    stretch = None if state == "closed" else Stretch(start, here, here, score, score, here.utc_ms)
    return alert, MachineState(position, stretch)


def next_position(ledger: AlertLedger, camera: str) -> int:
    """Behind what is on record; an alert that was cut short is not gone on with."""
    state = ledger.machine_state(camera)
    if state is None:
        return 0
    position = state.number + 1
    return position if state.stretch else position + -position % NUM_REVISIONS


def write(folder: Path, number: int, permits: int, progress: int, kill_at: int | None) -> None:
    """One run; it takes a byte before each revision and gives one behind it. kill_at: the SQL statement at which it
    kills itself."""
    chance = random.Random(number)
    with AlertLedger.open(folder) as ledger:
        if kill_at is not None:
            die_at(ledger, kill_at)
        positions = {camera: next_position(ledger, camera) for camera in CAMERAS}
        now_ms = START_MS + max(0, *positions.values()) * STEP_MS
        ledger.recover(now_ms + chance.choice([0, 3_600_000]), GAP_S)
        positions = {camera: next_position(ledger, camera) for camera in CAMERAS}
        is_over = threading.Event()
        sender = threading.Thread(target=send, args=(ledger, folder, number, is_over))
        sender.start()
        while left := [camera for camera in CAMERAS if positions[camera] < NUM_ALERTS * NUM_REVISIONS]:
            os.read(permits, 1)
            camera = chance.choice(left)
            alert, machine = step(camera, positions[camera])
            ledger.record([Revision(alert, SINKS)], machine)
            positions[camera] += 1
            os.write(progress, b".")
        is_over.set()
        sender.join()


def die_at(ledger: AlertLedger, statement: int) -> None:
    left = iter(range(statement))
    ledger._db.set_trace_callback(lambda _: next(left, None) is None and os.kill(os.getpid(), signal.SIGKILL))


def send(ledger: AlertLedger, folder: Path, number: int, is_over: threading.Event) -> None:
    """Deliver to a hook that fails at times, also after it took something in, and to a broker that is down in every
    fourth run. Ends when all is delivered and nothing more comes."""
    chance, now_ms = random.Random(number), START_MS + number * 1_000_000
    file = os.open(folder / RECEIVED, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        was_over = is_over.is_set()
        deliveries = [delivery for sink in SINKS for delivery in ledger.pending(sink, now_ms, 8)]
        if was_over and not ledger.undelivered():
            break
        for delivery in deliveries:
            now_ms += 1
            luck = chance.random()
            is_down = delivery.sink == "broker" and number % 4 == 1
            if luck > 0.1 and not is_down:
                os.write(file, json.dumps([delivery.sink, delivery.json]).encode() + b"\n")
            if luck < 0.2 or is_down:
                ledger.failed(delivery, now_ms, now_ms + 5, "no answer")
            else:
                ledger.acknowledge(delivery, now_ms)
        now_ms += 1
    os.close(file)


def kill_over_and_over(folder: Path, num_kills: int) -> None:
    """Runs until the script is done, killed at the first `num_kills` times: by itself between two SQL statements, or
    from outside after a number of revisions, wherever it then is. What lies there is checked after each kill."""
    chance = random.Random(11)
    for number in range(num_kills + 1):
        kill_at = 20 + chance.randint(0, 150) if number % 2 == 0 and number < num_kills else None
        num_revisions = chance.randint(3, 30) if number % 2 == 1 else len(CAMERAS) * NUM_ALERTS * NUM_REVISIONS
        permits, grants = os.pipe()
        progress, gives = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                write(folder, number, permits, gives, kill_at)
                code = 0
            finally:
                os._exit(code)
        os.close(gives)
        os.write(grants, b"." * (num_revisions + 1))  # so that it is killed in the middle of the next one
        if number % 2 == 1:
            assert all(os.read(progress, 1) for _ in range(num_revisions)), "it ended before it was killed"
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        for pipe in (permits, grants, progress):
            os.close(pipe)
        assert os.waitstatus_to_exitcode(status) == (-signal.SIGKILL if number < num_kills else 0)
        check(folder)


def check(folder: Path) -> None:
    """Every alert is recorded with the deliveries of all of its revisions and with the state of its machine."""
    with AlertLedger.read(folder) as ledger:
        stored = [stored.alert for stored in ledger.alerts()]
        outbox = ledger._db.execute(
            "SELECT alert, sink, revision FROM outbox ORDER BY alert, sink, revision"
        ).fetchall()
        expected = sorted((a.id, sink, r) for a in stored for sink in SINKS for r in range(1, a.revision + 1))
        assert [tuple(row) for row in outbox] == expected
        for camera in CAMERAS:
            alerts = [alert for alert in stored if alert.camera == camera]
            state = ledger.machine_state(camera)
            assert (state is None) == (not alerts)
            if alerts:
                last, machine = step(camera, state.number)
                assert (len(alerts), alerts[-1].id) == (state.number // NUM_REVISIONS + 1, last.id)
                assert alerts[-1].cut_short or (alerts[-1], state) == (last, machine)
