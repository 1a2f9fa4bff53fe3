"""Drift of watched cameras on record: once opened, once closed, whatever is restarted in between."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from mulde.pipeline.live import drift_alerts
from mulde.pipeline.live.daily_scores import OBJECTS, cameras_of
from mulde.pipeline.live.drift_alerts import GRACE_MS, DriftWatch
from mulde.pipeline.live.engine import STATE
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.utc import DAY_MS

from .small_world import HOUR_S, Listener, played, predictor, still_clocks, watch
from .stored_days import DAY0, MODEL, normal_days, write_days


@dataclass(frozen=True)
class Camera:
    name: str = "yard"
    drift_days: float = 60.0
    model_sha256: str = MODEL


SHIFT, BACK, NUM = 16, 32, 52


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A camera that is another one from day 16 to day 31."""
    root = tmp_path_factory.mktemp("days")
    values = normal_days(NUM, hours=slice(0, 24, 6))
    values["velocity"][SHIFT:BACK] += 2
    write_days(root, "yard", values)
    return root


@pytest.fixture
def ledger(tmp_path):
    with AlertLedger.open(tmp_path) as opened:
        yield opened


def state_after(watch, day, camera=Camera()):
    """The state when the test of a day, counted from the first, is done and on record."""
    now_ms = (DAY0 + day) * DAY_MS + GRACE_MS
    watch.turn([camera], now_ms)
    if watch._running is not None:
        watch._running.exception()
    watch.turn([camera], now_ms)
    return watch.state(camera.name)


def drift_alerts_of(ledger):
    return [(stored.alert.id, stored.alert.state) for stored in ledger.alerts()]


def test_an_alert_opens_once_and_closes_when_a_week_shows_nothing(run, ledger):
    listener = Listener()
    watch = DriftWatch(run, ledger, listener)
    states, ids = [], set()
    for day in range(8, NUM + 1):
        state = state_after(watch, day)
        stored = ledger.alerts()
        states.append(stored[-1].alert.state if stored else None)
        ids |= {each.alert.id for each in stored}
        assert bool(state["text"]) == (states[-1] in ("opened", "updated"))
    assert len(ids) == 1
    opened, closed = 8 + states.index("opened"), 8 + states.index("closed")
    assert SHIFT + 2 <= opened <= SHIFT + 8
    assert BACK + 4 <= closed <= BACK + 12
    (stored,) = ledger.alerts()
    alert = stored.alert
    assert (alert.kind, alert.camera, alert.stream, alert.model_sha256) == ("drift", "yard", "velocity", MODEL)
    assert alert.level == 3 * 60
    assert alert.score >= alert.level
    assert alert.reason.endswith("over, as a week shows nothing any more")
    assert alert.id.endswith("T000000000Z-drift")
    assert [line.split(":")[1] for line in listener.warnings] == [" drift (opened)", " drift (closed)"]
    watch.close()


def test_another_process_goes_on_with_the_alert(run, ledger):
    watch = DriftWatch(run, ledger, Listener())
    state_after(watch, SHIFT + 10)
    watch.close()
    before = ledger.alerts()
    assert [each.alert.state for each in before] == ["opened"]
    assert ledger.recover((DAY0 + SHIFT + 11) * DAY_MS, 1.0) == []
    watch = DriftWatch(run, ledger, Listener())
    assert watch.state("yard") is None
    state = state_after(watch, SHIFT + 10)
    assert state["evidence"]["velocity"] >= state["threshold"] == 180
    assert ledger.alerts() == before
    watch.close()


def test_the_id_is_the_same_whoever_tests_the_days(run, tmp_path):
    ids = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        with AlertLedger.open(tmp_path / name) as ledger:
            watch = DriftWatch(run, ledger, Listener())
            state_after(watch, SHIFT + 10)
            watch.close()
            ids.append(drift_alerts_of(ledger))
    assert ids[0] == ids[1]
    assert len(ids[0]) == 1


