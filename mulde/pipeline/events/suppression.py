"""The operator's word that an event is normal: how it is kept, and which events it covers.

`exemptions.json` of a run folder: {"schema", "exemptions": [as `Exemption`; "applied" of a proposal is null], "rows":
{id: the row of the marked event}}. Ids are never used again, and what is undone stays on record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field

from mulde.digests import file_digest
from mulde.errors import MuldeError
from mulde.events import Event
from mulde.files import write_json
from mulde.parquet import reading
from mulde.pipeline.events.tables import EVENTS, read_event_rows, read_events
from mulde.pipeline.model.loading import load_normal_index
from mulde.pipeline.model.normal_index import MOMENTS
from mulde.pipeline.run_folder import RunFolder, RunRecord, read_record
from mulde.records import Float32, Float64, Int64
from mulde.typed import Count, FileModel, Number, Positive, VideoName, distinct, known_fields, read_typed

EXEMPTIONS = "exemptions.json"
_SCHEMA = 1
_HINT = "the exemptions of mulde feedback, from a copy"

EventRows = Mapping[str, tuple[str, Float32]]
"""Event id -> the stream that drove it and its row (D,) there, as `read_event_rows` gives them."""


class Resemblance(Protocol):
    """What `NormalIndex` knows of how far rows lie from each other."""

    @property
    def streams(self) -> Collection[str]: ...

    def nearest(self, stream: str, values: Float32, k: int) -> tuple[Int64, Float64]: ...

    def distance(self, stream: str, a: Float32, b: Float32) -> Float64: ...


@dataclass(frozen=True)
class ScoringModel:
    """What scored a run: the sha256 of its bundle and its normal moments; None where they are not there any more."""

    sha256: str | None
    moments: Resemblance | None


@dataclass(frozen=True)
class Undone:
    """Who took an exemption back, when (UTC, ISO 8601) and why."""

    who: str
    when: str
    why: str


@dataclass(frozen=True)
class Alike:
    """What events are like the marked one: those of the same kind of object that the same model scored and the same
    stream drove, by a row less than `radius` from `row` (D,), in units of `NormalIndex.distance`."""

    model_sha256: str
    radius: float
    row: tuple[float, ...]


@dataclass(frozen=True)
class Exemption:
    """One event that was marked as normal. id: a running number; stream: that drove it, or empty; what: its object.

    when: it was marked; applied: when that took effect, None for a proposal (UTC, ISO 8601). alike: None where it
    covers the marked event alone.
    """

    id: str
    event_id: str
    video: str
    start_frame: int
    end_frame: int
    stream: str
    who: str
    when: str
    why: str
    applied: str | None = None
    undone: Undone | None = None
    what: str = ""
    alike: Alike | None = None

    @property
    def proposed(self) -> bool:
        return self.applied is None

    @property
    def in_force(self) -> bool:
        return self.applied is not None and self.undone is None


def read_exemptions(path: Path) -> list[Exemption]:
    """What `write_exemptions` wrote. Raises MuldeError for a file that is missing, damaged or of a newer version."""
    data = read_typed(path, _ExemptionsFile, max_bytes=2**28, hint=_HINT)
    if data.schema_ != _SCHEMA:
        raise MuldeError(f"{path}: schema", expected=f"version {_SCHEMA}", got=data.schema_, hint=_HINT)
    distinct((entry.id for entry in data.exemptions), f"{path}: ids of exemptions")
    return [_exemption(entry, data.rows, path) for entry in data.exemptions]


def exemptions_of(run: Path) -> list[Exemption]:
    """Those of a run folder, in the order of their ids; none where there is no such file."""
    path = run / EXEMPTIONS
    return read_exemptions(path) if path.exists() else []


def write_exemptions(exemptions: Sequence[Exemption], path: Path) -> None:
    """One JSON, whole; the rows of numbers last, so that people can read what comes before."""
    entries, rows = [], {}
    for one in exemptions:
        entry = asdict(one)
        if one.alike is not None:
            rows[one.id] = entry["alike"].pop("row")
        entries.append(entry)
    write_json(path, {"schema": _SCHEMA, "exemptions": entries, "rows": rows})


class _AlikeEntry(FileModel):
    model_sha256: str
    radius: Positive


class _UndoneEntry(FileModel):
    who: str
    when: str
    why: str


class _ExemptionEntry(FileModel):
    id: str
    event_id: str
    video: VideoName
    start_frame: Count
    end_frame: Count
    stream: str
    who: str
    when: str
    why: str
    applied: str | None = None
    undone: _UndoneEntry | None = None
    what: str = ""
    alike: _AlikeEntry | None = None


class _ExemptionsFile(FileModel):
    schema_: int = Field(alias="schema")
    exemptions: list[_ExemptionEntry]
    rows: dict[str, list[Number]]


def _exemption(entry: _ExemptionEntry, rows: Mapping[str, Sequence[float]], path: Path) -> Exemption:
    alike, undone = entry.alike, entry.undone
    if alike is not None and entry.id not in rows:
        raise MuldeError(f"{path}: rows", expected=f"the row of exemption {entry.id}", got="none", hint=_HINT)
    return Exemption(
        **{
            **known_fields(entry),
            "alike": alike and Alike(alike.model_sha256, alike.radius, tuple(rows[entry.id])),
            "undone": undone and Undone(undone.who, undone.when, undone.why),
        }
    )


def free_id(exemptions: Sequence[Exemption]) -> int:
    """The next running number; also those of proposals that were not applied count."""
    return 1 + max((int(one.id) for one in exemptions if one.id.isdecimal()), default=0)


def merge_exemptions(own: Sequence[Exemption], given: Sequence[Exemption]) -> list[Exemption]:
    """Those of a run folder and those of another file; what both hold stands as in the other file, with its own id.

    Proposals of the other file are left out. Ids of the other file change only where they are taken.
    """
    merged = {_word(one): one for one in own}
    for one in given:
        if one.proposed:
            continue
        held = merged.get(_word(one))
        taken = {other.id for other in merged.values()}
        number = held.id if held else str(free_id([*merged.values(), *given])) if one.id in taken else one.id
        merged[_word(one)] = replace(one, id=number)
    return list(merged.values())


def _word(one: Exemption) -> tuple[str | None, ...]:
    """What makes two entries the same word of an operator."""
    return one.event_id, one.who, one.when, one.applied


def alike_of(stream: str, row: Float32, model: ScoringModel) -> Alike | None:
    """Half-way from the row (D,) of an event to the nearest normal moment is as far as its exemption reaches.

    So it never covers what is nearer to something normal, nor goes far into the unusual. None without moments.
    """
    if model.sha256 is None or model.moments is None or stream not in model.moments.streams:
        return None
    _, distance = model.moments.nearest(stream, row[None], 1)
    if distance.shape[1] == 0:
        return None
    return Alike(model.sha256, float(distance[0, 0]) / 2, tuple(float(str(value)) for value in row))


def object_of(event: Event) -> str:
    """What kind of object an event is about; empty where it has none."""
    region = event.reason.region if event.reason else None
    return region.what if region else ""


def covered(exemption: Exemption, events: Sequence[Event], rows: EventRows, model: ScoringModel) -> list[str]:
    """Ids of the events that an exemption covers, whether it is in force or not: the marked one and those alike."""
    ids = [event.event_id for event in events]
    of_its_kind = [event.event_id for event in events if object_of(event) == exemption.what]
    near = _near(exemption, of_its_kind, rows, model)
    return [event_id for event_id in ids if event_id == exemption.event_id or event_id in near]


def _near(exemption: Exemption, ids: Sequence[str], rows: EventRows, model: ScoringModel) -> set[str]:
    alike, moments = exemption.alike, model.moments
    if alike is None or moments is None or alone_because(exemption, model):
        return set()
    same = [event_id for event_id in ids if event_id in rows and rows[event_id][0] == exemption.stream]
    if not same:
        return set()
    values = np.stack([rows[event_id][1] for event_id in same])
    distance = moments.distance(exemption.stream, values, np.array([alike.row], np.float32))
    return {event_id for event_id, far in zip(same, distance, strict=True) if far < alike.radius}


def alone_because(exemption: Exemption, model: ScoringModel) -> str:
    """Why an exemption covers the marked event alone in what a model scored; empty where it covers those alike too."""
    if exemption.alike is None:
        return "it was marked in a run without normal moments or without the rows of its events"
    if exemption.alike.model_sha256 != model.sha256:
        return "it was marked in a run of another model"
    if model.moments is None or exemption.stream not in model.moments.streams:
        return f"{MOMENTS} of the model, with moments of {exemption.stream}, is not there"
    return ""


def apply_exemptions(
    events: Sequence[Event], rows: EventRows, exemptions: Sequence[Exemption], model: ScoringModel
) -> list[Event]:
    """The events, each with the id of the exemption in force that covers it (made of it, else the earliest) or none."""
    return Reviewed(tuple(events), rows, tuple(exemptions), model).exempt()


@dataclass(frozen=True)
class Reviewed:
    """A run whose events are reviewed, and what was said of them."""

    events: tuple[Event, ...]
    rows: EventRows
    exemptions: tuple[Exemption, ...]
    model: ScoringModel
    _covers: dict[tuple[str, str, Alike | None], tuple[str, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def covers(self, exemption: Exemption) -> tuple[str, ...]:
        """Ids of the events that it covers, whether it is in force or not; kept, because events may be many."""
        key = exemption.event_id, exemption.stream, exemption.alike
        if key not in self._covers:
            self._covers[key] = tuple(covered(exemption, self.events, self.rows, self.model))
        return self._covers[key]

    def exempt(self) -> list[Event]:
        """The events under the exemptions in force; whatever `exemption` they had is replaced."""
        by: dict[str, str] = {}
        in_force = [one for one in self.exemptions if one.in_force]
        for one in in_force:
            by |= {event_id: by.get(event_id, one.id) for event_id in self.covers(one)}
        for one in reversed(in_force):
            if one.event_id in by:
                by[one.event_id] = one.id
        return [replace(event, exemption=by.get(event.event_id, "")) for event in self.events]


def read_reviewed(run: Path) -> Reviewed:
    """Raises MuldeError for a folder without events or with damaged files."""
    record = read_record(run)
    if not (run / f"{EVENTS}.json").is_file():
        raise MuldeError(f"{run}", expected=f"a run folder with {EVENTS}.json", got="none", hint="mulde score")
    reviewed = Reviewed(tuple(read_events(run)), read_event_rows(run), tuple(exemptions_of(run)), model_of(run, record))
    for one in reviewed.exemptions:
        if one.alike is not None and not alone_because(one, reviewed.model):
            assert reviewed.model.moments is not None
            row = np.array([one.alike.row], np.float32)
            with reading("exemptions", run / EXEMPTIONS, hint=_HINT):
                reviewed.model.moments.distance(one.stream, row, row)  # refuses a row of another width
    return reviewed


def model_of(run: Path, record: RunRecord) -> ScoringModel:
    """The model that scored a run: that of `mulde score` is on record, that of `mulde run` lies in its folder."""
    bundle = RunFolder(run).model if record.model is None else Path(record.model)
    sha256 = record.model_sha256 or (file_digest(bundle) if bundle.is_file() else None)
    return ScoringModel(sha256, load_normal_index(bundle))


def num_alarms(events: Sequence[Event]) -> int:
    return sum(not event.exemption for event in events)


@dataclass(frozen=True)
class Preview:
    """What the proposals of a run would change. covers: id -> events that it would cover; num_before and num_after:
    alarms, which are the events without exemption."""

    proposals: tuple[Exemption, ...]
    covers: Mapping[str, tuple[str, ...]]
    num_before: int
    num_after: int


def preview(run: Path) -> Preview:
    """Of a run folder; without proposals nothing changes. Raises MuldeError as `read_reviewed` does."""
    return preview_of(read_reviewed(run))


def preview_of(reviewed: Reviewed) -> Preview:
    proposals = tuple(one for one in reviewed.exemptions if one.proposed)
    as_applied = tuple(replace(one, applied=one.applied or one.when) for one in reviewed.exemptions)
    return Preview(
        proposals,
        {one.id: reviewed.covers(one) for one in proposals},
        num_alarms(reviewed.exempt()),
        num_alarms(replace(reviewed, exemptions=as_applied).exempt()),
    )
