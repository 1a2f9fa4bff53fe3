"""Suppressions: feedback that an event is normal, how it is stored, and which events it covers.

`exemptions.json` of a run folder: {"schema", "exemptions": [as `Suppression`; "applied" of a proposal is null], "rows":
{id: the row of the labelled event}}. Ids are never reused, and a suppression that was undone stays on record.
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
from mulde.pipeline.model.normal_index import NORMAL_INDEX_FILE
from mulde.pipeline.run_folder import RunFolder, RunRecord, read_record
from mulde.records import Float32, Float64, Int64
from mulde.typed import Count, FileModel, Number, Positive, VideoName, distinct, known_fields, read_typed

SUPPRESSIONS = "exemptions.json"
_SCHEMA = 1
_HINT = "the suppressions of mulde feedback, from a copy"

EventRows = Mapping[str, tuple[str, Float32]]
"""Event id -> the stream that drove it and its row (D,) there, as `read_event_rows` gives them."""


class RowDistances(Protocol):
    """The part of `NormalIndex` that measures distances between rows."""

    @property
    def streams(self) -> Collection[str]: ...

    def nearest(self, stream: str, values: Float32, k: int) -> tuple[Int64, Float64]: ...

    def distance(self, stream: str, a: Float32, b: Float32) -> Float64: ...


@dataclass(frozen=True)
class ScoringModel:
    """The model that scored a run: the sha256 of its bundle and its normal index; None where either is missing."""

    sha256: str | None
    normal_index: RowDistances | None


@dataclass(frozen=True)
class Undone:
    """Who undid a suppression, when (UTC, ISO 8601) and why."""

    who: str
    when: str
    why: str


@dataclass(frozen=True)
class Similarity:
    """Which events are similar to the labelled one: those of the same kind of object that the same model scored and the
    same stream drove, by a row less than `radius` from `row` (D,), in units of `NormalIndex.distance`."""

    model_sha256: str
    radius: float
    row: tuple[float, ...]


@dataclass(frozen=True)
class Suppression:
    """One event that was labelled as normal. id: a running number; stream: that drove it, or empty; what: its object.

    when: it was labelled; applied: when that took effect, None for a proposal (UTC, ISO 8601). similar: None where it
    covers only the labelled event.
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
    similar: Similarity | None = None

    @property
    def proposed(self) -> bool:
        return self.applied is None

    @property
    def in_force(self) -> bool:
        return self.applied is not None and self.undone is None


def read_suppressions(path: Path) -> list[Suppression]:
    """What `write_suppressions` wrote. Raises MuldeError for a file that is missing, damaged or of a newer version."""
    data = read_typed(path, _SuppressionsFile, max_bytes=2**28, hint=_HINT)
    if data.schema_ != _SCHEMA:
        raise MuldeError(f"{path}: schema", expected=f"version {_SCHEMA}", got=data.schema_, hint=_HINT)
    distinct((entry.id for entry in data.suppressions), f"{path}: ids of suppressions")
    return [_suppression(entry, data.rows, path) for entry in data.suppressions]


def suppressions_of(run: Path) -> list[Suppression]:
    """The suppressions of a run folder, in the order of their ids; none where there is no such file."""
    path = run / SUPPRESSIONS
    return read_suppressions(path) if path.exists() else []


def write_suppressions(suppressions: Sequence[Suppression], path: Path) -> None:
    """One JSON file, replaced atomically; the long rows of numbers come last, so that the rest is easy to read."""
    entries, rows = [], {}
    for suppression in suppressions:
        entry = asdict(suppression)
        entry["alike"] = entry.pop("similar")
        if entry["alike"] is not None:
            rows[suppression.id] = entry["alike"].pop("row")
        entries.append(entry)
    write_json(path, {"schema": _SCHEMA, "exemptions": entries, "rows": rows})


class _SimilarityEntry(FileModel):
    model_sha256: str
    radius: Positive


class _UndoneEntry(FileModel):
    who: str
    when: str
    why: str


class _SuppressionEntry(FileModel):
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
    alike: _SimilarityEntry | None = None


