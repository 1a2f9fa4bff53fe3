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

from mulde.errors import MuldeError, RecordError
from mulde.pipeline.live.alerts import Alert, MachineState, Moment, Stretch, alert_id
from mulde.pipeline.live.ledger import DIED, AlertLedger, Revision, Session, StoredAlert
from mulde.pipeline.run_folder import ALERTS
from tests.pipeline.live import alert_writer
from tests.processes import CONTEXT

T0 = 1_795_874_201_300


def alert(revision=1, state=None, *, camera="yard", start=T0, end=None, kind="unusual", **fields):
    end = start + 1000 * revision if end is None else end
    return Alert(
        id=alert_id(camera, start, kind), revision=revision, state=state or ("opened" if revision == 1 else "updated"),
        kind=kind, camera=camera, start=start, peak=start, end=end, score=8.0, level=6.0, **fields,
    )  # fmt: skip


def machine(start=T0, last=T0, number=7, reported_score=8.0):
    first = Moment(number - 1, start)
    return MachineState(number, Stretch(first, first, Moment(number, last), 8.0, reported_score, start))


@pytest.fixture
def ledger(tmp_path):
    with AlertLedger.open(tmp_path) as ledger:
        yield ledger


def current(ledger):
    return [stored.alert for stored in ledger.alerts()]


def waiting(ledger, sink="hook", now_ms=T0):
    return [(d.alert, d.revision) for d in ledger.pending(sink, now_ms, 100)]


# --- alerts


def test_an_alert_is_on_record_with_its_deliveries_and_its_machine(tmp_path):
    with AlertLedger.open(tmp_path) as ledger:
        assert (ledger.alerts(), ledger.open_alerts(), ledger.undelivered()) == ([], [], [])
        assert ledger.machine_state("yard") is None
        ledger.record([Revision(alert(), ("hook", "mqtt"))], machine())
    with AlertLedger.open(tmp_path) as ledger:
        assert current(ledger) == [alert()]
        assert ledger.open_alerts() == [StoredAlert(alert(), "")]
        assert ledger.find(alert().id) == StoredAlert(alert(), "")
        assert ledger.find("yard") is None
        assert ledger.machine_state("yard") == machine()
        (delivery,) = ledger.pending("mqtt", T0, 9)
        assert (delivery.alert, delivery.revision, delivery.sink, delivery.tries) == (alert().id, 1, "mqtt", 0)
        assert Alert.from_json(delivery.json) == alert()
        ledger.record([Revision(alert(2, "closed"), ("hook",))], MachineState(9))
        assert (current(ledger), ledger.open_alerts()) == ([alert(2, "closed")], [])
        assert [(d.sink, d.revision) for d in ledger.undelivered()] == [("hook", 1), ("mqtt", 1), ("hook", 2)]


def test_the_same_revision_again_changes_nothing(ledger):
    for _ in range(2):
        ledger.record([Revision(alert(), ("hook",))], machine())
    assert waiting(ledger) == [(alert().id, 1)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], alert(2)),
        ([alert()], alert(end=T0 + 5000)),
        ([alert()], alert(3)),
        ([alert(), alert(2)], alert()),
        ([alert(), alert(2, "closed")], alert(3, "updated")),
    ],
)
def test_a_revision_that_does_not_follow_is_refused(ledger, before, after):
    for revision in before:
        ledger.record([Revision(revision, ("hook",))])
    kept = current(ledger), waiting(ledger)
    with pytest.raises(RecordError, match=f"alert {after.id}: expected revision {len(before) + 1}"):
        ledger.record([Revision(alert(camera="yard", start=T0 + 50), ("hook",)), Revision(after, ("hook",))], machine())
    assert (current(ledger), waiting(ledger), ledger.machine_state("yard")) == (*kept, None)


def test_a_closed_alert_may_be_said_again(ledger):
    for revision in (alert(), alert(2, "closed"), alert(3, "closed", exemption="x7")):
        ledger.record([Revision(revision)])
    assert current(ledger) == [alert(3, "closed", exemption="x7")]


def test_alerts_of_several_cameras_are_not_one_record(ledger):
    with pytest.raises(RecordError, match=r"those of one camera, got \['gate', 'yard'\]"):
        ledger.record([Revision(alert()), Revision(alert(camera="gate"))])
    with pytest.raises(RecordError, match="those of one camera"):
        ledger.record([])


