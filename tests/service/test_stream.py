"""Events as they come, taken up again where they were cut off, and clients that do not read."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest

from mulde.pipeline.live.ledger import Revision
from mulde.pipeline.live.status import CameraState
from mulde.service import server, stream
from tests.pipeline.live.stored_alerts import T0, alert

from .served_runs import client_of

LIMIT_S = 120


class Events:
    """The events of a stream, as a browser takes them."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()
        self.last_id = ""
        self.num_comments = 0

    def next(self) -> tuple[str, dict]:
        """The next event with data: its name and its data."""
        name, data = "", []
        for line in self._lines:
            field, _, value = line.partition(": ")
            if line.startswith(":"):
                self.num_comments += 1
            elif field == "id":
                self.last_id = value
            elif field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif not line and data:
                return name, json.loads("\n".join(data))
        raise EOFError

    def next_of(self, name: str, is_wanted=lambda data: True) -> dict:
        while True:
            found, data = self.next()
            if found == name and is_wanted(data):
                return data


@contextlib.contextmanager
def events_of(client, last_id: str | None = None):
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with client.stream("GET", "/api/stream", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer)


def wait_until(is_so):
    end_s = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.fixture
def quick(monkeypatch):
    """Looked at often."""
    monkeypatch.setattr(stream, "POLL_S", 0.02)


@pytest.fixture
def client(run, quick):
    with client_of(run.source) as client:
        yield client


def test_a_new_client_gets_all_states_and_then_what_changes(run, client):
    run.record(0)
    with events_of(client) as events:
        first, second = events.next(), events.next()
        assert [(name, data["name"]) for name, data in (first, second)] == [("state", "yard"), ("state", "gate")]
        assert first[1] == client.get("/api/cameras/yard").json()
        (new,) = run.record(1)
        data = events.next_of("alert", lambda data: data["id"] == new)  # the one before may still be news
        assert data == client.get(f"/api/alerts/{new}").json()
        run.show("yard", CameraState.LOST, reason="gone")
        assert events.next_of("state", lambda data: data["state"] == "lost")["name"] == "yard"
        run.view.scored("gate", T0, 2.5, 0.1)
        assert events.next_of("score") == {"camera": "gate", "utc_ms": T0, "score": 2.5, "level": 6.0}


def test_each_revision_and_each_mark_is_an_event(run, client):
    first = alert()
    with events_of(client) as events:
        run.ledger.record([Revision(first)])
        assert events.next_of("alert")["revision"] == 1
        run.ledger.record([Revision(first.next_revision("updated", score=9.0))])
        assert events.next_of("alert")["score"] == 9.0
        client.post(f"/api/alerts/{first.id}/mark", json={"mark": "seen"})
        assert events.next_of("alert")["mark"] == "seen"
        client.post(f"/api/alerts/{first.id}/mark", json={"mark": ""})
        assert events.next_of("alert")["mark"] == ""


def test_what_was_missed_comes_first_however_much_it_is(run, client):
    """More than one page of the ledger; each alert once, as it is now."""
    (before,) = run.record(0)
    with events_of(client) as events:
        events.next()
        seen = events.last_id
    missed = run.record(*range(1, 251))
    updated = run.ledger.find(before).alert.next_revision("updated", score=9.5)
    run.ledger.record([Revision(updated)])
    with events_of(client, seen) as events:
        told = [events.next_of("alert") for _ in range(251)]
        assert [data["id"] for data in told] == [*missed, before]
        assert told[-1]["score"] == 9.5
        (new,) = run.record(300)
        assert events.next_of("alert")["id"] == new
        last = events.last_id
    with events_of(client, last) as events:
        assert events.next()[0] == "state", "nothing was missed"


@pytest.mark.parametrize("last_id", ["x", "-1", "9" * 30, "", "999999"])
def test_an_id_that_was_never_given_begins_now(last_id, run, client):
    run.record(0)
    with events_of(client, last_id) as events:
        assert events.next()[0] == "state"
        (new,) = run.record(1)
        assert events.next_of("alert", lambda data: data["id"] == new)


def test_a_stream_on_which_nothing_happens_shows_that_it_is_alive(run, monkeypatch):
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.01)
    run.views.clear()
    run.view.show([])
    with client_of(run.source) as client, client.stream("GET", "/api/stream") as answer:
        lines = answer.iter_lines()
        comments = 0
        while comments < 3:
            comments += next(lines).startswith(":")


def test_fifty_clients_of_which_one_never_reads(run, monkeypatch, quick):
    """49 get every event, the one is cut off, and the list of events stays at its bound."""
    monkeypatch.setattr(server, "MAX_SILENCE_S", 0.5)
    monkeypatch.setattr(stream, "MAX_EVENTS", 64)
    num_alerts = 300
    with client_of(run.source) as client:
        address = urlsplit(str(client.base_url))
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.connect((address.hostname, address.port))
            silent.sendall(b"GET /api/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nLast-Event-ID: 0\r\n\r\n")
            done, found = threading.Event(), [set[str]() for _ in range(49)]
            threads = [
                threading.Thread(target=_read, args=(client.base_url, ids, num_alerts), daemon=True) for ids in found
            ]
            for thread in threads:
                thread.start()
            reason = "x" * 20_000  # so much that no buffer of the system holds it all
            ids = {run.record(number, reason=reason)[0] for number in range(num_alerts)}
            for thread in threads:
                thread.join(LIMIT_S)
            assert all(got == ids for got in found)
            wait_until(lambda: _is_cut(silent, run))
            done.set()


def _read(base_url, ids: set[str], count: int) -> None:
    """As a browser: back with the last id where it was cut off."""
    last_id = "0"
    with httpx.Client(base_url=base_url, timeout=LIMIT_S, trust_env=False) as client:
        while len(ids) < count:
            with events_of(client, last_id) as events, contextlib.suppress(EOFError, httpx.RemoteProtocolError):
                while len(ids) < count:
                    ids.add(events.next_of("alert")["id"])
                    last_id = events.last_id


def _is_cut(silent: socket.socket, run) -> bool:
    """Whether the server has let go of a client that took nothing."""
    run.ledger.record([Revision(_next(run))])
    try:
        silent.send(b"\r\n")
    except OSError:
        return True
    return False


def _next(run):
    newest = run.ledger.alerts()[-1].alert
    return newest.next_revision("updated")


def test_clients_beyond_the_bound_are_refused(run, client, monkeypatch):
    monkeypatch.setattr(stream, "MAX_CLIENTS", 2)
    with events_of(client) as first, events_of(client) as second:
        first.next(), second.next()
        assert client.get("/api/stream").status_code == 503
    wait_until(lambda: _is_open(client))


def _is_open(client) -> bool:
    with client.stream("GET", "/api/stream") as answer:
        return answer.status_code == 200
