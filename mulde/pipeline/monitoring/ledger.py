"""The ledger of a watched folder: what became of each file, in one SQLite file that survives a kill at any time.

A file is an entry for each content that was scored; of the entries with one path all but one are `replaced`.
"""

from __future__ import annotations

import csv
import json
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mulde.errors import MuldeError, UsageError
from mulde.files import atomic_write, csv_cell, parse_json
from mulde.names import valid_text
from mulde.pipeline.run_folder import LEDGER

TABLE = "watched.csv"
WAITING, WORKING, DONE, FAILED, REPLACED, GONE = "waiting", "working", "done", "failed", "replaced", "gone"
MAX_CUT_SHORT = 5
"""After this many deaths of the process on one file, the file is taken to be the reason."""

_VERSION = 1
# A commit need not reach the disk before the next one: what a power cut takes is scored again, a kill takes nothing.
# One process alone needs no shared memory for that, which drives on a network do not have.
_MODES = ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL")
_SCHEMA = f"""
BEGIN;
CREATE TABLE files (
    entry INTEGER PRIMARY KEY, path TEXT NOT NULL, video TEXT NOT NULL, state TEXT NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    cut_short INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', sha256 TEXT, num_frames INTEGER,
    num_events INTEGER, lowest_p_value REAL, worst_event TEXT, scored_at TEXT
);
CREATE UNIQUE INDEX files_path ON files (path) WHERE state != '{REPLACED}';
CREATE INDEX files_waiting ON files (path) WHERE state = '{WAITING}';
CREATE INDEX files_video ON files (video COLLATE NOCASE);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version = {_VERSION};
COMMIT;
"""

_TEXT, _WHOLE, _NUMBER = "'text'", "'integer'", "'real', 'integer'"
_KINDS = {
    "files": {
        **dict.fromkeys(("path", "video", "state", "reason"), _TEXT),
        **dict.fromkeys(("size", "mtime_ns", "tries", "cut_short"), _WHOLE),
        **dict.fromkeys(("sha256", "worst_event", "scored_at"), f"{_TEXT}, 'null'"),
        **dict.fromkeys(("num_frames", "num_events"), f"{_WHOLE}, 'null'"),
        "lowest_p_value": f"{_NUMBER}, 'null'",
    },
    "facts": {"name": _TEXT, "value": _TEXT},
}


class Stamp(NamedTuple):
    """What shows that a file has changed, without reading it."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """None where the file does not exist or cannot be reached."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class LedgerEntry:
    """One content of one file, as the ledger knows it."""

    number: int
    video: str
    state: str
    tries: int
    sha256: str | None


@dataclass(frozen=True)
class Scored:
    """What the ledger keeps of a video's scores: lowest_p_value of its frames, None without normal video; worst_event
    is the reason of the least likely one."""

    sha256: str
    num_frames: int
    num_events: int
    lowest_p_value: float | None
    worst_event: str = ""


