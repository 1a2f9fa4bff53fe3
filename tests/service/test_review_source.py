"""A run of scored videos on the page: its events are the alerts, and what is said of them stays."""

from __future__ import annotations

import json
import signal
import time

import httpx
import pandas as pd
import pytest

from mulde.errors import MuldeError
from mulde.pipeline.events.suppression import suppressions_of
from mulde.pipeline.events.tables import picture_path, read_events
from mulde.pipeline.run_folder import THUMBNAILS
from mulde.pipeline.scoring.frames import read_scores
from mulde.service.review_source import MARKS, ReviewSource
from tests.processes import Command

from .served_runs import client_of

LIMIT_S = 120


@pytest.fixture
def client(scored_run):
    with client_of(ReviewSource(scored_run, lambda: 1000.0)) as client:
        yield client


def alerts_of(client, **query):
    return client.get("/api/alerts", params=query).json()["alerts"]


def test_events_are_the_alerts_the_least_likely_first(scored_run, client):
    events, alerts = read_events(scored_run), alerts_of(client)
    assert len(events) >= 3
    for column in ("video", "start_s", "peak_s", "end_s", "score", "p_value", "peak_frame"):
        assert [alert[column] for alert in alerts] == [getattr(event, column) for event in events]
    assert [alert["reason"] for alert in alerts] == [event.reason.text for event in events]
    assert {(alert["camera"], alert["state"], alert["kind"], alert["mark"]) for alert in alerts} == {
        (events[0].video, "closed", "unusual", "")
    }
    ids = [alert["id"] for alert in alerts]
    assert len(set(ids)) == len(ids)
    assert [alert["id"] for alert in alerts_of(client, limit=2)] == ids[:2]
    page = client.get("/api/alerts", params={"limit": 2}).json()
    assert [alert["id"] for alert in alerts_of(client, before=page["next"])] == ids[2:]
    assert client.get(f"/api/alerts/{ids[1]}").json() == alerts[1]
    with client_of(ReviewSource(scored_run)) as other:
        assert [alert["id"] for alert in alerts_of(other)] == ids, "the same in every process"


def test_pictures_are_those_of_the_run(scored_run, client):
    for event, alert in zip(read_events(scored_run), alerts_of(client), strict=True):
        picture = client.get(alert["picture"])
        assert picture.content == picture_path(scored_run / THUMBNAILS, event, ".jpg").read_bytes()
        assert alert["clip"] == ""
        assert client.get(f"/alerts/{alert['id']}.mp4").status_code == 404


def test_videos_are_the_cameras_and_their_scores_are_all_shown(scored_run, client):
    ((name, scored),) = read_scores(scored_run / "scores").items()
    (camera,) = client.get("/api/cameras").json()["cameras"]
    assert (camera["name"], camera["state"], camera["needs_a_hand"]) == (name, "recorded", False)
    assert client.get(f"/cameras/{name}/now.jpg").status_code == 503
    assert client.post(f"/api/cameras/{name}/pause", json={"minutes": 5}).status_code == 409
    found = client.get("/api/scores", params={"camera": name, "points": 7}).json()
    track = scored.track
    assert found["from_utc_ms"] == 0
    assert found["to_utc_ms"] == round(1000 * track.time_s[-1]) + 1
    assert min(low for _, low, _ in found["bins"]) == track.smoothed.min()
    assert max(high for _, _, high in found["bins"]) == track.smoothed.max()
    half = {"camera": name, "from": 0, "to": 2000, "points": 1}
    (whole,) = client.get("/api/scores", params=half).json()["bins"]
    assert whole[2] == track.smoothed[track.time_s < 1.9995].max()


def test_an_event_that_is_normal_becomes_a_suppression_and_can_be_taken_back(scored_run, client):
    event, alert = read_events(scored_run)[0], alerts_of(client)[0]
    before = client.get("/api/overview").json()["counts"]
    body = {"mark": "normal", "who": "Ann", "why": "the tram"}
    marked = client.post(f"/api/alerts/{alert['id']}/mark", json=body).json()
    (suppression,) = suppressions_of(scored_run)
    assert (suppression.event_id, suppression.in_force) == (event.event_id, True)
    assert (suppression.who, suppression.why) == ("Ann", "the tram")
    assert (marked["mark"], marked["exemption"]) == ("normal", suppression.id)
    table = pd.read_csv(scored_run / "events.csv", dtype={"exemption": str})
    assert table.loc[table["peak_frame"] == event.peak_frame, "exemption"].tolist() == [suppression.id]
    covered = {alert["id"] for alert in alerts_of(client) if alert["exemption"]}
    assert alert["id"] in covered
    assert client.get("/api/overview").json()["counts"]["to_look_at"] == before["to_look_at"] - len(covered)
    assert client.post(f"/api/alerts/{alert['id']}/mark", json=body).json() == marked
    assert suppressions_of(scored_run) == [suppression], "the same again changes nothing"
    taken_back = client.post(f"/api/alerts/{alert['id']}/mark", json={"mark": ""}).json()
    assert (taken_back["mark"], taken_back["exemption"]) == ("", "")
    assert [known.in_force for known in suppressions_of(scored_run)] == [False]
    assert client.get("/api/overview").json()["counts"] == before


