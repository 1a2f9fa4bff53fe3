"""`mulde watch`: cameras with their models, one process per run folder."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mulde.config import Settings
from mulde.devices import choose_device, choose_threads
from mulde.digests import file_digest
from mulde.errors import Failure, MuldeError, UsageError
from mulde.files import read_json
from mulde.media.file_stream import FileAsStream
from mulde.media.stream import StreamOpener, open_stream
from mulde.media.stream_source import StreamSource
from mulde.names import user_path
from mulde.pipeline.live.alert_book import AlertBook
from mulde.pipeline.live.alerts import Alert, utc_text
from mulde.pipeline.live.delivery import Deliveries
from mulde.pipeline.live.engine import STATE, LiveEngine
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.rereading import Rereading
from mulde.pipeline.live.retention import Keep
from mulde.pipeline.live.service_settings import ServiceSettings
from mulde.pipeline.live.settings import CameraSettings, WatchSettings, password_of, read_watch_settings, sinks_of
from mulde.pipeline.live.signals import asked_to_end, asked_to_reread, told_service
from mulde.pipeline.live.view import LiveView
from mulde.pipeline.live.watched import CameraSpec
from mulde.pipeline.model.loading import load_model
from mulde.pipeline.outcome import Outcome
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.predictor.stream import FrameScorer, scored_rate
from mulde.pipeline.run_claim import claim, only_process
from mulde.pipeline.run_folder import RECORD, RunFolder, read_record
from mulde.progress import Reporter
from mulde.sinks.opening import SinkSpec

_ONE, _RUN = "camera", Path("runs/watch")
LOCK_FILE = ".live.lock"
_MAX_AGE_S = 10.0
"""Of the last turn of the loop, for a process that is well."""


Beside = Callable[[Path, LiveView], AbstractContextManager[object]]
"""What is done beside watching into a run folder, for as long as the block runs."""


@dataclass(frozen=True)
class OneCamera:
    """A camera, or a video in its place, that is watched without a file of cameras; 0 false alarms: the default."""

    source: str
    model: Path
    false_alarms_per_hour: float = 0.0
    max_delay_s: float = 2.0


@dataclass(frozen=True)
class _Opened:
    predictor: Predictor
    sha256: str


class _Models:
    """Models for cameras, each of them loaded once for all cameras that share it and its rate of false alarms."""

    def __init__(self, device: str, reporter: Reporter) -> None:
        self._device, self._reporter = device, reporter
        self._models: dict[tuple[str, float], _Opened] = {}

    def get(self, camera: str, path: Path, false_alarms_per_hour: float, max_delay_s: float) -> _Opened:
        """Raises MuldeError for a model that cannot be read or cannot watch a camera: it has no alarm level, its rate
        of false alarms is not supported, or its features look further ahead than `max_delay_s`."""
        if not path.is_file():
            raise UsageError(f"camera {camera}: model {path}", expected="a model.safetensors", got="no such file")
        key = (file_digest(path), false_alarms_per_hour)
        if key not in self._models:
            changes = ["fusion.smoothing=causal"]
            if false_alarms_per_hour:
                changes.append(f"alarms.false_alarms_per_hour={false_alarms_per_hour}")
            predictor = Predictor.open(load_model(path, self._device), path, changes, self._device, self._reporter)
            self._models[key] = _Opened(predictor, key[0])
        opened = self._models[key]
        if opened.predictor.alarm is None:
            raise UsageError(
                f"camera {camera}: model {path}",
                expected="one with an alarm level",
                got="one without",
                hint="train it on more normal video",
            )
        delay_s = FrameScorer(opened.predictor).delay / scored_rate(opened.predictor)
        if delay_s > max_delay_s:
            raise UsageError(
                f"camera {camera}: the features of {path} look {delay_s:.3g} s ahead",
                expected=f"at most max_delay_s, {max_delay_s:g} s",
                hint="a larger max_delay_s, or a model without streams that look ahead",
            )
        if delay_s:
            self._reporter.say(f"{camera}: its model looks ahead, so scores come {delay_s:.3g} s late")
        return opened


@dataclass(frozen=True)
class Cameras:
    """The cameras of a command. read: what each of them is watched with, as their file says now; read_sinks: where
    their alerts are sent, likewise; is_file: whether it can say something else later; out: the run folder where nothing
    else is said; service: where their page is."""

    read: Callable[[], dict[str, CameraSpec]]
    source: str
    out: Path
    device: str
    keep: Keep = Keep()  # noqa: RUF009 - frozen
    is_file: bool = False
    service: ServiceSettings = ServiceSettings()  # noqa: RUF009 - frozen
    read_sinks: Callable[[], tuple[SinkSpec, ...]] = tuple

    def specs(self) -> dict[str, CameraSpec]:
        """Raises UsageError for what cannot be used, and MuldeError for a model that cannot be read."""
        return self.read()

    @classmethod
    def of_file(cls, path: Path, device: str, reporter: Reporter) -> Cameras:
        """Those of a TOML file."""
        device = choose_device(device)
        models = _Models(device, reporter)

        def read() -> dict[str, CameraSpec]:
            settings = read_watch_settings(path)
            return {name: _spec(name, camera, settings, models) for name, camera in settings.cameras.items()}

        first = read_watch_settings(path)
        read_sinks = partial(sinks_of_file, path)
        return cls(read, str(path.absolute()), Path(first.out), device, first.keep, True, first.service, read_sinks)

    @classmethod
    def of_address(cls, one: OneCamera, user: str, password: str, device: str, reporter: Reporter) -> Cameras:
        """A single one, called `camera`."""
        source = StreamSource(one.source, user, password)
        return cls._of_one(one, _ONE, partial(open_stream, source), source.shown, device, reporter)

    @classmethod
    def of_video(cls, one: OneCamera, speed: float, loop: bool, device: str, reporter: Reporter) -> Cameras:
        """A video file that is played, called by its name. Raises UsageError where there is none."""
        path = user_path(one.source)
        if not path.is_file():
            raise UsageError(f"--as-live {path}", expected="a video file", got="none")
        name = re.sub(r"[^A-Za-z0-9_-]", "", path.stem.removeprefix("-").removeprefix("_"))[:64] or _ONE
        opener = FileAsStream(path, speed, loop).open
        return cls._of_one(one, name, opener, str(path.absolute()), device, reporter, lossless=True)

    @classmethod
    def _of_one(
        cls,
        one: OneCamera,
        name: str,
        opener: StreamOpener,
        shown: str,
        device: str,
        reporter: Reporter,
        *,
        lossless: bool = False,
    ) -> Cameras:
        device = choose_device(device)
        models = _Models(device, reporter)

        def read() -> dict[str, CameraSpec]:
            opened = models.get(name, one.model, one.false_alarms_per_hour, one.max_delay_s)
            model = str(one.model.absolute())
            return {name: CameraSpec(name, opener, opened.predictor, model, opened.sha256, lossless=lossless)}

        return cls(read, shown, _RUN, device)


def _spec(name: str, camera: CameraSettings, settings: WatchSettings, models: _Models) -> CameraSpec:
    path = camera.model or settings.defaults.model
    if not path:
        raise UsageError(f"camera {name}", expected="a model, its own or that of [defaults]", got="none")
    source = source_of(name, camera)
    wanted = camera.false_alarms_per_hour or settings.defaults.false_alarms_per_hour
    opened = models.get(name, Path(path), wanted, settings.defaults.max_delay_s)
    return CameraSpec(
        name,
        partial(open_stream, source),
        opened.predictor,
        path,
        opened.sha256,
        settings.defaults.pre_roll_s,
        settings.defaults.post_roll_s,
        mute_when_moved=settings.defaults.mute_when_moved,
        suppressions=Path(camera.suppressions) if camera.suppressions else None,
        drift_days=settings.defaults.drift_days,
        settings=(camera, settings.defaults, source, opened.sha256),
    )


def source_of(name: str, camera: CameraSettings) -> StreamSource:
    """The address of a camera with its password. Raises UsageError, naming the camera and no password."""
    try:
        return StreamSource(camera.url, camera.user, password_of(name, camera), camera.options)
    except UsageError as error:
        raise UsageError(f"camera {name}: {error}") from None


def sources_of(source: str, user: str, password: str) -> dict[str, StreamSource]:
    """The addresses of a file of cameras by name, or the one that is given."""
    if not source.endswith(".toml"):
        return {_ONE: StreamSource(source, user, password)}
    return {name: source_of(name, camera) for name, camera in read_watch_settings(user_path(source)).cameras.items()}


def sinks_of_file(path: Path) -> tuple[SinkSpec, ...]:
    """Where alerts of a file of cameras are sent. Raises UsageError for what cannot be used."""
    return sinks_of(read_watch_settings(path))


def folder_of(source: str) -> Path:
    """The run folder that is watched into where nothing else is said."""
    return Path(read_watch_settings(user_path(source)).out) if source.endswith(".toml") else _RUN


def run_watch_cameras(
    cameras: Cameras,
    out: Path | None,
    reporter: Reporter,
    *,
    command: Sequence[str] = (),
    stop: threading.Event | None = None,
    service: AbstractContextManager[Beside | None] | None = None,
) -> Outcome:
    """Watch cameras into a run folder until `stop` is set, a signal comes or all cameras are over; continues what is
    there. SIGHUP has a file of cameras read again. service: gives what goes on beside it, as the page; it is entered
    once it is known that the cameras can be watched.

    Raises UsageError for a run folder that holds something else or that another process watches into.
    """
    out, specs = out or cameras.out, cameras.specs()
    for spec in specs.values():
        if spec.lossless:  # a file that cannot be read never will be: no reason to try again and again
            with spec.opener():
                pass
    with nullcontext() if service is None else service as beside:
        claim(out, "watch", [cameras.source], Settings())
        out.mkdir(parents=True, exist_ok=True)
        return _watch(cameras, specs, out, reporter, command, stop or threading.Event(), beside)


def _watch(
    cameras: Cameras,
    specs: Mapping[str, CameraSpec],
    out: Path,
    reporter: Reporter,
    command: Sequence[str],
    stop: threading.Event,
    beside: Beside | None,
) -> Outcome:
    """Watch into a folder that is there for it."""
    view = LiveView()
    with (
        only_process(out, LOCK_FILE),
        told_service() as notify,
        asked_to_reread(cameras.is_file) as asked,
        asked_to_end(stop),
    ):
        _note(out, specs, cameras, command)
        try:
            with AlertLedger.open(out) as ledger, _deliveries(ledger, out, view, reporter) as deliveries:
                deliveries.follow(deliveries.opened(cameras.read_sinks()))
                gap_s = max(spec.predictor.settings.alarms.merge_gap_s for spec in specs.values())
                for alert in left_open(ledger, specs):
                    reporter.say(f"{alert.camera}: alert {alert.id} is closed, as the camera is no longer watched")
                recovered = ledger.recover(round(time.time() * 1000), gap_s)
                for camera, until_ms in ledger.pauses().items():
                    view.pause(camera, until_ms)
                engine = LiveEngine(
                    out,
                    ledger,
                    reporter,
                    threads=choose_threads(cameras.device),
                    keep=cameras.keep,
                    beat=lambda: notify("WATCHDOG=1"),
                    view=view,
                    observe=deliveries.show,
                )
                engine.gather()
                for spec in specs.values():
                    engine.add(spec)
                for alert in recovered:
                    reporter.say(f"{alert.camera}: alert {alert.id} was open when the last process ended; it is closed")
                    if alert.kind == "unusual":
                        engine.cameras[alert.camera].alerts.add_cut_short(alert)
                reporter.say(f"watching {', '.join(specs)}; scores, alerts and clips: {out}")
                notify("READY=1")
                with (
                    Rereading(engine, cameras.read, asked, reporter, cameras.read_sinks, deliveries) as rereading,
                    nullcontext() if beside is None else beside(out, view),
                ):
                    engine.run(stop, rereading.turn)
                notify("STOPPING=1")
                num_alerts = len(ledger.alerts())
        except sqlite3.Error as error:
            raise MuldeError(f"ledger of alerts in {out}: {error}", hint="another --out, or a sound disk") from None
        reporter.say(f"{num_alerts} alert{'s' * (num_alerts != 1)} on record: mulde alerts {out}")
    unscored = [camera for camera in engine.cameras.values() if camera.spec.lossless and not camera.num_scored]
    failures = [Failure(camera.spec.name, camera.scorer.refusal or "no frame was scored") for camera in unscored]
    return Outcome(len(specs) - len(failures), failures, folder=out)


def _deliveries(ledger: AlertLedger, out: Path, view: LiveView, reporter: Reporter) -> Deliveries:
    """Deliveries whose receivers may pause cameras, as the page may."""

    def pause(camera: str, seconds: float) -> None:
        if camera not in view.cameras():
            reporter.warn(f"a camera that is to pause: expected one of {', '.join(view.cameras())}, got {camera}")
            return
        until_ms = round(1000 * (view.clocks.utc() + seconds))
        view.pause(camera, until_ms)
        try:
            with AlertBook.open(out, write=True) as book:
                book.pause(camera, until_ms)
        except (MuldeError, sqlite3.Error) as error:
            reporter.warn(f"{camera}: its pause is not on record, and ends with this process: {error}")
        reporter.say(f"{camera}: paused until {utc_text(until_ms)}" if seconds else f"{camera}: goes on")

    return Deliveries(ledger, out, reporter, on_command=pause)


def left_open(ledger: AlertLedger, cameras: Collection[str]) -> list[Alert]:
    """Close the open alerts of cameras that are not watched any more; they are returned."""
    closed = []
    for stored in ledger.open_alerts():
        if stored.alert.camera not in cameras:
            closed.append(stored.alert.next_revision("closed", cut_short=True))
            ledger.record([Revision(closed[-1])])
    return closed


def _note(out: Path, specs: Mapping[str, CameraSpec], cameras: Cameras, command: Sequence[str]) -> None:
    """What the run folder says of itself; where cameras have several models, settings and level are the first one's."""
    run = RunFolder(out, command, read_record(out) if (out / RECORD).exists() else None)
    first = next(iter(specs.values()))
    run.write_settings(first.predictor.settings)
    alarm = first.predictor.alarm
    run.note(
        kind="watch",
        sources=[cameras.source],
        device=cameras.device,
        model=first.model,
        model_sha256=first.model_sha256,
        made_from=first.predictor.bundle.made_from,
        **({} if alarm is None else {"alarm": alarm.as_record()}),
    )


def check_health(out: Path, now_s: float | None = None) -> tuple[bool, str]:
    """Whether a process watches into a run folder and its loop turns, and a sentence."""
    path = out / STATE
    if not path.is_file():
        return False, f"nobody watches into {out}"
    try:
        state = read_json(path)
        age_s = (time.time() if now_s is None else now_s) - float(state["utc_s"])
        cameras: dict[str, Any] = state["cameras"]
        live = sum(camera["state"] == "live" for camera in cameras.values())
    except (KeyError, TypeError, ValueError, AttributeError, MuldeError):
        return False, f"{path} is damaged"
    if state.get("ended"):
        return False, "the process has ended"
    if age_s > _MAX_AGE_S:
        return False, f"the loop has not turned for {age_s:.0f} s"
    return True, f"{live} of {len(cameras)} cameras live"
