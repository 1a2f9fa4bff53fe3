"""Runs on a clock that stands until a test moves it, and a real server that shows them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from mulde.pipeline.live.camera import Clocks
from mulde.pipeline.live.frames import LiveFrame
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.service_settings import ServiceSettings
from mulde.pipeline.live.status import CameraState, CameraStatus
from mulde.pipeline.live.view import CameraView, LiveView
from mulde.service.live_source import LiveSource
from mulde.service.server import listening, serving
from mulde.service.source import RunSource
from tests.pipeline.live.stored_alerts import T0, alert

NOW_S = T0 / 1000 + 60.0
FPS = 5.0


@dataclass
class Clock:
    utc_s: float = NOW_S
    monotonic_s: float = 1000.0

    def clocks(self) -> Clocks:
        return Clocks(lambda: self.monotonic_s, lambda: self.utc_s)

    def pass_(self, seconds: float) -> None:
        self.utc_s += seconds
        self.monotonic_s += seconds


@dataclass
class Watched:
    """A run that is watched by nobody but the test."""

    root: Path
    ledger: AlertLedger
    view: LiveView
    source: LiveSource
    clock: Clock
    views: dict[str, CameraView] = field(default_factory=dict)

    def show(self, name: str = "yard", state: CameraState = CameraState.LIVE, **fields: object) -> None:
        status = {key: fields.pop(key) for key in ("reason", "num_skipped", "last_utc_s") if key in fields}
        fields = {"fps_wanted": FPS, "level": 6.0, "expected_per_hour": 0.25, **fields}
        self.views[name] = CameraView(name, CameraStatus(name, state, self.clock.utc_s, **status), **fields)
        self.view.show(list(self.views.values()))

    def picture(self, name: str = "yard", value: int = 100, size_hw: tuple[int, int] = (48, 64)) -> None:
        image = np.full((*size_hw, 3), value, np.uint8)
        self.view.picture_came(LiveFrame(name, 1, image, 0, 0.0, self.clock.utc_s, self.clock.monotonic_s))

    def record(self, *numbers: int, camera: str = "yard", **fields: object) -> list[str]:
        """Alerts, a minute after each other, by their numbers."""
        alerts = [alert(camera=camera, start=T0 + 60_000 * number, **fields) for number in numbers]
        for new in alerts:
            self.ledger.record([Revision(new)])
        return [new.id for new in alerts]


@contextlib.contextmanager
def watched_run(root: Path, clock: Clock | None = None) -> Iterator[Watched]:
    root.mkdir(exist_ok=True)
    clock = clock or Clock()
    view = LiveView(clock.clocks())
    with AlertLedger.open(root) as ledger, LiveSource.open(root, view) as source:
        run = Watched(root, ledger, view, source, clock)
        run.show("yard")
        run.show("gate")
        yield run


@contextlib.contextmanager
def client_of(source: RunSource, **settings: object) -> Iterator[httpx.Client]:
    """A client of a real server on a free port."""
    chosen = ServiceSettings(**{"listen": "127.0.0.1:0", **settings})
    with (
        listening(chosen.listen) as listener,
        serving(source, chosen, listener) as address,
        httpx.Client(base_url=address, timeout=60, trust_env=False) as client,
    ):
        yield client