def test_other_marks_are_kept_and_events_of_feedback_are_seen(scored_run, client, mulde):
    first, second, *_ = alerts_of(client)
    client.post(f"/api/alerts/{first['id']}/mark", json={"mark": "true", "who": "Ann"})
    client.post(f"/api/alerts/{second['id']}/mark", json={"mark": "seen"})
    assert [alert["id"] for alert in alerts_of(client, mark="true")] == [first["id"]]
    ids = [alert["id"] for alert in alerts_of(client)]
    assert [alert["id"] for alert in alerts_of(client, mark="none")] == ids[2:]
    with client_of(ReviewSource(scored_run)) as other:
        found = {alert["id"]: (alert["mark"], alert["marked_by"]) for alert in alerts_of(other) if alert["mark"]}
    assert found == {first["id"]: ("true", "Ann"), second["id"]: ("seen", "")}
    (scored_run / "events.json").write_text("[]")
    assert alerts_of(client) == []


def test_marks_are_changes_that_a_stream_tells(scored_run):
    source = ReviewSource(scored_run)
    first, second, *_ = source._known_events()
    assert source.last_change() == 0
    with client_of(source) as client:
        for alert_id in (first, second, first):
            client.post(f"/api/alerts/{alert_id}/mark", json={"mark": "seen", "who": str(source.last_change())})
    assert source.last_change() == 3
    assert [(number, alert["id"]) for number, alert in source.changes(0, 10)] == [(2, second), (3, first)]
    assert [number for number, _ in source.changes(2, 10)] == [3]


@pytest.mark.parametrize("text", ["{", '{"schema": 2, "marks": {}}', '{"schema": 1, "marks": {"a": 1}}', "[]"])
def test_marks_that_are_damaged_are_a_sentence(text, scored_run):
    (scored_run / MARKS).write_text(text)
    with pytest.raises(MuldeError, match=r"marks\.json"):
        ReviewSource(scored_run)


def test_the_overview_of_videos(scored_run, client):
    overview = client.get("/api/overview").json()
    num_events = len(read_events(scored_run))
    counts = overview["counts"]
    assert (counts["to_look_at"], counts["alerts_today"]) == (num_events, num_events)
    assert (counts["cameras"], counts["watching"], counts["need_a_hand"]) == (1, 0, 0)
    assert counts["expected_today"] == pytest.approx(1200 * 8 / 3600)
    assert (overview["mode"], overview["run"], overview["utc_ms"]) == ("review", "scored", 1_000_000)
    assert client.get("/healthz").status_code == 200
    assert "mulde_build_info" in client.get("/metrics").text


def test_the_command_serves_until_it_is_told_to_end(scored_run):
    with Command("serve", scored_run, "--listen", "127.0.0.1:0") as process:
        line = process.said.readline()
        address = line.split()[-1]
        assert line == f"page of {scored_run}: {address}\n"
        assert httpx.get(f"{address}/api/overview", timeout=LIMIT_S, trust_env=False).json()["mode"] == "review"
        assert httpx.get(f"{address}/", timeout=LIMIT_S, trust_env=False).status_code == 200
        process.send_signal(signal.SIGTERM)
        code, _ = process.ended()
    assert code == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("serve", "nowhere"), "expected the --out of mulde watch, score or run, got no scores in it"),
        (("serve", ".", "--listen", "0.0.0.0:1"), "expected a token_file"),
        (("serve", ".", "--listen", "8765"), "expected HOST:PORT"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(words, sentence, mulde):
    code, out, err = mulde(*words)
    assert (code, out) == (2, "")
    assert sentence in err


def test_an_address_that_is_taken_is_a_sentence(scored_run, mulde, client):
    code, _, err = mulde("serve", scored_run, "--listen", f"127.0.0.1:{client.base_url.port}")
    assert (code, "another program has" in err) == (2, True)


def test_without_the_extra_it_says_what_to_install(scored_run, mulde, monkeypatch):
    monkeypatch.setattr("mulde.service.run._LIBRARIES", ("no_such_library",))
    code, _, err = mulde("serve", scored_run)
    assert (code, "pip install 'mulde[live]'" in err) == (1, True)


def test_a_link_to_somewhere_else_is_no_picture(scored_run, client, tmp_path):
    event, alert = read_events(scored_run)[0], alerts_of(client)[0]
    (tmp_path / "secret").write_text("secret")
    path = picture_path(scored_run / THUMBNAILS, event, ".jpg")
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    assert client.get(f"/alerts/{alert['id']}.jpg").status_code == 404


def test_what_was_marked_is_json_that_others_can_read(scored_run, client):
    alert = alerts_of(client)[0]
    client.post(f"/api/alerts/{alert['id']}/mark", json={"mark": "seen", "why": "Straße"})
    data = json.loads((scored_run / MARKS).read_text())
    ((event_id, mark),) = data["marks"].items()
    assert event_id == read_events(scored_run)[0].event_id
    assert (mark["mark"], mark["why"], data["schema"]) == ("seen", "Straße", 1)
    assert time.time() > mark["marked_utc_ms"] / 1000
