"""From scores to alerts, pictures and events: what is on record equals what the whole track says."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mulde.pipeline.events.suppression import Similarity, Suppression, write_suppressions
from mulde.pipeline.events.tables import read_event_rows, read_events
from mulde.pipeline.live.alerting import PICTURES, CameraAlerts
from mulde.pipeline.live.alerts import HOUR_MS
from mulde.pipeline.live.frames import LiveFrame
from mulde.pipeline.live.hourly_scores import HourlyScores, LiveScore
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.scoring import CameraScorer, LiveResult
from mulde.pipeline.predictor.stream import ScoredFrame
from mulde.pipeline.run_folder import THUMBNAILS
from mulde.pipeline.scoring.frames import read_scores
from mulde.pipeline.scoring.threshold import find_alarms
from tests.api_world import frames_of

from .small_world import HOUR, HOUR_S, Listener, predictor

RATE, T0 = 10, HOUR_S * 1000 + 60_000
LOW, HIGH = 1.0, 9.0


@pytest.fixture(scope="module")
def using(model10):
    return predictor(model10)


@pytest.fixture(scope="module")
def described(live_world, using):
    """What the frames of the scene were scored by."""
    scorer, results = CameraScorer(using), []
    for number, (image, _) in enumerate(frames_of(live_world / "scene.mkv")):
        time_s = number / RATE
        results += scorer.take(LiveFrame("yard", T0, image, number, time_s, T0 / 1000 + time_s, 0.0))
    return [one for ready in results for one in ready.described]


class Watched:
    """A camera that is watched, by scores instead of pictures. A session begins at start_ms."""

    def __init__(self, root, using, described, **options):
        self.root, self.using, self.described, self.reporter = root, using, described, Listener()
        root.mkdir(exist_ok=True)
        self.scores = HourlyScores(root, self.reporter, lambda: T0)
        self.scores.set_camera("yard", RATE, using.settings.fusion.smoothing_s * RATE)
        self.opened, self.closed = [], []
        self.options = {"on_opened": self.opened.append, "on_closed": self.closed.append, **options}
        self.num_frames = 0

    @contextlib.contextmanager
    def process(self, now_ms=T0):
        with AlertLedger.open(self.root) as self.ledger:
            self.recovered = self.ledger.recover(now_ms, self.using.alarm.rules.merge_gap_s)
            self.alerts = CameraAlerts(
                "yard", self.using, self.using.alarm, self.ledger, self.root, RATE, self.reporter, **self.options
            )
            for alert in self.recovered:
                self.alerts.add_cut_short(alert)
            yield self.alerts

    def push(self, scores, start_ms=T0, numbers=None):
        for number, score in zip(numbers or range(len(scores)), scores, strict=True):
            utc_ms = start_ms + number * 1000 // RATE
            if utc_ms // HOUR_MS != start_ms // HOUR_MS:
                raise AssertionError("a session ends with its hour")
            described = self.described[self.num_frames % len(self.described)]
            self.num_frames += 1
            frame = LiveFrame("yard", start_ms, described.picture, number, number / RATE, utc_ms / 1000, 0.0)
            scored = ScoredFrame(
                number, number / RATE, float(score), 0.5, (), float(score), dict.fromkeys(STREAMS, 1.0)
            )
            place = self.scores.add("yard", LiveScore(utc_ms, scored.fused, float(score), scored.streams, 0.5))
            self.alerts.take(LiveResult(frame, scored, described), place)

    def stored(self):
        return [stored.alert for stored in self.ledger.alerts()]

    def gathered(self):
        from mulde.pipeline.events.parts import EventParts

        EventParts(self.root).gather(lambda events, rows: list(events))
        self.scores.flush()
        self.scores._gather(None)
        return sorted(read_events(self.root), key=lambda event: (event.video, event.start_frame))


STREAMS = ("velocity", "geometry", "descriptor")


@pytest.fixture
def watched(tmp_path, using, described):
    return Watched(tmp_path / "run", ruled(using, 0.5), described)


@pytest.fixture
def patient(tmp_path, using, described):
    """Alerts that may pause for longer than it takes until the state of a camera is kept again."""
    return Watched(tmp_path / "run", ruled(using, 2.0), described)


def ruled(using, merge_gap_s):
    rules = replace(using.alarm.rules, merge_gap_s=merge_gap_s, min_length_s=0.2)
    return replace(using, alarm=replace(using.alarm, rules=rules, causal=replace(using.alarm.causal, level=5.0)))


@pytest.mark.parametrize("seed", range(6))
def test_alerts_are_the_events_of_the_whole_track(watched, seed):
    """Random walks around the level, with frames that were skipped."""
    rng = np.random.default_rng(seed)
    scores = 5 + np.cumsum(rng.normal(0, 0.8, 400)) % 3 - 1.8
    numbers = np.sort(rng.choice(600, 400, replace=False)).tolist() if seed % 2 else None
    with watched.process() as alerts:
        watched.push(scores, numbers=numbers)
        alerts.close(T0 + 60_000)
        stored = watched.stored()
    events = watched.gathered()
    (scored,) = read_scores(watched.root / "scores").values()
    expected = sorted(find_alarms({scored.track.video: scored}, watched.using.alarm), key=lambda event: event.start_s)
    assert len(expected) > 5
    assert [replace(event, reason=None) for event in events] == expected
    assert all(event.reason.text for event in events)
    assert [(a.start, a.peak, a.end) for a in stored] == [
        tuple(HOUR_S * 1000 + round(1000 * s) for s in (e.start_s, e.peak_s, e.end_s)) for e in expected
    ]
    assert [(a.score, a.p_value, a.video, a.peak_frame) for a in stored] == [
        (e.score, e.p_value, e.video, e.peak_frame) for e in expected
    ]
    assert [(a.reason, a.stream) for a in stored] == [(e.reason.text, e.reason.stream) for e in events]
    assert {alert.state for alert in stored} == {"closed"}
    assert watched.opened == watched.closed == [alert.id for alert in stored]
    assert (rows := read_event_rows(watched.root))
    assert set(rows) <= {event.event_id for event in events}
    assert watched.reporter.warnings == []


def test_the_picture_is_that_of_the_peak(watched, described):
    with watched.process() as alerts:
        watched.push([LOW] * 10 + [6.0] * 30 + [9.0] + [6.0] * 40 + [LOW] * 10)
        alerts.close(T0 + 10_000)
        (alert,) = watched.stored()
    assert (alert.peak - T0, alert.score) == (4000, 9.0)
    shown = cv2.imread(str(watched.root / PICTURES / f"{alert.id}.jpg"))[..., ::-1].astype(int)
    (event,) = watched.gathered()
    at = event.reason.region.frame_index - 600 if event.reason.region else 40
    off = [np.abs(shown - d.picture.astype(int)).mean() for d in described[:91]]
    assert np.argmin(off) in (at - 1, at, at + 1), "neighbours look alike"
    assert (watched.root / THUMBNAILS / f"yard/{HOUR}/{event.peak_frame:06d}.jpg").is_file()


def feedback(event, row, radius=0.1, sha256=""):
    similar = Similarity(sha256, radius, tuple(float(v) for v in row))
    return Suppression(
        "1", event.event_id, event.video, event.start_frame, event.end_frame, event.reason.stream, "me",
        "2026-11-28T14:10:00Z", "a bird", "2026-11-28T14:10:00Z", None,
        event.reason.region.what if event.reason.region else "", similar,
    )  # fmt: skip


@pytest.mark.parametrize("given", [True, False])
def test_what_is_known_as_normal_is_said(watched, tmp_path, given):
    """Feedback of this run, also what came since the program began, and that of another run, which becomes part of this
    one's."""
    burst = [LOW] * 10 + [HIGH] * 5 + [LOW] * 10
    with watched.process() as alerts:
        watched.push(burst)
        alerts.close(T0 + 10_000)
    (event,) = watched.gathered()
    _, row = read_event_rows(watched.root)[event.event_id]
    path = tmp_path / "given.json" if given else watched.root / "exemptions.json"
    watched.num_frames = 0  # the same pictures again
    if given:
        write_suppressions([feedback(event, row)], path)
        watched.options["suppressions"] = path
    with watched.process() as alerts:
        if not given:
            write_suppressions([feedback(event, row)], path)
        watched.push(burst, T0 + 20_000)
        alerts.close(T0 + 30_000)
        first, second = watched.stored()
    assert (first.exemption, second.exemption) == ("", "1")
    assert second.state == "closed", "it is on record all the same"
    assert [known.suppression for known in watched.gathered()] == ["1", "1"]
    assert (watched.root / "exemptions.json").is_file()


