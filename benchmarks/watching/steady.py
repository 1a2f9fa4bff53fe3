"""Cameras that send without a fault: what share of their frames is scored, how late, and what that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.watching.figures import Figure, Result
from benchmarks.watching.footage import Footage, loop
from benchmarks.watching.servers import CameraServer
from benchmarks.watching.watcher import Seen, Watcher, quantiles

_SPARE_S = 120.0
"""By how much the cameras' files are longer than a measurement: for the start of what watches them."""


def camera_files(footage: Footage, folder: Path, count: int, seconds: float) -> dict[str, Path]:
    """Files that last so long, by the name of the camera that they are played as; clips are taken in turns."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for number in range(count):
        source = footage.cameras[number % len(footage.cameras)]
        path = folder / f"{source.stem}-looped-{seconds:g}s.mp4"
        files[f"camera{number + 1}"] = path if path.exists() else loop(source, path, seconds)
    return files


@dataclass(frozen=True)
class Cameras:
    """What is watched: clips as cameras by name, with the model of all and what sets its alarm level (0: the default).
    The first `apart` cameras have a server each, the others share one."""

    folder: Path
    files: Mapping[str, Path]
    model: Path
    fps: float
    false_alarms_per_hour: float = 0.0
    apart: int = 0
    record: bool = False

    @contextmanager
    def watched(self) -> Iterator[tuple[Watcher, list[CameraServer]]]:
        """`mulde watch` and the servers of its cameras, once a frame of each was scored. It is told to end behind."""
        names = list(self.files)
        groups = [[name] for name in names[: self.apart]] + [names[self.apart :]]
        with ExitStack() as stack:
            servers = [
                stack.enter_context(CameraServer({name: self.files[name] for name in group}))
                for group in groups
                if group
            ]
            addresses = {name: server.address(name) for server in servers for name in server.files}
            watcher = stack.enter_context(
                Watcher(
                    self.folder,
                    addresses,
                    self.model,
                    false_alarms_per_hour=self.false_alarms_per_hour,
                    record=self.record,
                )
            )
            watcher.wait_for_all()
            yield watcher, servers


def scored_share(scores: Sequence[Mapping[str, Any]], fps: float, from_s: float, to_s: float) -> float:
    """Of the frames of a camera that come between two moments, which are whole ones: the share that was scored."""
    scored = sum(from_s <= score["at_s"] < to_s for score in scores)
    return min(scored / max(int(fps * (to_s - from_s)), 1), 1.0)


def measure(what: str, watching: Cameras, seconds: float, limits: Limits) -> Result:
    """Watch for so long behind a start of some seconds. limits: those that are promised of it, by name of a figure."""
    files, fps = watching.files, watching.fps
    with watching.watched() as (watcher, _):
        watcher.wait_for_all(3)
        began_s, before = time.time(), watcher.usage()
        time.sleep(seconds)
        ended_s, after = time.time(), watcher.usage()
        seen = watcher.seen()
        cameras = watcher.state()
    shares = [scored_share(seen.of(name), fps, began_s, ended_s) for name in files]
    skipped = {
        reason: sum(camera["num_skipped"][reason] for camera in cameras.values())
        for reason in ("busy", "backlog", "corrupt")
    }
    scores = [score for score in seen.scores if began_s <= score["at_s"] < ended_s]
    latency_s = quantiles([score["latency_s"] for score in scores])
    alert_s = quantiles(opening_delays_s(seen))
    cpu = (after.cpu_s - before.cpu_s) / (ended_s - began_s)
    values = {
        "share scored, least camera": min(shares),
        "share scored, mean": sum(shares) / len(shares),
        "arrival to score p50, s": latency_s.get("p50", float("nan")),
        "arrival to score p95, s": latency_s.get("p95", float("nan")),
        "picture to ledger p50, s": alert_s.get("p50", float("nan")),
        "picture to ledger p95, s": alert_s.get("p95", float("nan")),
        "CPU, % of a core": 100 * cpu,
        "CPU per scored frame, ms": 1000 * (after.cpu_s - before.cpu_s) / max(len(scores), 1),
        "RSS, MiB": after.rss_mib,
    }
    figures = tuple(Figure(name, value, *limits.get(name, ())) for name, value in values.items())
    facts = {"cameras": len(files), "fps": fps, "seconds": ended_s - began_s, "frames": len(scores), "skipped": skipped}
    return Result(what, figures, {**facts, "alerts": len(opening_delays_s(seen))})


def opening_delays_s(seen: Seen) -> list[float]:
    """From the picture that opened an alert to the alert in the ledger."""
    return [
        alert["delay_s"]
        for alert in seen.alerts
        if alert["kind"] == "unusual" and alert["state"] == "opened" and alert["delay_s"] is not None
    ]


Limits = Mapping[str, tuple[float, Any]]
RATE: Limits = {"share scored, least camera": (0.99, "at least")}
LATENCY: Limits = {"arrival to score p95, s": (0.5, "at most"), "picture to ledger p95, s": (2.0, "at most")}
