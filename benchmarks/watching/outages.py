"""Servers that die and hang: how soon their camera is watched again, and whether the others notice."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.watching.figures import Figure, Result
from benchmarks.watching.servers import CameraServer
from benchmarks.watching.steady import Cameras, scored_share
from benchmarks.watching.watcher import Usage, Watcher

LONG_S = 10.0
"""Absences behind which the next try may be up to half a minute away."""
SOON_S, LATE_S = 5.0, 30.0
_SETTLE_S = 15.0


@dataclass(frozen=True)
class Outage:
    """how: killed or stopped; away_s: for how long; back_s: from when the server could be reached again to the next
    frame of its camera that was scored."""

    how: str
    away_s: float
    back_s: float


def measure(watching: Cameras, times: int, shortest_s: float, longest_s: float, rest_s: float, seed: int) -> Result:
    """Kill the first camera's server and begin it again, then stop it and let it go on, so many times each, for times
    that are drawn between these two. rest_s: how long it is left in peace between them; the wait for the next try
    starts small again behind 60 s."""
    rng = np.random.default_rng(seed)
    watching = replace(watching, apart=1)
    outages = []
    with watching.watched() as (watcher, servers):
        watcher.wait_for_all(3)
        before, began_s = watcher.usage(), time.time()
        for _ in range(times):
            for how in ("killed", "stopped"):
                away_s = float(np.exp(rng.uniform(np.log(shortest_s), np.log(longest_s))))
                outages.append(_disturb(watcher, servers[0], how, away_s))
                time.sleep(rest_s)
        ended_s, after = time.time(), _settled(watcher, before)
        seen = watcher.seen()
    others = list(watching.files)[1:]
    shares = [scored_share(seen.of(name), watching.fps, began_s, ended_s) for name in others]
    short, long = ([one.back_s for one in outages if (one.away_s >= LONG_S) == is_long] for is_long in (False, True))
    figures = (
        Figure("live again, worst, s", max(short, default=0.0), SOON_S),
        Figure("live again behind 10 s or more, worst, s", max(long, default=0.0), LATE_S),
        Figure("share scored of the others, least", min(shares), 0.99, "at least"),
        Figure("threads more than before", after.num_threads - before.num_threads, 0),
        Figure("descriptors more than before", after.num_descriptors - before.num_descriptors, 0),
        Figure("RSS more than before, MiB", after.rss_mib - before.rss_mib),
    )
    facts = {"outages": [vars(one) for one in outages], "others": len(others), "seconds": ended_s - began_s}
    return Result("servers", figures, facts)


def _disturb(watcher: Watcher, server: CameraServer, how: str, away_s: float) -> Outage:
    (camera,) = server.files
    if how == "killed":
        server.kill()
    else:
        server.stop()
    time.sleep(away_s)
    if how == "killed":
        server.start()
    else:
        server.go_on()
    back_s = time.time()
    seen = watcher.wait_until(
        lambda seen: any(score["at_s"] > back_s for score in seen.of(camera)), f"{camera} behind a server {how}"
    )
    return Outage(how, away_s, next(score["at_s"] for score in seen.of(camera) if score["at_s"] > back_s) - back_s)


def _settled(watcher: Watcher, before: Usage) -> Usage:
    """What it takes once it has given back what it took for a connection; some time later, where it does not."""
    began_s = time.monotonic()
    while True:
        now = watcher.usage()
        is_settled = now.num_threads <= before.num_threads and now.num_descriptors <= before.num_descriptors
        if is_settled or time.monotonic() - began_s > _SETTLE_S:
            return now
        time.sleep(0.2)
