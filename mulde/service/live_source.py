"""A run that is watched in this process, as the service shows it."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mulde.pipeline.events.suppression import ScoringModel
from mulde.pipeline.live.alert_book import AlertBook
from mulde.pipeline.live.alerts import Alert
from mulde.pipeline.live.status import CameraState
from mulde.pipeline.live.utc import DAY_MS, HOUR_MS
from mulde.pipeline.live.view import CameraView, LiveView
from mulde.pipeline.model.loading import load_normal_index
from mulde.service.bins import MAX_SPAN_MS, HourTables, binned
from mulde.service.booked_alerts import BookedAlerts
from mulde.service.normal_marks import NormalMarks
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
from mulde.service.source import AlertFiles, AlertJson, AlertQuery, Picture, Refusal, ScoreNow, Watched
from mulde.service.storage import clips_bytes
from mulde.service.wording import camera_text, needs_a_hand

MAX_SILENCE_S = 10.0
"""Since the last turn of the loop, for a process that is well."""
_CHECK_S = 5.0


def model_of_views(view: LiveView) -> Callable[[Alert], ScoringModel]:
    """What scored an alert: the model of its camera, where it is still the same."""
    known: dict[str, ScoringModel] = {}

    def model_of(alert: Alert) -> ScoringModel:
        camera = view.cameras().get(alert.camera)
        sha256 = alert.model_sha256
        if camera is None or camera.model_sha256 != sha256:
            return ScoringModel(sha256, None)
        if sha256 not in known:
            known.clear()
            known[sha256] = ScoringModel(sha256, load_normal_index(Path(camera.model)))
        return known[sha256]

    return model_of


def picture_is_old(utc_ms: int, fps: float, now_ms: int) -> bool:
    """Whether a picture no longer shows the camera as it is: three of its frames and 2 s later."""
    return now_ms - utc_ms > 1000 * (2.0 + (3.0 / fps if fps > 0 else 0.0))


class LiveSource:
    """Cameras by their view, alerts by their book, scores by the tables of their hours and by what is in memory."""

    mode: Mode = "live"

    def __init__(self, root: Path, view: LiveView, book: AlertBook, normal: NormalMarks) -> None:
        self.root, self.name, self._view, self._book, self._normal = root, root.resolve().name, view, book, normal
        self.watched = Watched(view, book)
        self._booked = BookedAlerts(root, book, normal, self._now_ms)
        self._hours, self._lock = HourTables(root), threading.Lock()
        self._checked: tuple[float, str] = (-np.inf, "")

    @classmethod
    @contextmanager
    def open(cls, root: Path, view: LiveView) -> Iterator[LiveSource]:
        """The run that is watched into a folder, with a thread for what is marked as normal."""
        with (
            AlertBook.open(root, write=True) as book,
            NormalMarks(root, book, model_of_views(view), tables=False) as normal,
        ):
            yield cls(root, view, book, normal)

    def _now_ms(self) -> int:
        return round(1000 * self._view.clocks.utc())

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
        return self._booked.page(query)

    def alert(self, alert_id: str) -> AlertJson | None:
        return self._booked.find(alert_id)

    def files(self, alert_id: str) -> AlertFiles | None:
        return self._booked.files(alert_id)

    def mark(self, alert_id: str, request: MarkRequest) -> AlertJson | None:
        return self._booked.mark(alert_id, request)

    def last_change(self) -> int:
        return self._book.last_change()

    def changes(self, after: int, limit: int) -> list[tuple[int, AlertJson]]:
        return self._booked.changes(after, limit)

    # --- as a whole

    def overview(self) -> Overview:
        cameras, now_ms = self.cameras(), self._now_ms()
        midnight_ms = now_ms // DAY_MS * DAY_MS
        unwell = self.unwell()
        problems = [text for text in (unwell, self._normal.problem) if text]
        problems += [f"{camera.name}: {camera.text}" for camera in cameras if camera.text]
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
            outbox=self._book.waiting(),
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
        now_s = self._view.clocks.monotonic()
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
