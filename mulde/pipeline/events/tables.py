"""Events of a run as tables: events.csv and events.parquet, a row each, and events.json with all that is known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from mulde.errors import MuldeError
from mulde.events import Event, EventRegion, Reason, ReferenceSample, sorted_events
from mulde.files import atomic_write, write_csv, write_json
from mulde.names import output_path
from mulde.parquet import finite, read_parquet, reading
from mulde.pipeline.scoring.regions import STREAM_PREFIX
from mulde.records import Float32
from mulde.store.store import BOX_COLUMNS
from mulde.typed import (
    Count,
    FileModel,
    Number,
    OrNone,
    Positive,
    Probability,
    VideoName,
    distinct,
    known_fields,
    read_typed,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EventRows = Mapping[str, tuple[str, Float32]]
"""Event id -> the stream that drove it and its row (D,) there."""

EVENTS, ROWS = "events", "event_rows.parquet"
_MAX_EVENT_BYTES = 2**29
_COLUMNS = {
    "event_id": str, "video": str, "start_frame": np.int64, "end_frame": np.int64, "start_s": float, "end_s": float,
    "peak_frame": np.int64, "peak_s": float, "score": float, "p_value": float, "stream": str, "reason": str,
    "object": str, "track_id": np.int64, "region_frame": np.int64, **dict.fromkeys(BOX_COLUMNS, float),
    "exemption": str,
}  # fmt: skip


def events_table(events: Sequence[Event]) -> pd.DataFrame:
    """One row per event; region columns are -1 and NaN where an event has none, score_<stream> its streams' shares."""
    import pandas as pd

    streams = dict.fromkeys(name for event in events if event.reason for name in event.reason.streams)
    rows = [_row(event) for event in events]
    columns = _COLUMNS | {f"{STREAM_PREFIX}{name}": float for name in streams}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def write_events(events: Sequence[Event], folder: Path) -> None:
    """`<folder>/events.csv`, `.parquet` and `.json`, each whole."""
    table = events_table(events)
    write_csv(table, folder / f"{EVENTS}.csv")
    with atomic_write(folder / f"{EVENTS}.parquet") as partial:
        table.to_parquet(partial, index=False)
    write_json(folder / f"{EVENTS}.json", events_json(events))


def events_json(events: Iterable[Event]) -> list[dict[str, Any]]:
    """What `<folder>/events.json` holds of the events."""
    return [_as_json(event) for event in events]


def _as_json(event: Event) -> dict[str, Any]:
    """The fields of an event; files and tables have its suppression as `exemption`."""
    fields = {"event_id": event.event_id, **asdict(event)}
    fields["exemption"] = fields.pop("suppression")
    return fields


def read_events(folder: Path) -> list[Event]:
    """The events of a run folder, the least likely first; none where it has no events.json.

    Raises MuldeError for one that is damaged.
    """
    path = folder / f"{EVENTS}.json"
    if not path.is_file():
        return []
    entries = read_typed(path, list[EventEntry], max_bytes=_MAX_EVENT_BYTES, hint="mulde score")
    with reading("events", path, hint="mulde score"):
        events = [event_of(entry) for entry in entries]
        distinct((event.event_id for event in events), "event_id")
    return sorted_events(events)


def write_event_rows(rows: EventRows, folder: Path) -> None:
    """`<folder>/event_rows.parquet`: for each event id the stream that drove it and its row (D,) as extracted."""
    import pyarrow.parquet as pq

    with atomic_write(folder / ROWS) as partial:
        pq.write_table(event_rows_table(rows), partial)


def event_rows_table(rows: EventRows) -> pa.Table:
    """What `<folder>/event_rows.parquet` holds of the rows."""
    import pyarrow as pa

    columns = {
        "event_id": pa.array(list(rows), pa.string()),
        "stream": pa.array([stream for stream, _ in rows.values()], pa.string()),
        "values": pa.array([values for _, values in rows.values()], pa.list_(pa.float32())),
    }
    return pa.table(columns)


