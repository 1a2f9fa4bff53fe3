"""What `mulde feedback` prints on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from mulde.console import output
from mulde.pipeline.events.suppression import Reviewed, Suppression, narrow_reason
from mulde.pipeline.review.feedback import AlarmChange, Feedback
from mulde.progress import Reporter

_WIDTH = 160


def print_feedback(feedback: Feedback, run: Path, reporter: Reporter) -> None:
    """The suppressions that the command listed, proposed or applied, and what becomes of the alarms."""
    console, suppressions = output(_WIDTH), feedback.suppressions
    if feedback.action == "list":
        if not suppressions:
            console.print("no suppressions")
            return
        console.print(_state_table(suppressions, feedback.reviewed))
    elif suppressions:
        console.print(_new_table(suppressions, feedback.reviewed))
    for suppression in suppressions:
        if suppression.undone is None and (reason := narrow_reason(suppression, feedback.reviewed.model)):
            reporter.warn(f"suppression {suppression.id} covers only {suppression.event_id}: {reason}")
    if feedback.change is not None:
        hint = f". To apply this: mulde feedback {run} --apply" if feedback.action == "propose" else ""
        console.print(f"{_in_words(feedback.change)}{hint}", soft_wrap=True)


def _state_table(suppressions: Sequence[Suppression], reviewed: Reviewed) -> Table:
    table = Table("id", "state", "event", "covers", "who", "labelled", "why")
    for suppression in suppressions:
        state = "proposed" if suppression.proposed else "in force"
        if suppression.undone is not None:
            state = f"undone by {suppression.undone.who}, {suppression.undone.when}"
        covers = _num_events(suppression, reviewed)
        table.add_row(
            suppression.id, state, suppression.event_id, covers, suppression.who, suppression.when, suppression.why
        )
    return table


def _new_table(suppressions: Sequence[Suppression], reviewed: Reviewed) -> Table:
    table = Table("id", "event", "driven by", "covers", "who", "why")
    for suppression in suppressions:
        covers = _num_events(suppression, reviewed)
        table.add_row(
            suppression.id, suppression.event_id, suppression.stream, covers, suppression.who, suppression.why
        )
    return table


def _num_events(suppression: Suppression, reviewed: Reviewed) -> str:
    count = len(reviewed.covers(suppression))
    return f"{count} event" if count == 1 else f"{count} events"


def _in_words(change: AlarmChange) -> str:
    """How many events are alarms, and how many per hour of the video that was scored."""
    before, after, hours = change.before, change.after, change.hours
    text = f"alarms: {before} -> {after}" if before != after else f"alarms: {before}, unchanged"
    if hours:
        text += f" ({before / hours:.4g} -> {after / hours:.4g} per hour of the {hours:.3g} h scored)"
    return text
