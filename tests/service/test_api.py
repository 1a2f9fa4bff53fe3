"""What the addresses answer of a watched run."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from mulde.pipeline.live.alerting import PICTURES
from mulde.pipeline.live.hourly_scores import HourlyScores, LiveScore
from mulde.pipeline.live.ledger import Revision
from mulde.pipeline.live.status import CameraState
from mulde.pipeline.live.utc import HOUR_MS, hour_start_ms
from mulde.pipeline.live.view import HealthNote
from mulde.pipeline.scoring.frames import score_path
from mulde.progress import Reporter
from tests.pipeline.live.stored_alerts import T0, alert, machine

from .served_runs import FPS


def now_ms(run) -> int:
    return round(1000 * run.clock.utc_s)


def test_the_overview_counts(run, client):
    ids = run.record(0, 1, 2)
    run.record(3, exemption="1")
    run.ledger.record([Revision(alert(start=T0 + 5000, kind="flood"))])
    run.ledger.record([Revision(alert(start=T0 + 6000), covered_by="yard-20261128T135646300Z-flood")])
    client.post(f"/api/alerts/{ids[0]}/mark", json={"mark": "seen"})
    run.show("gate", CameraState.LOST)
    overview = client.get("/api/overview").json()
    assert overview["counts"] == {
        "to_look_at": 3, "watching": 1, "need_a_hand": 1, "cameras": 2, "alerts_today": 3, "expected_today": 0.0,
    }  # fmt: skip
    assert (overview["schema"], overview["mode"], overview["run"]) == (1, "live", "watch")
    assert overview["utc_ms"] == now_ms(run)
    assert overview["problems"] == ["gate: no picture since 13:57:41 UTC"]
    assert overview["storage"]["free_bytes"] == pytest.approx(shutil.disk_usage(run.root).free, rel=0.1)


def test_what_was_promised_counts_the_time_that_was_watched(run, client):
    """Two hours of yard, of which one is today, and half an hour of gate that has not ended."""
    midnight = now_ms(run) // (24 * HOUR_MS) * 24 * HOUR_MS
    run.ledger.session_started("yard", "yard-1", midnight - HOUR_MS)
    run.ledger.session_ended("yard-1", midnight + HOUR_MS, "its end", {})
    run.ledger.session_started("gate", "gate-1", now_ms(run) - HOUR_MS // 2)
    run.ledger.session_started("gone", "gone-1", midnight)
    assert client.get("/api/overview").json()["counts"]["expected_today"] == pytest.approx(0.25 * 1.5)


def test_the_outbox_by_sink(run, client):
    run.ledger.record([Revision(alert(), ("mqtt", "hook"))])
    (delivery,) = run.ledger.pending("hook", now_ms(run), 5)
    run.ledger.acknowledge(delivery, now_ms(run))
    assert client.get("/api/overview").json()["outbox"] == {"mqtt": 1, "hook": 0}


def test_a_camera(run, client):
    run.show("yard", num_skipped={"busy": 3}, score=1.5, latency_p95_s=0.2, alert="yard-1")
    run.picture()
    for _ in range(3):
        run.view.scored("yard", now_ms(run), 7.5, 0.1)
        run.clock.pass_(0.5)
    camera = client.get("/api/cameras/yard").json()
    assert camera == {
        "name": "yard", "state": "live", "since_utc_ms": T0 + 60_000, "text": "", "health": [], "fps_wanted": FPS,
        "fps_scored": 2.0, "latency_p95_s": 0.2, "skipped": {"busy": 3}, "score": 7.5, "level": 6.0,
        "alert": "yard-1", "picture_utc_ms": T0 + 60_000, "picture_is_old": False, "paused_until_utc_ms": None,
        "needs_a_hand": True, "drift": None,
    } | {"text": "2.0 of 5 frames per second are scored"}  # fmt: skip
    assert client.get("/api/cameras").json() == {"cameras": [camera, client.get("/api/cameras/gate").json()]}
    assert client.get("/api/cameras/nobody").status_code == 404


@pytest.mark.parametrize("state", [CameraState.STALLED, CameraState.LOST, CameraState.REFUSED])
def test_a_camera_that_is_down_needs_a_hand_and_says_since_when(state, run, client):
    run.show("yard", state, reason="it does not answer")
    camera = client.get("/api/cameras/yard").json()
    assert camera["state"] == state
    assert camera["needs_a_hand"]
    assert camera["text"].endswith("since 13:57:41 UTC: it does not answer")


def test_what_is_wrong_with_a_picture(run, client):
    note = HealthNote("moved", "picture has moved 36 px", T0)
    run.show("yard", health=(note,), refusal="pictures of another shape")
    camera = client.get("/api/cameras/yard").json()
    assert camera["health"] == [{"kind": "moved", "text": "picture has moved 36 px", "since_utc_ms": T0}]
    assert camera["text"] == "cannot be scored: pictures of another shape; picture has moved 36 px since 13:56:41 UTC"
    assert camera["needs_a_hand"]


def test_the_newest_picture_and_when_it_was_taken(run, client):
    run.picture(value=200, size_hw=(900, 1600))
    answer = client.get("/cameras/yard/now.jpg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert answer.headers["x-taken"] == "2026-11-28T13:57:41.300Z"
    assert answer.headers["cache-control"] == "no-store"
    image = Image.open(io.BytesIO(answer.content))
    assert image.size == (1280, 720)
    assert np.asarray(image).mean() == pytest.approx(200, abs=2)
    again = client.get("/cameras/yard/now.jpg", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    run.clock.pass_(0.2)
    run.picture(value=50)
    newer = client.get("/cameras/yard/now.jpg", headers={"If-None-Match": answer.headers["etag"]})
    assert newer.status_code == 200
    assert np.asarray(Image.open(io.BytesIO(newer.content))).mean() == pytest.approx(50, abs=2)


def test_an_old_picture_is_never_shown_as_if_it_were_live(run, client):
    """Three frames and 2 s after it was taken."""
    run.picture(value=250)
    run.clock.pass_(3 / FPS + 2)
    assert client.get("/cameras/yard/now.jpg").status_code == 200
    assert not client.get("/api/cameras/yard").json()["picture_is_old"]
    run.clock.pass_(0.01)
    answer = client.get("/cameras/yard/now.jpg")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "image/jpeg")
    assert answer.headers["x-taken"] == "2026-11-28T13:57:41.300Z"
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert np.abs(pixels.astype(int) - pixels.mean(axis=2, keepdims=True)).max() < 8, "grey"
    assert pixels.std() > 5, "with the time on it"
    assert client.get("/api/cameras/yard").json()["picture_is_old"]


def test_a_camera_without_a_picture_and_one_that_does_not_exist(run, client):
    answer = client.get("/cameras/gate/now.jpg")
    assert (answer.status_code, "x-taken" in answer.headers) == (503, False)
    assert client.get("/cameras/nobody/now.jpg").status_code == 404


def test_scores_come_from_the_tables_of_hours_and_from_memory(run, client):
    hour_ms = hour_start_ms("20261128T13")
    hourly = HourlyScores(run.root, Reporter(quiet=True), lambda: hour_ms + 2 * HOUR_MS)
    hourly.set_camera("yard", FPS, 1.0)
    kept = {hour_ms - 1000: 9.0, hour_ms: 1.0, hour_ms + 500: 4.0, hour_ms + 600_000: 2.0}
    for utc_ms, score in kept.items():
        hourly.add("yard", LiveScore(utc_ms, score, score, {"velocity": score}))
    hourly.flush()
    run.view.scored("yard", hour_ms + 1_200_000, 8.0, 0.1)
    run.view.scored("yard", hour_ms + HOUR_MS, 99.0, 0.1)
    run.view.scored("gate", hour_ms, 99.0, 0.1)
    query = {"camera": "yard", "from": hour_ms, "to": hour_ms + HOUR_MS, "points": 6}
    found = client.get("/api/scores", params=query).json()
    assert found["bins"] == [
        [hour_ms, 1.0, 4.0], [hour_ms + 600_000, 2.0, 2.0], [hour_ms + 1_200_000, 8.0, 8.0], None, None, None,
    ]  # fmt: skip
    assert (found["camera"], found["level"]) == ("yard", 6.0)
    assert (found["from_utc_ms"], found["to_utc_ms"]) == (hour_ms, hour_ms + HOUR_MS)
    before = client.get("/api/scores", params={**query, "from": hour_ms - 2000, "to": hour_ms, "points": 2}).json()
    assert before["bins"] == [None, [hour_ms - 1000, 9.0, 9.0]]


def test_a_running_hour_is_read_again_when_it_has_grown_and_a_damaged_one_is_left_out(run, client):
    hour_ms = hour_start_ms("20261128T13")
    hourly = HourlyScores(run.root, Reporter(quiet=True), lambda: hour_ms)
    hourly.set_camera("yard", FPS, 1.0)
    query = {"camera": "yard", "from": hour_ms, "to": hour_ms + HOUR_MS, "points": 1}
    for number in (1, 2, 3):
        hourly.add("yard", LiveScore(hour_ms + number * 1000, float(number), float(number), {}))
        hourly.flush()
        assert client.get("/api/scores", params=query).json()["bins"] == [[hour_ms, 1.0, float(number)]]
    path = score_path(run.root / "scores", "yard/20261128T12")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PAR1 damaged")
    found = client.get("/api/scores", params={**query, "from": hour_ms - HOUR_MS, "points": 2})
    assert found.json()["bins"] == [None, [hour_ms, 1.0, 3.0]]


@pytest.mark.parametrize(
    "query",
    [
        {}, {"camera": "nobody"}, {"camera": "yard", "from": 5, "to": 5}, {"camera": "yard", "from": -1},
        {"camera": "yard", "points": 0}, {"camera": "yard", "points": 2001}, {"camera": "yard", "from": "x"},
        {"camera": "yard", "from": 0, "to": 32 * 24 * HOUR_MS},
    ],
)  # fmt: skip
def test_scores_that_cannot_be_had(query, client):
    answer = client.get("/api/scores", params=query)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]


def test_alerts_the_newest_first_page_by_page(run, client):
    ids = [*run.record(*range(5)), *run.record(5, 6, camera="gate")]
    found, before = [], ""
    for size in (3, 3, 1):
        page = client.get("/api/alerts", params={"limit": 3, "before": before}).json()
        assert len(page["alerts"]) == size
        found += [alert["id"] for alert in page["alerts"]]
        before = page["next"]
    assert found == ids[::-1]
    assert before is None
    of_gate = client.get("/api/alerts", params={"camera": "gate"}).json()["alerts"]
    assert [alert["id"] for alert in of_gate] == ids[:4:-1]


def test_alerts_by_state_mark_and_time(run, client):
    first, second, third = run.record(0, 1, 2)
    closed = alert(start=T0).next_revision("closed")
    run.ledger.record([Revision(closed)])
    client.post(f"/api/alerts/{second}/mark", json={"mark": "true"})

    def ids(**query):
        return [alert["id"] for alert in client.get("/api/alerts", params=query).json()["alerts"]]

    assert ids(state="closed") == [first]
    assert ids(state="open") == [third, second]
    assert ids(mark="none") == [third, first]
    assert ids(mark="true") == [second]
    assert ids(state="", camera="", mark="") == [third, second, first]
    assert ids(since=closed.end) == [third, second, first], "that ended then or later"
    assert ids(since=closed.end + 1) == [third, second]
    assert client.get("/api/alerts", params={"mark": "odd"}).status_code == 400
    assert client.get("/api/alerts", params={"before": "x"}).status_code == 400


def test_an_alert_as_it_was_recorded_with_its_mark(run, client):
    (alert_id,) = run.record(0, reason="a person: <b>runs</b>")
    found = client.get(f"/api/alerts/{alert_id}").json()
    told = run.ledger.find(alert_id).alert.model_dump(mode="json", by_alias=True)
    own = {"covered_by": "", "mark": "", "marked_by": "", "marked_utc_ms": None, "why": ""}
    assert found == told | own
    assert client.get("/api/alerts/yard-1").status_code == 404
    marked = client.post(f"/api/alerts/{alert_id}/mark", json={"mark": "seen", "who": "Ann", "why": "a cat"}).json()
    assert marked == found | {"mark": "seen", "marked_by": "Ann", "marked_utc_ms": now_ms(run), "why": "a cat"}
    assert client.get(f"/api/alerts/{alert_id}").json() == marked


def test_marking_twice_is_marking_once_and_an_empty_mark_takes_it_back(run, client):
    (alert_id,) = run.record(0)
    first = client.post(f"/api/alerts/{alert_id}/mark", json={"mark": "seen"}).json()
    change = run.source.last_change()
    run.clock.pass_(5)
    assert client.post(f"/api/alerts/{alert_id}/mark", json={"mark": "seen"}).json() == first
    assert run.source.last_change() == change
    assert client.post(f"/api/alerts/{alert_id}/mark", json={"mark": ""}).json()["mark"] == ""
    assert run.source.last_change() == change + 1
    assert client.get("/api/overview").json()["counts"]["to_look_at"] == 1


@pytest.mark.parametrize(
    "body", ["", "{}", "[]", '{"mark": "odd"}', '{"mark": 1}', '{"mark": "seen", "more": 1}', '{"mark": "seen"', "\xff"]
)
def test_marks_that_are_none(body, run, client):
    (alert_id,) = run.record(0)
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"/api/alerts/{alert_id}/mark", content=body.encode("latin-1"), headers=headers)
    assert answer.status_code == 400
    assert client.post("/api/alerts/nobody/mark", json={"mark": "seen"}).status_code == 404


def test_a_pause_ends_by_itself_and_outlives_the_process(run, client):
    answer = client.post("/api/cameras/yard/pause", json={"minutes": 60}).json()
    until_ms = now_ms(run) + 3_600_000
    assert (answer["state"], answer["paused_until_utc_ms"]) == ("paused", until_ms)
    assert answer["text"] == "paused until 14:57:41 UTC"
    assert run.ledger.pauses() == {"yard": until_ms}
    assert client.get("/api/cameras/gate").json()["paused_until_utc_ms"] is None
    run.clock.pass_(3600)
    answer = client.get("/api/cameras/yard").json()
    assert (answer["state"], answer["paused_until_utc_ms"], answer["text"]) == ("live", None, "")
    client.post("/api/cameras/yard/pause", json={"minutes": 5})
    assert client.post("/api/cameras/yard/pause", json={"minutes": 0}).json()["state"] == "live"
    assert client.post("/api/cameras/nobody/pause", json={"minutes": 5}).status_code == 404
    for minutes in (-1, 1e9, "x", None):
        assert client.post("/api/cameras/yard/pause", json={"minutes": minutes}).status_code == 400


def test_the_picture_and_the_clip_of_an_alert_in_parts(run, client):
    (alert_id,) = run.record(0)
    assert client.get(f"/alerts/{alert_id}.mp4").status_code == 404
    picture, clip = run.root / PICTURES / f"{alert_id}.jpg", run.root / "clips/yard" / f"{alert_id}.mp4"
    content = bytes(range(256)) * 40
    for path in (picture, clip):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    answer = client.get(f"/alerts/{alert_id}.jpg")
    assert (answer.content, answer.headers["content-type"]) == (content, "image/jpeg")
    answer = client.get(f"/alerts/{alert_id}.mp4")
    assert (answer.content, answer.headers["content-type"]) == (content, "video/mp4")
    assert answer.headers["accept-ranges"] == "bytes"
    part = client.get(f"/alerts/{alert_id}.mp4", headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(content)}"
    last = client.get(f"/alerts/{alert_id}.mp4", headers={"Range": "bytes=-5"})
    assert (last.status_code, last.content) == (206, content[-5:])
    assert client.get(f"/alerts/{alert_id}.mp4", headers={"Range": f"bytes={len(content)}-"}).status_code == 416


def test_no_path_and_no_link_leaves_the_run_folder(run, client):
    secret = run.root.parent / "secret.jpg"
    secret.write_bytes(b"secret")
    (alert_id,) = run.record(0)
    picture = run.root / PICTURES / f"{alert_id}.jpg"
    picture.parent.mkdir(exist_ok=True)
    picture.symlink_to(secret)
    assert client.get(f"/alerts/{alert_id}.jpg").status_code == 404
    for path in ("../secret", "..%2f..%2fsecret", quote("../../secret", safe=""), "%2e%2e%2fsecret", "/etc/passwd\0"):
        for address in (f"/alerts/{path}.jpg", f"/static/{path}.jpg", f"/cameras/{path}/now.jpg", f"/{path}"):
            raw = client.build_request("GET", "/")
            raw.url = raw.url.copy_with(raw_path=address.replace("\0", "%00").encode())
            answer = client.send(raw)
            assert answer.status_code in (400, 404), address
            assert b"secret" not in answer.content.replace(b"secret.jpg", b"").replace(b"/secret", b"")


def test_the_loop_that_does_not_turn_is_unwell(run, client):
    assert client.get("/healthz").json() == {"status": "ok"}
    run.clock.pass_(10)
    assert client.get("/healthz").status_code == 200
    run.clock.pass_(0.5)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()["error"]) == (503, "the loop that scores has not turned for 10 s")
    assert client.get("/readyz").status_code == 200
    assert "has not turned" in client.get("/api/overview").json()["problems"][0]
    run.view.turned()
    assert client.get("/healthz").status_code == 200


def test_a_ledger_that_cannot_be_written_is_unwell_and_says_why(run, client):
    book = run.source.watched.book
    book._db.execute("PRAGMA query_only = 1")
    run.clock.pass_(6)
    run.view.turned()
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("the ledger of alerts cannot be written: attempt to write a readonly")
    overview = client.get("/api/overview").json()
    assert overview["storage"]["problem"] == answer.json()["error"]
    book._db.execute("PRAGMA query_only = 0")
    run.clock.pass_(6)
    run.view.turned()
    assert client.get("/healthz").status_code == 200


def test_changes_of_alerts_that_wait_for_the_disk_are_unwell(run, client):
    run.show("yard", num_waiting=2)
    assert "2 changes wait for the disk" in client.get("/healthz").json()["error"]


def test_every_address_is_in_the_openapi_document(run, client):
    document = client.get("/api/openapi.json").json()
    known = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert known == {
        ("GET", "/"), ("GET", "/report.html"), ("GET", "/static/{name}"), ("GET", "/api/overview"),
        ("GET", "/api/cameras"),
        ("GET", "/api/cameras/{name}"), ("POST", "/api/cameras/{name}/pause"), ("GET", "/cameras/{name}/now.jpg"),
        ("GET", "/api/scores"), ("GET", "/api/alerts"), ("GET", "/api/alerts/{alert_id}"),
        ("POST", "/api/alerts/{alert_id}/mark"), ("GET", "/alerts/{alert_id}.jpg"), ("GET", "/alerts/{alert_id}.mp4"),
        ("GET", "/api/stream"), ("GET", "/metrics"), ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/login"),
        ("POST", "/login"),
    }  # fmt: skip


def test_a_machine_state_that_is_kept_is_no_change_of_an_alert(run):
    run.ledger.record([Revision(alert())], machine())
    change = run.source.last_change()
    run.ledger.keep_machine("yard", replace(machine(), number=99))
    assert run.source.last_change() == change
