"""A camera that is watched: what with, and how it fares."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mulde.media.stream import StreamOpener
from mulde.pipeline.live.alerting import CameraAlerts
from mulde.pipeline.live.camera import CameraReader
from mulde.pipeline.live.drift import DAYS_BETWEEN
from mulde.pipeline.live.health import CameraHealth
from mulde.pipeline.live.packet_ring import PacketRing
from mulde.pipeline.live.scoring import CameraScorer, LiveResult
from mulde.pipeline.live.status import CameraState
from mulde.pipeline.live.view import CameraView, HealthNote
from mulde.pipeline.predictor.predictor import Predictor
from mulde.pipeline.predictor.stream import scored_rate

_MAX_LATENCIES = 10_000


@dataclass(frozen=True)
class CameraSpec:
    """What a camera is watched with.

    model: a name for messages and the record; lossless: every frame is waited for, as of a file; mute_when_moved: then
    nobody is told of what is unusual; suppressions: feedback of other runs of the camera; drift_days: days wanted
    between two false notices of drift, 0 for no test; settings: what decides whether the camera has to be begun again
    when the file of cameras is read again.
    """

    name: str
    opener: StreamOpener
    predictor: Predictor
    model: str
    model_sha256: str
    pre_roll_s: float = 5.0
    post_roll_s: float = 5.0
    lossless: bool = False
    mute_when_moved: bool = True
    suppressions: Path | None = None
    drift_days: float = DAYS_BETWEEN
    settings: Any = None


@dataclass
class WatchedCamera:
    """A camera with all that the loop knows of it. refused: the session of which it was said, and why."""

    spec: CameraSpec
    reader: CameraReader
    ring: PacketRing
    scorer: CameraScorer
    alerts: CameraAlerts
    health: CameraHealth
    running: Future[dict[str, list[LiveResult]]] | None = None
    session: int = 0
    last_utc_s: float = 0.0
    num_scored: int = 0
    state: CameraState | None = None
    refused: tuple[int, str] = (0, "")
    failure: str = ""
    last_score: float | None = None
    is_over: bool = False
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_LATENCIES))

    @property
    def open_alert(self) -> str | None:
        """The id of the unusual one that is open."""
        return next((alert.id for kind, alert in self.alerts.alerts.items() if kind == "unusual"), None)

    def view(self, drift: Mapping[str, Any] | None = None) -> CameraView:
        """How it fares now. drift: what `DriftWatch.state` says."""
        return CameraView(
            self.spec.name,
            self.reader.status(),
            self.scorer.refusal,
            scored_rate(self.spec.predictor),
            self.num_scored,
            self.last_score,
            self.alerts.machine.level,
            self.open_alert,
            float(np.quantile(np.array(self.latencies_s), 0.95)) if self.latencies_s else None,
            self.alerts.alarm.threshold.expected_per_hour,
            len(self.alerts.queue),
            tuple(HealthNote(one.kind, one.text, one.since_ms) for one in self.health.conditions),
            self.health.figures(),
            num_muted=self.alerts.num_muted,
            num_light_changes=self.health.num_light_changes,
            drift=drift,
            model=self.spec.model,
            model_sha256=self.spec.model_sha256,
        )