def test_another_model_closes_it_and_has_to_be_learnt_anew(run, ledger):
    watch = DriftWatch(run, ledger, Listener())
    state_after(watch, SHIFT + 10)
    other = Camera(model_sha256="b" * 64)
    watch.forget("yard")
    state_after(watch, SHIFT + 10, other)
    assert [state for _, state in drift_alerts_of(ledger)] == ["closed"]
    assert ledger.alerts()[0].alert.reason.endswith("the camera has another model now")
    state_after(watch, SHIFT + 11, other)
    assert len(ledger.alerts()) == 1
    watch.close()


def test_a_day_is_tested_once_and_cameras_that_do_not_want_it_never(run, ledger, monkeypatch):
    num_tests = []
    monkeypatch.setattr(drift_alerts, "camera_drift", lambda *given: num_tests.append(given[1]) or REAL(*given))
    watch = DriftWatch(run, ledger, Listener())
    for day in (9, 9, 9, 10):
        state_after(watch, day)
    assert num_tests == [60.0, 60.0]
    assert state_after(watch, 12, Camera("gate", 0.0)) is None
    assert len(num_tests) == 2
    watch.close()


REAL = drift_alerts.camera_drift


def test_too_few_days_and_errors_are_said_and_change_nothing(run, tmp_path, ledger, monkeypatch):
    listener = Listener()
    watch = DriftWatch(run, ledger, listener)
    state = state_after(watch, 5)
    assert state["evidence"] == {}
    assert "7 days of reference" in state["refusal"]
    monkeypatch.setattr(drift_alerts, "camera_drift", lambda *given: np.zeros(1)[2])
    state_after(watch, 6)
    assert "drift was not tested" in listener.warnings[-1]
    assert ledger.alerts() == []
    watch.close()


def test_an_alert_waits_for_the_disk(run, ledger, monkeypatch):
    listener = Listener()
    watch = DriftWatch(run, ledger, listener)
    record = ledger.record

    def full(*given):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ledger, "record", full)
    state_after(watch, SHIFT + 10)
    state_after(watch, SHIFT + 10)
    assert [line for line in listener.warnings if "waits for the disk" in line] == listener.warnings
    assert len(listener.warnings) == 1
    monkeypatch.setattr(ledger, "record", record)
    state_after(watch, SHIFT + 10)
    assert [state for _, state in drift_alerts_of(ledger)] == ["opened"]
    watch.close()


def test_closing_ends_a_test_that_runs(run, ledger):
    watch = DriftWatch(run, ledger, Listener())
    watch._stop.set()
    assert watch._test([Camera()], DAY0 + 20) == []
    watch.close()


def test_the_engine_tests_its_cameras_and_shows_what_was_found(live_world, model, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(DriftWatch, "turn", lambda self, cameras, now_ms: told.append((list(cameras), now_ms)))
    monkeypatch.setattr(DriftWatch, "state", lambda self, camera: {"evidence": {"velocity": 2.0}, "of": camera})
    spec = played(live_world / "scene.mkv", predictor(model), drift_days=30.0)
    watch(tmp_path / "run", [spec], still_clocks())
    state = json.loads((tmp_path / "run" / STATE).read_text())
    assert state["cameras"]["yard"]["drift"] == {"evidence": {"velocity": 2.0}, "of": "yard"}
    ((cameras, now_ms), *_) = told
    assert [(each.name, each.drift_days) for each in cameras] == [("yard", 30.0)]
    assert now_ms >= 1000 * HOUR_S
    (table,) = (tmp_path / "run/scores/yard").glob("*.parquet")
    assert set(pd.read_parquet(table)["num_objects"]) > {0}
    camera, *_ = cameras_of(tmp_path / "run")
    camera.read(10**9)
    ((_, hour),) = camera.hours.items()
    assert hour.model_sha256 == spec.model_sha256
    assert hour.means.keys() > {OBJECTS}
