"""The scores of one camera into alerts: on record before anything else happens, with a reason and a picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mulde.errors import MuldeError, sentence
from mulde.evaluation.conformal import event_p_values
from mulde.events import Event
from mulde.pipeline.events.explain import explain_video
from mulde.pipeline.events.parts import EventParts
from mulde.pipeline.events.suppression import (
    ScoringModel,
    apply_suppressions,
    read_suppressions,
    suppressions_of,
)
from mulde.pipeline.events.tables import picture_path, read_event_rows, read_events
from mulde.pipeline.events.thumbnails import shown_frame, thumbnail, write_jpeg
from mulde.pipeline.live.alerts import (
    HOUR_MS,
    Alert,
    AlertMachine,
    Change,
    Flood,
    FloodChange,
    FloodGuard,
    MachineState,
    alert_id,
)
from mulde.pipeline.live.hourly_scores import FramePlace
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.recent import RecentFrames
from mulde.pipeline.live.recording import RevisionQueue
from mulde.pipeline.live.scoring import LiveResult
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.run_folder import THUMBNAILS
from mulde.pipeline.scoring.threshold import AlarmRule
from mulde.progress import Reporter
from mulde.records import Float32, UInt8

PICTURES = "alerts"
_PICTURE_PX = 640


@dataclass(frozen=True)
class _Story:
    """What is told of an alert: its event in the video of the hour that its peak lies in, the row behind it, and the
    picture."""

    peak: int
    event: Event
    row: Float32 | None
    picture: UInt8 | None


class CameraAlerts:
    """Raises the alerts of one camera. For one thread.

    rate: frames per second that are looked at. What the ledger does not take waits in `queue` and is tried again
    with the next frame, so a full disk delays alerts and loses none. on_opened, on_closed: called with the id of an
    alert, once it is on record.
    """

    def __init__(
        self,
        camera: str,
        predictor: Predictor,
        alarm: AlarmRule,
        ledger: AlertLedger,
        root: Path,
        rate: float,
        reporter: Reporter,
        *,
        model_sha256: str = "",
        suppressions: Path | None = None,
        on_opened: Callable[[str], object] = lambda alert: None,
        on_closed: Callable[[str], object] = lambda alert: None,
    ) -> None:
        self.camera, self.predictor, self.alarm, self.ledger, self.root = camera, predictor, alarm, ledger, root
        self.rate, self.reporter, self.model_sha256 = rate, reporter, model_sha256
        self.on_opened, self.on_closed = on_opened, on_closed
        self._given = tuple(read_suppressions(suppressions)) if suppressions else ()
        self._model = ScoringModel(model_sha256, predictor.normal_index)
        self.recent, self.health = RecentFrames(), tuple[str, ...]()
        self.clock_offset_s: float | None = None
        rules, level = alarm.rules, alarm.threshold.level
        state = ledger.machine_state(camera) or MachineState()
        self.machine = AlertMachine.resume(state, rules.merge_gap(rate), rules.min_length(rate), level)
        self.alerts: dict[str, Alert] = {}  # that are open, by kind
        self._story: _Story | None = None
        self._places: dict[int, FramePlace] = {}  # of the frames that an open event needs
        self._peak_picture: tuple[int, UInt8] | None = None
        self.queue, self._after = RevisionQueue(camera, ledger, reporter), list[Callable[[], object]]()
        self._session, self._base = 0, 0
        self._kept_ms = 0
        self._events: dict[str, tuple[list[Event], dict[str, tuple[str, Float32]]]] = {}
        self._resume()

    def _resume(self) -> None:
        """Go on with what a process before this one left open, and with its flood. An alert of another level is closed,
        as no score can say when it ends."""
        for stored in self.ledger.open_alerts():
            if stored.alert.camera == self.camera:
                self.alerts[stored.alert.kind] = stored.alert
        known = self.alerts.get("unusual")
        if known is not None and known.level != self.machine.level:
            self.machine.end()
            self._record([Revision(known.next_revision("closed", cut_short=True))])
            del self.alerts["unusual"]
        elif known is None and self.machine.state.stretch is not None and self.machine.state.stretch.reported_ms:
            self.machine.end()
        hour_ago_ms = round(1000 * time.time()) - HOUR_MS
        raised = [stored.alert for stored in self.ledger.alerts(hour_ago_ms, self.camera)]
        flood = self.alerts.get("flood")
        since_flood = [] if flood is None else self.ledger.alerts(flood.start, self.camera)
        covered = sum(stored.covered_by == flood.id for stored in since_flood if flood is not None)
        self.flood = FloodGuard(
            self.alarm.threshold.expected_per_hour,
            times_ms=[alert.start for alert in raised if alert.kind == "unusual"],
            flood=None if flood is None else Flood(flood.start, flood.end, covered),
        )

    def take(self, result: LiveResult, place: FramePlace) -> None:
        """Take the scores of the next frame, which stands at `place` in the run folder."""
        frame, utc_ms = result.frame, round(result.frame.utc_s * 1000)
        number = self._number(frame.session, frame.number)
        self.recent.add(number, place.frame_index, place.time_s, result.scored, result.described)
        score = result.scored.anomaly_score
        before = self.machine.state.stretch
        changes = self.machine.push(number, utc_ms, score)
        self._remember(number, place, result.described.picture)
        revisions = [revision for change in changes for revision in self._revisions(change)]
        revisions += self._floods(self.flood.advance(utc_ms))
        is_open, was_open = self.machine.state.stretch is not None, before is not None
        if not revisions and (is_open or was_open):
            self.queue.keep(self.machine.state, utc_ms, at_once=is_open != was_open)
        self._record(revisions)

    def end_session(self) -> None:
        """The pictures that are at hand belong to no later one. An open alert goes on where the camera comes back soon
        enough, which the next score or `close` shows."""
        self.recent.clear()

    def close(self, utc_ms: int) -> None:
        """Close what is open, as no score follows for longer than an alert may pause."""
        revisions = [revision for change in self.machine.end() for revision in self._revisions(change)]
        self._record([*revisions, *self._floods(self.flood.advance(utc_ms))])

    def _record(self, revisions: list[Revision]) -> None:
        """Put revisions on record, and then do what follows from them."""
        self.queue.put(revisions, self.machine.state)
        after, self._after = self._after, []
        for do in after:
            do()

    def _number(self, session: int, number: int) -> int:
        """The number of a frame among all of the camera: the grid of its session, which begins where the clock says,
        behind all numbers that were given."""
        if session != self._session:
            last = self.machine.state.number
            self._session = session
            self._base = max(round(session / 1000 * self.rate), 0 if last is None else last + 1) - number
        return self._base + number

    def _remember(self, number: int, place: FramePlace, picture: UInt8) -> None:
        """Keep where the frames stand that an event needs, and the picture of its peak."""
        stretch = self.machine.state.stretch
        if stretch is None:
            self._places.clear()
            self._peak_picture = None
            return
        needed = {stretch.start.number, stretch.peak.number, stretch.last_above.number}
        self._places = {at: known for at, known in self._places.items() if at in needed}
        if number in needed:
            self._places[number] = place
        if number == stretch.peak.number:
            self._peak_picture = number, picture

    def _revisions(self, change: Change) -> list[Revision]:
        """What goes on record of a change, with its picture written."""
        story, known = self._told(change), self.alerts.get("unusual")
        if change.state == "opened":
            floods = self._floods(self.flood.raised(change.start.utc_ms))
            covered_by = self.alerts["flood"].id if "flood" in self.alerts else ""
            alert = self._alert(change, story)
            self.alerts["unusual"] = alert
            self._write_picture(alert, story)
            self._after += [
                partial(self.on_opened, alert.id),
                partial(self.reporter.say, f"{self.camera}: alert {alert.id}: {alert.reason or 'unusual'}"),
            ]
            return [*floods, Revision(alert, (), covered_by)]
        if known is None:  # it was closed for another level
            return []
        alert = known.next_revision(change.state, **self._facts(change, story, known.id))
        self._write_picture(alert, story)
        self.alerts["unusual"] = alert
        if change.state == "closed":
            del self.alerts["unusual"]
            self._after.append(partial(self.on_closed, alert.id))
            if story is not None:
                self._after.append(partial(self._add_event, story))
            self._story = None
        return [Revision(alert)]

    def _told(self, change: Change) -> _Story | None:
        """The event, its reason and its picture, made again where the peak is another one."""
        place = self._places.get(change.peak.number)
        if place is None:
            return self._story
        known = self._story if change.state != "opened" else None
        event = self._event(change, place)
        if known is not None and known.peak == change.peak.number and known.event.reason is not None:
            self._story = replace(known, event=_as_told(event, known.event))
            return self._story
        if known is not None and self.recent.find(change.peak.number) is None:
            # What was at the peak is no longer known: what was said before holds for the event, too.
            self._story = replace(known, event=_as_told(event, known.event))
            return self._story
        reason, row = None, None
        if self.recent.find(change.peak.number) is not None:
            scored = self.recent.scored(place.video, self.predictor.settings.fusion.smoothing_s * self.rate, self.rate)
            bundle, index = self.predictor.bundle, self.predictor.normal_index
            try:
                ((_, reason, row),) = explain_video([event], scored, self.recent, bundle, index)
            except Exception as error:  # an alert without a reason is an alert
                self.reporter.warn(f"{self.camera}: no reason: {sentence(error, self.camera)}")
        event = replace(event, reason=reason)
        event = replace(event, suppression=self._suppression(event, row))
        picture = self.recent.picture(shown_frame(event))
        if picture is None and self._peak_picture is not None:
            picture = self._peak_picture[1]
        self._story = _Story(change.peak.number, event, row, picture)
        return self._story

    def _suppression(self, event: Event, row: Float32 | None) -> str:
        """The id of the feedback that says that it is normal here, which may have come a moment ago; or nothing."""
        try:
            known = [*suppressions_of(self.root), *self._given]
        except MuldeError as error:
            self.reporter.warn(f"{self.camera}: {error}")
            known = list(self._given)
        if not known:
            return ""
        rows = {} if row is None or event.reason is None else {event.event_id: (event.reason.stream, row)}
        return apply_suppressions([event], rows, known, self._model)[0].suppression

    def _event(self, change: Change, peak: FramePlace) -> Event:
        """The part of it that lies in the hour of its peak."""

        def index(number: int, otherwise: int) -> int:
            place = self._places.get(number)
            return place.frame_index if place is not None and place.video == peak.video else otherwise

        score = np.array([change.score])
        first = min(index(change.start.number, 0), peak.frame_index)
        last = max(index(change.last_above.number, peak.frame_index), peak.frame_index)
        p_value = event_p_values(score, self.alarm.normal, merge_gap_s=self.alarm.rules.merge_gap_s)
        return Event(
            video=peak.video,
            start_frame=first,
            end_frame=last + 1,
            start_s=first / self.rate,
            end_s=last / self.rate,
            peak_frame=peak.frame_index,
            peak_s=peak.time_s,
            score=change.score,
            p_value=float(p_value[0]),
        )

    def _alert(self, change: Change, story: _Story | None) -> Alert:
        identity = alert_id(self.camera, change.start.utc_ms)
        threshold = self.alarm.threshold
        return Alert(
            id=identity,
            revision=1,
            state="opened",
            kind="unusual",
            camera=self.camera,
            start=change.start.utc_ms,
            level=threshold.level,
            expected_per_hour=threshold.expected_per_hour,
            clip=f"/alerts/{identity}.mp4",
            health=self.health,
            model_sha256=self.model_sha256,
            **self._facts(change, story, identity),
        )

    def _facts(self, change: Change, story: _Story | None, identity: str) -> dict[str, Any]:
        """What a change says anew of an alert; what its peak was is told where that is known."""
        facts: dict[str, Any] = {
            "peak": change.peak.utc_ms,
            "end": change.last_above.utc_ms,
            "score": change.score,
            "camera_clock_offset_s": self.clock_offset_s,
        }
        if story is None:
            return facts
        event, reason = story.event, story.event.reason
        region = reason.region if reason else None
        return facts | {
            "p_value": event.p_value,
            "stream": reason.stream if reason else "",
            "reason": reason.text if reason else "",
            "streams": dict(reason.streams) if reason else {},
            "object": region.what if region else "",
            "box_xyxy": region.box_xyxy if region else None,
            "size_hw": self.recent.size_hw,
            "video": event.video,
            "peak_frame": event.peak_frame,
            "picture": f"/alerts/{identity}.jpg" if story.picture is not None else "",
            "exemption": event.suppression,
        }

    def _floods(self, changes: list[FloodChange]) -> list[Revision]:
        revisions = []
        for change in changes:
            flood, known = change.flood, self.alerts.get("flood")
            text = f"too many alerts; {flood.num_covered} stand behind this one"
            if change.state == "opened":
                alert = Alert(
                    id=alert_id(self.camera, flood.start_ms, "flood"),
                    revision=1,
                    state="opened",
                    kind="flood",
                    camera=self.camera,
                    start=flood.start_ms,
                    peak=flood.start_ms,
                    end=flood.end_ms,
                    expected_per_hour=self.alarm.threshold.expected_per_hour,
                    reason=text,
                    model_sha256=self.model_sha256,
                )
                self.alerts["flood"] = alert
            elif known is not None:
                alert = known.next_revision("closed", end=max(flood.end_ms, known.end), reason=text)
                del self.alerts["flood"]
            else:
                continue
            self.reporter.warn(f"{self.camera}: {text} ({alert.state})")
            revisions.append(Revision(alert))
        return revisions

    def _write_picture(self, alert: Alert, story: _Story | None) -> None:
        if story is None or story.picture is None:
            return
        try:
            write_jpeg(thumbnail(story.picture, story.event, _PICTURE_PX), self.root / PICTURES / f"{alert.id}.jpg")
        except OSError as error:  # a full disk takes no picture, and the alert goes on
            self.reporter.warn(f"{self.camera}: no picture of {alert.id}: {sentence(error, self.root)}")

    def _add_event(self, story: _Story) -> None:
        """Into the tables of the run folder, beside the other events of its hour."""
        event = story.event
        try:
            if event.video not in self._events:
                before = [known for known in read_events(self.root) if known.video == event.video]
                ids = {known.event_id for known in before}
                kept = {key: row for key, row in read_event_rows(self.root).items() if key in ids}
                self._events = {event.video: (before, kept)}
            events, rows = self._events[event.video]
            events.append(event)
            if story.row is not None and event.reason is not None:
                rows[event.event_id] = (event.reason.stream, story.row)
            EventParts(self.root).add([event.video], events, rows)
            if story.picture is not None:
                write_jpeg(thumbnail(story.picture, event), picture_path(self.root / THUMBNAILS, event, ".jpg"))
        except OSError as error:
            self.reporter.warn(f"{self.camera}: {event.event_id} is not in the tables: {sentence(error, self.root)}")


def _as_told(event: Event, before: Event) -> Event:
    return replace(event, reason=before.reason, suppression=before.suppression)