def test_damaged_feedback_is_said_once_and_what_was_known_goes_on(watched):
    with watched.process() as alerts:
        (watched.root / "exemptions.json").write_text("{")
        for n in range(3):
            watched.push([LOW] * 10 + [HIGH] * 5 + [LOW] * 10, T0 + n * 10_000)
        alerts.close(T0 + 40_000)
        assert len(watched.stored()) == 3
    (warning,) = watched.reporter.warnings
    assert "exemptions.json" in warning


def test_a_flood_stands_for_its_alerts(watched):
    with watched.process() as alerts:
        limit = int(max(10, 10 * watched.using.alarm.threshold.expected_per_hour))
        alerts.flood._expected = 1.0
        for n in range(14):
            watched.push([LOW] * 10 + [HIGH] * 3 + [LOW] * 10, T0 + n * 10_000)
        alerts.close(T0 + 150_000)
        stored = watched.ledger.alerts()
    assert limit >= 10
    (flood,) = [s.alert for s in stored if s.alert.kind == "flood"]
    assert [s.covered_by for s in stored if s.alert.kind == "unusual"] == [""] * 10 + [flood.id] * 4
    with watched.process(T0 + 200_000) as alerts:
        assert alerts.flood.flood.num_covered == 4
        alerts.close(T0 + 2 * HOUR_MS)
        flood = watched.ledger.find(flood.id).alert
    assert (flood.state, flood.reason) == ("closed", "too many alerts; 4 stand behind this one")


