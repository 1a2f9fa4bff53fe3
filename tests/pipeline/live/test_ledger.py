from __future__ import annotations

import sqlite3

import pytest

from mulde.errors import RecordError
from mulde.pipeline.live.alerts import Alert, MachineState
from mulde.pipeline.live.ledger import DIED, AlertLedger, Revision, Session, StoredAlert
from mulde.pipeline.live.outbox import WITHHELD, OutboxCount
from tests.pipeline.live.stored_alerts import T0, alert, current, machine


@pytest.fixture
def ledger(tmp_path):
    with AlertLedger.open(tmp_path) as ledger:
        yield ledger


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


def test_alerts_of_other_kinds_are_recovered_by_their_own_rules(ledger):
    health, flood = alert(kind="camera"), alert(kind="flood")
    ledger.record([Revision(health, ("hook",)), Revision(flood, ("hook",))], machine())
    late = alert(start=T0 + 1_800_000)
    ledger.record([Revision(late, ("hook",), covered_by=flood.id)])
    ledger.record([Revision(alert(2, "closed", start=T0 + 1_800_000))])
    assert ledger.recover(T0 + 1_802_000 + 3_600_000, 5.0) == []
    assert ledger.machine_state("yard") == machine()
    assert [closed.id for closed in ledger.recover(T0 + 1_802_001 + 3_600_000, 5.0)] == [flood.id]
    # Whether a picture is still wrong is seen in the next ones.
    assert [stored.alert.id for stored in ledger.open_alerts()] == [health.id]


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


# --- what waits, and for whom


def test_what_waits_is_counted_for_each_sink_and_read_in_pages(ledger):
    assert (ledger.outbox_counts(), ledger.undelivered(limit=3)) == ({}, [])
    for n in range(5):
        ledger.record([Revision(alert(start=T0 + 1000 * n), ("hook", "mqtt"))])
    first, second = ledger.pending("hook", T0, 2)
    ledger.acknowledge(first, T0)
    ledger.give_up(second, T0, "status 404")
    for delivery in ledger.pending("mqtt", T0, 9):
        ledger.acknowledge(delivery, T0)
    assert ledger.outbox_counts() == {"hook": OutboxCount(3, 1, alert(start=T0 + 2000).end)}
    pages, after = [], 0
    while page := ledger.undelivered(after, 3):
        pages.append(len(page))
        after = page[-1].number
    assert pages == [3, 1]
    assert ledger.undelivered() == ledger.undelivered(0, 100)


def test_recipients_are_asked_with_those_who_know_the_alert(ledger):
    asked, recorded = [], []

    def recipients(one, told):
        asked.append((one.revision, told))
        return ["hook", "mqtt"][: one.revision]

    ledger.recipients, ledger.on_recorded = recipients, lambda: recorded.append(ledger.find(alert().id).alert.revision)
    for one in (alert(), alert(2), alert(3, "closed")):
        ledger.record([Revision(one)])
    assert asked == [(1, ()), (2, ("hook",)), (3, ("hook", "mqtt"))]
    assert recorded == [1, 2, 3], "when it is on the disk"
    assert [len(waiting(ledger, sink)) for sink in ("hook", "mqtt")] == [1, 1]
    assert len(ledger.deliveries_of("hook", alert().id)) == 3
    assert len(ledger.deliveries_of("mqtt", alert().id)) == 2


def test_first_messages_and_what_was_withheld_since_the_last(ledger):
    for n in range(4):
        ledger.record([Revision(alert(start=T0 + n), ("hook",))])
    ledger.record([Revision(alert(2), ("hook",))])
    one, two, three, four = ledger.pending("hook", T0, 9)
    ledger.acknowledge(one, T0 + 10)
    (update,) = [d for d in ledger.pending("hook", T0, 9) if d.revision == 2]
    ledger.acknowledge(update, T0 + 20)
    assert ledger.first_told("hook", T0) == [T0 + 10]
    assert ledger.first_told("hook", T0 + 11) == []
    assert ledger.first_told("mqtt", T0) == []
    for delivery in (two, three):
        ledger.give_up(delivery, T0 + 30, WITHHELD)
    assert (ledger.num_withheld("hook"), ledger.num_withheld("mqtt")) == (2, 0)
    ledger.acknowledge(four, T0 + 40)
    assert ledger.num_withheld("hook") == 0
