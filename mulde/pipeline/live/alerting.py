"""The scores of one camera into alerts: on record before anything else happens, with a reason and a picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mulde.errors import sentence
from mulde.pipeline.events.suppression import ScoringModel
from mulde.pipeline.events.thumbnails import thumbnail, write_jpeg
from mulde.pipeline.live.alerts import (
    HOUR_MS,
    Alert,
    AlertMachine,
    Change,
    Flood,
    FloodChange,
    FloodGuard,
    MachineState,
    Moment,
    alert_id,
    free_start,
)
from mulde.pipeline.live.event_builder import EventBuilder, LiveEvent
from mulde.pipeline.live.event_log import EventLog, suppressed
from mulde.pipeline.live.hourly_scores import FramePlace
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.recording import RevisionQueue
from mulde.pipeline.live.scoring import LiveResult
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.scoring.threshold import AlarmRule
from mulde.progress import Reporter

PICTURES = "alerts"
PICTURE_PX = 640


class CameraAlerts:
    """Raises the alerts of one camera. For one thread.

    rate: frames per second that are looked at. What the ledger does not take waits in `queue` and is tried again
    with the next frame, so a full disk delays alerts and loses none. suppressions: feedback of other runs. on_opened,
    on_closed: called with the id of an alert, once it is on record, or waits to be. Raises MuldeError for feedback that
    cannot be read. health: what is wrong with the picture; muted_by: the id of the alert because of which nobody is
    told of those that are raised, or empty.
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
        self.camera, self.alarm, self.ledger, self.root = camera, alarm, ledger, root
        self.rate, self.reporter, self.model_sha256 = rate, reporter, model_sha256
        self.on_opened, self.on_closed = on_opened, on_closed
        self.health, self.muted_by, self.num_muted = tuple[str, ...](), "", 0
        self.clock_offset_s: float | None = None
        self.builder = EventBuilder(camera, predictor, alarm, rate, reporter)
        model = ScoringModel(model_sha256, predictor.normal_index)
        self.log = EventLog(root, camera, model, reporter, suppressions)
        rules, level = alarm.rules, alarm.threshold.level
        state = ledger.machine_state(camera) or MachineState()
        self.machine = AlertMachine.resume(state, rules.merge_gap(rate), rules.min_length(rate), level)
        self.alerts: dict[str, Alert] = {}  # that are open, by kind
        self.queue, self._after = RevisionQueue(camera, ledger, reporter), list[Callable[[], object]]()
        self._session, self._base = 0, 0
        self._has_no_room = False
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
            closed = known.next_revision("closed", cut_short=True)
            self._after.append(partial(self.add_cut_short, closed))
            self._record([Revision(closed)])
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
        was_open = self.machine.state.stretch is not None
        changes = self.machine.push(number, utc_ms, result.scored.anomaly_score)
        stretch = self.machine.state.stretch
        self.builder.follow(number, place, result, stretch)
        revisions = [revision for change in changes for revision in self._revisions(change)]
        self.builder.forget(stretch)
        revisions += self._floods(self.flood.advance(utc_ms))
        is_open = stretch is not None
        if not revisions and (is_open or was_open):
            self.queue.keep(self.machine.state, utc_ms, at_once=is_open != was_open)
        self._record(revisions)

    def add_cut_short(self, alert: Alert) -> None:
        """Add the event of an alert that an earlier process left open, and that is closed on record, to the tables."""
        start, peak, end = (Moment(0, utc_ms) for utc_ms in (alert.start, alert.peak, alert.end))
        live = self.builder.build(Change("closed", start, peak, end, alert.score or 0.0), alert)
        self.builder.forget(None)
        self.log.add(suppressed(live, alert.exemption))

    def record(self, revisions: list[Revision]) -> None:
        """Put revisions of the camera's alerts of other kinds on record, behind those that wait."""
        self._record(revisions)

    def end_session(self) -> None:
        """The pictures that are at hand belong to no later one. An open alert goes on where the camera comes back soon
        enough, which the next score or `close` shows."""
        self.builder.end_session()
        self.log.flush()

    def close(self, utc_ms: int) -> None:
        """Close what is open, as no score follows for longer than an alert may pause."""
        revisions = [revision for change in self.machine.end() for revision in self._revisions(change)]
        self.builder.forget(None)
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
            self._base = max(round(session / 1000 * self.rate), 0 if last is None else last + 1 - number)
        return self._base + number

    def _revisions(self, change: Change) -> list[Revision]:
        """What goes on record of a change, with its picture written."""
        known = self.alerts.get("unusual")
        if known is None and change.state != "opened":  # it was closed for another level
            return []
        live = self.builder.build(change, known)
        live = suppressed(live, self.log.suppression(live))
        if known is None:
            floods = [] if self.muted_by else self._floods(self.flood.raised(change.start.utc_ms))
            covered_by = self.muted_by or (self.alerts["flood"].id if "flood" in self.alerts else "")
            self.num_muted += bool(self.muted_by)
            alert = self._alert(change, live)
            what = f"muted alert {alert.id}, as the camera has moved" if self.muted_by else f"alert {alert.id}"
            self._after += [
                partial(self.on_opened, alert.id),
                partial(self.reporter.say, f"{self.camera}: {what}: {alert.reason or 'unusual'}"),
            ]
            revisions = [*floods, Revision(alert, covered_by=covered_by)]
        else:
            alert = known.next_revision(change.state, **self._facts(change, live, known.id, known.start))
            revisions = [Revision(alert)]
        self._write_picture(alert, live)
        self.alerts["unusual"] = alert
        if change.state == "closed":
            del self.alerts["unusual"]
            self._after += [partial(self.on_closed, alert.id), partial(self.log.add, live)]
        return revisions

    def _alert(self, change: Change, live: LiveEvent) -> Alert:
        start = free_start(self.camera, change.start.utc_ms, "unusual", self.queue.knows)
        identity, threshold = alert_id(self.camera, start), self.alarm.threshold
        return Alert(
            id=identity,
            revision=1,
            state="opened",
            kind="unusual",
            camera=self.camera,
            start=start,
            level=threshold.level,
            expected_per_hour=threshold.expected_per_hour,
            clip=f"/alerts/{identity}.mp4",
            health=self.health,
            model_sha256=self.model_sha256,
            **self._facts(change, live, identity, start),
        )

    def _facts(self, change: Change, live: LiveEvent, identity: str, start: int) -> dict[str, Any]:
        """What a change says anew of an alert."""
        event, reason = live.event, live.event.reason
        region = reason.region if reason else None
        peak = max(change.peak.utc_ms, start)
        return {
            "peak": peak,
            "end": max(change.last_above.utc_ms, peak),
            "score": change.score,
            "camera_clock_offset_s": self.clock_offset_s,
            "p_value": event.p_value,
            "stream": reason.stream if reason else "",
            "reason": reason.text if reason else "",
            "streams": dict(reason.streams) if reason else {},
            "object": region.what if region else "",
            "box_xyxy": region.box_xyxy if region else None,
            "size_hw": live.size_hw,
            "video": event.video,
            "peak_frame": event.peak_frame,
            **({"picture": f"/alerts/{identity}.jpg"} if live.picture is not None else {}),
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

    def _write_picture(self, alert: Alert, live: LiveEvent) -> None:
        if live.picture is None:
            return
        try:
            write_jpeg(thumbnail(live.picture, live.event, PICTURE_PX), self.root / PICTURES / f"{alert.id}.jpg")
            self._has_no_room = False
        except OSError as error:  # a full disk takes no picture, and the alert goes on
            if not self._has_no_room:
                self._has_no_room = True
                self.reporter.warn(f"{self.camera}: no picture of {alert.id}: {sentence(error, self.root)}")
