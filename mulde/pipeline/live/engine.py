"""The loop that watches: takes the newest frame of each camera, has it scored, and puts on record what follows."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mulde.devices import one_core_per_call
from mulde.errors import MuldeError, sentence
from mulde.files import write_json
from mulde.media.packets import StreamPacket
from mulde.media.stream import StreamOpener
from mulde.pipeline.events.parts import EventParts
from mulde.pipeline.live.alerting import CameraAlerts
from mulde.pipeline.live.camera import CameraReader, Clocks
from mulde.pipeline.live.clips import ClipWriter
from mulde.pipeline.live.frames import LiveFrame
from mulde.pipeline.live.hourly_scores import HourlyScores, LiveScore
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.packet_ring import PacketRing
from mulde.pipeline.live.retention import Keep, Retention, Swept
from mulde.pipeline.live.scoring import CameraScorer, LiveResult, score_frames_of, score_together
from mulde.pipeline.live.status import CameraState
from mulde.pipeline.live.view import CameraView, HealthNote, LiveView
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.predictor.stream import scored_rate
from mulde.progress import Reporter

STATE = "live.json"
"""What the loop is doing, written every other second: who watches the watcher reads it (`mulde watch --check`)."""
_TURN_S, _TICK_S, _SAY_S, _SWEEP_S = 0.25, 2.0, 60.0, 300.0
_SILENCE_S = 2.0
_MAX_LATENCIES = 10_000


@dataclass(frozen=True)
class CameraSpec:
    """What a camera is watched with.

    model: a name for messages and the record; lossless: every frame is waited for, as of a file; suppressions: feedback
    of other runs of the camera; settings: what decides whether the camera has to be begun again when the file of
    cameras is read again.
    """

    name: str
    opener: StreamOpener
    predictor: Predictor
    model: str
    model_sha256: str
    pre_roll_s: float = 5.0
    post_roll_s: float = 5.0
    lossless: bool = False
    suppressions: Path | None = None
    settings: Any = None


@dataclass
class _Camera:
    spec: CameraSpec
    reader: CameraReader
    ring: PacketRing
    scorer: CameraScorer
    alerts: CameraAlerts
    running: Future[dict[str, list[LiveResult]]] | None = None
    session: int = 0
    last_utc_s: float = 0.0
    num_scored: int = 0
    state: CameraState | None = None
    refused: tuple[int, str] = (0, "")  # the session of which it was said
    failure: str = ""
    last_score: float | None = None
    is_over: bool = False
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_LATENCIES))

    @property
    def open_alert(self) -> str | None:
        """The id of the unusual one that is open."""
        return next((alert.id for kind, alert in self.alerts.alerts.items() if kind == "unusual"), None)


class LiveEngine:
    """Watches cameras until it is told to stop, or until all of them are over. For one thread; scoring takes more.

    threads: frames that are scored at the same time, each with one core. beat: called every other second while the loop
    turns, for a watchdog. view: what others see of it.
    """

    def __init__(
        self,
        root: Path,
        ledger: AlertLedger,
        reporter: Reporter,
        *,
        threads: int,
        clocks: Clocks | None = None,
        keep: Keep | None = None,
        beat: Callable[[], object] = lambda: None,
        view: LiveView | None = None,
    ) -> None:
        self.root, self.ledger, self.reporter, self.beat = root, ledger, reporter, beat
        self.clocks = clocks or Clocks()
        self.view = view or LiveView(self.clocks)
        self.cameras: dict[str, _Camera] = {}
        self.clips = ClipWriter(root, reporter)
        self.scores = HourlyScores(root, reporter, self._now_ms)
        self._retention = Retention(root, keep or Keep())
        self._sweeping: Future[Swept] | None = None
        self._ready = threading.Event()
        self._threads, self._newest_utc_s = threads, 0.0
        self._first = 0  # the camera that is looked at first: in turns, so that none starves

    def add(self, spec: CameraSpec) -> None:
        """Begin to watch a camera."""
        rate = scored_rate(spec.predictor)
        ring, alarm = PacketRing(spec.pre_roll_s), spec.predictor.alarm
        assert alarm is not None, "a model without a level is refused where it is opened"
        alerts = CameraAlerts(
            spec.name,
            spec.predictor,
            alarm,
            self.ledger,
            self.root,
            rate,
            self.reporter,
            model_sha256=spec.model_sha256,
            suppressions=spec.suppressions,
            on_opened=partial(self._on_opened, spec.name, ring),
            on_closed=lambda alert: self.clips.finish(alert, spec.post_roll_s),
        )
        self.scores.set_camera(spec.name, rate, spec.predictor.settings.fusion.smoothing_s * rate)

        def keep(packet: StreamPacket, utc_s: float, session: int) -> None:
            ring.add(packet)

        reader = CameraReader(
            spec.name,
            spec.opener,
            rate,  # of a model of every frame, too: frames of a faster camera would mean something else
            lossless=spec.lossless,
            on_packet=keep,
            ready=self._ready,
            clocks=self.clocks,
        )
        # What an earlier process left open ends by silence, too, where the camera does not come back.
        last_utc_s = max((alert.end / 1000 for alert in alerts.alerts.values()), default=0.0)
        scorer = CameraScorer(spec.predictor)
        self.cameras[spec.name] = _Camera(spec, reader, ring, scorer, alerts, last_utc_s=last_utc_s)
        reader.start()

    def _on_opened(self, name: str, ring: PacketRing, alert: str) -> None:
        self.clips.start(alert, name, ring)
        self.view.alert_opened(name, self.clocks.utc() - self.cameras[name].last_utc_s)

    def remove(self, name: str) -> None:
        """Stop watching a camera; what is open is closed."""
        camera = self.cameras.pop(name)
        camera.reader.stop(0)
        self._end(camera, "no longer watched")

    def run(self, stop: threading.Event, after_turn: Callable[[], object] = lambda: None) -> None:
        """Watch until `stop` is set or all cameras are over. after_turn: called between two turns of the loop."""
        self.clips.open()
        self.scores.open()
        ticked = said = swept = -np.inf
        with (
            one_core_per_call(),
            ThreadPoolExecutor(self._threads, "score") as pool,
            ThreadPoolExecutor(1, "retention") as sweeper,
        ):
            try:
                while not stop.is_set() and not all(camera.is_over for camera in self.cameras.values()):
                    self._turn(pool)
                    now_s = self.clocks.monotonic()
                    if now_s - ticked >= _TICK_S:
                        ticked = now_s
                        self._tick()
                        self.beat()
                    if now_s - swept >= _SWEEP_S and self._sweeping is None:
                        swept = now_s
                        self._sweeping = sweeper.submit(self._retention.sweep, self._now_ms())
                    if now_s - said >= _SAY_S:
                        said = now_s
                        self._say()
                    after_turn()
            finally:
                self._shut()

    def _turn(self, pool: ThreadPoolExecutor) -> None:
        """Put on record what is done, and hand out the newest frames."""
        self.view.turned()
        self._ready.wait(_TURN_S)
        self._ready.clear()
        cameras = list(self.cameras.values())
        self._first = (self._first + 1) % max(len(cameras), 1)
        taken: dict[int, list[tuple[_Camera, LiveFrame]]] = {}  # by model
        for camera in cameras[self._first :] + cameras[: self._first]:
            if camera.running is not None:
                if not camera.running.done():
                    continue
                self._note(camera)
            is_finished = camera.reader.status().is_finished  # before: its last frame may come right now
            frame = camera.reader.take(0)
            if frame is not None:
                self.view.picture_came(frame)
                taken.setdefault(id(camera.spec.predictor), []).append((camera, frame))
            elif is_finished and not camera.is_over:
                self._end(camera, "its end")
        for of_model in taken.values():
            size = -(-len(of_model) // self._threads)  # a share for each thread, of cameras that are scored together
            for first in range(0, len(of_model), size):
                self._start(pool, of_model[first : first + size])

    def _start(self, pool: ThreadPoolExecutor, taken: Sequence[tuple[_Camera, LiveFrame]]) -> None:
        running = pool.submit(score_frames_of, [(camera.spec.name, camera.scorer, frame) for camera, frame in taken])
        for camera, _ in taken:
            camera.running = running
        running.add_done_callback(lambda _: self._ready.set())

    def _note(self, camera: _Camera) -> None:
        """Put on record what was scored of a camera."""
        running, camera.running = camera.running, None
        if running is None:
            return
        self._record_all(camera, running.result().get(camera.spec.name, []))
        scorer = camera.scorer
        if scorer.refusal and (scorer.session, scorer.refusal) != camera.refused:
            camera.refused = scorer.session, scorer.refusal
            self.reporter.warn(f"{camera.spec.name}: cannot be scored: {scorer.refusal}")
        if scorer.failure:
            self._say_failure(camera, scorer.failure)
            scorer.failure = ""

    def _record_all(self, camera: _Camera, results: list[LiveResult]) -> None:
        for result in results:
            try:
                self._record(camera, result)
            except Exception as error:  # one camera's; the others go on
                self._say_failure(camera, str(sentence(error, camera.spec.name)))

    def _say_failure(self, camera: _Camera, failure: str) -> None:
        if failure != camera.failure:  # the next thousand frames would say the same
            camera.failure = failure
            self.reporter.warn(f"{camera.spec.name}: a frame is lost: {failure}")

    def _record(self, camera: _Camera, result: LiveResult) -> None:
        frame, scored = result.frame, result.scored
        if frame.session != camera.session:
            self._begin_session(camera, frame.session)
        camera.last_utc_s, camera.last_score = frame.utc_s, scored.anomaly_score
        self._newest_utc_s = max(self._newest_utc_s, frame.utc_s)
        score = LiveScore(
            round(frame.utc_s * 1000),
            scored.fused,
            scored.anomaly_score,
            scored.streams,
            scored.p_value,
            any(len(table) for table in result.described.tables.values()),
        )
        place = self.scores.add(camera.spec.name, score)
        camera.alerts.clock_offset_s = camera.reader.status().clock_offset_s
        if self.view.paused_until(camera.spec.name) is None:
            camera.alerts.take(result, place)
        elif camera.alerts.machine.state.stretch is not None:  # a pause has begun
            camera.alerts.close(score.utc_ms)
            camera.alerts.end_session()
        camera.num_scored += 1
        latency_s = self.clocks.monotonic() - frame.arrived_s
        camera.latencies_s.append(latency_s)
        self.view.scored(camera.spec.name, score.utc_ms, scored.anomaly_score, latency_s)

    def _begin_session(self, camera: _Camera, session: int) -> None:
        self._end_session(camera, "another session follows")
        self.gather()
        camera.session = session
        try:
            self.ledger.session_started(camera.spec.name, f"{camera.spec.name}-{session}", session)
        except sqlite3.Error as error:
            self.reporter.warn(f"{camera.spec.name}: its session is not on record: {error}")

    def _end_session(self, camera: _Camera, why: str) -> None:
        if not camera.session:
            return
        status = camera.reader.status()
        counters = {"received": status.num_received, "scored": camera.num_scored, **status.num_skipped}
        try:
            self.ledger.session_ended(
                f"{camera.spec.name}-{camera.session}", round(camera.last_utc_s * 1000), status.reason or why, counters
            )
        except sqlite3.Error as error:
            self.reporter.warn(f"{camera.spec.name}: the end of its session is not on record: {error}")
        camera.session = 0
        camera.alerts.end_session()

    def _end(self, camera: _Camera, why: str) -> None:
        """Score what is left, and close what is open."""
        self._note(camera)
        with one_core_per_call():
            left = score_together(camera.scorer.end_session(), camera.spec.predictor)
        self._record_all(camera, left)
        camera.alerts.close(round(camera.last_utc_s * 1000))
        if len(camera.alerts.queue):
            self.reporter.warn(f"{camera.spec.name}: the disk did not take all changes of its alerts; they are lost")
        self._end_session(camera, why)
        camera.ring.end_session()
        camera.is_over = True

    def _tick(self) -> None:
        """What time alone changes: states of cameras, alerts of cameras that have fallen silent, old clips."""
        if self._sweeping is not None and self._sweeping.done():
            done, self._sweeping = self._sweeping, None
            self._say_swept(done)
        for camera in self.cameras.values():
            status = camera.reader.status()
            if status.state is not camera.state:
                camera.state = status.state
                is_well = status.state in (CameraState.CONNECTING, CameraState.LIVE)
                (self.reporter.say if is_well else self.reporter.warn)(status.text)
            silent_s = self.clocks.utc() - camera.last_utc_s
            gap_s = camera.spec.predictor.settings.alarms.merge_gap_s + 2 / scored_rate(camera.spec.predictor)
            if camera.last_utc_s and not camera.spec.lossless and silent_s > gap_s + _SILENCE_S:
                camera.alerts.close(round(camera.last_utc_s * 1000))
                if status.state is not CameraState.LIVE:
                    camera.ring.end_session()
        self._show()

    def _say_swept(self, done: Future[Swept]) -> None:
        try:
            swept = done.result()
        except OSError as error:
            self.reporter.warn(f"what is not kept was not removed: {sentence(error, self.root)}")
            return
        self.view.swept(swept)
        for problem in swept.problems:
            self.reporter.warn(problem)
        if swept.num_clips_removed or swept.num_scores_removed:
            self.reporter.say(str(swept))

    def _show(self, *, ended: bool = False) -> None:
        """Let others see how the cameras fare."""
        self.view.show([_view(camera) for camera in self.cameras.values()])
        try:
            write_json(self.root / STATE, {**self.view.as_json(), **({"ended": True} if ended else {})})
        except OSError as error:
            self.reporter.warn(f"{self.root / STATE}: {sentence(error, self.root)}")

    def _say(self) -> None:
        words = []
        for name, camera in self.cameras.items():
            skipped = sum(camera.reader.status().num_skipped.values())
            words.append(f"{name} {camera.num_scored:,} scored" + (f", {skipped:,} skipped" if skipped else ""))
        self.reporter.say(f"watch: {'; '.join(words)}")

    def _shut(self) -> None:
        for camera in self.cameras.values():
            camera.reader.stop(0)
        for camera in self.cameras.values():
            if not camera.is_over:
                self._end(camera, "the program ended")
        self.gather()
        self.clips.stop(2.0)
        self.scores.stop(2.0)
        end_s = time.monotonic() + 0.5
        for camera in self.cameras.values():  # one that waits for its server ends with the process
            camera.reader.stop(max(end_s - time.monotonic(), 0))
        self._show(ended=True)

    def gather(self) -> None:
        """Bring the tables of events up to date; without a gap, as every other command reads them."""
        try:
            EventParts(self.root).gather(lambda events, rows: list(events))  # suppressed as they came
        except (OSError, MuldeError) as error:
            self.reporter.warn(f"the tables of events wait: {sentence(error, self.root)}")

    def _now_ms(self) -> int:
        return round(1000 * max(self.clocks.utc(), self._newest_utc_s))


def _view(camera: _Camera) -> CameraView:
    spec, alerts = camera.spec, camera.alerts
    return CameraView(
        spec.name, camera.reader.status(), camera.scorer.refusal, scored_rate(spec.predictor), camera.num_scored,
        camera.last_score, alerts.machine.level, camera.open_alert, _quantile(camera.latencies_s, 0.95),
        alerts.alarm.threshold.expected_per_hour, len(alerts.queue),
        tuple(HealthNote(kind, kind) for kind in alerts.health), model=spec.model, model_sha256=spec.model_sha256,
    )  # fmt: skip


def _quantile(values: deque[float], share: float) -> float | None:
    return float(np.quantile(np.array(values), share)) if values else None
