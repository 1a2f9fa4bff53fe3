"""Marks beside the ledger, and the numbers of changes by which nobody misses one."""

from __future__ import annotations

import sqlite3

import pytest

from mulde.errors import MuldeError
from mulde.pipeline.live.alert_book import AlertBook, as_json
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.run_folder import ALERTS

from .stored_alerts import T0, alert


@pytest.fixture
def ledger(tmp_path):
    with AlertLedger.open(tmp_path) as ledger:
        yield ledger


@pytest.fixture
def book(ledger, tmp_path):
    with AlertBook.open(tmp_path, write=True) as book:
        yield book


def numbers(book, after=0):
    return [(number, booked.alert.id) for number, booked in book.changes(after, 1000)]


def test_every_revision_and_every_mark_is_a_change(ledger, book):
    """By an independent count: one more each time, and the alert that changed is the last."""
    first, second = alert(), alert(start=T0 + 1000)
    steps = [
        (first.id, lambda: ledger.record([Revision(first)])),
        (second.id, lambda: ledger.record([Revision(second)])),
        (first.id, lambda: ledger.record([Revision(first.next_revision("updated", score=9.0))])),
        (first.id, lambda: book.mark(first.id, "seen", "", "", T0)),
        (second.id, lambda: book.mark(second.id, "true", "Ann", "", T0)),
        (second.id, lambda: book.mark(second.id, "seen", "Ann", "", T0)),
        (second.id, lambda: book.mark(second.id, "", "", "", T0)),
    ]
    for number, (alert_id, step) in enumerate(steps, start=1):
        step()
        assert book.last_change() == number
        assert numbers(book, number - 1) == [(number, alert_id)]
    assert numbers(book) == [(4, first.id), (7, second.id)], "each alert once, with its last change"
    assert [number for number, _ in book.changes(0, 1)] == [4]


def test_what_changes_nothing_is_no_change(ledger, book):
    ledger.record([Revision(alert())])
    ledger.record([Revision(alert())])
    book.mark(alert().id, "seen", "Ann", "why", T0)
    book.mark(alert().id, "seen", "Ann", "why", T0 + 5000)
    book.mark("nobody", "", "", "", T0)
    assert book.last_change() == 2
    assert book.find(alert().id).marked_ms == T0


def test_a_transaction_that_fails_is_no_change(ledger, book):
    ledger.record([Revision(alert())])
    with pytest.raises(Exception, match="revision"):
        ledger.record([Revision(alert(start=T0 + 5000)), Revision(alert(revision=5))])
    assert numbers(book) == [(1, alert().id)]


def test_a_ledger_of_the_version_before_gets_its_tables_and_loses_nothing(tmp_path):
    with AlertLedger.open(tmp_path) as ledger:
        ledger.record([Revision(alert())])
    with sqlite3.connect(tmp_path / ALERTS) as old:
        for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            old.execute(f"DROP TRIGGER {name}")
        for table in ("marks", "pauses", "checks", "changes"):
            old.execute(f"DROP TABLE {table}")
    old.close()
    with AlertBook.open(tmp_path, write=False) as book:
        assert (book.last_change(), book.changes(0, 9), book.num_to_look_at()) == (0, [], 1)
        assert [booked.mark for booked in book.alerts(limit=5)] == [""]
        with pytest.raises(sqlite3.OperationalError):
            book.mark(alert().id, "seen", "", "", T0)
    with AlertLedger.open(tmp_path) as ledger, AlertBook.open(tmp_path, write=True) as book:
        assert ledger.pauses() == {}
        book.mark(alert().id, "seen", "", "", T0)
        ledger.record([Revision(alert().next_revision("updated", score=9.0))])
        assert numbers(book) == [(2, alert().id)]


def test_a_ledger_with_marks_that_nobody_wrote_is_refused(tmp_path):
    with AlertLedger.open(tmp_path):
        pass
    with sqlite3.connect(tmp_path / ALERTS) as broken:
        broken.execute("INSERT INTO marks VALUES ('a', x'00', 'who', 'why', 5)")
    broken.close()
    with pytest.raises(MuldeError, match="a row of marks"), AlertBook.open(tmp_path, write=False):
        pass


def test_marks_and_alerts_together(ledger, book):
    ledger.record([Revision(alert())])
    book.mark(alert().id, "true", "Ann", "a fight", T0)
    found = as_json(book.find(alert().id))
    assert (found["mark"], found["marked_by"], found["why"], found["marked_utc_ms"]) == ("true", "Ann", "a fight", T0)
    assert book.find("nobody") is None


def test_a_reader_never_waits_for_who_writes(ledger, book):
    """The loop that watches has a transaction open all the time."""
    ledger.record([Revision(alert())])
    ledger._db.execute("BEGIN IMMEDIATE")
    ledger._db.execute("UPDATE alerts SET end_ms = 0")
    assert [booked.alert.id for booked in book.alerts(limit=5)] == [alert().id]
    assert book.last_change() == 1
    ledger._db.execute("ROLLBACK")


def test_a_disk_that_takes_nothing_is_noticed(ledger, book):
    book.check_writable(T0)
    book._db.execute("PRAGMA query_only = 1")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        book.check_writable(T0)
