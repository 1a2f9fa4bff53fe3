from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import threading
from collections import defaultdict
from contextlib import closing

import pytest

from mulde.errors import MuldeError
from mulde.pipeline.live.alerts import Alert
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.run_folder import ALERTS
from tests.pipeline.live import alert_writer
from tests.pipeline.live.stored_alerts import T0, alert, current, machine
from tests.processes import CONTEXT


@pytest.fixture
def ledger(tmp_path):
    with AlertLedger.open(tmp_path) as ledger:
        yield ledger


def test_others_read_while_one_writes(tmp_path, ledger):
    ledger.record([Revision(alert(), ("hook",))], machine())
    with AlertLedger.read(tmp_path) as reader, ledger._transaction():
        ledger._db.execute("DELETE FROM alerts")  # not committed: nobody sees it, and nobody waits
        assert current(reader) == [alert()]
        with AlertLedger.read(tmp_path) as late:
            assert current(late) == [alert()]
        ledger._db.execute("ROLLBACK")
        ledger._db.execute("BEGIN")
    with AlertLedger.read(tmp_path) as reader:
        assert current(reader) == [alert()]
        ledger.record([Revision(alert(2), ("hook",))])
        assert current(reader) == [alert(2)]
        rows = reader._db.execute("SELECT revision FROM alerts, (VALUES (1), (2))")
        assert next(rows)["revision"] == 2
        ledger.record([Revision(alert(3), ("hook",))])  # does not wait for who is in the middle of reading
        assert next(rows)["revision"] == 2
        rows.close()
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.record([Revision(alert(4), ("hook",))])
    assert current(ledger) == [alert(3)]


def test_a_ledger_that_was_not_closed_can_be_read_as_it_lies(tmp_path):
    (tmp_path / "run").mkdir()
    with AlertLedger.open(tmp_path / "run") as ledger:
        ledger.record([Revision(alert(), ("hook",))], machine())
        shutil.copytree(tmp_path / "run", tmp_path / "killed")
    with AlertLedger.read(tmp_path / "killed") as reader:
        assert current(reader) == [alert()]


def test_a_ledger_in_a_folder_that_nobody_may_write_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with AlertLedger.open(tmp_path) as ledger:
        ledger.record([Revision(alert(), ("hook",))], machine())
        with AlertLedger.read(tmp_path) as reader:
            ledger.record([Revision(alert(2), ("hook",))])
            assert current(reader) == [alert(2)]
    with AlertLedger.read(tmp_path) as reader:
        assert current(reader) == [alert(2)]
        assert [path.name for path in tmp_path.iterdir()] == [ALERTS]  # nothing is written beside it