class _SuppressionsFile(FileModel):
    schema_: int = Field(alias="schema")
    suppressions: list[_SuppressionEntry] = Field(alias="exemptions")
    rows: dict[str, list[Number]]


def _suppression(entry: _SuppressionEntry, rows: Mapping[str, Sequence[float]], path: Path) -> Suppression:
    facts = known_fields(entry)
    alike, undone = facts.pop("alike"), facts.pop("undone")
    if alike is not None and entry.id not in rows:
        raise MuldeError(f"{path}: rows", expected=f"the row of suppression {entry.id}", got="none", hint=_HINT)
    return Suppression(
        **facts,
        similar=alike and Similarity(alike.model_sha256, alike.radius, tuple(rows[entry.id])),
        undone=undone and Undone(undone.who, undone.when, undone.why),
    )


def next_id(suppressions: Sequence[Suppression]) -> int:
    """The next running number; proposals that were not applied count as well."""
    return 1 + max((int(known.id) for known in suppressions if known.id.isdecimal()), default=0)


def merge_suppressions(known: Sequence[Suppression], given: Sequence[Suppression]) -> list[Suppression]:
    """The suppressions of a run folder and those of another file. Where both hold the same one, the other file decides
    what it says and the run folder its id.

    Proposals of the other file are dropped. Ids of the other file change only where they are taken.
    """
    merged = {_identity(suppression): suppression for suppression in known}
    for suppression in given:
        if suppression.proposed:
            continue
        same = merged.get(_identity(suppression))
        number = suppression.id
        if same is not None:
            number = same.id
        elif number in {other.id for other in merged.values()}:
            number = str(next_id([*merged.values(), *given]))
        merged[_identity(suppression)] = replace(suppression, id=number)
    return list(merged.values())


def _identity(suppression: Suppression) -> tuple[str | None, ...]:
    """What two entries have in common that stem from the same feedback."""
    return suppression.event_id, suppression.who, suppression.when, suppression.applied


def similarity_of(stream: str, row: Float32, model: ScoringModel) -> Similarity | None:
    """A suppression reaches half-way from the row (D,) of its event to the nearest reference sample.

    So it never covers a row that is closer to a normal one than to the labelled one. None without reference samples.
    """
    if model.sha256 is None or model.normal_index is None or stream not in model.normal_index.streams:
        return None
    _, distance = model.normal_index.nearest(stream, row[None], 1)
    if distance.shape[1] == 0:
        return None
    return Similarity(model.sha256, float(distance[0, 0]) / 2, tuple(float(str(value)) for value in row))


def object_name(event: Event) -> str:
    """What kind of object an event is about; empty where it has none."""
    region = event.reason.region if event.reason else None
    return region.what if region else ""


def covered(suppression: Suppression, events: Sequence[Event], rows: EventRows, model: ScoringModel) -> list[str]:
    """Ids of the events that a suppression covers, whether it is in force or not: the labelled one and similar ones."""
    same_object = [event.event_id for event in events if object_name(event) == suppression.what]
    similar = _similar_ids(suppression, same_object, rows, model)
    return [event.event_id for event in events if event.event_id == suppression.event_id or event.event_id in similar]


def _similar_ids(suppression: Suppression, ids: Sequence[str], rows: EventRows, model: ScoringModel) -> set[str]:
    similar, normal_index = suppression.similar, model.normal_index
    if similar is None or normal_index is None or narrow_reason(suppression, model):
        return set()
    ids = [event_id for event_id in ids if event_id in rows and rows[event_id][0] == suppression.stream]
    if not ids:
        return set()
    values = np.stack([rows[event_id][1] for event_id in ids])
    distances = normal_index.distance(suppression.stream, values, np.array([similar.row], np.float32))
    return {event_id for event_id, distance in zip(ids, distances, strict=True) if distance < similar.radius}


def narrow_reason(suppression: Suppression, model: ScoringModel) -> str:
    """Why a suppression covers only the labelled event in the scores of a model; empty where it covers similar ones."""
    if suppression.similar is None:
        return "it was labelled in a run without reference samples or without the rows of its events"
    if suppression.similar.model_sha256 != model.sha256:
        return "it was labelled in a run of another model"
    if model.normal_index is None or suppression.stream not in model.normal_index.streams:
        return f"{NORMAL_INDEX_FILE} of the model, with samples of {suppression.stream}, is missing"
    return ""


