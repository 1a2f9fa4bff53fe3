"""A run that was watched for real: its page beside the loop, its folder by itself, and what is normal there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import httpx
import pandas as pd
import pytest

from mulde.errors import UsageError
from mulde.pipeline.events.suppression import suppressions_of
from mulde.pipeline.live.engine import STATE, CameraSpec, LiveEngine
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.service_settings import ServiceSettings
from mulde.pipeline.live.view import LiveView
from mulde.service.folder_source import FolderSource, FolderView
from mulde.service.live_source import LiveSource
from mulde.service.run import beside_watch
from mulde.service.source import AlertQuery
from tests.pipeline.live.small_world import HOUR_S, Listener, player, predictor, still_clocks, watch
from tests.pipeline.live.stored_alerts import alert
from tests.processes import Command

from .served_runs import client_of

LIMIT_S = 120


def wait_for(what):
    end_s = time.monotonic() + LIMIT_S
    while not (found := what()):
        assert time.monotonic() < end_s
        time.sleep(0.02)
    return found


def spec_of(world, model, name="yard"):
    return CameraSpec(name, player(world / "scene.mkv"), predictor(model), str(model), "", lossless=True)


@pytest.fixture(scope="module")
def watched(world, model, tmp_path_factory):
    root = tmp_path_factory.mktemp("watched") / "live"
    watch(root, [spec_of(world, model)], still_clocks())
    return root


@pytest.fixture
def folder(watched, tmp_path):
    """The folder of a run that is over."""
    return Path(shutil.copytree(watched, tmp_path / "live"))


def test_the_folder_of_a_run_that_is_over(folder):
    with FolderSource.open_folder(folder) as source, client_of(source) as client:
        (camera,) = client.get("/api/cameras").json()["cameras"]
        assert (camera["name"], camera["state"], camera["needs_a_hand"], camera["text"]) == (
            "yard",
            "recorded",
            False,
            "",
        )
        overview = client.get("/api/overview").json()
        alerts = client.get("/api/alerts").json()["alerts"]
        assert overview["counts"]["to_look_at"] == len(alerts) >= 3
        assert overview["problems"] == []
        for told in alerts:
            assert client.get(told["picture"]).content == (folder / told["picture"][1:]).read_bytes()
        hour = {"camera": "yard", "from": HOUR_S * 1000, "to": HOUR_S * 1000 + 3_600_000, "points": 60}
        bins = client.get("/api/scores", params=hour).json()["bins"]
        table = pd.read_parquet(folder / "scores/yard/20261128T14.parquet")
        assert [part is not None for part in bins] == [False, True, *[False] * 58]
        assert bins[1][1:] == [table["smoothed"].min(), table["smoothed"].max()]
        assert client.get("/cameras/yard/now.jpg").status_code == 503
        assert client.post("/api/cameras/yard/pause", json={"minutes": 5}).status_code == 409
        assert client.get("/healthz").status_code == 200


def test_what_is_normal_in_a_watched_run_becomes_a_suppression(folder):
    """The event by its video and its peak, though its tables may not hold it yet; taking it back undoes it."""
    with FolderSource.open_folder(folder) as source, client_of(source) as client:
        told = client.get("/api/alerts").json()["alerts"][0]
        client.post(f"/api/alerts/{told['id']}/mark", json={"mark": "normal", "who": "Ann", "why": "the tram"})
        (suppression,) = wait_for(lambda: suppressions_of(folder))
        assert suppression.event_id == f"{told['video']}@{told['peak_frame']}"
        assert (suppression.who, suppression.why, suppression.in_force) == ("Ann", "the tram", True)
        client.post(f"/api/alerts/{told['id']}/mark", json={"mark": "seen"})
        wait_for(lambda: not suppressions_of(folder)[0].in_force)


def test_an_alert_that_goes_on_is_normal_when_it_is_over(folder):
    """And what was marked when the program was stopped is done when it starts again."""
    with FolderSource.open_folder(folder) as source:
        told = source.alerts(AlertQuery()).alerts[0]
        event = json.loads((folder / "events.json").read_text())[0]
    going_on = alert(start=HOUR_S * 1000 + 3_000_000, video=event["video"], peak_frame=event["peak_frame"])
    with AlertLedger.open(folder) as ledger:
        ledger.record([Revision(going_on)])
        with FolderSource.open_folder(folder) as source, client_of(source) as client:
            client.post(f"/api/alerts/{going_on.id}/mark", json={"mark": "normal"})
            source._normal.work_off()
            assert suppressions_of(folder) == []
        ledger.record([Revision(going_on.next_revision("closed"))])
    with FolderSource.open_folder(folder):
        (suppression,) = wait_for(lambda: suppressions_of(folder))
    assert suppression.event_id == f"{event['video']}@{event['peak_frame']}"
    assert told["mark"] == ""


def test_cameras_are_as_the_process_last_said_and_old_news_is_none(folder):
    state = json.loads((folder / STATE).read_text())
    now_s = 5000.0
    camera = {**state["cameras"]["yard"], "state": "lost", "reason": "gone", "since_utc_s": now_s}
    view = FolderView(folder, lambda: now_s)
    assert not view.is_watched, "it has ended"
    told = {"schema": 1, "utc_s": now_s, "cameras": {"yard": camera}}
    (folder / STATE).write_text(json.dumps(told))
    os.utime(folder / STATE, ns=(1, 1))
    assert view.is_watched
    assert (view.cameras()["yard"].status.state, view.cameras()["yard"].status.reason) == ("lost", "gone")
    now_s += 10.1
    assert not view.is_watched
    for text in ("{", "[]", '{"utc_s": "x", "cameras": {}}', '{"utc_s": 1, "cameras": {"yard": 5}}'):
        (folder / STATE).write_text(text)
        assert (view.is_watched, view.cameras()) == (False, {})


def test_a_folder_that_cannot_be_written_is_shown_and_takes_no_mark(folder, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with FolderSource.open_folder(folder) as source, client_of(source) as client:
        told = client.get("/api/alerts").json()["alerts"][0]
        answer = client.post(f"/api/alerts/{told['id']}/mark", json={"mark": "seen"})
        assert (answer.status_code, "read-only" in answer.json()["error"]) == (409, True)
        assert client.get("/healthz").status_code == 200


def test_a_disk_that_takes_nothing_delays_alerts_and_loses_none(watched, world, model, tmp_path):
    """SQLite itself refuses: healthz says so, frames are scored, and all is on record when it takes something again."""
    root, clocks = tmp_path / "live", still_clocks()
    with AlertLedger.read(watched) as ledger:
        expected = [stored.alert.id for stored in ledger.alerts()]
    root.mkdir()
    view, said = LiveView(clocks), Listener()
    with AlertLedger.open(root) as ledger, LiveSource.open(root, view) as source, client_of(source) as client:
        engine = LiveEngine(root, ledger, said, threads=1, clocks=clocks, view=view)
        engine.add(spec_of(world, model))
        seen = []

        def look():
            engine._show()
            if not seen and view.cameras()["yard"].num_waiting:
                seen.append(client.get("/healthz"))
                assert client.get("/api/cameras").status_code == 200
            if view.cameras()["yard"].num_scored >= 60:
                ledger._db.execute("PRAGMA query_only = 0")

        ledger._db.execute("PRAGMA query_only = 1")
        engine.run(threading.Event(), look)
        assert engine.cameras["yard"].num_scored == 80
        (answer,) = seen
        assert answer.status_code == 503
        assert "wait for the disk" in answer.json()["error"]
        assert [stored.alert.id for stored in ledger.alerts()] == expected
        assert sorted(told["id"] for told in client.get("/api/alerts").json()["alerts"]) == expected
    assert sum("waits for the disk" in text for text in said.warnings) >= 1


def test_the_page_beside_the_loop(world, model, tmp_path, mulde):
    """As a process: the address is said, the page shows what is watched, and it ends with the loop."""
    words = ("watch", world / "scene.mkv", "--as-live", "--loop", "--speed", "1", "--model", model, "--device", "cpu")
    run = tmp_path / "run"
    with Command(*words, "--out", run, "--listen", "127.0.0.1:0") as process:
        said = []
        while not (found := re.match(r"page: (http://127\.0\.0\.1:\d+)$", said[-1] if said else "")):
            said.append(process.said.readline())
            assert said[-1], said
        with httpx.Client(base_url=found[1], timeout=LIMIT_S, trust_env=False) as client:
            camera = wait_for(
                lambda: (
                    (now := client.get("/api/cameras/scene")).status_code == 200 and now.json()["score"] and now.json()
                )
            )
            assert (camera["state"], camera["fps_wanted"]) == ("live", 10)
            assert "x-taken" in client.get("/cameras/scene/now.jpg").headers
            assert client.get("/healthz").status_code == 200
            assert 'mulde_camera_up{camera="scene"} 1.0' in client.get("/metrics").text
            client.post("/api/cameras/scene/pause", json={"minutes": 60})
            with client.stream("GET", "/api/stream") as stream:
                next(stream.iter_lines())
                process.send_signal(signal.SIGTERM)
                code, _ = process.ended()
    assert code == 128 + signal.SIGTERM
    assert json.loads((run / STATE).read_text())["ended"]
    with AlertLedger.open(run) as ledger:
        assert list(ledger.pauses()) == ["scene"]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--listen", "127.0.0.1:{port}"), 2, "another program has"),
        (("--listen", "0.0.0.0:{port}"), 2, "expected a token_file"),
        (("--listen", "127.0.0.1:1", "--no-service"), 2, "expected neither --listen nor --token-file"),
    ],
)
def test_a_page_that_was_asked_for_and_cannot_be_is_an_error(words, code, sentence, world, model, mulde):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [word.format(port=taken.getsockname()[1]) for word in words]
        found, _, err = mulde("watch", world / "scene.mkv", "--as-live", "--speed", 0, "--model", model, *words)
    assert (found, sentence in err) == (code, True), err


def test_nobody_asked_for_a_page_that_cannot_be(world, model, mulde, monkeypatch):
    """Watching goes on, and one line says so."""
    words = ("watch", world / "scene.mkv", "--as-live", "--speed", 0, "--model", model, "--device", "cpu")
    monkeypatch.setattr("mulde.service.run._LIBRARIES", ("no_such_library",))
    code, _, err = mulde(*words, "--out", "second")
    assert (code, err.count("no page: the page needs mulde[live]")) == (0, 1)
    code, _, err = mulde(*words, "--out", "third", "--no-service")
    assert (code, "page" in err) == (0, False)


def test_an_address_that_is_taken_is_said_where_nobody_chose_it():
    said = Listener()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = ServiceSettings(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with beside_watch(settings, said, asked=False) as beside:
            assert beside is None
        with pytest.raises(UsageError, match="another program has"), beside_watch(settings, said, asked=True):
            pass
    assert [line.startswith("no page: listen 127.0.0.1:") for line in said.warnings] == [True]
    with beside_watch(ServiceSettings(listen=""), said, asked=True) as beside:
        assert beside is None
