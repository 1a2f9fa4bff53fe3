"""How quickly a page of `mulde report` opens and answers in Chromium, and how large it is.

    python benchmarks/report.py                          24 h at 25/s, 10,000 events, 4 streams
    python benchmarks/report.py --page RUN/report.html --screenshot docs/images/report.png

Needs Chromium (chromium, chromium-browser or google-chrome in the PATH, or MULDE_CHROMIUM) and playwright.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mulde.events import Event, EventRegion, Reason, ReferenceSample, by_likelihood
from mulde.records import ScoreTrack
from mulde.report.page import ReportEvent, ReportPage, ReportVideo, build_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = (
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")
RATE, MERGE_GAP = 25.0, 25
STREAMS = ("velocity", "pose", "appearance", "geometry")
LIMITS = {"megabytes": 25.0, "opening_s": 3.0, "slider_ms_median": 100.0}
"""What is promised of a day of 10,000 events, on a machine that does nothing else."""
SLIDER = """async () => {
  const slider = document.getElementById('level'), times = [];
  for (let value = 40; value < 2000; value += 98) {
    await new Promise((next) => requestAnimationFrame(next));
    const begin = performance.now();
    slider.value = value;
    slider.dispatchEvent(new Event('input'));
    await new Promise((next) => requestAnimationFrame(() => setTimeout(next)));
    times.push(performance.now() - begin);
  }
  return times;
}"""


def find_chromium() -> str | None:
    return os.environ.get("MULDE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        opened = player.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        yield opened
        opened.close()


def long_report(hours: float, num_events: int, pictures: list[Path], num_videos: int = 4, seed: int = 0) -> ReportPage:
    """Noise with bumps, each an event with a full reason; `pictures` are used in turn."""
    rng = np.random.default_rng(seed)
    frames = int(hours * 3600 * RATE / num_videos)
    per_video = num_events // num_videos
    videos, events = [], []
    for v in range(num_videos):
        streams = {name: np.abs(_smooth(rng.normal(0, 3, frames), 5)) for name in STREAMS}
        fused = np.asarray(sum(streams.values()))
        smoothed = _smooth(fused, 25)
        room = frames // per_video
        starts = np.arange(per_video) * room + rng.integers(0, room // 4, per_video)
        heights = rng.uniform(6, 20, per_video)
        bump = np.hanning(room // 3)
        for start, height in zip(starts, heights, strict=True):
            smoothed[start : start + bump.size] += height * bump
        track = ScoreTrack(f"camera {v + 1}", np.arange(frames), np.arange(frames) / RATE, fused, smoothed, streams)
        videos.append(ReportVideo(track, RATE, MERGE_GAP, 1))
        events += [_event(track, int(start), bump.size, rng) for start in starts]
    events.sort(key=by_likelihood)
    levels = np.sort(rng.uniform(2, 12, 500))[::-1]
    return ReportPage(
        title="a day of four cameras",
        videos=videos,
        events=[ReportEvent(event, pictures[i % len(pictures)]) for i, event in enumerate(events)],
        level=7.0,
        normal={"levels": levels.tolist(), "num_events": list(range(1, 501)), "hours": 10.0},
        normal_pictures={i: pictures[i % len(pictures)] for i in range(300)},
    )


def _smooth(values: np.ndarray, size: int) -> np.ndarray:
    window = np.hanning(size + 2)[1:-1]
    return np.convolve(values, window / window.sum(), mode="same")


def _event(track: ScoreTrack, start: int, size: int, rng: np.random.Generator) -> Event:
    peak = start + int(np.argmax(track.smoothed[start : start + size]))
    score = float(track.smoothed[peak])
    shares = rng.dirichlet(np.ones(len(STREAMS))) * score
    stream = STREAMS[int(np.argmax(shares))]
    near = tuple(
        ReferenceSample(int(m), f"normal {m % 7}", int(m) * 40, float(m) * 1.6, float(rng.uniform(1, 5)))
        for m in rng.integers(0, 300, 3)
    )
    reason = Reason(
        stream,
        f"A person moves {rng.uniform(2, 9):.1f} times as fast as usual here, heading {'left' if score > 9 else 'up'}",
        dict(zip(STREAMS, shares.tolist(), strict=True)),
        EventRegion(peak, tuple(rng.uniform(0, 100, 4).tolist()), int(rng.integers(0, 99)), "person"),
        tuple((s, float(rng.normal(3, 2))) for s in (0.01, 0.05, 0.1, 0.5, 1.0)),
        (("speed", 0.7), ("direction", 0.2), ("size", 0.1)),
        {"times": 3.1},
        near,
    )
    around = (max(start, peak - 20), peak + 20)
    p_value = float(np.exp(-score / 3))
    return Event(
        track.video, *around, around[0] / RATE, (around[1] - 1) / RATE, peak, peak / RATE, score, p_value, reason
    )


def write_pictures(folder: Path, num: int = 64) -> list[Path]:
    """Photograph-like pictures of 320 x 180."""
    import cv2

    rng = np.random.default_rng(0)
    paths = []
    for i in range(num):
        coarse = cv2.resize(
            rng.integers(0, 255, (12, 20, 3), dtype=np.uint8), (320, 180), interpolation=cv2.INTER_CUBIC
        )
        grain = rng.normal(0, 6, coarse.shape)
        paths.append(folder / f"{i}.jpg")
        cv2.imwrite(str(paths[-1]), np.clip(coarse + grain, 0, 255).astype(np.uint8))
    return paths


def measure(page: Page, path: Path) -> dict[str, float]:
    """Open a page and move its slider over all levels; seconds, bytes, milliseconds."""
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("html[data-ready]", timeout=60_000)
    opened: Any = page.evaluate("Number(document.documentElement.dataset.ready)")
    slider: Any = page.evaluate(SLIDER)
    return {
        "megabytes": path.stat().st_size / 1e6,
        "opening_s": opened / 1000,
        "slider_ms_median": float(np.median(slider)),
        "slider_ms_worst": float(max(slider)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--page", type=Path, help="measure this page instead")
    parser.add_argument("--screenshot", type=Path, help="write a picture of the page, 1400 x 900")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        path = options.page
        if path is None:
            start = time.perf_counter()
            path = Path(folder) / "report.html"
            report = long_report(options.hours, options.events, write_pictures(Path(folder)))
            path.write_text(build_page(report), encoding="utf-8")
            print(f"{'written in s':18} {time.perf_counter() - start:8.1f}")
        page = chromium.new_page(viewport={"width": 1400, "height": 900})
        found = measure(page, path)
        for name, value in found.items():
            print(f"{name:18} {value:8.2f}" + (f"   promised: under {LIMITS[name]:g}" if name in LIMITS else ""))
        if options.screenshot:
            page.reload()
            page.wait_for_selector("html[data-ready]")
            page.mouse.move(900, 300)
            page.wait_for_timeout(500)
            page.screenshot(path=options.screenshot)
    if options.page is None and any(found[name] >= limit for name, limit in LIMITS.items()):
        sys.exit("slower or larger than promised")


if __name__ == "__main__":
    main()