def read_event_rows(folder: Path) -> dict[str, tuple[str, Float32]]:
    """What `write_event_rows` wrote; none where there is no such file. Raises MuldeError for one that is damaged."""
    path = folder / ROWS
    if not path.is_file():
        return {}
    with reading("rows of events", path, hint="mulde score"):
        table = read_parquet(path, {"event_id": "text", "stream": "text", "values": "lists"}, facts=False)
        distinct(table.text["event_id"], "event_id")
        rows = dict(
            zip(table.text["event_id"], zip(table.text["stream"], table.lists("values"), strict=True), strict=True)
        )
        widths: dict[str, int] = {}
        for event_id, (stream, values) in rows.items():
            finite(f"values of {event_id}", values)
            if len(values) != widths.setdefault(stream, len(values)):
                raise MuldeError(f"values of {event_id}", expected=f"{widths[stream]} numbers", got=len(values))
        return rows


def by_video(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events of each video that has any, in their order."""
    events_of: dict[str, list[Event]] = {}
    for event in events:
        events_of.setdefault(event.video, []).append(event)
    return events_of


def picture_path(folder: Path, event: Event, ending: str) -> Path:
    """Where a picture or clip of an event lies below a folder of such: `<folder>/<video>/<peak frame><ending>`."""
    return output_path(folder, event.video) / f"{event.peak_frame:06d}{ending}"


def _row(event: Event) -> dict[str, Any]:
    reason = event.reason or Reason("", "")
    region = reason.region
    corners = region.box_xyxy if region else (np.nan,) * 4
    return {
        **{name: getattr(event, name) for name in _COLUMNS if hasattr(event, name) and name != "reason"},
        "exemption": event.suppression,
        "stream": reason.stream,
        "reason": reason.text,
        "object": region.what if region else "",
        "track_id": region.track_id if region else -1,
        "region_frame": region.frame_index if region else -1,
        **dict(zip(BOX_COLUMNS, corners, strict=True)),
        **{f"{STREAM_PREFIX}{name}": value for name, value in reason.streams.items()},
    }


class _RegionEntry(FileModel):
    frame_index: Count
    box_xyxy: Annotated[list[Number], Field(min_length=4, max_length=4)]
    track_id: OrNone
    what: str


class _ReferenceSampleEntry(FileModel):
    moment: Count
    video: VideoName
    frame_index: Count
    time_s: Number
    distance: Positive


class _ReasonEntry(FileModel):
    stream: str
    text: str
    streams: dict[str, Number]
    region: _RegionEntry | None
    scales: list[Annotated[list[Number], Field(min_length=2, max_length=2)]]
    groups: list[Annotated[tuple[str, Number], Field(strict=False)]]
    facts: dict[str, Number]
    nearest: list[_ReferenceSampleEntry]


class EventEntry(FileModel):
    video: VideoName
    start_frame: Count
    end_frame: Count
    start_s: Number
    end_s: Number
    peak_frame: Count
    peak_s: Number
    score: Number
    p_value: Probability
    reason: _ReasonEntry | None
    suppression: str = Field("", alias="exemption")


def event_of(entry: EventEntry) -> Event:
    return Event(**{**known_fields(entry), "reason": None if entry.reason is None else _reason(entry.reason)})


def _reason(entry: _ReasonEntry) -> Reason:
    return Reason(
        stream=entry.stream,
        text=entry.text,
        streams=entry.streams,
        region=None if entry.region is None else _region(entry.region),
        scales=tuple((level, excess) for level, excess in entry.scales),
        groups=tuple((name, share) for name, share in entry.groups),
        facts=entry.facts,
        nearest=tuple(ReferenceSample(**known_fields(sample)) for sample in entry.nearest),
    )


def _region(entry: _RegionEntry) -> EventRegion:
    x0, y0, x1, y1 = entry.box_xyxy
    return EventRegion(entry.frame_index, (x0, y0, x1, y1), entry.track_id, entry.what)
