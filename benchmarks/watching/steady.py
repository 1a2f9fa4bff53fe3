"""Cameras that send without a fault: what share of their frames is scored, how late, and what that takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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


@contextmanager
def watched(
    folder: Path, files: Mapping[str, Path], model: Path, *, servers: int = 1, record: bool = False
) -> Iterator[tuple[Watcher, list[CameraServer]]]:
    """`mulde watch` of these files as cameras, dealt out to so many servers, once each has been scored."""
    with ExitStack() as stack:
        shares = [dict(list(files.items())[number::servers]) for number in range(servers)]
        running = [stack.enter_context(CameraServer(share)) for share in shares]
        addresses = {name: server.address(name) for server in running for name in server.files}
        watcher = stack.enter_context(Watcher(folder, addresses, model, record=record))
        watcher.wait_for_all()
        yield watcher, running


def scored_share(scores: Sequence[Mapping[str, Any]], fps: float, from_s: float, to_s: float) -> float:
    """Of the frames that are wanted between two moments: the share that was scored by the second one."""
    return sum(from_s <= score["at_s"] < to_s for score in scores) / (fps * (to_s - from_s))


def measure(
    what: str, folder: Path, files: Mapping[str, Path], model: Path, fps: float, seconds: float, limits: Limits
) -> Result:
    """Watch for so long behind a start of some seconds. limits: those that are promised of it, by name of a figure."""
    with watched(folder, files, model) as (watcher, _):
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
