"""The health of a camera's picture while it is watched: alerts of the kind `camera`, and frames that are not scored
because the light has changed all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mulde.errors import sentence
from mulde.health import Condition, HealthMonitor, HealthReference, LightSwitch, thumbnail
from mulde.health.light import BLANK_S
from mulde.health.measures import KINDS, HealthKind
from mulde.images import shrunk
from mulde.pipeline.events.thumbnails import write_jpeg
from mulde.pipeline.live.alerting import PICTURE_PX, PICTURES, CameraAlerts
from mulde.pipeline.live.alerts import Alert, AlertState, alert_id, free_start
from mulde.pipeline.live.frames import LiveFrame
from mulde.pipeline.live.ledger import Revision
from mulde.progress import Reporter
from mulde.records import UInt8

MEASURES = ("shift_pixels", "sharpness_ratio", "background_ratio", "brightness_ratio")


class CameraHealth:
    """Looks at every frame of one camera that would be scored, and at one a second more closely. For one thread.

    reference: that of its model; mutes: whether nobody is told of what is unusual while the camera has moved. An alert
    of an earlier process that is still open goes on.
    """

    def __init__(
        self, reference: HealthReference | None, alerts: CameraAlerts, root: Path, reporter: Reporter, mutes: bool
    ) -> None:
        self.camera, self.alerts, self.root, self.reporter, self.mutes = alerts.camera, alerts, root, reporter, mutes
        self.monitor, self._light = HealthMonitor(reference), LightSwitch()
        self.conditions: tuple[Condition, ...] = ()
        self.num_light_changes = 0
        self._last_wrong_ms = 0
        self._said: set[str] = set()
        if (known := alerts.alerts.get("camera")) is not None:
            self._resume(known)
        if reference is None:
            self._say_once(
                "its model has no reference of the picture, so of its health only dark, bright and frozen are told; "
                "train again for moved, covered and blurred"
            )
        elif not any(regime.has_view for regime in reference.regimes.values()):
            self._say_once("its training footage looks at no one place, so only dark, bright and frozen are told")

    def _resume(self, known: Alert) -> None:
        kinds = [kind for kind in KINDS if kind in known.health]
        self.monitor.resume(kinds, known.start)
        self._last_wrong_ms = known.end
        self.conditions = self.monitor.conditions
        self._mark()

    def take(self, frame: LiveFrame) -> bool:
        """Look at a frame; whether it is not to be scored."""
        try:
            return self._take(frame)
        except Exception as error:  # its frames are scored all the same
            self._say_once(f"its health cannot be told: {sentence(error, self.camera)}")
            return False

    def _take(self, frame: LiveFrame) -> bool:
        light = self._light.take(frame.image, frame.utc_s)
        if light.has_changed:
            self.num_light_changes += 1
            self.monitor.light_changed()
            self.reporter.say(f"{self.camera}: the light has changed all at once; not scored for {BLANK_S:g} s")
        utc_ms = round(1000 * frame.utc_s)
        if self.monitor.is_due(utc_ms):
            self._follow(self.monitor.take(thumbnail(frame.image), utc_ms), utc_ms, frame.image)
        return light.is_blanked

    def _follow(self, conditions: tuple[Condition, ...], utc_ms: int, image: UInt8) -> None:
        measures = self.monitor.measures
        if measures is not None and measures.regime_is_new:
            self._say_once(
                f"its model learnt no {measures.regime} pictures, so only a move and darkness are told of these"
            )
        if conditions and (measures is None or measures.wrong is not None or self.monitor.frozen.is_frozen):
            self._last_wrong_ms = utc_ms
        before, self.conditions = self.conditions, conditions
        if _kinds(before) == _kinds(conditions):
            return
        known = self.alerts.alerts.get("camera")
        if known is None and not conditions:
            return
        state: AlertState = "opened" if known is None else ("updated" if conditions else "closed")
        text = "; ".join(condition.text for condition in conditions)
        (self.reporter.warn if conditions else self.reporter.say)(
            f"{self.camera}: {text or 'the picture is as it was'}"
        )
        alert = self._opened(text, utc_ms) if known is None else self._revised(known, state, text)
        if state != "closed":
            self._write_picture(alert, image)
        self._put(alert)

    def _opened(self, text: str, utc_ms: int) -> Alert:
        since_ms = min(condition.since_ms for condition in self.conditions)
        start = free_start(self.camera, since_ms, "camera", self.alerts.queue.knows)
        identity = alert_id(self.camera, start, "camera")
        return Alert(
            id=identity,
            revision=1,
            state="opened",
            kind="camera",
            camera=self.camera,
            start=start,
            peak=max(start, utc_ms),
            end=max(start, utc_ms),
            reason=text,
            picture=f"/alerts/{identity}.jpg",
            health=_kinds(self.conditions),
            model_sha256=self.alerts.model_sha256,
        )

    def _revised(self, known: Alert, state: AlertState, text: str) -> Alert:
        """Its reason and kinds stay what they were when it closes."""
        facts: dict[str, Any] = {"reason": text, "health": _kinds(self.conditions)} if state != "closed" else {}
        return known.next_revision(state, end=max(known.end, self._last_wrong_ms), **facts)

    def _put(self, alert: Alert) -> None:
        if alert.state == "closed":
            self.alerts.alerts.pop("camera", None)
        else:
            self.alerts.alerts["camera"] = alert
        self._mark()
        self.alerts.record([Revision(alert)])

    def _mark(self) -> None:
        """What alerts that are raised from now on say of the picture, and whether anyone is told of them."""
        known, kinds = self.alerts.alerts.get("camera"), _kinds(self.conditions)
        self.alerts.health = kinds
        self.alerts.muted_by = known.id if known is not None and self.mutes and "moved" in kinds else ""

    def close(self) -> None:
        """Close what is open, as nobody looks any longer: whether it is over is not known."""
        known = self.alerts.alerts.get("camera")
        self.conditions = ()
        if known is not None:
            end = max(known.end, self._last_wrong_ms)
            self._put(known.next_revision("closed", end=end, cut_short=True))

    def figures(self) -> dict[str, float]:
        """The numbers of the last look, by name; those that there are."""
        found = {name: getattr(self.monitor.measures, name, None) for name in MEASURES}
        return {name: float(value) for name, value in found.items() if value is not None}

    def _write_picture(self, alert: Alert, image: UInt8) -> None:
        try:
            write_jpeg(shrunk(image, PICTURE_PX), self.root / PICTURES / f"{alert.id}.jpg")
        except OSError as error:  # a full disk takes no picture, and the alert goes on
            self.reporter.warn(f"{self.camera}: no picture of {alert.id}: {sentence(error, self.root)}")

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.reporter.say(f"{self.camera}: {text}")


def _kinds(conditions: Sequence[Condition]) -> tuple[HealthKind, ...]:
    return tuple(condition.kind for condition in conditions)
