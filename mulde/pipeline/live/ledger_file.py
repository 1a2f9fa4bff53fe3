"""The SQLite file of the ledger of alerts: its tables, and opening it with all that it may turn out to be."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal, get_args

from mulde.errors import MuldeError
from mulde.pipeline.live.alerts import AlertState

DeliveryState = Literal["waiting", "acknowledged", "given_up"]

_VERSION = 1
_BUSY_S = 10.0
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE alerts (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, camera TEXT NOT NULL, state TEXT NOT NULL,
    revision INTEGER NOT NULL, end_ms INTEGER NOT NULL, covered_by TEXT NOT NULL, json TEXT NOT NULL
);
CREATE INDEX alerts_open ON alerts (number) WHERE state != 'closed';
CREATE INDEX alerts_end ON alerts (end_ms);
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY, alert TEXT NOT NULL, revision INTEGER NOT NULL, sink TEXT NOT NULL, json TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', tries INTEGER NOT NULL DEFAULT 0, not_before_ms INTEGER NOT NULL DEFAULT 0,
    tried_ms INTEGER, reason TEXT NOT NULL DEFAULT '', UNIQUE (alert, sink, revision)
);
CREATE INDEX outbox_waiting ON outbox (sink, number) WHERE state = 'waiting';
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY, camera TEXT NOT NULL, id TEXT NOT NULL UNIQUE, start_ms INTEGER NOT NULL,
    end_ms INTEGER, reason TEXT NOT NULL DEFAULT '', counters TEXT NOT NULL DEFAULT '{{}}'
);
CREATE TABLE machines (camera TEXT PRIMARY KEY, state TEXT NOT NULL);
PRAGMA user_version = {_VERSION};
COMMIT;
"""

_MARKS = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS marks (
    alert TEXT PRIMARY KEY, mark TEXT NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL, marked_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS pauses (camera TEXT PRIMARY KEY, until_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS checks (number INTEGER PRIMARY KEY, utc_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS changes (alert TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS changes_number ON changes (number);
{}
COMMIT;
"""
_TRIGGER = """
CREATE TRIGGER IF NOT EXISTS {table}_{event} AFTER {event} ON {table} BEGIN
    UPDATE changes SET number = (SELECT max(number) + 1 FROM changes) WHERE alert = {row};
    INSERT INTO changes SELECT {row}, (SELECT ifnull(max(number), 0) + 1 FROM changes)
        WHERE NOT EXISTS (SELECT 1 FROM changes WHERE alert = {row});
END;
"""
# Not INSERT OR REPLACE: within a trigger, what the outer statement says of conflicts holds.
_TRIGGERS = (
    ("alerts", "INSERT", "new.id"), ("alerts", "UPDATE", "new.id"), ("marks", "INSERT", "new.alert"),
    ("marks", "UPDATE", "new.alert"), ("marks", "DELETE", "old.alert"),
)  # fmt: skip
_ADDED = _MARKS.format("".join(_TRIGGER.format(table=table, event=event, row=row) for table, event, row in _TRIGGERS))
"""What people say of alerts, and the number of the last change of each: tables that the first version did not have and
that a program of that version leaves alone."""

_TEXT, _WHOLE, _WHOLE_OR_NONE = "'text'", "'integer'", "'integer', 'null'"
_KINDS = {
    "alerts": {
        **dict.fromkeys(("id", "camera", "state", "covered_by", "json"), _TEXT),
        **dict.fromkeys(("revision", "end_ms"), _WHOLE),
    },
    "outbox": {
        **dict.fromkeys(("alert", "sink", "json", "state", "reason"), _TEXT),
        **dict.fromkeys(("revision", "tries", "not_before_ms"), _WHOLE),
        "tried_ms": _WHOLE_OR_NONE,
    },
    "sessions": {
        **dict.fromkeys(("camera", "id", "reason", "counters"), _TEXT),
        **{"start_ms": _WHOLE, "end_ms": _WHOLE_OR_NONE},
    },
    "machines": {"camera": _TEXT, "state": _TEXT},
}
_ADDED_KINDS = {
    "marks": {**dict.fromkeys(("alert", "mark", "who", "why"), _TEXT), "marked_ms": _WHOLE},
    "pauses": {"camera": _TEXT, "until_ms": _WHOLE},
    "changes": {"alert": _TEXT, "number": _WHOLE},
}
_STATES = {"alerts": get_args(AlertState), "outbox": get_args(DeliveryState)}


@contextmanager
def opened(path: Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    """A connection for the threads of this process, one at a time, without transactions of its own.

    To be written, it is made where there is none; to be read, nothing is changed and no writer ever waits. Raises
    MuldeError for anything else than a file, for one of another version and for one that holds what `watch` never
    wrote, and sqlite3.Error where the disk fails or the file is of another program.
    """
    if not path.is_file() and (path.exists() or not write):
        got = "something else" if path.exists() else "none"
        raise MuldeError(f"ledger {path}", expected="a file", got=got, hint="the folder of a mulde watch")
    mode = "mode=rwc" if write else "mode=ro"
    if not write and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists():
        mode += "&immutable=1"  # nobody writes it now, and SQLite could not make the files that it reads with
    address = f"{path.absolute().as_uri()}?{mode}"
    with closing(
        sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    ) as connection:
        connection.row_factory = sqlite3.Row
        if write and connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise MuldeError(f"ledger {path}", expected=f"version {_VERSION}", got=version)
        if write and not has_marks(connection):
            connection.executescript(_ADDED)
        # Every commit is on the disk before anyone is told of what it holds.
        connection.execute("PRAGMA synchronous = FULL")
        _check(connection, path)
        yield connection


def has_marks(connection: sqlite3.Connection) -> bool:
    """Whether a ledger has the tables of marks and pauses, which one of an older version does not."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'changes'"
    return connection.execute(query).fetchone() is not None


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """SQLite accepts any type in any column; `watch` writes only those of the schema."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise MuldeError(f"ledger {path} is damaged ({verdict})", hint="another --out")
    for table, kinds in {**_KINDS, **(_ADDED_KINDS if has_marks(connection) else {})}.items():
        wrong = [f"typeof({column}) NOT IN ({kind})" for column, kind in kinds.items()]
        if table in _STATES:
            wrong.append(f"state NOT IN ({', '.join(map(repr, _STATES[table]))})")
        row = connection.execute(f"SELECT {', '.join(kinds)} FROM {table} WHERE {' OR '.join(wrong)}").fetchone()
        if row is not None:
            got = ", ".join(f"{name} {str(row[name])[:40]!r}" for name in kinds)
            raise MuldeError(f"ledger {path}: a row of {table}", expected="what mulde watch wrote", got=got)