def key(path: str) -> str:
    """A path as text for the ledger: bytes of a name that are no UTF-8 are written out."""
    return path.encode("utf-8", "backslashreplace").decode()


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """SQLite accepts any type in any column; a watcher writes only those of the schema."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise MuldeError(f"ledger {path} is damaged ({verdict})", hint="another --out")
    for table, kinds in _KINDS.items():
        wrong = " OR ".join(f"typeof({column}) NOT IN ({kind})" for column, kind in kinds.items())
        row = connection.execute(f"SELECT rowid, * FROM {table} WHERE {wrong} LIMIT 1").fetchone()
        if row is not None:
            got = ", ".join(f"{name} {str(row[name])[:40]!r}" for name in kinds)
            raise MuldeError(f"ledger {path}: a row of {table}", expected="what a watcher wrote", got=got)
    states = ", ".join(f"'{state}'" for state in (WAITING, WORKING, DONE, FAILED, REPLACED, GONE))
    unknown = connection.execute(f"SELECT state FROM files WHERE state NOT IN ({states}) LIMIT 1").fetchone()
    if unknown is not None:
        raise MuldeError(f"ledger {path}: state", expected=states, got=repr(unknown[0]))


class Ledger:
    """Entries of files by their path relative to the watched folder. For one process at a time.

    Raises sqlite3.Error where the disk fails.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    @contextmanager
    def open(cls, root: Path) -> Iterator[Ledger]:
        """The ledger of a run folder, made where there is none. Raises MuldeError for one of another version, and for
        one that holds what no watcher wrote."""
        path = root / LEDGER
        if path.exists() and not path.is_file():
            raise MuldeError(f"ledger {path}", expected="a file", got="something else", hint="another --out")
        with closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            for mode in _MODES:
                connection.execute(f"PRAGMA {mode}")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(_SCHEMA)
            elif version != _VERSION:
                raise MuldeError(f"ledger {path}", expected=f"version {_VERSION}", got=version)
            _check(connection, path)
            yield cls(connection)

    def claim(self, facts: Mapping[str, object], hint: str) -> None:
        """Record the facts that all entries share. Raises UsageError where one differs from what is on record."""
        stored = self._db.execute("SELECT name, value FROM facts")
        known = {name: parse_json(value, f"ledger {LEDGER}, {name}") for name, value in stored}
        for name, value in facts.items():
            if known.get(name, value) != value:
                raise UsageError(
                    f"what was watched here had another {name}", expected=known[name], got=value, hint=hint
                )
        with self._db:
            rows = [(name, json.dumps(value)) for name, value in facts.items()]
            self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    def recover(self) -> list[str]:
        """The videos that a process was working on when it died: they wait again or, after too many deaths, fail."""
        with self._db:
            videos = [row["video"] for row in self._rows("state = ?", WORKING)]
            self._db.execute(
                "UPDATE files SET state = ?, cut_short = cut_short + 1 WHERE state = ?", (WAITING, WORKING)
            )
            reason = f"the watcher died {MAX_CUT_SHORT} times while it worked on it"
            self._db.execute(
                "UPDATE files SET state = ?, reason = ? WHERE state = ? AND cut_short >= ?",
                (FAILED, reason, WAITING, MAX_CUT_SHORT),
            )
        return videos

    def settled(self) -> dict[str, Stamp]:
        """The keys of the files for which nothing is left to do unless they change."""
        rows = self._db.execute("SELECT path, size, mtime_ns FROM files WHERE state IN (?, ?)", (DONE, FAILED))
        return {path: Stamp(size, mtime_ns) for path, size, mtime_ns in rows}

    def unfinished(self) -> dict[str, int]:
        """The keys of the files that wait for another try, each with the number of times that a process died on it."""
        rows = self._db.execute(f"SELECT path, cut_short FROM files WHERE state = '{WAITING}'")
        return dict(rows.fetchall())

    def find(self, path: str) -> LedgerEntry | None:
        """The entry of a file that counts."""
        row = next(self._rows("path = ? AND state != ?", key(path), REPLACED), None)
        return (
            None if row is None else LedgerEntry(row["entry"], row["video"], row["state"], row["tries"], row["sha256"])
        )

    def take(self, path: str, stamp: Stamp) -> LedgerEntry:
        """Mark a file as being processed. Where other content of it was scored before, it gets a new entry and the old
        one is replaced; otherwise changed content starts again at the first try."""
        known = self.find(path)
        with self._db:
            if known is None or known.state == DONE:
                if known is not None:
                    self._db.execute("UPDATE files SET state = ? WHERE entry = ?", (REPLACED, known.number))
                self._db.execute(
                    "INSERT INTO files (path, video, state, size, mtime_ns) VALUES (?, ?, ?, ?, ?)",
                    (key(path), known.video if known else self._name(path), WORKING, stamp.size, stamp.mtime_ns),
                )
            else:
                same = "size = :size AND mtime_ns = :mtime_ns"
                self._db.execute(
                    f"UPDATE files SET state = :state, tries = iif({same}, tries, 0), "
                    f"cut_short = iif({same}, cut_short, 0), size = :size, mtime_ns = :mtime_ns WHERE entry = :entry",
                    {"state": WORKING, "size": stamp.size, "mtime_ns": stamp.mtime_ns, "entry": known.number},
                )
        taken = self.find(path)
        if taken is None:
            raise MuldeError(f"ledger {LEDGER}", expected=f"the entry of {path} that was just written", got="none")
        return taken

    def done(self, entry: LedgerEntry, scored: Scored, scored_at: str) -> None:
        self._set(entry, state=DONE, reason="", scored_at=scored_at, **vars(scored))

    def failed(self, entry: LedgerEntry, reason: str, *, for_good: bool) -> None:
        """Count a failed try."""
        self._set(entry, state=FAILED if for_good else WAITING, tries=entry.tries + 1, reason=key(reason))

    def put_back(self, entry: LedgerEntry) -> None:
        """Let a file that is still being processed wait again; this does not count as a try."""
        with self._db:
            self._db.execute(
                "UPDATE files SET state = ? WHERE entry = ? AND state = ?", (WAITING, entry.number, WORKING)
            )

    def gone(self, entry: LedgerEntry) -> None:
        """A file was removed before it was scored; if it returns, its entry continues."""
        self._set(entry, state=GONE, reason="removed before it was scored")

    def touched(self, entry: LedgerEntry, stamp: Stamp) -> None:
        """A file has another time and the same content."""
        self._set(entry, size=stamp.size, mtime_ns=stamp.mtime_ns)

    def failures(self, paths: Iterable[str]) -> dict[str, str]:
        """Of the files, those that have failed for good: video -> reason."""
        wanted = {key(path) for path in paths}
        return {row["video"]: row["reason"] for row in self._rows("state = ?", FAILED) if row["path"] in wanted}

    def export(self, path: Path) -> None:
        """All entries as CSV."""
        rows = self._db.execute("SELECT * FROM files ORDER BY entry")
        with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([column[0] for column in rows.description])
            writer.writerows([csv_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)

    def _name(self, path: str) -> str:
        """A name for the scores that no other file has: without its ending, or with it, or with a number."""
        whole = PurePosixPath(unicodedata.normalize("NFC", valid_text(path)))  # else two names are one on some disks
        candidates = [whole.with_suffix("").as_posix(), whole.as_posix()]
        number = 2
        while any(self._rows("video = ? COLLATE NOCASE", candidates[0])):
            candidates = [*candidates[1:], f"{whole}~{number}"]
            number += 1
        return candidates[0]

    def _rows(self, condition: str, *values: object) -> Iterator[sqlite3.Row]:
        return iter(self._db.execute(f"SELECT * FROM files WHERE {condition}", values))

    def _set(self, entry: LedgerEntry, **values: object) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        with self._db:
            self._db.execute(f"UPDATE files SET {columns} WHERE entry = ?", (*values.values(), entry.number))