def test_alerts_are_found_by_time_camera_and_state(ledger):
    for minute, camera, closes in ((0, "yard", True), (1, "gate", False), (60, "yard", True), (61, "gate", True)):
        start = T0 + 60_000 * minute
        ledger.record([Revision(alert(camera=camera, start=start))])
        if closes:
            ledger.record([Revision(alert(2, "closed", camera=camera, start=start))])

    def minutes(*args, **kwargs):
        return [(stored.alert.start - T0) // 60_000 for stored in ledger.alerts(*args, **kwargs)]

    assert minutes() == [0, 1, 60, 61]
    assert minutes(T0 + 60_000 * 30) == [1, 60, 61]  # one of them is open still
    assert minutes(T0 + 2000, "yard") == [0, 60]
    assert minutes(T0 + 2001, "yard") == [60]
    assert minutes(camera="gate", state="closed") == [61]
    assert minutes(state="opened") == [1]


def test_nobody_is_told_of_what_a_flood_stands_for(ledger):
    flood = alert(kind="flood", end=T0)
    ledger.record(
        [Revision(alert(), ("hook",), covered_by=flood.id), Revision(flood, ("hook",))],
        machine(),
    )
    ledger.record([Revision(alert(2, "closed"), ("hook",))])
    assert ledger.alerts() == [StoredAlert(alert(2, "closed"), flood.id), StoredAlert(flood, "")]
    assert [d.alert for d in ledger.undelivered()] == [flood.id]


# --- recovery


def test_an_open_alert_goes_on_after_a_short_while(ledger):
    ledger.record([Revision(alert(), ("hook",))], machine())
    assert ledger.recover(alert().end + 5000, 5.0) == []
    assert (current(ledger), ledger.machine_state("yard")) == ([alert()], machine())


def test_an_open_alert_is_cut_short_after_a_longer_one(ledger):
    ledger.record([Revision(alert(), ("hook", "mqtt"))], machine())
    closed = ledger.recover(alert().end + 5001, 5.0)
    assert closed == current(ledger) == [alert(2, "closed", end=alert().end, cut_short=True)]
    assert ledger.machine_state("yard") == MachineState(7)  # its numbers go on
    assert [(d.sink, d.revision) for d in ledger.undelivered()] == [("hook", 1), ("mqtt", 1), ("hook", 2), ("mqtt", 2)]
    assert Alert.from_json(ledger.undelivered()[-1].json) == closed[0]
    assert ledger.recover(alert().end + 9000, 5.0) == []


def test_what_was_kept_of_the_machine_tells_how_long_an_alert_lasted(ledger):
    ledger.record([Revision(alert(), ("hook",))], machine())
    ledger.keep_machine("yard", machine(last=T0 + 600_000, number=900))
    assert ledger.recover(T0 + 604_000, 5.0) == []
    assert [closed.end for closed in ledger.recover(T0 + 606_000, 5.0)] == [T0 + 600_000]


@pytest.mark.parametrize("state", [None, MachineState(7), machine(start=T0 - 1), machine(reported_score=None)])
def test_an_alert_that_no_machine_would_close_is_closed(ledger, state):
    ledger.record([Revision(alert(), ("hook",))], state)
    assert [closed.cut_short for closed in ledger.recover(T0, 5.0)] == [True]


def test_alerts_of_other_kinds_are_recovered_by_their_own_end(ledger):
    health, flood = alert(kind="camera"), alert(kind="flood")
    ledger.record([Revision(health, ("hook",)), Revision(flood, ("hook",))], machine())
    late = alert(start=T0 + 1_800_000)
    ledger.record([Revision(late, ("hook",), covered_by=flood.id)])
    ledger.record([Revision(alert(2, "closed", start=T0 + 1_800_000))])
    assert ledger.recover(health.end + 5000, 5.0) == []
    assert [closed.id for closed in ledger.recover(health.end + 5001, 5.0)] == [health.id]
    assert ledger.machine_state("yard") == machine()
    assert ledger.recover(T0 + 1_802_000 + 3_600_000, 5.0) == []
    assert [closed.id for closed in ledger.recover(T0 + 1_802_001 + 3_600_000, 5.0)] == [flood.id]


def test_a_covered_alert_that_is_cut_short_is_told_to_nobody(ledger):
    ledger.record([Revision(alert(), ("hook",), covered_by="yard-x-flood")], machine())
    assert len(ledger.recover(T0 + 10**9, 5.0)) == 1
    assert ledger.undelivered() == []


# --- the outbox


def test_a_revision_waits_for_the_earlier_ones_of_its_alert(ledger):
    other = alert(start=T0 + 10)
    for revision in (alert(), other, alert(2), alert(3, "closed")):
        ledger.record([Revision(revision, ("hook",))])
    assert waiting(ledger) == [(alert().id, 1), (other.id, 1)]
    first = ledger.pending("hook", T0, 1)[0]
    ledger.failed(first, T0, T0 + 30_000, "refused")
    assert waiting(ledger, now_ms=T0 + 29_999) == [(other.id, 1)]
    (again, _) = ledger.pending("hook", T0 + 30_000, 2)
    assert (again.alert, again.tries, again.reason) == (first.alert, 1, "refused")
    ledger.acknowledge(again, T0 + 30_000)
    assert waiting(ledger) == [(other.id, 1), (alert().id, 2)]
    ledger.give_up(ledger.pending("hook", T0, 9)[1], T0 + 40_000, "410")
    assert waiting(ledger) == [(other.id, 1), (alert().id, 3)]
    assert [(d.alert, d.revision, d.state, d.reason, d.tries) for d in ledger.undelivered()] == [
        (other.id, 1, "waiting", "", 0),
        (alert().id, 2, "given_up", "410", 0),
        (alert().id, 3, "waiting", "", 0),
    ]
    assert waiting(ledger, "mqtt") == []


def test_a_clock_that_is_set_back_holds_no_delivery(ledger):
    ledger.record([Revision(alert(), ("hook",))])
    ledger.failed(ledger.pending("hook", T0, 1)[0], T0, T0 + 30_000, "refused")
    assert waiting(ledger, now_ms=T0 + 1) == []
    assert waiting(ledger, now_ms=T0 - 3_600_000) == [(alert().id, 1)]


def test_what_is_settled_can_go_after_a_time_unless_its_alert_is_open(ledger):
    open_one, closed_one = alert(), alert(start=T0 + 10)
    for revision in (open_one, closed_one, alert(2, "closed", start=T0 + 10)):
        ledger.record([Revision(revision, ("hook", "mqtt"))])
    for _ in range(2):
        for delivery in ledger.pending("hook", T0, 9):
            ledger.acknowledge(delivery, T0 + 1000 * delivery.revision)
    ledger.session_started("yard", "a", T0)
    ledger.session_ended("a", T0 + 1500, "lost", {})
    ledger.session_started("yard", "b", T0)

    def kept():
        rows = ledger._db.execute("SELECT alert, revision FROM outbox WHERE sink = 'hook' ORDER BY number")
        return [tuple(row) for row in rows], [session.id for session in ledger.sessions()]

    everything = [(open_one.id, 1), (closed_one.id, 1), (closed_one.id, 2)]
    ledger.prune(T0 + 1000)
    assert kept() == (everything, ["a", "b"])
    ledger.prune(T0 + 1501)
    assert kept() == ([everything[0], everything[2]], ["b"])
    ledger.prune(T0 + 10**9)
    assert kept() == (everything[:1], ["b"])
    assert len(ledger.undelivered()) == 3  # what waits stays
    assert len(current(ledger)) == 2


# --- sessions


def test_sessions_are_on_record(ledger):
    ledger.session_started("yard", "yard-1", T0)
    ledger.session_started("gate", "gate-1", T0 + 1)
    ledger.session_ended("yard-1", T0 + 500, "lost", {"received": 12, "scored": 10})
    ledger.session_started("yard", "yard-2", T0 + 600)
    first = Session("yard", "yard-1", T0, T0 + 500, "lost", {"received": 12, "scored": 10})
    open_one = Session("yard", "yard-2", T0 + 600, None, "", {})
    assert ledger.sessions(camera="yard") == [first, open_one]
    assert ledger.sessions(T0 + 501, "yard") == [open_one]
    ledger.recover(T0 + 10_000, 5.0)
    assert [session.reason for session in ledger.sessions()] == ["lost", DIED, DIED]
    with pytest.raises(sqlite3.IntegrityError):
        ledger.session_started("yard", "yard-1", T0)


# --- the file


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
