"""The events of a watched camera in the tables of its run folder, where every other command finds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mulde.errors import MuldeError, sentence
from mulde.events import Event
from mulde.pipeline.events.parts import EventParts
from mulde.pipeline.events.suppression import (
    SUPPRESSIONS,
    ScoringModel,
    Suppression,
    apply_suppressions,
    merge_suppressions,
    read_suppressions,
    suppressions_of,
    write_suppressions,
)
from mulde.pipeline.events.tables import picture_path, read_event_rows, read_events
from mulde.pipeline.events.thumbnails import thumbnail, write_jpeg
from mulde.pipeline.live.event_builder import LiveEvent
from mulde.pipeline.run_folder import THUMBNAILS
from mulde.progress import Reporter
from mulde.records import Float32


@dataclass
class _Hour:
    """All events of an hour, with their rows."""

    events: list[Event]
    rows: dict[str, tuple[str, Float32]]


class EventLog:
    """Knows what is normal here by feedback, and adds events to the run folder.

    given: feedback of other runs, which becomes part of this one's. What the disk does not take is said once, and tried
    again with `flush`. Raises MuldeError for feedback that cannot be read.
    """

    def __init__(
        self, root: Path, camera: str, model: ScoringModel, reporter: Reporter, given: Path | None = None
    ) -> None:
        self.root, self.camera, self.model, self.reporter = root, camera, model, reporter
        self._suppressions: Sequence[Suppression] = suppressions_of(root)
        if given is not None:
            merged = merge_suppressions(self._suppressions, read_suppressions(given))
            if merged != self._suppressions:
                write_suppressions(merged, root / SUPPRESSIONS)
            self._suppressions = merged
        self._hours: dict[str, _Hour] = {}
        self._waiting: dict[str, LiveEvent] = {}
        self._said: set[str] = set()

    def suppression(self, live: LiveEvent) -> str:
        """The id of the feedback that says that an event is normal here, which may have come a moment ago; or
        nothing."""
        event = live.event
        rows = {} if live.row is None or event.reason is None else {event.event_id: (event.reason.stream, live.row)}
        return apply_suppressions([event], rows, self._known(), self.model)[0].suppression

    def add(self, live: LiveEvent) -> None:
        """Add an event that is over."""
        self._waiting[live.event.event_id] = live
        self.flush()

    def flush(self) -> None:
        """Add what waits, as far as the disk takes it."""
        for event_id, live in list(self._waiting.items()):
            try:
                self._add(live)
            except (OSError, MuldeError) as error:
                self._say("tables", f"{event_id} is not in the tables of events yet: {sentence(error, self.root)}")
                return
            del self._waiting[event_id]
            self._said.discard("tables")

    def _add(self, live: LiveEvent) -> None:
        event = live.event
        hour = self._hours.get(event.video)
        if hour is None:  # of the first hour alone: an earlier process cannot have watched a later one
            hour = _Hour([], {}) if self._hours else self._read(event.video)
        events = [known for known in hour.events if known.event_id != event.event_id]
        rows = dict(hour.rows)
        if live.row is not None and event.reason is not None:
            rows[event.event_id] = (event.reason.stream, live.row)
        # All anew: feedback on the others may have come since.
        events = apply_suppressions([*events, event], rows, self._known(), self.model)
        EventParts(self.root).add([event.video], events, rows)
        self._hours = {event.video: _Hour(events, rows)}
        if live.picture is not None:
            write_jpeg(thumbnail(live.picture, event), picture_path(self.root / THUMBNAILS, event, ".jpg"))

    def _read(self, video: str) -> _Hour:
        """What the tables have of an hour. What an earlier process left beside them is in them: they are gathered
        before anything is watched."""
        events = [event for event in read_events(self.root) if event.video == video]
        ids = {event.event_id for event in events}
        return _Hour(events, {key: row for key, row in read_event_rows(self.root).items() if key in ids})

    def _known(self) -> Sequence[Suppression]:
        try:
            self._suppressions = suppressions_of(self.root)
            self._said.discard("feedback")
        except MuldeError as error:  # what was known before goes on
            self._say("feedback", str(error))
        return self._suppressions

    def _say(self, kind: str, problem: str) -> None:
        if kind not in self._said:  # until it is over
            self._said.add(kind)
            self.reporter.warn(f"{self.camera}: {problem}")


def suppressed(live: LiveEvent, suppression: str) -> LiveEvent:
    """The event with the feedback that covers it."""
    return replace(live, event=replace(live.event, suppression=suppression))
