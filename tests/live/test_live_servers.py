"""`mulde watch` on cameras of GStreamer's RTSP server, through the benchmark's functions: counts, never speed.

`make test` leaves these out; `make test-live` runs them. Debian: gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good
gstreamer1.0-plugins-bad python3-gi.
"""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction

import pytest

from benchmarks.watching import corruption, frame, kills, outages, parity, steady
from benchmarks.watching.footage import settings_of, synthetic_footage, trained
from benchmarks.watching.servers import PACKAGES, has_gstreamer

QUICK = ("density.method=mixture", "fusion.folds=2", "reasons.normal_moments=40", "fusion.smoothing_s=0.2")
FPS = 2.0
FILE_S = 1200.0  # of each camera: no test may see the end, however slow the machine is

if not has_gstreamer():
    assert not os.environ.get("MULDE_REQUIRE_LIVE"), f"no GStreamer RTSP server. Debian: {PACKAGES}"
    pytest.skip(f"GStreamer's RTSP server is not installed. Debian: {PACKAGES}", allow_module_level=True)


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("live")


@pytest.fixture(scope="session")
def footage(work):
    return synthetic_footage(work, 2, normal_clips=4, normal_s=12.0, camera_s=20.0)


@pytest.fixture(scope="session")
def model(work, footage):
    return trained(footage.normal, work, settings_of(FPS, extra=QUICK))


@pytest.fixture
def cameras(tmp_path, work, footage, model):
    files = steady.camera_files(footage, work / "looped", 2, FILE_S)
    return steady.Cameras(tmp_path, files, model, FPS)


def test_each_camera_is_scored_alerts_and_ends_on_sigterm(cameras, model):
    watching = replace(cameras, false_alarms_per_hour=kills.many_alarms_per_hour(model))
    with watching.watched() as (watcher, _):
        watcher.wait_for_all(12)
        usage, state = watcher.usage(), watcher.state()
        assert watcher.end() == 143
        seen = watcher.seen()
    assert {score["camera"] for score in seen.scores} == set(cameras.files) == set(state)
    assert steady.opening_delays_s(seen)
    assert usage.num_threads > 2
    for name in cameras.files:
        numbers = [score["number"] for score in seen.of(name)]
        assert numbers == sorted(set(numbers))
        assert all(score["latency_s"] >= 0 for score in seen.of(name))


def test_shares_and_latencies_of_a_steady_run_have_values(cameras):
    result = steady.measure("rate", cameras, 3.0, {})
    assert 0 <= result["share scored, least camera"] <= 1
    assert not result["arrival to score p50, s"] > result["arrival to score p95, s"]  # without a frame: NaN
    assert result["RSS, MiB"] > 0


def test_a_camera_whose_server_dies_and_hangs_comes_back_and_the_others_go_on(cameras):
    result = outages.measure(cameras, 1, 0.5, 1.0, 0.0, seed=0)
    assert [outage["how"] for outage in result.facts["outages"]] == ["killed", "stopped"]
    assert result["share scored of the others, least"] > 0
    assert result["threads more than before"] <= 0
    assert result["descriptors more than before"] <= 0


def test_kills_lose_no_alert_and_double_none(cameras, model):
    watching = replace(cameras, false_alarms_per_hour=kills.many_alarms_per_hour(model))
    result = kills.measure(watching, 3, 6.0, 1.0, seed=0)
    assert result.is_met, "\n".join(result.rows())
    assert result["stretches above the level"] > 0
    assert result["alerts"] > 0


def test_a_recording_has_the_scores_and_the_alerts_that_were_live(tmp_path, work):
    fps = Fraction(2)  # every frame is looked at, and few are skipped where the machine is busy
    footage = synthetic_footage(work, 1, fps=fps, normal_clips=4, normal_s=30.0, camera_s=40.0)
    model = trained(footage.normal, work, settings_of(0.0, extra=QUICK))
    files = steady.camera_files(footage, work / "looped", 1, FILE_S)
    watching = steady.Cameras(tmp_path, files, model, 2.0, kills.many_alarms_per_hour(model))
    result = parity.measure(watching, 30)
    assert result.is_met, "\n".join(result.rows())


def test_lost_packets_lead_to_no_score_of_a_picture_that_was_not_sent(cameras, footage):
    result = corruption.measure(cameras, footage.cameras[0], 8.0, 0.05, seed=0)
    assert result["of them not as the camera sent them"] == 0
    assert result["packets dropped"] > 0


def test_the_processor_time_of_a_frame_has_values(model, footage):
    result = frame.measure(model, footage.cameras, footage.fps, 8, 2)
    assert all(figure.value > 0 for figure in result.figures)
