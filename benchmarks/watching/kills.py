"""`mulde watch` killed at random moments: no alert twice, none lost, none left open."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.watching.figures import Figure, Result
from benchmarks.watching.steady import Cameras
from benchmarks.watching.watcher import Seen
from mulde.evaluation.conformal import count_events
from mulde.pipeline.live.alerts import Alert, alert_id
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.model.loading import load_model

_LAST_FRAMES = 12
"""That each camera has at least in the end, however slow the machine is."""


@dataclass(frozen=True)
class Stretch:
    """Scores of one process at or above the level, with no pause that ends an event. is_alone: it does not begin where
    an event of the process before may go on."""

    camera: str
    start_ms: int
    last_ms: int
    is_alone: bool


def stretches(scores: Sequence[Mapping[str, Any]], merge_gap: int) -> Iterator[Stretch]:
    """Those of one session of a camera: an obvious computation, which knows nothing of the one that raises alerts.
    merge_gap: frames below the level, or without a score, that do not end one."""
    above = [score for score in scores if score["score"] >= score["level"]]
    edges = [n + 1 for n, (a, b) in enumerate(pairwise(above)) if b["number"] - a["number"] - 1 > merge_gap]
    for first, end in pairwise([0, *edges, len(above)]):
        if first < end:
            is_alone = above[first]["number"] - scores[0]["number"] > merge_gap + 1
            yield Stretch(above[first]["camera"], above[first]["utc_ms"], above[end - 1]["utc_ms"], is_alone)


def many_alarms_per_hour(model: Path) -> float:
    """A rate at which scores of normal video are above the level as often as not, so that alerts are many."""
    bundle = load_model(model).bundle
    videos, alarms = bundle.smoothed_normal["causal"], bundle.settings.alarms
    levels = np.quantile(np.concatenate([video.scores for video in videos]), np.linspace(0.05, 0.95, 40))
    counts = [
        sum(count_events(video, float(level), alarms.merge_gap_s, alarms.min_length_s) for video in videos)
        for level in levels
    ]
    return 0.8 * max(counts) / sum(video.hours for video in videos)


def measure(watching: Cameras, times: int, longest_life_s: float, longest_pause_s: float, seed: int) -> Result:
    """Kill it so many times, each at a random moment of at most so many seconds behind its first scores, and begin it
    again behind a random pause; compare the ledger with the scores that all of these processes saw."""
    rng = np.random.default_rng(seed)
    with watching.watched() as (watcher, _):
        for _ in range(times):
            time.sleep(rng.uniform(0, longest_life_s))
            watcher.kill()
            num_before = {name: len(watcher.seen().of(name)) for name in watching.files}
            time.sleep(rng.uniform(0, longest_pause_s))
            watcher.start()
            watcher.wait_until(
                lambda seen, before=num_before: all(len(seen.of(name)) > before[name] for name in before),
                "a score of each camera behind a kill",
            )
        time.sleep(longest_life_s)
        watcher.wait_for_all(max(len(watcher.seen().of(name)) for name in watching.files) + _LAST_FRAMES)
        code = watcher.end()
        seen = watcher.seen()
    with AlertLedger.read(watcher.run) as ledger:
        alerts = [stored.alert for stored in ledger.alerts()]
        num_open = len(ledger.open_alerts())
    merge_gap = round(load_model(watching.model).bundle.settings.alarms.merge_gap_s * watching.fps)
    return Result("kills", _figures(seen, alerts, merge_gap, num_open), {"kills": times, "exit code": code})


def _figures(seen: Seen, alerts: Sequence[Alert], merge_gap: int, num_open: int) -> tuple[Figure, ...]:
    unusual = [alert for alert in alerts if alert.kind == "unusual"]
    sessions: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for score in seen.scores:
        sessions.setdefault((score["camera"], score["session"]), []).append(score)
    expected = [one for scores in sessions.values() for one in stretches(scores, merge_gap)]
    known, on_record = {alert.id for alert in unusual}, {alert.id for alert in alerts}
    lost = [one for one in expected if not any(_overlaps(alert, one) for alert in unusual)]
    unlike = [one for one in expected if one.is_alone and alert_id(one.camera, one.start_ms) not in known]
    told = Counter((entry["id"], entry["revision"]) for entry in seen.alerts)
    forgotten = {identity for identity, _ in told} - on_record
    return (
        Figure("alerts", len(unusual)),
        Figure("alerts cut short", sum(alert.cut_short for alert in unusual)),
        Figure("stretches above the level", len(expected)),
        Figure("of them without an alert", len(lost), 0),
        Figure("of them under another id", len(unlike), 0),
        Figure("alerts that were recorded and are gone", len(forgotten), 0),
        Figure("revisions that were recorded twice", sum(count > 1 for count in told.values()), 0),
        Figure("alerts of a camera that overlap", _num_overlaps(unusual), 0),
        Figure("alerts open at the end", num_open, 0),
    )


def _overlaps(alert: Alert, stretch: Stretch) -> bool:
    return alert.camera == stretch.camera and alert.start <= stretch.last_ms and alert.end >= stretch.start_ms


def _num_overlaps(alerts: Sequence[Alert]) -> int:
    ordered = sorted(alerts, key=lambda alert: (alert.camera, alert.start))
    return sum(a.camera == b.camera and b.start <= a.end for a, b in pairwise(ordered))