class FullDisk:
    """A connection whose writes fail while `is_full`."""

    def __init__(self, connection):
        self._connection, self.is_full = connection, False

    def execute(self, query, *values):
        if self.is_full and query.startswith("BEGIN"):
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(query, *values)

    def __getattr__(self, name):
        return getattr(self._connection, name)


def test_a_full_disk_delays_alerts_and_loses_none(watched, monkeypatch):
    burst = [LOW] * 10 + [HIGH] * 5 + [LOW] * 10
    is_full = [True]

    def refuse(*_):
        if is_full[0]:
            raise OSError(28, "No space left on device")

    for place in ("alerting.write_jpeg", "event_log.write_jpeg"):
        module, name = f"mulde.pipeline.live.{place}".rsplit(".", 1)
        real = getattr(__import__(module, fromlist=[name]), name)
        monkeypatch.setattr(f"{module}.{name}", lambda image, path, real=real: (refuse(), real(image, path)))
    from mulde.pipeline.events.parts import EventParts

    add = EventParts.add
    monkeypatch.setattr(EventParts, "add", lambda *values: (refuse(), add(*values)))
    with watched.process() as alerts:
        disk = watched.ledger._db = FullDisk(watched.ledger._db)
        disk.is_full = True
        for n in range(3):
            watched.push(burst, T0 + n * 10_000)
        assert watched.stored() == []
        assert len(alerts.queue) == 6 - 1 + 1
        kinds = [w.split(":")[1].split(" yard")[0].strip() for w in watched.reporter.warnings]
        assert sorted(set(kinds)) == sorted(kinds), f"each once: {watched.reporter.warnings}"
        disk.is_full = is_full[0] = False
        watched.push([LOW] * 3, T0 + 40_000)
        assert [(alert.state, alert.revision) for alert in watched.stored()] == [("closed", 2)] * 3
        alerts.end_session()
    events = watched.gathered()
    assert len(events) == 3
    assert len(list((watched.root / THUMBNAILS).rglob("*.jpg"))) == 3


@pytest.mark.parametrize(("pause_ms", "num_alerts"), [(900, 1), (5000, 2)])
def test_a_restart_in_the_middle_of_an_alert(patient, pause_ms, num_alerts):
    """It goes on within the merge gap, and is closed as cut short otherwise; then another begins."""
    watched = patient
    with watched.process():
        watched.push([LOW] * 10 + [7.0] * 20)
        (before,) = watched.stored()
    watched.scores.flush()
    watched.scores = HourlyScores(watched.root, watched.reporter, lambda: T0)
    watched.scores.set_camera("yard", RATE, 2.0)
    start_ms = T0 + 3000 + pause_ms - 100
    with watched.process(start_ms) as alerts:
        watched.push([6.0] * 5 + [8.0] * 5 + [LOW] * 30, start_ms)
        alerts.close(start_ms + 10_000)
        stored = watched.stored()
    assert len(stored) == num_alerts
    assert stored[0].id == before.id
    assert {alert.state for alert in stored} == {"closed"}
    assert [alert.cut_short for alert in stored] == [False] if num_alerts == 1 else [True, False]
    assert stored[-1].score == 8.0
    *others, event = watched.gathered()
    assert [(cut.reason.text, cut.score) for cut in others] == [(before.reason, 7.0)] * (num_alerts - 1)
    assert round(1000 * event.start_s) == stored[-1].start % HOUR_MS
    assert round(1000 * event.end_s) == stored[-1].end % HOUR_MS
    assert (event.peak_frame, event.video) == (stored[-1].peak_frame, stored[-1].video)


