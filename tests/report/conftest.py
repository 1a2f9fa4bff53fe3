"""Pages in a browser that complain when anything in them does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mulde.events import Event, EventRegion, Reason, ReferenceSample
from mulde.records import ScoreTrack
from mulde.report.page import ReportEvent, ReportPage, ReportVideo, build_page

RATE = 25.0


@pytest.fixture
def opened(chromium, tmp_path):
    """Opens a report in a new page. At the end, no error may have been written to the console or thrown, and nothing
    may have been asked of any network."""
    contexts, complaints = [], []

    def open_page(report: ReportPage | Path, **options):
        path = report
        if isinstance(report, ReportPage):
            path = tmp_path / f"report-{len(contexts)}.html"
            path.write_text(build_page(report), encoding="utf-8")
        context = chromium.new_context(viewport={"width": 1400, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda one: one.url.startswith(("http", "ws")) and complaints.append(one.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def scored(video: str, scores: np.ndarray, *, rate: float = RATE, **options) -> ReportVideo:
    """A video with these smoothed scores, two streams, and alarms that close gaps of 3 frames."""
    frames = np.arange(len(scores))
    streams = {"velocity": scores * 0.75, "pose": scores * 0.25}
    p_value = 1.0 / (1.0 + np.exp(scores))
    track = ScoreTrack(video, frames, frames / rate, scores, scores, streams, p_value)
    return ReportVideo(track, rate, **{"merge_gap": 3, "min_length": 2, **options})


def event(video: ReportVideo, start: int, end: int, p_value: float, *, suppression: str = "", text: str = "") -> Event:
    scores = video.track.smoothed[start:end]
    peak = start + int(np.argmax(scores))
    stream = "velocity" if start % 2 else "pose"
    reason = Reason(
        stream=stream,
        text=text or f"moves {start} times as fast as usual here",
        streams={"velocity": 3.0, "pose": 1.5},
        region=EventRegion(peak, (10.0, 10.0, 30.0, 40.0), 7, "person"),
        scales=((0.05, 4.2), (0.5, -0.3)),
        groups=(("speed", 0.8), ("direction", 0.2)),
        nearest=(ReferenceSample(4, "train01", 120, 4.8, 2.5),),
    )
    return Event(
        video.track.video, start, end, start / RATE, (end - 1) / RATE, peak, peak / RATE, float(scores.max()), p_value,
        reason, suppression,
    )  # fmt: skip


@pytest.fixture
def small() -> ReportPage:
    """Two videos with bumps at known frames: three events, in the order of their p-values, level 2."""
    first, second = np.full(1000, 0.5), np.full(400, 0.25)
    first[100:150], first[600:620], second[201:231] = 4.0, 3.0, 6.0
    first[125], first[610], second[210] = 5.0, 3.5, 7.0
    one, two = scored("yard", first, truth=((90, 160),)), scored("gate", second)
    events = [event(two, 201, 231, 0.001), event(one, 100, 150, 0.01), event(one, 600, 620, 0.05)]
    return ReportPage(
        title="small",
        videos=[one, two],
        events=[ReportEvent(each) for each in events],
        level=2.0,
        normal={"levels": [3.0, 2.5, 1.0], "num_events": [1, 2, 9], "hours": 2.0},
        statement="Two hours of normal video were held out.",
        facts=[("mulde", "0.1.0")],
        texts=[("settings.toml", "[video]")],
    )
