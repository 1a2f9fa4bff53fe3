"""`mulde feedback`: marks exported from the report become exemptions, which can be undone. Nothing is trained."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mulde.errors import UsageError
from mulde.events import Event
from mulde.files import read_csv, whole_number
from mulde.pipeline.events.suppression import (
    EXEMPTIONS,
    Exemption,
    Reviewed,
    Undone,
    alike_of,
    free_id,
    num_alarms,
    object_of,
    preview_of,
    read_reviewed,
    write_exemptions,
)
from mulde.pipeline.events.tables import write_events
from mulde.pipeline.run_folder import REPORT
from mulde.pipeline.scoring.frames import read_scores
from mulde.progress import Reporter

NORMAL, REVIEWED = "normal", "reviewed"
COLUMNS = ("event_id", "video", "start_frame", "end_frame", "mark", "why", "marked_at")
"""Of the marks that the report exports."""


@dataclass(frozen=True)
class Mark:
    """A row of the exported marks. marked_at: UTC, ISO 8601, or empty."""

    event_id: str
    video: str
    start_frame: int
    end_frame: int
    normal: bool
    why: str
    marked_at: str


@dataclass(frozen=True)
class AlarmChange:
    """How many events are alarms before and after; hours: of the video that was scored, None where unknown."""

    before: int
    after: int
    hours: float | None


@dataclass(frozen=True)
class Feedback:
    """What came of the command.

    exemptions: all of the run where they are listed, else those that are proposed or now applied. change: what they, or
    what is undone, change; None where nothing is new.
    """

    action: Literal["list", "propose", "apply", "undo"]
    reviewed: Reviewed
    exemptions: tuple[Exemption, ...] = ()
    change: AlarmChange | None = None


def run_feedback(
    run: Path, marks: Path | None, reporter: Reporter, *, apply: bool, who: str | None, why: str, undo: Sequence[str]
) -> Feedback:
    """Propose, apply or undo exemptions of a run; without marks, `apply` and `undo`, list them.

    Raises UsageError for marks, ids or flags that cannot be used, before anything is written; MuldeError for a folder
    that is no run or is damaged.
    """
    if undo and (apply or marks is not None):
        raise UsageError("--undo", expected="no marks and no --apply beside it", hint="one command after the other")
    reviewed, now = read_reviewed(run), _utc(datetime.now(UTC))
    if undo:
        return _undo(run, reviewed, undo, Undone(who or _user(), now, why), reporter)
    if marks is not None:
        named = _normal_marks(read_marks(marks), reviewed, marks)
        reviewed = _with_proposals(reviewed, named, who or _user(), why, now, reporter)
    elif not apply:
        return Feedback("list", reviewed, reviewed.exemptions)
    elif not any(one.proposed for one in reviewed.exemptions):
        raise UsageError("--apply", expected="MARKS.csv, or a proposal made with it before", got="neither")
    if apply:
        return _apply(run, reviewed, who, why, now, reporter)
    return _propose(run, reviewed, reporter)


def read_marks(path: Path) -> list[Mark]:
    """The rows of exported marks. Raises UsageError that names the file and the row at fault."""
    table = read_csv(path, error=UsageError)
    if [name for name in COLUMNS if name not in table.columns]:
        got = ", ".join(table.columns) or "an empty file"
        raise UsageError(f"marks {path}", expected=f"the columns {', '.join(COLUMNS)}", got=got)
    return [_mark(row, f"marks {path}, line {line}") for line, row in table.rows]


def _mark(row: Mapping[str, str], where: str) -> Mark:
    cells = {name: row[name].strip() for name in COLUMNS}
    if cells["mark"] not in (NORMAL, REVIEWED):
        raise UsageError(where, expected=f"mark {NORMAL} or {REVIEWED}", got=repr(cells["mark"]))
    try:
        start_frame, end_frame = whole_number(cells["start_frame"]), whole_number(cells["end_frame"])
        marked_at = _utc(datetime.fromisoformat(cells["marked_at"])) if cells["marked_at"] else ""
    except (ValueError, OverflowError) as error:
        raise UsageError(where, expected="frame numbers and an ISO 8601 time", got=error) from None
    normal = cells["mark"] == NORMAL
    return Mark(cells["event_id"], cells["video"], start_frame, end_frame, normal, cells["why"], marked_at)


def _normal_marks(marks: Sequence[Mark], reviewed: Reviewed, path: Path) -> list[Mark]:
    """One for each event marked as normal, by video and time. Raises UsageError for what the run does not have."""
    events = {event.event_id: event for event in reviewed.events}
    unknown = sorted({mark.event_id for mark in marks if mark.event_id not in events})
    if unknown:
        names = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        raise UsageError(
            f"marks {path}", expected="events of this run", got=names, hint="the marks exported from its own report"
        )
    one_each: dict[str, Mark] = {}
    for mark in sorted(marks, key=lambda mark: (mark.video, mark.start_frame, mark.event_id, mark.marked_at, mark.why)):
        _check_same_event(mark, events[mark.event_id], path)
        first = one_each.setdefault(mark.event_id, mark)
        if first.normal != mark.normal:
            raise UsageError(f"marks {path}", expected=f"one mark of {mark.event_id}", got=f"{NORMAL} and {REVIEWED}")
    return [mark for mark in one_each.values() if mark.normal]


def _check_same_event(mark: Mark, event: Event, path: Path) -> None:
    here, there = ((one.video, one.start_frame, one.end_frame) for one in (event, mark))
    if here != there:
        raise UsageError(
            f"marks {path}: {mark.event_id} is an event of another run",
            expected=f"{here[0]}, frames {here[1]} to {here[2]}",
            got=f"{there[0]}, frames {there[1]} to {there[2]}",
            hint="the marks exported from this run's own report",
        )


def _with_proposals(
    reviewed: Reviewed, marks: Sequence[Mark], who: str, why: str, now: str, reporter: Reporter
) -> Reviewed:
    """A proposal for each mark of an event that is not exempt, in the place of earlier proposals."""
    exempt = {event.event_id: event.exemption for event in reviewed.exempt() if event.exemption}
    known = [mark for mark in marks if mark.event_id in exempt]
    if known:
        by = ", ".join(sorted({exempt[mark.event_id] for mark in known}, key=_by_number))
        reporter.say(f"{len(known)} {'event is' if len(known) == 1 else 'events are'} already suppressed, by {by}")
    kept = [one for one in reviewed.exemptions if not one.proposed]
    first_id = free_id(kept)
    new = [mark for mark in marks if mark.event_id not in exempt]
    proposals = [_proposal(str(first_id + i), mark, reviewed, who, why, now) for i, mark in enumerate(new)]
    return replace(reviewed, exemptions=(*kept, *proposals))


def _proposal(number: str, mark: Mark, reviewed: Reviewed, who: str, why: str, now: str) -> Exemption:
    stream, row = reviewed.rows.get(mark.event_id, ("", None))
    (event,) = (one for one in reviewed.events if one.event_id == mark.event_id)
    return Exemption(
        id=number,
        event_id=mark.event_id,
        video=mark.video,
        start_frame=mark.start_frame,
        end_frame=mark.end_frame,
        stream=stream,
        who=who,
        when=mark.marked_at or now,
        why=mark.why or why,
        what=object_of(event),
        alike=None if row is None else alike_of(stream, row, reviewed.model),
    )


def _propose(run: Path, reviewed: Reviewed, reporter: Reporter) -> Feedback:
    _write(run, reviewed, reporter, events=False)
    seen = preview_of(reviewed)
    if not seen.proposals:
        reporter.say("nothing to change: no event is newly marked as normal")
        return Feedback("propose", reviewed)
    return Feedback("propose", reviewed, tuple(seen.proposals), _change(run, seen.num_before, seen.num_after))


def _apply(run: Path, reviewed: Reviewed, who: str | None, why: str, now: str, reporter: Reporter) -> Feedback:
    proposals = [one for one in reviewed.exemptions if one.proposed]
    before = num_alarms(reviewed.exempt())
    exemptions = tuple(
        replace(one, applied=now, who=who or one.who, why=one.why or why) if one.proposed else one
        for one in reviewed.exemptions
    )
    reviewed = replace(reviewed, exemptions=exemptions)
    _write(run, reviewed, reporter, events=True)
    if not proposals:
        reporter.say("nothing changed: no event is newly marked as normal")
        return Feedback("apply", reviewed)
    change = _change(run, before, num_alarms(reviewed.exempt()))
    return Feedback("apply", reviewed, exemptions[-len(proposals) :], change)


def _undo(run: Path, reviewed: Reviewed, ids: Sequence[str], undone: Undone, reporter: Reporter) -> Feedback:
    """Ends exemptions that are in force and drops proposals. Raises UsageError for ids that there are none of."""
    known = {one.id: one for one in reviewed.exemptions}
    unknown = [number for number in ids if number not in known]
    if unknown:
        there = f"one of {', '.join(known)}" if known else "the id of a suppression; this run has none"
        raise UsageError("--undo", expected=there, got=", ".join(unknown))
    for number in ids:
        if known[number].undone is not None:
            reporter.say(f"suppression {number} was undone before")
    before = num_alarms(reviewed.exempt())
    kept = [one for one in reviewed.exemptions if not (one.proposed and one.id in ids)]
    after = replace(
        reviewed,
        exemptions=tuple(replace(one, undone=undone) if one.id in ids and one.in_force else one for one in kept),
    )
    _write(run, after, reporter, events=True)
    return Feedback("undo", after, change=_change(run, before, num_alarms(after.exempt())))


def _write(run: Path, reviewed: Reviewed, reporter: Reporter, *, events: bool) -> None:
    """The events before the exemptions: when it is stopped in between, the same command does the whole again."""
    if events:
        write_events(reviewed.exempt(), run)
    write_exemptions(reviewed.exemptions, run / EXEMPTIONS)
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


def _utc(time: datetime) -> str:
    """In UTC to the second; a time without zone is taken for one in UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a user without name, as in some containers
        raise UsageError("--who", expected="a name, because this user has none") from None
