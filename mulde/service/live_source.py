"""A run that is watched in this process, as the service shows it."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mulde.pipeline.live.alert_book import AlertBook, BookedAlert, as_json
from mulde.pipeline.live.alerting import PICTURES
from mulde.pipeline.live.clips import find_clips
from mulde.pipeline.live.status import CameraState
from mulde.pipeline.live.utc import HOUR_MS
from mulde.pipeline.live.view import CameraView, LiveView
from mulde.service.bins import MAX_SPAN_MS, HourTables, binned
from mulde.service.schema import (
    AlertPage,
    Camera,
    CameraWord,
    Counts,
    Health,
    MarkRequest,
    Mode,
    Overview,
    ScoreBins,
    Storage,
)
from mulde.service.source import AlertFiles, AlertJson, AlertQuery, Picture, Refusal, ScoreNow
from mulde.service.storage import clips_bytes
from mulde.service.wording import camera_text, needs_a_hand

MAX_SILENCE_S = 10.0
"""Since the last turn of the loop, for a process that is well."""
_CHECK_S, _DAY_MS = 5.0, 24 * HOUR_MS


def picture_is_old(utc_ms: int, fps: float, now_ms: int) -> bool:
    """Whether a picture no longer shows the camera as it is: three of its frames and 2 s later."""
    return now_ms - utc_ms > 1000 * (2.0 + (3.0 / fps if fps > 0 else 0.0))


class LiveSource:
    """Cameras by their view, alerts by their book, scores by the tables of their hours and by what is in memory."""

    mode: Mode = "live"

    def __init__(self, root: Path, view: LiveView, book: AlertBook) -> None:
        self.root, self.name, self._view, self._book = root, root.resolve().name, view, book
        self._hours, self._lock = HourTables(root), threading.Lock()
        self._checked: tuple[float, str] = (-_CHECK_S, "")
        self._utc: Callable[[], float] = view.clocks.utc

    def _now_ms(self) -> int:
        return round(1000 * self._utc())

    # --- cameras

    def cameras(self) -> list[Camera]:
        return [self._camera(view) for view in self._view.cameras().values()]

    def camera(self, name: str) -> Camera | None:
        view = self._view.cameras().get(name)
        return None if view is None else self._camera(view)

    def _camera(self, view: CameraView) -> Camera:
        status, paused_until = view.status, self._view.paused_until(view.name)
        frame, last = self._view.frame(view.name), self._view.last_score(view.name)
        taken_ms = None if frame is None else round(1000 * frame.utc_s)
        fps_scored = self._view.fps_scored(view.name)
        is_live = status.state is CameraState.LIVE
        state: CameraWord = "paused" if paused_until is not None and is_live else status.state.value
        return Camera(
            name=view.name,
            state=state,
            since_utc_ms=round(1000 * status.since_utc_s),
            text=camera_text(view, paused_until, fps_scored),
            health=[Health(kind=note.kind, text=note.text, since_utc_ms=note.since_ms) for note in view.health],
            fps_wanted=view.fps_wanted,
            fps_scored=fps_scored,
            latency_p95_s=view.latency_p95_s,
            skipped=status.num_skipped,
            score=view.score if last is None else last[1],
            level=view.level,
            alert=view.alert,
            picture_utc_ms=taken_ms,
            picture_is_old=taken_ms is None or picture_is_old(taken_ms, view.fps_wanted, self._now_ms()),
            paused_until_utc_ms=paused_until,
            needs_a_hand=needs_a_hand(view, fps_scored),
            drift=view.drift,
        )

    def picture(self, camera: str) -> Picture | None:
        frame, view = self._view.frame(camera), self._view.cameras().get(camera)
        if frame is None or view is None:
            return None
        taken_ms = round(1000 * frame.utc_s)
        return Picture(frame.image, taken_ms, picture_is_old(taken_ms, view.fps_wanted, self._now_ms()))

    def pause(self, camera: str, minutes: float) -> Camera | None:
        if camera not in self._view.cameras():
            return None
        until_ms = self._now_ms() + round(60_000 * minutes) if minutes else 0
        self._book.pause(camera, until_ms)
        self._view.pause(camera, until_ms)
        return self.camera(camera)

    # --- scores

    def scores(self, camera: str, start_ms: int | None, end_ms: int | None, points: int) -> ScoreBins | None:
        view = self._view.cameras().get(camera)
        if view is None:
            return None
        end_ms = self._now_ms() + 1 if end_ms is None else end_ms
        start_ms = max(end_ms - HOUR_MS, 0) if start_ms is None else start_ms
        if not start_ms < end_ms <= start_ms + MAX_SPAN_MS:
            raise Refusal(
                400, "from and to", expected="at most 31 days, the earlier time first", got=f"{start_ms} to {end_ms}"
            )
        recent = self._view.scores(camera, start_ms, end_ms)
        with self._lock:
            pairs = self._hours.between(camera, start_ms, min(end_ms, self._now_ms() + HOUR_MS))
        bins = binned([*pairs, recent], start_ms, end_ms, points)
        return ScoreBins(camera=camera, from_utc_ms=start_ms, to_utc_ms=end_ms, level=view.level, bins=bins)

    def scores_now(self) -> list[ScoreNow]:
        found = []
        for name, view in self._view.cameras().items():
            last = self._view.last_score(name)
            if last is not None:
                found.append(ScoreNow(name, *last, view.level))
        return found

    # --- alerts

    def alerts(self, query: AlertQuery) -> AlertPage:
        found = self._book.alerts(
            camera=query.camera,
            state=query.state,
            mark=query.mark,
            since_ms=query.since_ms,
            before=query.before,
            limit=query.limit + 1,
        )
        shown = found[: query.limit]
        return AlertPage(
            alerts=[as_json(booked) for booked in shown],
            next=str(shown[-1].number) if len(found) > len(shown) else None,
        )

    def alert(self, alert_id: str) -> AlertJson | None:
        booked = self._book.find(alert_id)
        return None if booked is None else as_json(booked)

    def files(self, alert_id: str) -> AlertFiles | None:
        booked = self._book.find(alert_id)
        if booked is None:
            return None
        alert = booked.alert
        clips = find_clips(self.root, alert.camera, alert.id)
        return AlertFiles(self.root / PICTURES / f"{alert.id}.jpg", clips[0] if clips else None)

    def mark(self, alert_id: str, request: MarkRequest) -> AlertJson | None:
        booked: BookedAlert | None = self._book.find(alert_id)
        if booked is None:
            return None
        self._book.mark(alert_id, request.mark, request.who, request.why, self._now_ms())
        return self.alert(alert_id)

    def last_change(self) -> int:
        return self._book.last_change()

    def changes(self, after: int, limit: int) -> list[tuple[int, AlertJson]]:
        return [(number, as_json(booked)) for number, booked in self._book.changes(after, limit)]

    # --- as a whole

    def overview(self) -> Overview:
        cameras, now_ms = self.cameras(), self._now_ms()
        midnight_ms = now_ms // _DAY_MS * _DAY_MS
        outbox: dict[str, int] = {}
        for (sink, state), count in self._book.outbox().items():
            outbox[sink] = outbox.get(sink, 0) + (count if state == "waiting" else 0)
        unwell = self.unwell()
        problems = [unwell] * bool(unwell) + [f"{camera.name}: {camera.text}" for camera in cameras if camera.text]
        return Overview(
            mode=self.mode,
            run=self.name,
            utc_ms=now_ms,
            counts=Counts(
                to_look_at=self._book.num_to_look_at(),
                watching=sum(camera.state == "live" and not camera.needs_a_hand for camera in cameras),
                need_a_hand=sum(camera.needs_a_hand for camera in cameras),
                cameras=len(cameras),
                alerts_today=self._book.num_since(midnight_ms),
                expected_today=self._expected(midnight_ms, now_ms),
            ),
            outbox=outbox,
            storage=self._storage(unwell),
            problems=problems,
        )

    def _expected(self, start_ms: int, end_ms: int) -> float | None:
        views = self._view.cameras()
        watched_ms = self._book.watched_ms(start_ms, end_ms)
        return sum(view.expected_per_hour * watched_ms.get(name, 0) / HOUR_MS for name, view in views.items())

    def _storage(self, problem: str) -> Storage:
        try:
            free = shutil.disk_usage(self.root).free
        except OSError:
            free = None
        known = self._view.clips_bytes()
        return Storage(free_bytes=free, clips_bytes=clips_bytes(self.root) if known is None else known, problem=problem)

    def unwell(self) -> str:
        silent_s = self._view.silent_s()
        if silent_s > MAX_SILENCE_S:
            return f"the loop that scores has not turned for {silent_s:.0f} s"
        waiting = sum(view.num_waiting for view in self._view.cameras().values())
        if waiting:
            return f"the ledger of alerts cannot be written: {waiting} changes wait for the disk"
        return self._unwritable()

    def _unwritable(self) -> str:
        """Looked at now and then, as it writes to the disk."""
        now_s = time.monotonic()
        with self._lock:
            checked_s, problem = self._checked
            if now_s - checked_s < _CHECK_S:
                return problem
            try:
                self._book.check_writable(self._now_ms())
                problem = ""
            except sqlite3.Error as error:
                problem = f"the ledger of alerts cannot be written: {error}"
            self._checked = now_s, problem
        return problem