def apply_suppressions(
    events: Sequence[Event], rows: EventRows, suppressions: Sequence[Suppression], model: ScoringModel
) -> list[Event]:
    """The events, each with the id of the suppression in force that covers it, or none; of several, the one that was
    made from the event itself comes first, then the earliest."""
    return Reviewed(tuple(events), rows, tuple(suppressions), model).with_suppressions()


@dataclass(frozen=True)
class Reviewed:
    """A run whose events are reviewed, and the suppressions that came of it."""

    events: tuple[Event, ...]
    rows: EventRows
    suppressions: tuple[Suppression, ...]
    model: ScoringModel
    _covers: dict[tuple[str, str, Similarity | None], tuple[str, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def covers(self, suppression: Suppression) -> tuple[str, ...]:
        """Ids of the events that it covers, whether it is in force or not; cached, because events may be many."""
        key = suppression.event_id, suppression.stream, suppression.similar
        if key not in self._covers:
            self._covers[key] = tuple(covered(suppression, self.events, self.rows, self.model))
        return self._covers[key]

    def with_suppressions(self) -> list[Event]:
        """The events, with the suppressions in force; whatever `suppression` they had is replaced."""
        id_of: dict[str, str] = {}
        in_force = [suppression for suppression in self.suppressions if suppression.in_force]
        for suppression in in_force:
            id_of |= {event_id: id_of.get(event_id, suppression.id) for event_id in self.covers(suppression)}
        for suppression in reversed(in_force):
            if suppression.event_id in id_of:
                id_of[suppression.event_id] = suppression.id
        return [replace(event, suppression=id_of.get(event.event_id, "")) for event in self.events]


def read_reviewed(run: Path) -> Reviewed:
    """Raises MuldeError for a folder without events or with damaged files."""
    record = read_record(run)
    if not (run / f"{EVENTS}.json").is_file():
        raise MuldeError(f"{run}", expected=f"a run folder with {EVENTS}.json", got="none", hint="mulde score")
    model = model_of(run, record)
    reviewed = Reviewed(tuple(read_events(run)), read_event_rows(run), tuple(suppressions_of(run)), model)
    for suppression in reviewed.suppressions:
        similar = suppression.similar
        if similar is not None and model.normal_index is not None and not narrow_reason(suppression, model):
            row = np.array([similar.row], np.float32)
            with reading("suppressions", run / SUPPRESSIONS, hint=_HINT):
                model.normal_index.distance(suppression.stream, row, row)  # refuses a row of another width
    return reviewed


def model_of(run: Path, record: RunRecord) -> ScoringModel:
    """The model that scored a run: that of `mulde score` is on record, that of `mulde run` lies in its folder."""
    bundle = RunFolder(run).model if record.model is None else Path(record.model)
    sha256 = record.model_sha256 or (file_digest(bundle) if bundle.is_file() else None)
    return ScoringModel(sha256, load_normal_index(bundle))


def num_alarms(events: Sequence[Event]) -> int:
    return sum(not event.suppression for event in events)


@dataclass(frozen=True)
class Preview:
    """What the proposals of a run would change. covers: id -> the events that it would cover; num_before and num_after:
    alarms, which are the events without a suppression."""

    proposals: tuple[Suppression, ...]
    covers: Mapping[str, tuple[str, ...]]
    num_before: int
    num_after: int


def preview(run: Path) -> Preview:
    """The preview of a run folder; without proposals nothing changes. Raises MuldeError as `read_reviewed` does."""
    return preview_of(read_reviewed(run))


def preview_of(reviewed: Reviewed) -> Preview:
    proposals = tuple(suppression for suppression in reviewed.suppressions if suppression.proposed)
    as_applied = tuple(
        replace(suppression, applied=suppression.applied or suppression.when) for suppression in reviewed.suppressions
    )
    return Preview(
        proposals,
        {proposal.id: reviewed.covers(proposal) for proposal in proposals},
        num_alarms(reviewed.with_suppressions()),
        num_alarms(replace(reviewed, suppressions=as_applied).with_suppressions()),
    )
