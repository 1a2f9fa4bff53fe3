"""What others see of a loop that watches, on a clock that stands until it is moved."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulde.pipeline.live.camera import Clocks
from mulde.pipeline.live.engine import LiveEngine
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.status import CameraState, CameraStatus
from mulde.pipeline.live.view import LATENCIES_S, CameraView, Histogram, LiveView, RecentScores
from mulde.pipeline.live.watched import CameraSpec

from .small_world import HOUR_S, Listener, player, predictor, still_clocks, watch
from .test_engine import alerts_of, until


class Moved:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.view = LiveView(Clocks(lambda: self.now_s, lambda: self.now_s + 1e9))
        self.view.show([CameraView("yard", CameraStatus("yard", CameraState.LIVE, 0.0))])


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 9, width=32)), max_size=40), st.integers(0, 20))
def test_recent_scores_are_the_last_ones(added, start):
    recent = RecentScores(8)
    for utc_ms, score in added:
        recent.add(utc_ms, score)
    times, scores = recent.between(start, start + 10)
    expected = [pair for pair in added[-8:] if start <= pair[0] < start + 10]
    assert sorted(zip(times.tolist(), scores.tolist(), strict=True)) == sorted(expected)


@given(st.lists(st.floats(0, 20), max_size=30))
def test_a_histogram_counts_each_value_once(values):
    histogram = Histogram()
    for value in values:
        histogram = histogram.plus(value)
    bounds = [*LATENCIES_S, np.inf]
    assert np.cumsum(histogram.counts).tolist() == [sum(value <= bound for value in values) for bound in bounds]
    assert histogram.sum_s == pytest.approx(sum(values))


@pytest.mark.parametrize("fps", [0.5, 2.0, 10.0, 25.0, 500.0])
def test_frames_per_second_are_those_of_the_last_seconds(fps):
    moved = Moved()
    assert moved.view.fps_scored("yard") is None
    for _ in range(round(fps * 60)):
        moved.now_s += 1 / fps
        moved.view.scored("yard", 0, 1.0, 0.1)
    assert moved.view.fps_scored("yard") == pytest.approx(fps, rel=0.06)
    moved.now_s += 10
    slower = moved.view.fps_scored("yard")
    assert slower == pytest.approx(fps / 2, rel=0.15) or fps == 500.0
    moved.now_s += 100
    assert moved.view.fps_scored("yard") == 0


def test_a_camera_that_goes_is_forgotten_and_another_of_its_name_begins_anew():
    moved = Moved()
    moved.view.scored("yard", 5, 1.0, 0.1)
    assert moved.view.last_score("yard") == (5, 1.0)
    moved.view.show([])
    assert moved.view.last_score("yard") is None
    assert moved.view.scores("yard", 0, 10)[0].tolist() == []


def test_a_pause_ends_by_itself():
    moved = Moved()
    until_ms = round(1000 * (moved.now_s + 1e9)) + 5000
    moved.view.pause("yard", until_ms)
    assert moved.view.paused_until("yard") == until_ms
    assert moved.view.paused_until("gate") is None
    moved.now_s += 5
    assert moved.view.paused_until("yard") is None


def test_the_silence_of_the_loop():
    moved = Moved()
    moved.now_s += 7
    assert moved.view.silent_s() == 7
    moved.view.turned()
    assert moved.view.silent_s() == 0


def spec(live_world, model):
    return CameraSpec("yard", player(live_world / "scene.mkv"), predictor(model), "model", "", lossless=True)


def test_the_loop_shows_its_cameras_pictures_and_scores(live_world, model10, tmp_path):
    with until(tmp_path / "live", [spec(live_world, model10)]) as run:
        engine = run(lambda engine: engine.cameras["yard"].num_scored >= 50)
    view = engine.view
    camera = view.cameras()["yard"]
    assert camera.num_scored == engine.cameras["yard"].num_scored
    assert (camera.fps_wanted, camera.level) == (10, engine.cameras["yard"].alerts.machine.level)
    utc_ms, score = view.last_score("yard")
    assert (score, utc_ms) == (engine.cameras["yard"].last_score, round(1000 * engine.cameras["yard"].last_utc_s))
    assert len(view.scores("yard", 0, 2**60)[0]) == camera.num_scored
    assert view.frame("yard").image.shape == (96, 160, 3)
    of_score, of_alert = view.latencies("yard")
    assert sum(of_score.counts) == camera.num_scored
    assert sum(of_alert.counts) == len(alerts_of(tmp_path / "live"))


def test_a_camera_that_is_paused_is_scored_and_raises_nothing(live_world, model10, tmp_path):
    """And what was open when the pause began is closed."""
    root, clocks = tmp_path / "live", still_clocks()
    root.mkdir()
    view = LiveView(clocks)
    with AlertLedger.open(root) as ledger:
        engine = LiveEngine(root, ledger, Listener(), threads=1, clocks=clocks, view=view)
        engine.add(spec(live_world, model10))
        paused = []

        def look():
            if not paused and ledger.open_alerts():
                view.pause("yard", round(1000 * HOUR_S) + 3_600_000)
                paused.append(len(ledger.alerts()))

        engine.run(threading.Event(), look)
    alerts = alerts_of(root)
    assert len(alerts) == paused[0]
    assert [alert.state for alert in alerts] == ["closed"] * len(alerts)
    assert engine.cameras["yard"].num_scored == 80
    watch(tmp_path / "other", [spec(live_world, model10)], still_clocks())
    assert len(alerts_of(tmp_path / "other")) > len(alerts)
