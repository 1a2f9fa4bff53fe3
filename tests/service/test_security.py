"""Who gets in, from where, and with what: against a real server."""

from __future__ import annotations

import json
import re
import socket
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulde.service import gate as gates

from .served_runs import client_of

TOKEN = "canary-token-7f3a9c51e2-not-to-be-seen"


@pytest.fixture
def locked(run, tmp_path):
    """A client of a service with a token."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    with client_of(run.source, token_file=str(path), hosts=["nvr.example"]) as client:
        yield client


BEARER = {"Authorization": f"Bearer {TOKEN}"}
ADDRESSES = (
    "/", "/api/overview", "/api/cameras", "/api/cameras/yard", "/cameras/yard/now.jpg", "/api/scores?camera=yard",
    "/api/alerts", "/api/alerts/x", "/alerts/x.jpg", "/alerts/x.mp4", "/api/stream", "/metrics", "/api/openapi.json",
)  # fmt: skip


@pytest.mark.parametrize("address", ADDRESSES)
def test_nothing_of_the_run_is_told_without_the_token(address, locked):
    answer = locked.get(address)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "yard" not in answer.text
    if address != "/api/stream":
        assert locked.get(address, headers=BEARER).status_code != 401
    assert locked.post("/api/cameras/yard/pause", json={"minutes": 5}).status_code == 401


def test_what_needs_no_token_tells_nothing(locked):
    for address in ("/healthz", "/readyz", "/login"):
        answer = locked.get(address)
        assert answer.status_code == 200
        assert "yard" not in answer.text
    assert locked.get("/static/nothing.js").status_code == 404


def test_a_browser_logs_in_and_keeps_a_cookie_that_no_script_reads(locked):
    answer = locked.get("/", headers={"Accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert 'type="password"' in locked.get("/login").text
    answer = locked.post("/login", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert re.search("; HttpOnly", cookie)
    assert re.search("(?i)samesite=strict", cookie)
    assert TOKEN not in cookie
    assert locked.get("/api/overview").status_code == 200, "by the cookie"
    assert locked.post("/api/cameras/yard/pause", json={"minutes": 5}).status_code == 200


def test_programs_log_in_by_json_and_a_wrong_token_gets_no_cookie(locked):
    assert locked.post("/login", json={"token": "wrong"}).status_code == 401
    assert locked.post("/login", content=b"[1", headers={"Content-Type": "application/json"}).status_code == 401
    assert not locked.cookies
    assert locked.post("/login", json={"token": TOKEN}).status_code == 200
    assert locked.get("/api/overview").status_code == 200


def test_wrong_tokens_have_to_wait_and_an_old_cookie_is_taken_back(run, tmp_path, monkeypatch):
    now = [0.0]
    path = tmp_path / "token"
    path.write_text(TOKEN)
    gate = gates.TokenGate(TOKEN, lambda: now[0])
    monkeypatch.setattr("mulde.service.server.TokenGate", lambda token: gate)
    with client_of(run.source, token_file=str(path)) as client:
        for number in range(5):
            assert client.get("/api/overview", headers={"Authorization": f"Bearer {number}"}).status_code == 401
        answer = client.get("/api/overview", headers=BEARER)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
        answer = client.post("/login", data={"token": TOKEN})
        assert (answer.status_code, "10 s" in answer.text) == (429, True)
        now[0] += 10.0
        assert client.get("/api/overview", headers=BEARER).status_code == 200
        answer = client.get("/api/overview", headers={"Cookie": "mulde=of-yesterday"})
        assert answer.status_code == 401
        assert re.search(r"mulde=; .*Max-Age=0", answer.headers["set-cookie"])


def test_a_name_that_somebody_else_gave_this_machine_is_refused(locked, client):
    """DNS rebinding: a page of evil.example whose name now means 127.0.0.1."""
    for free in (client, locked):
        for host in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", ""):
            answer = free.get("/api/overview", headers={"Host": host, **BEARER})
            assert answer.status_code in (400, 421), host
            assert "yard" not in answer.text
    assert locked.get("/api/overview", headers={"Host": "nvr.example", **BEARER}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, 403),
        ({"Content-Type": "application/json", "Origin": "null"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Content-Type": "application/json"}, 200),
        ({"Content-Type": "application/json; charset=utf-8", "Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_a_page_from_elsewhere_has_nothing_done(headers, status, run, client):
    body = json.dumps({"minutes": 5})
    assert client.post("/api/cameras/yard/pause", content=body, headers=headers).status_code == status
    assert bool(run.ledger.pauses()) == (status == 200)


def test_our_own_page_may(run, client):
    origin = str(client.base_url).rstrip("/")
    answer = client.post("/api/cameras/yard/pause", json={"minutes": 5}, headers={"Origin": origin})
    assert answer.status_code == 200
    other = origin.rpartition(":")[0] + ":1"
    assert client.post("/api/cameras/yard/pause", json={"minutes": 5}, headers={"Origin": other}).status_code == 403


def test_no_answer_lets_a_page_load_or_be_framed_from_elsewhere(client):
    for address in ("/", "/api/overview", "/nothing", "/cameras/yard/now.jpg", "/login"):
        headers = client.get(address).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert set(policy.values()) <= {"'none'", "'self'"}
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_requests_are_bounded(run, client):
    huge = json.dumps({"mark": "seen", "why": "x" * 20_000})
    headers = {"Content-Type": "application/json"}
    assert client.post("/api/alerts/x/mark", content=huge, headers=headers).status_code == 413
    pieces = client.post("/api/alerts/x/mark", content=(b"x" * 1000 for _ in range(20)), headers=headers)
    assert pieces.status_code == 413
    (alert_id,) = run.record(0)
    long = {"mark": "seen", "why": "x" * 1001}
    assert client.post(f"/api/alerts/{alert_id}/mark", json=long).status_code == 400
    deep = "[" * 8000
    assert client.post("/api/alerts/x/mark", content=deep, headers=headers).status_code == 400


def test_behind_a_proxy_that_is_trusted_the_client_is_who_it_says(run, tmp_path):
    """So that wrong tokens of one person do not lock out all."""
    path = tmp_path / "token"
    path.write_text(TOKEN)
    wrong = {"Authorization": "Bearer wrong"}
    for proxies, status in ([], 429), (["127.0.0.1"], 200):
        with client_of(run.source, token_file=str(path), trusted_proxies=proxies) as client:
            for _ in range(6):
                client.get("/api/overview", headers={**wrong, "X-Forwarded-For": "10.0.0.7"})
            answer = client.get("/api/overview", headers={**BEARER, "X-Forwarded-For": "10.0.0.8"})
            assert answer.status_code == status
            secure = {"X-Forwarded-For": "10.0.0.9", "X-Forwarded-Proto": "https"}
            cookie = client.post("/login", json={"token": TOKEN}, headers=secure).headers.get("set-cookie", "")
            assert ("Secure" in cookie) == bool(proxies)


def test_the_token_and_what_a_camera_says_of_itself_are_in_no_answer(run, locked):
    run.show("yard", reason="refused")
    run.record(0)
    answers = [locked.get(address, headers=BEARER) for address in ADDRESSES if address != "/api/stream"]
    answers += [locked.get(address) for address in ADDRESSES]
    answers += [locked.get("/login"), locked.post("/login", data={"token": TOKEN})]
    answers += [locked.post("/login", data={"token": TOKEN[:-1]})]
    answers.append(locked.get(f"/{TOKEN[:10]}", headers=BEARER))
    for answer in answers:
        said = answer.text + str(answer.headers.multi_items())
        assert TOKEN not in said


PARTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30) | st.sampled_from(
    ["yard", "..", "%2e%2e", "../../etc/passwd", "a/b", "\r\nX: y", "'; DROP TABLE alerts; --", "x" * 3000]
)
VALUES = PARTS | st.integers(-(2**70), 2**70).map(str) | st.sampled_from(["nan", "inf", "1e400", "", "none", "seen"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
GETS = st.sampled_from(
    ["/{}", "/static/{}", "/api/cameras/{}", "/cameras/{}/now.jpg", "/api/alerts/{}", "/alerts/{}.jpg",
     "/alerts/{}.mp4", "/api/scores", "/api/alerts", "/api/overview", "/metrics", "/healthz", "/login"]
)  # fmt: skip
QUERIES = st.dictionaries(
    st.sampled_from(["camera", "from", "to", "points", "state", "mark", "since", "before", "limit", "x"]), VALUES
)
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(address=GETS, part=PARTS, query=QUERIES, header=st.sampled_from(["Range", "If-None-Match", "Cookie", "Accept"]),
       value=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip))  # fmt: skip
def test_no_question_breaks_it(address, part, query, header, value, run, client):
    if not run.ledger.alerts():
        run.record(0)
    answer = client.get(address.format(quote(part, safe="")), params=query, headers={header: value})
    grey = answer.status_code == 503 and answer.headers["content-type"] == "image/jpeg"
    assert answer.status_code < 500 or grey, answer.text


@FUZZ
@given(address=st.sampled_from(["/api/alerts/{}/mark", "/api/cameras/{}/pause", "/login", "/api/overview", "/{}"]),
       part=PARTS | st.just("yard-20261128T135641300Z"), body=JSON, raw=st.binary(max_size=30) | st.none(),
       method=st.sampled_from(["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]))  # fmt: skip
def test_nothing_that_is_sent_breaks_it(address, part, body, raw, method, run, client):
    if not run.ledger.alerts():
        run.record(0)
    content = raw if raw is not None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    answer = client.request(method, address.format(quote(part, safe="")), content=content, headers=headers)
    assert answer.status_code < 500, answer.text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=200))
def test_bytes_that_are_no_request_end_the_connection_alone(run, client, raw):
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as connection:
        connection.sendall(raw + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65_536):
            pass
    assert client.get("/readyz").status_code == 200
