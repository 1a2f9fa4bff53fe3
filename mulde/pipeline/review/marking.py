"""One event marked as normal, or no longer: a suppression that takes effect at once, as of `mulde feedback --apply`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mulde.pipeline.events.parts import EventParts
from mulde.pipeline.events.suppression import (
    SUPPRESSIONS,
    Reviewed,
    ScoringModel,
    Undone,
    next_id,
    suppressions_of,
    write_suppressions,
)
from mulde.pipeline.events.tables import read_event_rows, read_events, write_events
from mulde.pipeline.review.feedback import EventLabel, proposal_of, utc_text


def mark_normal(run: Path, event_id: str, model: ScoringModel, *, who: str, why: str, tables: bool) -> str | None:
    """The id of the suppression that covers an event from now on; None where the run does not have the event yet.

    An event that is covered already changes nothing. model: what scored the event; tables: whether the tables of events
    are written anew, which nobody else may do meanwhile. Raises MuldeError for files that are damaged or cannot be
    written.
    """
    reviewed = _reviewed(run, model)
    known = {event.event_id: event.suppression for event in reviewed.with_suppressions()}
    event = next((event for event in reviewed.events if event.event_id == event_id), None)
    if event is None:
        return None
    if known[event_id]:
        return known[event_id]
    now = utc_text(datetime.now(UTC))
    label = EventLabel(event_id, event.video, event.start_frame, event.end_frame, True, why, now)
    new = proposal_of(str(next_id(reviewed.suppressions)), label, reviewed, who, why, now)
    _write(run, replace(reviewed, suppressions=(*reviewed.suppressions, replace(new, applied=now))), tables)
    return new.id


def unmark_normal(run: Path, event_id: str, model: ScoringModel, *, who: str, why: str, tables: bool) -> None:
    """Undo the suppressions that were made from an event; where there is none in force, nothing changes."""
    reviewed = _reviewed(run, model)
    undone = Undone(who, utc_text(datetime.now(UTC)), why)
    suppressions = tuple(
        replace(known, undone=undone) if known.event_id == event_id and known.in_force else known
        for known in reviewed.suppressions
    )
    if suppressions != reviewed.suppressions:
        _write(run, replace(reviewed, suppressions=suppressions), tables)


def _reviewed(run: Path, model: ScoringModel) -> Reviewed:
    """All events, those as well that a live run has not taken into its tables yet."""
    waiting, more = EventParts(run).waiting()  # first: what goes from the parts is then in the tables
    replaced = {event.video for event in waiting}
    events = [*(event for event in read_events(run) if event.video not in replaced), *waiting]
    return Reviewed(tuple(events), {**read_event_rows(run), **more}, tuple(suppressions_of(run)), model)


def _write(run: Path, reviewed: Reviewed, tables: bool) -> None:
    """The events before the suppressions: if it is stopped in between, the same again does both."""
    if tables:
        write_events(reviewed.with_suppressions(), run)
    write_suppressions(reviewed.suppressions, run / SUPPRESSIONS)
