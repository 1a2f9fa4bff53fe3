"""What is watched scores as the file does, and alerts are its events."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from mulde.cli import app
from mulde.media import write_video
from mulde.media.stream import open_stream
from mulde.media.stream_copy import StreamCopy, StreamTemplate
from mulde.media.stream_source import StreamSource
from mulde.pipeline.live.alerting import CameraAlerts
from mulde.pipeline.live.alerts import alert_id
from mulde.pipeline.live.camera import Clocks
from mulde.pipeline.live.engine import LiveEngine
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.watched import CameraSpec
from mulde.pipeline.predictor.stream import FrameScorer
from mulde.pipeline.scoring.frames import read_scores
from tests.api_world import frames_of
from tests.media.media_samples import encode
from tests.media.stream_servers import rtsp_server

from .small_world import (
    HOUR,
    HOUR_S,
    Listener,
    events,
    played,
    player,
    predictor,
    score_file,
    still_clocks,
    watch,
)
from .stored_alerts import alert, machine

START_S = 60.0
LIMIT_S = 120


def scores_of(run):
    return {name: scored.track for name, scored in read_scores(run / "scores").items()}


def assert_same_scores(live, whole, rows=slice(None)):
    for column in ("fused", "smoothed", "p_value"):
        np.testing.assert_allclose(
            getattr(live, column), getattr(whole, column)[rows], rtol=0, atol=1e-6, err_msg=column
        )
    for stream, scores in live.streams.items():
        np.testing.assert_allclose(scores, whole.streams[stream][rows], rtol=0, atol=1e-6, err_msg=stream)


@pytest.mark.parametrize("name", ["model", "model10"])
def test_what_is_watched_is_what_is_scored(name, live_world, request, tmp_path):
    model = request.getfixturevalue(name)
    file = score_file(tmp_path, live_world / "scene.mkv", model)
    watch(tmp_path / "live", [played(live_world / "scene.mkv", predictor(model))], still_clocks())

    (whole,) = read_scores(file / "scores").values()
    ((video, live),) = scores_of(tmp_path / "live").items()
    rows = slice(None) if name == "model" else whole.analysed.own
    assert video == f"yard/{HOUR}"
    np.testing.assert_allclose(live.time_s - START_S, whole.track.time_s[rows], rtol=0, atol=1e-3)
    assert_same_scores(live, whole.track, rows)

    found, expected = events(tmp_path / "live"), events(file)
    assert len(expected) >= 3
    assert len(found) == len(expected)
    for column in ("start_s", "end_s", "peak_s"):
        np.testing.assert_allclose(found[column] - START_S, expected[column], rtol=0, atol=1e-3, err_msg=column)
    for column in ("score", "p_value", "x0", "y0", "x1", "y1"):
        np.testing.assert_allclose(found[column], expected[column], rtol=0, atol=1e-6, err_msg=column)
    assert found["reason"].tolist() == expected["reason"].tolist()
    assert found["stream"].tolist() == expected["stream"].tolist()
    alerts = alerts_of(tmp_path / "live")
    starts = [round(1000 * (HOUR_S + start_s)) for start_s in found["start_s"]]
    assert [alert.id for alert in alerts] == [alert_id("yard", start) for start in starts]
    assert [alert.state for alert in alerts] == ["closed"] * len(expected)
    assert [alert.reason for alert in alerts] == expected["reason"].tolist()
    np.testing.assert_allclose([alert.score for alert in alerts], expected["score"], rtol=0, atol=1e-6)
    assert [(alert.end - alert.start) / 1000 for alert in alerts] == pytest.approx(
        (expected["end_s"] - expected["start_s"]).tolist(), abs=1e-3
    )


def alerts_of(run):
    with AlertLedger.read(run) as ledger:
        return [stored.alert for stored in ledger.alerts()]


def test_a_loop_is_a_longer_video(live_world, model10, tmp_path):
    with until(
        tmp_path / "live", [recorded(live_world, model10, tmp_path, player(live_world / "scene.mkv", loop=True))]
    ) as run:
        run(lambda engine: engine.cameras["yard"].num_scored >= 160)
    assert_as_recorded(tmp_path, model10, 160)


def recorded(live_world, model, folder, opener):
    """A camera whose packets are copied into a file, too."""

    @contextlib.contextmanager
    def open_recorded():
        with opener() as stream:
            yield Recorded(stream, folder / "recorded.mkv")

    return replace(played(live_world / "scene.mkv", predictor(model)), opener=open_recorded)


def assert_as_recorded(folder, model, num_frames):
    """All frames have the scores of the file that was recorded of them."""
    (path,) = wait_for(lambda: list(folder.glob("recorded*")))
    (whole,) = read_scores(score_file(folder, path, model) / "scores").values()
    (live,) = scores_of(folder / "live").values()
    rows = np.flatnonzero(whole.analysed.own)[: len(live.fused)]
    assert len(rows) >= num_frames
    assert_same_scores(live, whole.track, rows)


def wait_for(what):
    end_s = time.monotonic() + LIMIT_S
    while not (found := what()):
        assert time.monotonic() < end_s
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def until(root, specs, clocks=None, reporter=None):
    """Gives a function that watches until something is so."""
    root.mkdir(exist_ok=True)
    with AlertLedger.open(root) as ledger:
        engine = LiveEngine(root, ledger, reporter or Listener(), threads=2, clocks=clocks or still_clocks())
        for spec in specs:
            engine.add(spec)

        def run(is_over):
            stop, end_s = threading.Event(), time.monotonic() + LIMIT_S

            def look():
                assert time.monotonic() < end_s
                if is_over(engine):
                    stop.set()

            engine.run(stop, look)
            return engine

        yield run


class Recorded:
    """A stream whose packets are copied into a file too."""

    def __init__(self, stream, path):
        self._stream, self.template, self._path = stream, stream.template, path

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __iter__(self):
        copy = StreamCopy(self._path, StreamTemplate.of(self.template))
        try:
            for packet in self._stream:
                copy.write(packet)
                yield packet
        finally:
            copy.close()


def test_a_camera_and_what_was_recorded_of_it_have_the_same_scores(live_world, model10, tmp_path):
    """Through a real server, in its own time, and its packets copied as they came: from the first key frame that has a
    time stamp on."""
    (tmp_path / "served").mkdir()
    images = [image for image, _ in frames_of(live_world / "scene.mkv")]
    encode(tmp_path / "served/scene.mp4", images, rate=10, options={"g": "10", "bf": "0"})
    offset_s = HOUR_S + START_S - time.monotonic()
    clocks = Clocks(utc=lambda: time.monotonic() + offset_s)
    with rtsp_server(tmp_path / "served") as port:
        source = StreamSource(f"rtsp://127.0.0.1:{port}/scene.mp4?play_count=5")
        spec = recorded(live_world, model10, tmp_path, partial(open_stream, source))
        with until(tmp_path / "live", [spec], clocks) as run:
            run(lambda engine: engine.cameras["yard"].num_scored >= 60)
    (path,) = wait_for(lambda: list(tmp_path.glob("recorded*")))
    (whole,) = scores_of(score_file(tmp_path, path, model10)).values()
    (live,) = scores_of(tmp_path / "live").values()
    first = next(n for n in range(25) if np.isclose(live.fused[n + 5], whole.fused[5], rtol=0, atol=1e-6))
    num_smoothed = 1 + round(4 * 10 * 0.2)
    for column, begins in (("fused", 2), ("smoothed", num_smoothed + 2), ("p_value", num_smoothed + 2)):
        ours, theirs = getattr(live, column)[first + begins :], getattr(whole, column)[begins:]
        count = min(len(ours), len(theirs))
        assert count >= 25
        np.testing.assert_allclose(ours[:count], theirs[:count], rtol=0, atol=1e-6, err_msg=column)


class Thinned:
    """A stream of which pictures are lost."""

    def __init__(self, stream, is_kept):
        self._stream, self._is_kept = stream, is_kept

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __iter__(self):
        number = -1
        for packet in self._stream:
            kept = []
            for picture in packet.pictures:
                number += 1
                if self._is_kept[number]:
                    picture.load()
                    kept.append(picture)
            yield replace(packet, pictures=tuple(kept))


def test_frames_that_are_skipped_change_no_frame_whose_context_was_kept(live_world, model, tmp_path):
    """And smoothing weighs those that are left by their times."""
    using, path = predictor(model), live_world / "scene.mkv"
    is_kept = np.random.default_rng(3).random(200) > 0.1

    @contextlib.contextmanager
    def opener():
        with player(path)() as stream:
            yield Thinned(stream, is_kept)

    watch(tmp_path / "live", [replace(played(path, using), opener=opener)], still_clocks())
    (whole,) = scores_of(score_file(tmp_path, path, model)).values()
    (live,) = scores_of(tmp_path / "live").values()
    numbers = np.flatnonzero(is_kept)
    assert len(live.fused) == len(numbers)
    before = using.plan.before
    has_context = [bool(is_kept[n - before : n + 1].all()) for n in numbers]
    has_context[:before] = [False] * before
    assert 100 < sum(has_context) < len(numbers)
    np.testing.assert_allclose(live.fused[has_context], whole.fused[numbers[has_context]], rtol=0, atol=1e-6)
    sigma = using.settings.fusion.smoothing_s * 25
    for i, number in enumerate(numbers):
        ages = number - numbers[: i + 1]
        weights = np.exp(-0.5 * (ages / sigma) ** 2) * (ages <= round(4 * sigma))
        assert live.smoothed[i] == pytest.approx(weights @ live.fused[: i + 1] / weights.sum(), abs=1e-6)


def test_the_full_hour_ends_a_session_and_no_alert(live_world, model10, tmp_path):
    """Three seconds before it; what the hours hold can be read by every command."""
    utc_s = HOUR_S + 3600 - 3.0
    run = tmp_path / "live"
    watch(run, [played(live_world / "scene.mkv", predictor(model10))], still_clocks(utc_s))
    assert set(scores_of(run)) == {f"yard/{HOUR}", "yard/20261128T15"}
    alerts = alerts_of(run)
    assert {alert.state for alert in alerts} == {"closed"}
    found = events(run)
    assert len(found) == len(alerts)
    with AlertLedger.read(run) as ledger:
        first, second = ledger.sessions()
    assert (first.start_ms, second.start_ms) == (round(1000 * utc_s), (HOUR_S + 3600) * 1000)
    assert first.reason == "another session follows"
    assert second.reason.endswith("scene.mkv is over")
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 0, result.output
    assert f"{len(found)} events of 2 videos" in result.output


def test_one_dead_camera_of_four_stops_no_other(live_world, model10, tmp_path):
    """It accepts the connection and sends nothing."""
    is_over = threading.Event()

    @contextlib.contextmanager
    def silent():
        is_over.wait(LIMIT_S)
        raise ConnectionError("silent")
        yield

    using = predictor(model10)
    specs = [played(live_world / "scene.mkv", using, name) for name in ("yard", "gate", "door")]
    specs.insert(1, CameraSpec("hall", silent, using, "model", ""))
    with until(tmp_path / "live", specs) as run:
        engine = run(lambda engine: sum(camera.is_over for camera in engine.cameras.values()) == 3)
        is_over.set()
    counts = {name: camera.num_scored for name, camera in engine.cameras.items()}
    assert counts == {"yard": 80, "hall": 0, "gate": 80, "door": 80}
    assert {len(track.fused) for track in scores_of(tmp_path / "live").values()} == {80}
    same = {tuple((a.start, a.end, a.score) for a in alerts_of(tmp_path / "live") if a.camera == n) for n in counts}
    assert len(same - {()}) == 1


def test_what_was_left_open_ends_where_its_camera_does_not_come_back(model10, tmp_path):
    is_over, using = threading.Event(), predictor(model10)

    @contextlib.contextmanager
    def silent():
        is_over.wait(LIMIT_S)
        raise ConnectionError("silent")
        yield

    left = alert(start=HOUR_S * 1000, end=HOUR_S * 1000 + 1000)
    using = replace(using, alarm=replace(using.alarm, causal=replace(using.alarm.causal, level=left.level)))
    tmp_path.joinpath("live").mkdir()
    with AlertLedger.open(tmp_path / "live") as ledger:
        ledger.record([Revision(left)], machine(HOUR_S * 1000, HOUR_S * 1000 + 1000))
    with until(tmp_path / "live", [CameraSpec("yard", silent, using, "model", "")]) as run:
        run(lambda engine: not engine.ledger.open_alerts())
        is_over.set()
    (closed,) = alerts_of(tmp_path / "live")
    assert (closed.id, closed.state, closed.end) == (left.id, "closed", left.end)


def test_pictures_of_another_shape_are_said_once_per_session_and_others_go_on(live_world, model10, tmp_path):
    images = [image[:, :90] for image, _ in frames_of(live_world / "scene.mkv")]
    write_video(tmp_path / "narrow.mkv", iter(images), 25, crf=0)
    using, said = predictor(model10), Listener()
    specs = [played(tmp_path / "narrow.mkv", using, "gate"), played(live_world / "scene.mkv", using)]
    watch(tmp_path / "live", specs, still_clocks(HOUR_S + 3600 - 3.0), said)
    refusals = [text for text in said.warnings if "another shape" in text]
    assert len(refusals) == 2, "two sessions, by the full hour"
    assert all(text.startswith("gate: cannot be scored: gate: ") for text in refusals)
    assert {name.partition("/")[0] for name in scores_of(tmp_path / "live")} == {"yard"}


def test_an_error_in_the_alerts_of_a_camera_stops_no_other(live_world, model10, tmp_path, monkeypatch):
    real, said = CameraAlerts.take, Listener()

    def take(self, result, place):
        if self.camera == "gate" and result.frame.number % 2:
            raise ZeroDivisionError("a bug")
        real(self, result, place)

    monkeypatch.setattr(CameraAlerts, "take", take)
    specs = [played(live_world / "scene.mkv", predictor(model10), name) for name in ("gate", "yard")]
    watch(tmp_path / "live", specs, still_clocks(), said)
    assert {name: len(track.fused) for name, track in scores_of(tmp_path / "live").items()} == {
        f"gate/{HOUR}": 80,
        f"yard/{HOUR}": 80,
    }
    assert sum("a bug" in text for text in said.warnings) == 1


def test_an_error_that_nobody_foresaw_costs_its_frames_alone(live_world, model10, tmp_path, monkeypatch):
    real, calls, said = FrameScorer.describe, iter(range(10_000)), Listener()

    def describe(self, *frame):
        if next(calls) in (10, 11, 30):
            raise ZeroDivisionError("a bug")
        return real(self, *frame)

    monkeypatch.setattr(FrameScorer, "describe", describe)
    watch(tmp_path / "live", [played(live_world / "scene.mkv", predictor(model10))], still_clocks(), said)
    (live,) = scores_of(tmp_path / "live").values()
    assert 65 <= len(live.fused) < 80
    assert sum("a frame is lost" in text for text in said.warnings) == 1
    monkeypatch.undo()
    watch(tmp_path / "all", [played(live_world / "scene.mkv", predictor(model10))], still_clocks())
    (whole,) = scores_of(tmp_path / "all").values()
    late = live.time_s > live.time_s[0] + 6
    assert set(live.time_s) < set(whole.time_s)
    expected = whole.fused[np.searchsorted(whole.time_s, live.time_s[late])]
    np.testing.assert_allclose(live.fused[late], expected, rtol=0, atol=1e-6)


def test_who_observes_sees_alerts_open_and_none_at_the_end(live_world, model10, tmp_path, monkeypatch):
    monkeypatch.setattr("mulde.pipeline.live.engine._TICK_S", 0.0)
    seen = []
    (tmp_path / "live").mkdir()
    with AlertLedger.open(tmp_path / "live") as ledger:
        engine = LiveEngine(
            tmp_path / "live", ledger, Listener(), threads=1, clocks=still_clocks(), observe=seen.append
        )
        engine.add(played(live_world / "scene.mkv", predictor(model10)))
        engine.run(threading.Event())
        known = {stored.alert.id for stored in ledger.alerts()}
    shown = [state["cameras"]["yard"]["alert"] for state in seen]
    assert {alert for alert in shown if alert} <= known
    assert any(shown)
    assert shown[-1] is None
