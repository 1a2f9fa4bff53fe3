"""What `mulde feedback` prints on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from mulde.console import output
from mulde.pipeline.events.suppression import Exemption, Reviewed, alone_because
from mulde.pipeline.review.feedback import AlarmChange, Feedback
from mulde.progress import Reporter

_WIDTH = 160


def print_feedback(feedback: Feedback, run: Path, reporter: Reporter) -> None:
    """The exemptions that the command listed, proposed or applied, and what becomes of the alarms."""
    console, exemptions = output(_WIDTH), feedback.exemptions
    if feedback.action == "list":
        if not exemptions:
            console.print("no suppressions")
            return
        console.print(_state_table(exemptions, feedback.reviewed))
    elif exemptions:
        console.print(_new_table(exemptions, feedback.reviewed))
    for exemption in exemptions:
        if exemption.undone is None and (reason := alone_because(exemption, feedback.reviewed.model)):
            reporter.warn(f"suppression {exemption.id} covers only {exemption.event_id}: {reason}")
    if feedback.change is not None:
        hint = f". To apply this: mulde feedback {run} --apply" if feedback.action == "propose" else ""
        console.print(f"{_in_words(feedback.change)}{hint}", soft_wrap=True)


def _state_table(exemptions: Sequence[Exemption], reviewed: Reviewed) -> Table:
    table = Table("id", "state", "event", "covers", "who", "marked", "why")
    for exemption in exemptions:
        state = "proposed" if exemption.proposed else "in force"
        if exemption.undone is not None:
            state = f"undone by {exemption.undone.who}, {exemption.undone.when}"
        covers = _num_events(exemption, reviewed)
        table.add_row(exemption.id, state, exemption.event_id, covers, exemption.who, exemption.when, exemption.why)
    return table


def _new_table(exemptions: Sequence[Exemption], reviewed: Reviewed) -> Table:
    table = Table("id", "event", "driven by", "covers", "who", "why")
    for exemption in exemptions:
        covers = _num_events(exemption, reviewed)
        table.add_row(exemption.id, exemption.event_id, exemption.stream, covers, exemption.who, exemption.why)
    return table


def _num_events(exemption: Exemption, reviewed: Reviewed) -> str:
    count = len(reviewed.covers(exemption))
    return f"{count} event" if count == 1 else f"{count} events"


def _in_words(change: AlarmChange) -> str:
    """How many events are alarms, and how many per hour of the video that was scored."""
    before, after, hours = change.before, change.after, change.hours
    text = f"alarms: {before} -> {after}" if before != after else f"alarms: {before}, unchanged"
    if hours:
        text += f" ({before / hours:.4g} -> {after / hours:.4g} per hour of the {hours:.3g} h scored)"
    return text
