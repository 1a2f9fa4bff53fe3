"""A day of cameras, played as fast as it can be scored: memory, drawn anomalies, and false alarms against the promise.

Each camera plays its own stretch of the synthetic plaza over and over, so the days have no rhythm of light or traffic.
Where a stretch begins again people jump; alerts there are counted apart.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.watching.figures import Figure, Result
from benchmarks.watching.footage import Anomaly, Scene, settings_of, trained
from benchmarks.watching.watcher import Usage
from mulde.devices import choose_threads
from mulde.digests import file_digest
from mulde.media.file_stream import FileAsStream
from mulde.pipeline.live.alerts import Alert
from mulde.pipeline.live.engine import LiveEngine
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.watched import CameraSpec
from mulde.pipeline.model.loading import load_model
from mulde.pipeline.predictor.predictor import Predictor
from mulde.progress import Reporter

KINDS, SIZE = ("cart", "cyclist"), 2.5
"""What is drawn, and how many times as large as in life: so that no model misses it, and what is measured is the way
from a score to an alert."""
_APART_S = (60.0, 300.0)
_AROUND_S = 4.0
"""By how much an alert may be later than what it is of: causal scores come behind."""
_SAMPLES = 200
"""Of what the process takes, at equal distances."""


@dataclass(frozen=True)
class Plan:
    """hours: of each camera; stretch_s: what each plays over and over; normal: number and length of clips to learn."""

    hours: float
    num_cameras: int = 4
    fps: float = 2.0
    stretch_s: float = 3600.0
    num_normal: int = 24
    normal_s: float = 600.0
    settings: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    hours: float
    usage: Usage


@dataclass(frozen=True)
class Watched:
    """began_ms: UTC of the first frame by camera; alerts: all that were raised; samples: what the process took."""

    began_ms: Mapping[str, int]
    hours: float
    alerts: Sequence[Alert]
    samples: Sequence[Sample]
    num_open: int


def measure(plan: Plan, work: Path) -> Result:
    files = {f"plaza{n + 1}": _stretch(plan, work, n) for n in range(plan.num_cameras)}
    model = trained(_normal(plan, work), work, settings_of(plan.fps, extra=plan.settings))
    began_s = time.monotonic()
    predictor = Predictor.open(
        load_model(model, "cpu"), model, ["fusion.smoothing=causal"], "cpu", Reporter(quiet=True)
    )
    watched = _watch({name: path for name, (path, _) in files.items()}, predictor, model, plan, work / "day")
    took_s = time.monotonic() - began_s
    drawn = {name: spans for name, (_, spans) in files.items()}
    figures = (*_steadiness(watched.samples), *_alarms(watched, drawn, predictor, plan))
    facts = {"cameras": plan.num_cameras, "hours": watched.hours, "fps": plan.fps, "seconds": took_s}
    return Result("day", figures, facts)


def _normal(plan: Plan, work: Path) -> list[Path]:
    scene, paths = Scene(Fraction(plan.fps)), []
    for number in range(plan.num_normal):
        paths.append(work / "day-normal" / f"{plan.fps:g}fps-{plan.normal_s:g}s-{number:03d}.mp4")
        if not paths[-1].exists():
            scene.write(paths[-1], plan.normal_s, number)
    return paths


def _stretch(plan: Plan, work: Path, camera: int) -> tuple[Path, list[Anomaly]]:
    """The file of a camera, and when its anomalies are seen."""
    path = work / "day-cameras" / f"{plan.fps:g}fps-{plan.stretch_s:g}s-{camera}.mp4"
    spans = path.with_suffix(".json")
    if not spans.exists():
        rng = np.random.default_rng([plan.seed, camera])
        drawn, at_s = [], 20.0 + rng.uniform(0, _APART_S[0])
        while at_s < plan.stretch_s - 40:
            drawn.append((str(rng.choice(KINDS)), at_s))
            at_s += rng.uniform(*_APART_S)
        seen = Scene(Fraction(plan.fps)).write(path, plan.stretch_s, 1000 + camera, drawn, SIZE)
        spans.write_text(json.dumps([asdict(anomaly) for anomaly in seen]))
    return path, [Anomaly(**entry) for entry in json.loads(spans.read_text())]


def _watch(files: Mapping[str, Path], predictor: Predictor, model: Path, plan: Plan, run: Path) -> Watched:
    """`mulde watch --as-live --speed 0 --loop` of several files at once, which the command has for one."""
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    stop, samples = threading.Event(), list[Sample]()
    began_s: dict[str, float] = {}
    with AlertLedger.open(run) as ledger:
        engine = LiveEngine(run, ledger, Reporter(quiet=True), threads=choose_threads("cpu"))
        for name, path in files.items():
            opener, digest = FileAsStream(path, 0.0, loop=True).open, file_digest(model)
            engine.add(CameraSpec(name, opener, predictor, str(model), digest, lossless=True))

        def look() -> None:
            for name, camera in engine.cameras.items():
                if camera.last_utc_s:
                    began_s.setdefault(name, camera.last_utc_s)
            if len(began_s) < len(files):
                return
            hours = min(camera.last_utc_s - began_s[name] for name, camera in engine.cameras.items()) / 3600
            if not samples or hours - samples[-1].hours >= plan.hours / _SAMPLES or hours >= plan.hours:
                samples.append(Sample(hours, Usage.of(os.getpid(), run)))
            if hours >= plan.hours:
                stop.set()

        engine.run(stop, look)
        alerts = [stored.alert for stored in ledger.alerts() if stored.alert.kind == "unusual"]
        num_open = len(ledger.open_alerts())
        hours = sum(camera.last_utc_s - began_s[name] for name, camera in engine.cameras.items()) / 3600
    began_ms = {name: round(1000 * at_s) for name, at_s in began_s.items()}
    return Watched(began_ms, hours, alerts, samples, num_open)


def _steadiness(samples: Sequence[Sample]) -> tuple[Figure, ...]:
    """Memory, descriptors and threads behind the first hour, or the first half of what is shorter than two hours."""
    first = min(1.0, samples[-1].hours / 2)
    later = [sample for sample in samples if sample.hours >= first]
    slope = bound = float("nan")
    if len(later) > 2:
        fit = stats.linregress([one.hours for one in later], [one.usage.rss_mib for one in later])
        slope, bound = fit.slope, fit.slope + float(stats.t.ppf(0.975, len(later) - 2)) * fit.stderr
    ends = later[0].usage, later[-1].usage
    return (
        Figure("RSS slope, MiB an hour", float(slope)),
        Figure("RSS slope, 95 % upper bound, MiB an hour", float(bound), 1.0),
        Figure("RSS at the end, MiB", ends[1].rss_mib),
        Figure("threads more than behind the start", ends[1].num_threads - ends[0].num_threads, 0),
        Figure("descriptors more than behind the start", ends[1].num_descriptors - ends[0].num_descriptors, 0),
    )


def _alarms(
    watched: Watched, drawn: Mapping[str, Sequence[Anomaly]], predictor: Predictor, plan: Plan
) -> tuple[Figure, ...]:
    assert predictor.alarm is not None, "the engine has taken it"
    counts: dict[tuple[str, int, int], int] = {}
    num_false = num_seams = 0
    for alert in watched.alerts:
        start_s, end_s = ((at - watched.began_ms[alert.camera]) / 1000 for at in (alert.start, alert.end))
        turn, at_s = divmod(start_s, plan.stretch_s)
        lasts_s = end_s - start_s
        hit = [
            number
            for number, anomaly in enumerate(drawn[alert.camera])
            if at_s <= anomaly.end_s + _AROUND_S and at_s + lasts_s >= anomaly.start_s
        ]
        for number in hit:
            key = alert.camera, int(turn), number
            counts[key] = counts.get(key, 0) + 1
        is_seam = turn > 0 and at_s <= _AROUND_S
        num_seams += is_seam and not hit
        num_false += not (hit or is_seam)
    expected = _shown(watched, drawn, plan)
    threshold = predictor.alarm.threshold
    low, high = threshold.interval(watched.hours)
    per_hour = num_false / watched.hours
    return (
        Figure("anomalies drawn", len(expected)),
        Figure("of them without an alert", sum(key not in counts for key in expected), 0),
        Figure("of them with several", sum(counts.get(key, 0) > 1 for key in expected), 0),
        Figure("alerts where a stretch begins again", num_seams),
        Figure("false alarms an hour, promised", threshold.expected_per_hour),
        Figure("false alarms an hour, least promised", low),
        Figure("false alarms an hour", per_hour, high),
        Figure("alerts open at the end", watched.num_open, 0),
    )


def _shown(watched: Watched, drawn: Mapping[str, Sequence[Anomaly]], plan: Plan) -> set[tuple[str, int, int]]:
    """Camera, turn and number of each anomaly that every camera got to: `plan.hours` of each."""
    shown, seconds = set(), 3600 * plan.hours
    for camera in watched.began_ms:
        for turn in range(int(seconds // plan.stretch_s) + 1):
            for number, anomaly in enumerate(drawn[camera]):
                if turn * plan.stretch_s + anomaly.end_s + _AROUND_S <= seconds:
                    shown.add((camera, turn, number))
    return shown
