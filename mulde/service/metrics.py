"""Figures of a run for Prometheus. Labels are cameras, sinks and words of fixed lists, so there are never many."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mulde import __version__
from mulde.pipeline.live.status import CONNECT_OUTCOMES, SKIP_REASONS, CameraState
from mulde.pipeline.live.view import LATENCIES_S, CameraView, Histogram, LiveView
from mulde.service.source import RunSource, Watched
from mulde.service.storage import clips_bytes

HEALTH_FIGURES = {
    "shift_pixels": "How far the picture has moved from where it was learnt.",
    "sharpness_ratio": "Sharpness of the picture, as a share of what was learnt.",
    "background_ratio": "Share of the learnt background that is seen.",
    "brightness_ratio": "Brightness of the picture, as a share of what was learnt.",
}


class _Rising:
    """Counts that rows of a table give, which old rows leave: what went is still counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str], int] = {}
        self._gone: dict[tuple[str, str], int] = {}

    def __call__(self, counts: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
        with self._lock:
            for key in {**self._last, **counts}:
                count, last = counts.get(key, 0), self._last.get(key, 0)
                self._gone[key] = self._gone.get(key, 0) + max(last - count, 0)
                self._last[key] = count
            return [(key, count + self._gone[key]) for key, count in self._last.items()]


class RunCollector(Collector):
    """Reads a run at each scrape."""

    def __init__(self, source: RunSource) -> None:
        self._source, self._rising = source, _Rising()

    def collect(self) -> Iterator[Metric]:
        yield _gauge("mulde_build_info", "The version that runs.", ["version"], [((__version__,), 1)])
        watched = self._source.watched
        if watched is not None:
            cameras = watched.view.cameras()
            yield from _of_cameras(cameras)
            yield from _of_scores(cameras, watched.view)
            yield from self._of_alerts(cameras, watched)
            yield from _of_pictures(cameras)
        yield from self._of_the_disk(watched)

    def _of_alerts(self, cameras: dict[str, CameraView], watched: Watched) -> Iterator[Metric]:
        raised = [(key, count) for key, count in watched.book.num_by_kind().items() if key[0] in cameras]
        yield _counter("mulde_alerts", "Alerts on record.", ["camera", "kind"], raised)
        yield _gauge(
            "mulde_alerts_expected_per_hour",
            "False alarms that the alarm level promises.",
            ["camera"],
            [((name,), view.expected_per_hour) for name, view in cameras.items()],
        )
        tried = self._rising(watched.book.deliveries())
        yield _counter("mulde_deliveries", "Tries to deliver alerts, by outcome.", ["sink", "outcome"], tried)
        waiting = [((sink,), count) for sink, count in watched.book.waiting().items()]
        yield _gauge("mulde_outbox_alerts", "Deliveries that wait.", ["sink"], waiting)

    def _of_the_disk(self, watched: Watched | None) -> Iterator[Metric]:
        known = None if watched is None else watched.view.clips_bytes()
        num_bytes = clips_bytes(self._source.root) if known is None else known
        yield _gauge("mulde_clips_bytes", "What clips take on the disk.", [], [((), num_bytes)])
        free: Samples = []
        with suppress(OSError):
            free = [((), shutil.disk_usage(self._source.root).free)]
        yield _gauge("mulde_storage_free_bytes", "Free on the disk with the run folder.", [], free)


def _of_cameras(cameras: dict[str, CameraView]) -> Iterator[Metric]:
    states = {name: view.status for name, view in cameras.items()}
    yield _gauge(
        "mulde_camera_up",
        "Whether pictures come.",
        ["camera"],
        [((name,), status.state is CameraState.LIVE) for name, status in states.items()],
    )
    yield _gauge(
        "mulde_camera_state",
        "1 for the state that a camera is in.",
        ["camera", "state"],
        [((name, state), status.state == state) for name, status in states.items() for state in CameraState],
    )
    yield _gauge(
        "mulde_camera_last_frame_timestamp_seconds",
        "When the newest picture was taken.",
        ["camera"],
        [((name,), status.last_utc_s) for name, status in states.items()],
    )
    yield _gauge(
        "mulde_clock_offset_seconds",
        "The camera's clock less this machine's.",
        ["camera"],
        [((name,), status.clock_offset_s) for name, status in states.items()],
    )
    received = [((name,), status.num_received) for name, status in states.items()]
    yield _counter("mulde_frames_received", "Pictures that came.", ["camera"], received)
    yield _counter(
        "mulde_frames_skipped",
        "Pictures that were not scored, by reason.",
        ["camera", "reason"],
        [((name, why), status.num_skipped.get(why, 0)) for name, status in states.items() for why in SKIP_REASONS],
    )
    errors = [((name,), status.num_decode_errors) for name, status in states.items()]
    yield _counter("mulde_decode_errors", "Errors behind which no picture can be trusted.", ["camera"], errors)
    yield _counter(
        "mulde_connects",
        "Tries to connect, by outcome.",
        ["camera", "outcome"],
        [((name, how), status.num_connects.get(how, 0)) for name, status in states.items() for how in CONNECT_OUTCOMES],
    )


def _of_scores(cameras: dict[str, CameraView], view: LiveView) -> Iterator[Metric]:
    scored = [((name,), camera.num_scored) for name, camera in cameras.items()]
    yield _counter("mulde_frames_scored", "Pictures that were scored.", ["camera"], scored)
    scores = [((name,), camera.score) for name, camera in cameras.items()]
    yield _gauge("mulde_score", "The newest anomaly score; higher is more unusual.", ["camera"], scores)
    levels = [((name,), camera.level) for name, camera in cameras.items()]
    yield _gauge("mulde_alarm_level", "The score from which there is an alert.", ["camera"], levels)
    latencies = {name: view.latencies(name) for name in cameras}
    yield _histogram(
        "mulde_score_latency_seconds",
        "From the arrival of a picture to its score.",
        {name: of_score for name, (of_score, _) in latencies.items()},
    )
    yield _histogram(
        "mulde_alert_latency_seconds",
        "From a picture to its alert on record.",
        {name: of_alert for name, (_, of_alert) in latencies.items()},
    )


def _of_pictures(cameras: dict[str, CameraView]) -> Iterator[Metric]:
    for figure, text in HEALTH_FIGURES.items():
        values = [((name,), view.health_figures.get(figure)) for name, view in cameras.items()]
        yield _gauge(f"mulde_health_{figure}", text, ["camera"], values)
    drifts = {name: view.drift for name, view in cameras.items() if view.drift}
    evidence = [
        ((name, stream), value)
        for name, drift in drifts.items()
        for stream, value in dict(drift.get("evidence", {})).items()
    ]
    yield _gauge("mulde_drift_evidence", "Evidence of days against the reference.", ["camera", "stream"], evidence)
    thresholds = [((name,), drift.get("threshold")) for name, drift in drifts.items()]
    yield _gauge("mulde_drift_threshold", "Evidence from which drift is reported.", ["camera"], thresholds)


Samples = Iterable[tuple[Sequence[str], Any]]
"""Values of labels with the value of a sample; None where there is none."""


def _gauge(name: str, text: str, labels: list[str], samples: Samples) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=labels), samples)


def _counter(name: str, text: str, labels: list[str], samples: Samples) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for values, value in samples:
        if value is not None:
            family.add_metric(list(values), float(value))
    return family


def _histogram(name: str, text: str, samples: dict[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["camera"])
    for camera, histogram in samples.items():
        total, buckets = 0, []
        for bound, count in zip((*map(str, LATENCIES_S), "+Inf"), histogram.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric([camera], buckets, histogram.sum_s)
    return family


def metric_routes(source: RunSource) -> APIRouter:
    router, registry = APIRouter(), CollectorRegistry()
    registry.register(RunCollector(source))

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
        summary="Figures for Prometheus",
    )
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