def test_threads_share_a_ledger(tmp_path, ledger):
    def write(camera):
        for i in range(20):
            ledger.record([Revision(alert(camera=camera, start=T0 + i), ("hook",))], machine(number=i + 1))

    def deliver(stop=80):
        done = 0
        while done < stop:
            for delivery in ledger.pending("hook", T0, 9):
                ledger.acknowledge(delivery, T0)
                done += 1

    cameras = ("a", "b", "c", "d")
    threads = [threading.Thread(target=write, args=camera) for camera in cameras] + [threading.Thread(target=deliver)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(current(ledger)) == 80
    assert ledger.undelivered() == []


def contents(ledger):
    tables = ("alerts", "outbox", "sessions", "machines")
    return [[tuple(row) for row in ledger._db.execute(f"SELECT * FROM {table}")] for table in tables]


def fill(ledger, start):
    """Record alerts until the disk refuses; the start of the one that it refused."""
    while True:
        before = contents(ledger)
        try:
            ledger.record([Revision(alert(start=start), ("hook", "mqtt"))], machine(start))
        except sqlite3.Error:
            assert contents(ledger) == before
            return start
        start += 1


def test_a_full_disk_leaves_nothing_half_written(tmp_path, ledger):
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    for more in range(6):  # so that it is full in one table or another
        ledger._db.execute(f"PRAGMA max_page_count = {pages + more}")
        refused = fill(ledger, T0 + 1000 * more)
    ledger._db.execute("PRAGMA max_page_count = 100000")
    ledger.record([Revision(alert(start=refused), ("hook", "mqtt"))], machine(refused))
    assert ledger.machine_state("yard") == machine(refused)


@pytest.mark.skipif(os.name != "posix", reason="needs limits of POSIX")
def test_a_write_that_the_system_refuses_leaves_nothing_half_written(tmp_path, ledger):
    ledger.record([Revision(alert(), ("hook",))], machine())
    size = (tmp_path / f"{ALERTS}-wal").stat().st_size
    before, limits = contents(ledger), resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 100, 5000, 9000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, limits[1]))
        try:
            with pytest.raises(sqlite3.OperationalError):
                ledger.record([Revision(alert(start=T0 + 1), ("hook", "mqtt"))], machine(T0 + 1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert contents(ledger) == before
    ledger.record([Revision(alert(start=T0 + 1), ("hook",))], machine(T0 + 1))
    with AlertLedger.read(tmp_path) as reader:
        assert len(current(reader)) == 2


def edit(folder, *statements):
    with closing(sqlite3.connect(folder / ALERTS)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("PRAGMA user_version = 2", "expected version 1, got 2"),
        ("UPDATE alerts SET revision = 'x'", "a row of alerts: expected what mulde watch wrote, got id 'yard-2026"),
        ("UPDATE alerts SET json = x'00'", "a row of alerts"),
        ("UPDATE alerts SET state = 'over'", "a row of alerts"),
        ("UPDATE outbox SET state = 'open'", "a row of outbox"),
        ("UPDATE outbox SET tried_ms = 0.5", "a row of outbox"),
        ("UPDATE sessions SET counters = 7.5", None),  # becomes text, as the column is
        ("UPDATE sessions SET end_ms = 'soon'", "a row of sessions"),
        ("UPDATE machines SET state = x'00'", "a row of machines"),
    ],
)
def test_what_watch_never_wrote_is_refused_in_a_sentence(tmp_path, statement, sentence):
    with AlertLedger.open(tmp_path) as ledger:
        ledger.record([Revision(alert(), ("hook",))], machine())
        ledger.session_started("yard", "a", T0)
    edit(tmp_path, statement)
    for way in (AlertLedger.open, AlertLedger.read):
        if sentence is None:
            with way(tmp_path) as ledger, pytest.raises(MuldeError, match="counters of a session"):
                ledger.sessions()
        else:
            with pytest.raises(MuldeError, match=sentence), way(tmp_path):
                pass


def test_json_that_is_no_alert_is_refused_when_it_is_read(tmp_path):
    with AlertLedger.open(tmp_path) as ledger:
        ledger.record([Revision(alert(), ("hook",))], machine())
    edit(tmp_path, """UPDATE alerts SET json = '{"id": 5}'""", "UPDATE machines SET state = '[]'")
    with AlertLedger.open(tmp_path) as ledger:
        with pytest.raises(MuldeError, match=r"alert\.id"):
            ledger.alerts()
        with pytest.raises(MuldeError, match="state of an alert machine"):
            ledger.machine_state("yard")


def test_what_is_no_ledger_is_refused_and_left_as_it_is(tmp_path):
    with pytest.raises(MuldeError, match="expected a file, got none"), AlertLedger.read(tmp_path):
        pass
    assert not (tmp_path / ALERTS).exists()
    edit(tmp_path, "CREATE TABLE alerts (x)")
    for way in (AlertLedger.open, AlertLedger.read):
        with pytest.raises(MuldeError, match="expected version 1, got 0"), way(tmp_path):
            pass
    (tmp_path / ALERTS).write_text("hello, this is no database" * 50)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"), AlertLedger.open(tmp_path):
        pass
    (tmp_path / ALERTS).unlink()
    (tmp_path / ALERTS).mkdir()
    with pytest.raises(MuldeError, match="expected a file, got something else"), AlertLedger.open(tmp_path):
        pass


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_no_kill_loses_an_alert_or_raises_one_twice(tmp_path):
    """Acceptance L6, small: 200 alerts of 4 cameras, 20 kills, a hook that fails and a broker that is down 5 times."""
    process = CONTEXT.Process(target=alert_writer.kill_over_and_over, args=(tmp_path, 20))
    process.start()
    process.join()
    assert process.exitcode == 0

    with AlertLedger.read(tmp_path) as ledger:
        stored = {kept.alert.id: kept.alert for kept in ledger.alerts()}
        assert (ledger.open_alerts(), ledger.undelivered(), len(ledger.alerts())) == ([], [], 200)
    script = [
        alert_writer.step(camera, number * alert_writer.NUM_REVISIONS)[0]
        for camera in alert_writer.CAMERAS
        for number in range(alert_writer.NUM_ALERTS)
    ]
    assert stored.keys() == {alert.id for alert in script}
    assert {(a.state, a.revision) for a in stored.values() if not a.cut_short} == {("closed", 3)}
    assert 3 < sum(a.cut_short for a in stored.values()) < 60

    received = defaultdict(list)
    for line in (tmp_path / alert_writer.RECEIVED).read_text().splitlines():
        sink, text = json.loads(line)
        revision = Alert.from_json(text)
        received[sink, revision.id].append((revision.revision, text))
    assert received.keys() == {(sink, name) for sink in alert_writer.SINKS for name in stored}
    doubles = 0
    for (_, name), revisions in received.items():
        first = list(dict(revisions))  # in the order in which each came first
        assert first == list(range(1, stored[name].revision + 1))
        assert len(set(revisions)) == len(first)  # what came twice was the same
        assert revisions[-1][1] == stored[name].to_json()
        doubles += len(revisions) - len(first)
    assert doubles > 20
