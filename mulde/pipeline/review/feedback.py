"""`mulde feedback`: labels exported from the report become suppressions, which can be undone. Nothing is trained."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Literal

from mulde.errors import UsageError
from mulde.events import Event
from mulde.files import read_csv, whole_number
from mulde.pipeline.events.suppression import (
    SUPPRESSIONS,
    Reviewed,
    Suppression,
    Undone,
    next_id,
    num_alarms,
    object_name,
    preview_of,
    read_reviewed,
    similarity_of,
    write_suppressions,
)
from mulde.pipeline.events.tables import write_events
from mulde.pipeline.run_folder import REPORT
from mulde.pipeline.scoring.frames import read_scores
from mulde.progress import Reporter

NORMAL, REVIEWED = "normal", "reviewed"
COLUMNS = ("event_id", "video", "start_frame", "end_frame", "mark", "why", "marked_at")
"""Columns of the file that the report exports; `mark` is the label of the event."""


@dataclass(frozen=True)
class EventLabel:
    """What a person said of one event: a row of the exported file. labelled_at: UTC, ISO 8601, or empty."""

    event_id: str
    video: str
    start_frame: int
    end_frame: int
    is_normal: bool
    why: str
    labelled_at: str


@dataclass(frozen=True)
class AlarmChange:
    """How many events are alarms before and after; hours: of the video that was scored, None where unknown."""

    before: int
    after: int
    hours: float | None


@dataclass(frozen=True)
class Feedback:
    """What came of the command.

    suppressions: all of the run where they are listed, else those that are proposed or now applied. change: of the
    alarms, by what is proposed, applied or undone; None where nothing is new.
    """

    action: Literal["list", "propose", "apply", "undo"]
    reviewed: Reviewed
    suppressions: tuple[Suppression, ...] = ()
    change: AlarmChange | None = None


def run_feedback(
    run: Path, labels: Path | None, reporter: Reporter, *, apply: bool, who: str | None, why: str, undo: Sequence[str]
) -> Feedback:
    """Propose, apply or undo suppressions of a run; without labels, `apply` and `undo`, list them.

    Raises UsageError for labels, ids or flags that cannot be used, before anything is written; MuldeError for a folder
    that is no run or is damaged.
    """
    if undo and (apply or labels is not None):
        raise UsageError("--undo", expected="neither labels nor --apply with it", hint="one command after the other")
    reviewed, now = read_reviewed(run), utc_text(datetime.now(UTC))
    if undo:
        return _undo(run, reviewed, undo, Undone(who or _user(), now, why), reporter)
    if labels is not None:
        normal = _normal_labels(read_event_labels(labels), reviewed, labels)
        reviewed = _with_proposals(reviewed, normal, who or _user(), why, now, reporter)
    elif not apply:
        return Feedback("list", reviewed, reviewed.suppressions)
    elif not any(suppression.proposed for suppression in reviewed.suppressions):
        raise UsageError(
            "--apply", expected="the exported labels, or a proposal that was made from them", got="neither"
        )
    if apply:
        return _apply(run, reviewed, who, why, now, reporter)
    return _propose(run, reviewed, reporter)


def read_event_labels(path: Path) -> list[EventLabel]:
    """The rows of exported labels. Raises UsageError that names the file and the row at fault."""
    table = read_csv(path, error=UsageError)
    if [name for name in COLUMNS if name not in table.columns]:
        got = ", ".join(table.columns) or "an empty file"
        raise UsageError(f"event labels {path}", expected=f"the columns {', '.join(COLUMNS)}", got=got)
    return [_event_label(row, f"event labels {path}, line {line}") for line, row in table.rows]


def _event_label(row: Mapping[str, str], source: str) -> EventLabel:
    cells = {name: row[name].strip() for name in COLUMNS}
    if cells["mark"] not in (NORMAL, REVIEWED):
        raise UsageError(source, expected=f"mark {NORMAL} or {REVIEWED}", got=repr(cells["mark"]))
    try:
        start_frame, end_frame = whole_number(cells["start_frame"]), whole_number(cells["end_frame"])
        labelled_at = utc_text(datetime.fromisoformat(cells["marked_at"])) if cells["marked_at"] else ""
    except (ValueError, OverflowError) as error:
        raise UsageError(source, expected="frame numbers and an ISO 8601 time", got=error) from None
    is_normal = cells["mark"] == NORMAL
    return EventLabel(cells["event_id"], cells["video"], start_frame, end_frame, is_normal, cells["why"], labelled_at)


def _normal_labels(labels: Sequence[EventLabel], reviewed: Reviewed, path: Path) -> list[EventLabel]:
    """One label for each event labelled as normal, by video and time. Raises UsageError for events of another run."""
    events = {event.event_id: event for event in reviewed.events}
    unknown = sorted({label.event_id for label in labels if label.event_id not in events})
    if unknown:
        names = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        raise UsageError(
            f"event labels {path}",
            expected="events of this run",
            got=names,
            hint="the labels exported from the report of this run",
        )
    by_event: dict[str, EventLabel] = {}
    for label in sorted(labels, key=attrgetter("video", "start_frame", "event_id", "labelled_at", "why")):
        _check_same_event(label, events[label.event_id], path)
        first = by_event.setdefault(label.event_id, label)
        if first.is_normal != label.is_normal:
            expected = f"one label of {label.event_id}"
            raise UsageError(f"event labels {path}", expected=expected, got=f"{NORMAL} and {REVIEWED}")
    return [label for label in by_event.values() if label.is_normal]


def _check_same_event(label: EventLabel, event: Event, path: Path) -> None:
    here, there = ((span.video, span.start_frame, span.end_frame) for span in (event, label))
    if here != there:
        raise UsageError(
            f"event labels {path}: {label.event_id} is an event of another run",
            expected=f"{here[0]}, frames {here[1]} to {here[2]}",
            got=f"{there[0]}, frames {there[1]} to {there[2]}",
            hint="the labels exported from the report of this run",
        )


def _with_proposals(
    reviewed: Reviewed, labels: Sequence[EventLabel], who: str, why: str, now: str, reporter: Reporter
) -> Reviewed:
    """A proposal for each label of an event that is not suppressed; they replace earlier proposals."""
    suppressed = {event.event_id: event.suppression for event in reviewed.with_suppressions() if event.suppression}
    known = [label for label in labels if label.event_id in suppressed]
    if known:
        ids = ", ".join(sorted({suppressed[label.event_id] for label in known}, key=_by_number))
        reporter.say(f"{len(known)} {'event is' if len(known) == 1 else 'events are'} already suppressed, by {ids}")
    applied = [suppression for suppression in reviewed.suppressions if not suppression.proposed]
    first_id = next_id(applied)
    new = [label for label in labels if label.event_id not in suppressed]
    proposals = [proposal_of(str(first_id + i), label, reviewed, who, why, now) for i, label in enumerate(new)]
    return replace(reviewed, suppressions=(*applied, *proposals))


def proposal_of(number: str, label: EventLabel, reviewed: Reviewed, who: str, why: str, now: str) -> Suppression:
    """What a label would suppress, as a proposal."""
    stream, row = reviewed.rows.get(label.event_id, ("", None))
    (event,) = (event for event in reviewed.events if event.event_id == label.event_id)
    return Suppression(
        id=number,
        event_id=label.event_id,
        video=label.video,
        start_frame=label.start_frame,
        end_frame=label.end_frame,
        stream=stream,
        who=who,
        when=label.labelled_at or now,
        why=label.why or why,
        what=object_name(event),
        similar=None if row is None else similarity_of(stream, row, reviewed.model),
    )


def _propose(run: Path, reviewed: Reviewed, reporter: Reporter) -> Feedback:
    _write(run, reviewed, reporter, events=False)
    preview = preview_of(reviewed)
    if not preview.proposals:
        reporter.say("nothing to change: no event is newly labelled as normal")
        return Feedback("propose", reviewed)
    change = _change(run, preview.num_before, preview.num_after)
    return Feedback("propose", reviewed, tuple(preview.proposals), change)


def _apply(run: Path, reviewed: Reviewed, who: str | None, why: str, now: str, reporter: Reporter) -> Feedback:
    proposals = [suppression for suppression in reviewed.suppressions if suppression.proposed]
    before = num_alarms(reviewed.with_suppressions())
    suppressions = tuple(
        replace(suppression, applied=now, who=who or suppression.who, why=suppression.why or why)
        if suppression.proposed
        else suppression
        for suppression in reviewed.suppressions
    )
    reviewed = replace(reviewed, suppressions=suppressions)
    _write(run, reviewed, reporter, events=True)
    if not proposals:
        reporter.say("nothing changed: no event is newly labelled as normal")
        return Feedback("apply", reviewed)
    change = _change(run, before, num_alarms(reviewed.with_suppressions()))
    return Feedback("apply", reviewed, suppressions[-len(proposals) :], change)


def _undo(run: Path, reviewed: Reviewed, ids: Sequence[str], undone: Undone, reporter: Reporter) -> Feedback:
    """Ends suppressions that are in force and drops proposals. Raises UsageError for ids that do not exist."""
    known = {suppression.id: suppression for suppression in reviewed.suppressions}
    unknown = [number for number in ids if number not in known]
    if unknown:
        there = f"one of {', '.join(known)}" if known else "the id of a suppression; this run has none"
        raise UsageError("--undo", expected=there, got=", ".join(unknown))
    for number in ids:
        if known[number].undone is not None:
            reporter.say(f"suppression {number} was undone already")
    before = num_alarms(reviewed.with_suppressions())
    kept = [
        suppression for suppression in reviewed.suppressions if not (suppression.proposed and suppression.id in ids)
    ]
    after = replace(
        reviewed,
        suppressions=tuple(
            replace(suppression, undone=undone) if suppression.id in ids and suppression.in_force else suppression
            for suppression in kept
        ),
    )
    _write(run, after, reporter, events=True)
    return Feedback("undo", after, change=_change(run, before, num_alarms(after.with_suppressions())))


def _write(run: Path, reviewed: Reviewed, reporter: Reporter, *, events: bool) -> None:
    """The events before the suppressions: if it is stopped in between, the same command does both again."""
    if events:
        write_events(reviewed.with_suppressions(), run)
    write_suppressions(reviewed.suppressions, run / SUPPRESSIONS)
    if (run / REPORT).is_file():
        from mulde.pipeline.review.report import run_report

        run_report(run, None, reporter, embed_clips=False)


def _change(run: Path, before: int, after: int) -> AlarmChange:
    if not (run / "scores").is_dir() or not before:
        return AlarmChange(before, after, None)
    scored = read_scores(run / "scores").values()
    return AlarmChange(before, after, sum(len(video.track) / video.rate for video in scored) / 3600)


def _by_number(number: str) -> tuple[int, str]:
    return int(number) if number.isdecimal() else 0, number


def utc_text(time: datetime) -> str:
    """The time in UTC, to the second; one without a zone is taken to be in UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without name, as in some containers
        raise UsageError("--who", expected="a name, because this user has none") from None
