"""Events of a run as tables: events.csv and events.parquet, a row each, and events.json with all that is known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mulde.errors import MuldeError
from mulde.files import output_path, whole_file, write_csv, write_json
from mulde.pipeline.region_scores import CORNERS, STREAM_PREFIX
from mulde.records import EventRegion, Float32, NormalMoment, Reason, SeenEvent

if TYPE_CHECKING:
    import pandas as pd

EVENTS, _ROWS = "events", "event_rows.parquet"
_COLUMNS = {
    "event_id": str, "video": str, "start_frame": np.int64, "end_frame": np.int64, "start_s": float, "end_s": float,
    "peak_frame": np.int64, "peak_s": float, "score": float, "p_value": float, "stream": str, "reason": str,
    "object": str, "track_id": np.int64, "region_frame": np.int64, **dict.fromkeys(CORNERS, float), "exemption": str,
}  # fmt: skip


def events_table(events: Sequence[SeenEvent]) -> pd.DataFrame:
    """One row per event; region columns are -1 and NaN where an event has none, score_<stream> its streams' shares."""
    import pandas as pd

    streams = dict.fromkeys(name for event in events if event.reason for name in event.reason.streams)
    rows = [_row(event) for event in events]
    columns = _COLUMNS | {f"{STREAM_PREFIX}{name}": float for name in streams}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def write_events(events: Sequence[SeenEvent], folder: Path) -> None:
    """`<folder>/events.csv`, `.parquet` and `.json`, each whole."""
    table = events_table(events)
    write_csv(table, folder / f"{EVENTS}.csv")
    with whole_file(folder / f"{EVENTS}.parquet") as partial:
        table.to_parquet(partial, index=False)
    write_json(folder / f"{EVENTS}.json", [{"event_id": event.event_id, **asdict(event)} for event in events])


def read_events(folder: Path) -> list[SeenEvent]:
    """The events of a run folder; none where it has no events.json. Raises MuldeError for one that is damaged."""
    path = folder / f"{EVENTS}.json"
    if not path.is_file():
        return []
    try:
        return [_event(one) for one in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise MuldeError(f"events {path} cannot be read ({error})", hint="mulde score") from None


def write_event_rows(rows: Mapping[str, tuple[str, Float32]], folder: Path) -> None:
    """`<folder>/event_rows.parquet`: for each event id the stream that drove it and its row (D,) as extracted."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "event_id": pa.array(list(rows), pa.string()),
        "stream": pa.array([stream for stream, _ in rows.values()], pa.string()),
        "values": pa.array([values for _, values in rows.values()], pa.list_(pa.float32())),
    }
    with whole_file(folder / _ROWS) as partial:
        pq.write_table(pa.table(columns), partial)


def read_event_rows(folder: Path) -> dict[str, tuple[str, Float32]]:
    """What `write_event_rows` wrote; none where there is no such file. Raises MuldeError for one that is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / _ROWS
    if not path.is_file():
        return {}
    try:
        rows = pq.read_table(path).to_pylist()
        return {row["event_id"]: (row["stream"], np.array(row["values"], np.float32)) for row in rows}
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise MuldeError(f"rows of events {path} cannot be read ({error})", hint="mulde score") from None


def by_video(events: Iterable[SeenEvent]) -> dict[str, list[SeenEvent]]:
    """The events of each video that has any, in their order."""
    found: dict[str, list[SeenEvent]] = {}
    for event in events:
        found.setdefault(event.video, []).append(event)
    return found


def picture_path(folder: Path, event: SeenEvent, ending: str) -> Path:
    """Where a picture or clip of an event lies below a folder of such: `<folder>/<video>/<peak frame><ending>`."""
    return output_path(folder, event.video) / f"{event.peak_frame:06d}{ending}"


def _row(event: SeenEvent) -> dict[str, Any]:
    reason = event.reason or Reason("", "")
    region = reason.region
    corners = region.box_xyxy if region else (np.nan,) * 4
    return {
        **{name: getattr(event, name) for name in _COLUMNS if hasattr(event, name) and name != "reason"},
        "stream": reason.stream,
        "reason": reason.text,
        "object": region.what if region else "",
        "track_id": region.track_id if region else -1,
        "region_frame": region.frame_index if region else -1,
        **dict(zip(CORNERS, corners, strict=True)),
        **{f"{STREAM_PREFIX}{name}": value for name, value in reason.streams.items()},
    }


def _event(one: Mapping[str, Any]) -> SeenEvent:
    own = {name: value for name, value in one.items() if name not in ("event_id", "reason")}
    return SeenEvent(**own, reason=None if one["reason"] is None else _reason(one["reason"]))


def _reason(one: Mapping[str, Any]) -> Reason:
    region = one["region"]
    return Reason(
        stream=one["stream"],
        text=one["text"],
        streams=one["streams"],
        region=region and EventRegion(**{**region, "box_xyxy": tuple(region["box_xyxy"])}),
        scales=tuple((float(level), float(excess)) for level, excess in one["scales"]),
        groups=tuple((str(name), float(share)) for name, share in one["groups"]),
        facts=one["facts"],
        nearest=tuple(NormalMoment(**moment) for moment in one["nearest"]),
    )