def test_a_restart_without_a_new_peak_keeps_what_was_told(patient):
    watched = patient
    with watched.process():
        watched.push([LOW] * 10 + [7.0] * 20)
        (before,) = watched.stored()
    with watched.process(T0 + 3100) as alerts:
        watched.push([6.0] * 5 + [LOW] * 30, T0 + 3100)
        alerts.close(T0 + 10_000)
        (alert,) = watched.stored()
    assert before.reason
    kept = ("reason", "stream", "streams", "box_xyxy", "object", "picture", "peak", "score", "video", "peak_frame")
    assert {name: getattr(alert, name) for name in kept} == {name: getattr(before, name) for name in kept}
    (event,) = watched.gathered()
    assert (event.reason.text, event.peak_frame) == (before.reason, before.peak_frame)
    assert (event.start_frame, event.end_frame) == (610, 636)


def test_another_level_after_a_restart_closes_what_was_open(patient):
    watched = patient
    with watched.process():
        watched.push([LOW] * 10 + [7.0] * 20)
    alarm = watched.using.alarm
    watched.using = replace(watched.using, alarm=replace(alarm, causal=replace(alarm.causal, level=6.0)))
    with watched.process(T0 + 3100) as alerts:
        (alert,) = watched.stored()
        assert (alert.state, alert.cut_short, alert.level) == ("closed", True, 5.0)
        watched.push([LOW, 7.0, 7.0, 7.0, LOW], T0 + 3100)
        alerts.close(T0 + 10_000)
        assert [a.level for a in watched.stored()] == [5.0, 6.0]
    first, second = watched.gathered()
    assert (first.reason.text, first.score, first.start_frame) == (alert.reason, 7.0, 610)
    assert second.start_s == 63.2


def test_an_alert_over_the_full_hour_is_one(watched):
    """Its event lies in the hour of its peak."""
    start_ms = (HOUR_S + 3600) * 1000 - 2000
    with watched.process(start_ms) as alerts:
        watched.push([LOW] * 10 + [7.0] * 10, start_ms)
        alerts.end_session()
        watched.push([8.0] * 10 + [LOW] * 10, start_ms + 2000)
        alerts.close(start_ms + 10_000)
        (alert,) = watched.stored()
    (event,) = watched.gathered()
    assert (alert.start, alert.end) == (start_ms + 1000, start_ms + 2900)
    assert (event.video, event.start_s, event.end_s) == ("yard/20261128T15", 0.0, 0.9)
    assert set(read_scores(watched.root / "scores")) == {f"yard/{HOUR}", "yard/20261128T15"}


def test_a_peak_before_the_full_hour_keeps_its_event_there(watched):
    start_ms = (HOUR_S + 3600) * 1000 - 2000
    with watched.process(start_ms) as alerts:
        watched.push([LOW] * 10 + [7.0] * 4 + [8.0] + [7.0] * 5, start_ms)
        alerts.end_session()
        watched.push([6.0] * 10 + [LOW] * 10, start_ms + 2000)
        alerts.close(start_ms + 10_000)
        (alert,) = watched.stored()
    (event,) = watched.gathered()
    assert (alert.start, alert.end) == (start_ms + 1000, start_ms + 2900)
    assert (event.video, event.start_s, event.end_s) == (f"yard/{HOUR}", 3599.0, 3599.9)
    assert event.reason is not None


def test_two_alerts_that_begin_in_one_millisecond_are_two(watched):
    """After the clock was set back."""
    burst = [LOW] * 10 + [HIGH] * 5 + [LOW] * 20
    with watched.process() as alerts:
        watched.push(burst)
        watched.alerts.end_session()
        watched.push(burst, T0 - 1)  # another session
        watched.push(burst, T0)
        alerts.close(T0 + 10_000)
        stored = watched.stored()
    assert [alert.start - T0 for alert in stored] == [1000, 999, 1001]
    assert {alert.state for alert in stored} == {"closed"}
    assert watched.reporter.warnings == []
