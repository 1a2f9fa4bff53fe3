"""Events of a run folder that grows: batches are parts of their own until the tables take them in.

Old events are not parsed for new ones: JSON and CSV are continued after a copy of their bytes, Parquet by streaming its
row groups. Each table is replaced atomically, and parts stay until all tables hold them, so that the next start repairs
whatever a kill leaves.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mulde.errors import MuldeError
from mulde.events import Event, sorted_events
from mulde.files import atomic_write, write_csv, write_json, write_text
from mulde.pipeline.events.tables import (
    EVENTS,
    ROWS,
    EventEntry,
    EventRows,
    event_of,
    event_rows_table,
    events_json,
    events_table,
    read_event_rows,
    read_events,
    write_event_rows,
    write_events,
)
from mulde.records import Float32
from mulde.typed import FileModel, VideoName, read_typed

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

PARTS = ".event_parts"
_PART, _GATHERING = "part.json", "gathering"
_ROWS_IN_GROUP = 50_000
_MAX_PART_BYTES = 2**28
_END = b"\n]\n"

Suppress = Callable[[Sequence[Event], EventRows], list[Event]]
"""Sets the `suppression` of events with these rows."""


class _PartFile(FileModel):
    videos: list[VideoName]
    events: list[EventEntry]


@dataclass(frozen=True)
class EventParts:
    """The events of the run folder `root` that its tables do not contain yet."""

    root: Path

    def add(self, videos: Collection[str], events: Sequence[Event], rows: EventRows) -> None:
        """Keep the events of a batch of videos, which replace all earlier events of these videos."""
        part = self.root / PARTS / f"{max([0, *map(_number, self._folders())]) + 1:08d}"
        write_event_rows(rows, part)
        write_json(part / _PART, {"videos": sorted(videos), "events": events_json(events)})

    def gather(self, suppress: Suppress, *, for_all: bool = False) -> int | None:
        """Add the parts to the tables; the number of events that they then hold, None where there was nothing to do.
        for_all: `suppress` has changed, so that it concerns the events of the tables too."""
        folders = self._folders()
        journal = self.root / PARTS / _GATHERING
        if not folders and not for_all and not journal.exists():
            return None
        videos, events, rows = self._read(folders)
        in_place = not for_all and not journal.exists()
        write_text(journal, "")
        count = self._append(videos, suppress(events, rows), rows) if in_place else None
        if count is None:
            count = self._rewrite(videos, events, rows, suppress)
        for folder in folders:
            (folder / _PART).unlink()  # first: a part without this file does not count
        shutil.rmtree(journal.parent)
        return count

    def waiting(self) -> tuple[list[Event], EventRows]:
        """The events of the parts with their rows; none where the tables take them in at this moment."""
        try:
            _, events, rows = self._read(self._folders())
        except MuldeError:
            if self._folders():
                raise
            return [], {}
        return events, rows

    def _folders(self) -> list[Path]:
        return sorted(path.parent for path in (self.root / PARTS).glob(f"[0-9]*/{_PART}"))

    def _read(self, folders: Sequence[Path]) -> tuple[set[str], list[Event], dict[str, tuple[str, Float32]]]:
        """Of a video in several parts, which a kill can leave, the last part counts."""
        events_of: dict[str, list[Event]] = {}
        rows: dict[str, tuple[str, Float32]] = {}
        for folder in folders:
            part = read_typed(folder / _PART, _PartFile, max_bytes=_MAX_PART_BYTES, hint="mulde score")
            events_of |= {video: [] for video in part.videos}
            for event in map(event_of, part.events):
                events_of[event.video].append(event)
            rows |= read_event_rows(folder)
        events = sorted_events(event for events in events_of.values() for event in events)
        kept = {event.event_id for event in events}
        return set(events_of), events, {event_id: row for event_id, row in rows.items() if event_id in kept}

    def _append(self, videos: set[str], events: Sequence[Event], rows: EventRows) -> int | None:
        """The number of events; None, with nothing done, where the tables cannot be continued."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        paths = [self.root / f"{EVENTS}{suffix}" for suffix in (".json", ".csv", ".parquet")]
        as_json, as_csv, as_parquet = paths
        if not all(path.is_file() for path in (*paths, self.root / ROWS)) or not _ends_like_json(as_json):
            return None
        try:
            schema = pq.read_schema(as_parquet)
            known = pq.read_table(as_parquet, columns=["video"])["video"]
            table = events_table(events)
            if pc.any(pc.is_in(known, pa.array(sorted(videos)))).as_py() or set(table.columns) - set(schema.names):
                return None
            if not events:
                return len(known)
            table = table.reindex(columns=schema.names)
            _continue_parquet(self.root / ROWS, event_rows_table(rows))
            self._continue_json(as_json, events)
            self._continue_csv(as_csv, table)
            _continue_parquet(as_parquet, pa.Table.from_pandas(table, preserve_index=False))
        except (pa.ArrowException, ValueError):  # a damaged table: events.json has all of its content
            return None
        return len(known) + len(events)

    def _continue_json(self, path: Path, events: Sequence[Event]) -> None:
        added = self.root / PARTS / path.name
        write_json(added, events_json(events))
        with atomic_write(path) as partial, path.open("rb") as old, partial.open("wb") as new, added.open("rb") as more:
            shutil.copyfileobj(old, new)
            new.seek(-len(_END), os.SEEK_END)
            more.seek(1)  # behind the bracket
            new.write(b",")
            shutil.copyfileobj(more, new)

    def _continue_csv(self, path: Path, table: pd.DataFrame) -> None:
        added = self.root / PARTS / path.name
        write_csv(table, added)
        with atomic_write(path) as partial, path.open("rb") as old, partial.open("wb") as new, added.open("rb") as more:
            shutil.copyfileobj(old, new)
            more.readline()  # the heading
            shutil.copyfileobj(more, new)

    def _rewrite(self, videos: set[str], events: Sequence[Event], rows: EventRows, suppress: Suppress) -> int:
        others = [event for event in read_events(self.root) if event.video not in videos]
        kept = {event.event_id for event in others}
        all_rows = {key: row for key, row in read_event_rows(self.root).items() if key in kept} | dict(rows)
        all_events = suppress(sorted_events([*others, *events]), all_rows)
        write_event_rows(all_rows, self.root)
        write_events(all_events, self.root)
        return len(all_events)


def _number(folder: Path) -> int:
    return int(folder.name)


def _ends_like_json(path: Path) -> bool:
    """Whether it is a list with something in it, as `write_json` writes one."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - len(_END), 0))
        return file.read() == _END


def _continue_parquet(path: Path, added: pa.Table) -> None:
    """Rows in groups of `_ROWS_IN_GROUP`, with one group in memory at a time."""
    import pyarrow.parquet as pq

    with atomic_write(path) as partial, pq.ParquetFile(path) as old:
        schema = old.schema_arrow
        with pq.ParquetWriter(partial, schema) as new:
            for batch in old.iter_batches(batch_size=_ROWS_IN_GROUP):
                new.write_batch(batch, row_group_size=_ROWS_IN_GROUP)
            new.write_table(added.cast(schema))
