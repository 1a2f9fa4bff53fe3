"""What others may see of the cameras that are watched: written by the loop that watches, read by any thread.

Readers never reach into the loop, and it never waits for them.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mulde.pipeline.live.camera import Clocks
from mulde.pipeline.live.frames import LiveFrame
from mulde.pipeline.live.retention import Swept
from mulde.pipeline.live.status import CameraStatus
from mulde.records import Float32, Int64

LATENCIES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
MAX_SCORES = 40_000
"""That are kept of a camera: more than two hours at 5 frames per second."""
_RATE_S = 20.0
"""Over which frames per second are counted."""


@dataclass(frozen=True)
class HealthNote:
    """Something that is wrong with the picture of a camera. since_ms: UTC in milliseconds, None where unknown."""

    kind: str
    text: str
    since_ms: int | None = None


@dataclass(frozen=True)
class CameraView:
    """A camera at one moment.

    status: of its connection; refusal: why its pictures cannot be scored, or empty; fps_wanted: frames per second that
    are to be scored; alert: the id of the open one; latency_p95_s: from the arrival of a picture to its score;
    expected_per_hour: false alarms; num_waiting: changes of alerts that the disk has not taken; health_figures: by the
    part of their metric's name behind `mulde_health_`; num_muted: alerts that nobody was told of as the camera had
    moved; num_light_changes: times at which the light changed all at once; drift: what is known of it, None where it is
    not watched; model: a path.
    """

    name: str
    status: CameraStatus
    refusal: str = ""
    fps_wanted: float = 0.0
    num_scored: int = 0
    score: float | None = None
    level: float | None = None
    alert: str | None = None
    latency_p95_s: float | None = None
    expected_per_hour: float = 0.0
    num_waiting: int = 0
    health: tuple[HealthNote, ...] = ()
    health_figures: Mapping[str, float] = field(default_factory=dict)
    num_muted: int = 0
    num_light_changes: int = 0
    drift: Mapping[str, Any] | None = None
    model: str = ""
    model_sha256: str = ""


@dataclass(frozen=True)
class Histogram:
    """How long something took: counts (one more than bounds) of values up to each of LATENCIES_S and beyond; sum_s."""

    counts: tuple[int, ...] = (0,) * (len(LATENCIES_S) + 1)
    sum_s: float = 0.0

    def plus(self, value_s: float) -> Histogram:
        place = bisect_left(LATENCIES_S, value_s)
        counts = tuple(count + (i == place) for i, count in enumerate(self.counts))
        return Histogram(counts, self.sum_s + value_s)


class RecentScores:
    """The newest scores of a camera, the oldest of which go."""

    def __init__(self, capacity: int = MAX_SCORES) -> None:
        self._utc_ms, self._score = np.zeros(capacity, np.int64), np.zeros(capacity, np.float32)
        self._num = 0

    def add(self, utc_ms: int, score: float) -> None:
        place = self._num % len(self._utc_ms)
        self._utc_ms[place], self._score[place] = utc_ms, score
        self._num += 1

    def between(self, start_ms: int, end_ms: int) -> tuple[Int64, Float32]:
        """Times and scores (N,) from start_ms to end_ms, without an order."""
        utc_ms, score = self._utc_ms[: self._num], self._score[: self._num]
        wanted = (utc_ms >= start_ms) & (utc_ms < end_ms)
        return utc_ms[wanted], score[wanted]


@dataclass
class _Seen:
    """What is kept of a camera."""

    frame: LiveFrame | None = None
    last: tuple[int, float] | None = None
    scores: RecentScores = field(default_factory=RecentScores)
    scored_s: deque[float] = field(default_factory=lambda: deque(maxlen=2000))
    latency: Histogram = Histogram()
    alert_latency: Histogram = Histogram()


class LiveView:
    """Cameras as the loop last showed them, their newest pictures and scores, and which of them are paused."""

    def __init__(self, clocks: Clocks | None = None) -> None:
        self.clocks = clocks or Clocks()
        self._lock = threading.Lock()
        self._cameras: dict[str, CameraView] = {}
        self._seen: dict[str, _Seen] = {}
        self._paused: dict[str, int] = {}
        self._turned_s = self.clocks.monotonic()
        self._swept: Swept | None = None

    # --- written by the loop

    def turned(self) -> None:
        """The loop has turned once more."""
        self._turned_s = self.clocks.monotonic()

    def show(self, cameras: Sequence[CameraView]) -> None:
        """All cameras, as they are now; what was kept of others goes."""
        with self._lock:
            self._cameras = {camera.name: camera for camera in cameras}
            self._seen = {name: self._seen.get(name) or _Seen() for name in self._cameras}

    def picture_came(self, frame: LiveFrame) -> None:
        with self._lock:
            self._of(frame.camera).frame = frame

    def scored(self, camera: str, utc_ms: int, score: float, latency_s: float) -> None:
        """A frame has its score, latency_s after it arrived."""
        with self._lock:
            seen = self._of(camera)
            seen.scores.add(utc_ms, score)
            seen.last = utc_ms, score
            seen.scored_s.append(self.clocks.monotonic())
            seen.latency = seen.latency.plus(latency_s)

    def alert_opened(self, camera: str, latency_s: float) -> None:
        """An alert is on record, latency_s after its picture was taken."""
        with self._lock:
            seen = self._of(camera)
            seen.alert_latency = seen.alert_latency.plus(max(latency_s, 0.0))

    def swept(self, swept: Swept) -> None:
        self._swept = swept

    def _of(self, camera: str) -> _Seen:
        return self._seen.setdefault(camera, _Seen())

    # --- pauses, written by the service and at the start

    def pause(self, camera: str, until_ms: int) -> None:
        """Raise no alerts of a camera until a time of UTC in milliseconds; one that is over ends a pause."""
        with self._lock:
            self._paused = {**self._paused, camera: until_ms}

    def paused_until(self, camera: str) -> int | None:
        """UTC in milliseconds; None for a camera that is not paused now."""
        until_ms = self._paused.get(camera)
        return until_ms if until_ms is not None and until_ms > 1000 * self.clocks.utc() else None

    # --- read by any thread

    def cameras(self) -> dict[str, CameraView]:
        with self._lock:
            return dict(self._cameras)

    def as_json(self) -> dict[str, Any]:
        """All cameras as plain data."""
        return {
            "schema": 1,
            "utc_s": time.time(),
            "cameras": {
                name: {**_camera_json(camera), "paused_until_ms": self.paused_until(name)}
                for name, camera in self.cameras().items()
            },
        }

    def frame(self, camera: str) -> LiveFrame | None:
        """The newest frame that was taken to be scored."""
        with self._lock:
            seen = self._seen.get(camera)
            return None if seen is None else seen.frame

    def last_score(self, camera: str) -> tuple[int, float] | None:
        """UTC in milliseconds and the score of the newest frame that has one."""
        with self._lock:
            seen = self._seen.get(camera)
            return None if seen is None else seen.last

    def scores(self, camera: str, start_ms: int, end_ms: int) -> tuple[Int64, Float32]:
        """Times and scores (N,) of the last hour or two, without an order."""
        with self._lock:
            seen = self._seen.get(camera)
            return (np.zeros(0, np.int64), np.zeros(0, np.float32)) if seen is None else seen.scores.between(
                start_ms, end_ms
            )  # fmt: skip

    def fps_scored(self, camera: str) -> float | None:
        """Frames per second over the last 20 s, or since the first one; None before there were two."""
        with self._lock:
            times_s = list(self._seen[camera].scored_s) if camera in self._seen else []
        now_s = self.clocks.monotonic()
        recent_s = [time_s for time_s in times_s if now_s - time_s < _RATE_S]
        if len(times_s) < 2:
            return None
        span_s = _RATE_S if times_s[0] < now_s - _RATE_S or len(times_s) == 2000 else now_s - times_s[0]
        if len(recent_s) == 2000:
            span_s = now_s - recent_s[0]
        return len(recent_s) / span_s if span_s > 0 else None

    def latencies(self, camera: str) -> tuple[Histogram, Histogram]:
        """From the arrival of a picture to its score, and from a picture to its alert on record."""
        with self._lock:
            seen = self._seen.get(camera)
            return (Histogram(), Histogram()) if seen is None else (seen.latency, seen.alert_latency)

    def clips_bytes(self) -> int | None:
        """Of all clips, when they were last looked through; None before."""
        return None if self._swept is None else self._swept.clips_bytes

    def silent_s(self) -> float:
        """Since the loop last turned."""
        return self.clocks.monotonic() - self._turned_s


def _camera_json(camera: CameraView) -> dict[str, Any]:
    return {
        **asdict(camera.status),
        "state": str(camera.status.state),
        "refusal": camera.refusal,
        "num_scored": camera.num_scored,
        "score": camera.score,
        "level": camera.level,
        "alert": camera.alert,
        "latency_p95_s": camera.latency_p95_s,
        "num_alerts_waiting": camera.num_waiting,
        "fps_wanted": camera.fps_wanted,
        "expected_per_hour": camera.expected_per_hour,
        "health": [asdict(note) for note in camera.health],
        "health_figures": dict(camera.health_figures),
        "num_muted": camera.num_muted,
        "num_light_changes": camera.num_light_changes,
        "drift": camera.drift,
    }
