"""Alerts to a real HTTP server on loopback: what it is sent, how it can check that, and what each answer leads to."""

from __future__ import annotations

import contextlib
import logging
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mulde.errors import UsageError
from mulde.pipeline.live.alerts import Alert
from mulde.sinks.message import SinkError
from mulde.sinks.settings import WebhookSettings
from mulde.sinks.webhook import WebhookSink
from tests.media.stream_servers import free_port

from .receivers import http_receiver, message

SECRET, PATH = "kéy-of-the-hook", "/services/T0KEN-9?sign=S3CRET"


@pytest.fixture
def receiver():
    with http_receiver() as receiver:
        yield receiver


@contextlib.contextmanager
def sink_to(url, secret=SECRET, **settings):
    sink = WebhookSink(WebhookSettings(**settings), url, secret, utc=lambda: 1_795_874_201.9)
    try:
        yield sink
    finally:
        sink.close()


def test_a_receiver_gets_the_json_with_a_signature_that_it_can_check(receiver):
    sent = message(2)
    with sink_to(receiver.url(PATH)) as sink:
        sink.deliver(sent)
    ((path, headers, body),) = receiver.requests
    assert (path, headers["Content-Type"]) == (PATH, "application/json")
    assert Alert.from_json(body.decode()) == Alert.from_json(sent.json)
    assert "Mulde-Test" not in headers
    header, is_genuine = headers["Mulde-Signature"], as_documented()
    assert header.startswith("t=1795874201,sha256=")
    assert is_genuine(header, body, SECRET, 10**10)
    assert not is_genuine(header, body, SECRET, 0)
    assert not is_genuine(header, body + b" ", SECRET, 10**10)
    assert not is_genuine(header, body, "another", 10**10)
    assert not is_genuine(header.replace("t=1", "t=2"), body, SECRET, 10**10)


def as_documented():
    """The function of docs/live.md by which receivers check a signature."""
    text = (Path(__file__).parents[2] / "docs/live.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "def is_genuine" in block]
    names: dict[str, object] = {}
    exec(code, names)
    return names["is_genuine"]


def test_a_test_is_marked_and_without_a_key_nothing_is_signed(receiver):
    with sink_to(receiver.url(), "") as sink:
        sink.deliver(replace(message(), is_test=True))
    ((_, headers, _),) = receiver.requests
    assert headers["Mulde-Test"] == "1"
    assert "Mulde-Signature" not in headers


@pytest.mark.parametrize(
    ("status", "headers", "retry", "wait_s"),
    [
        (200, {}, None, 0),
        (204, {"Content-Length": "0"}, None, 0),
        (301, {"Location": "/elsewhere"}, "reconnect", 0),
        (400, {}, "never", 0),
        (401, {}, "never", 0),
        (404, {}, "never", 0),
        (408, {}, "reconnect", 0),
        (429, {"Retry-After": "30"}, "reconnect", 30),
        (429, {"Retry-After": "999999"}, "reconnect", 3600),
        (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "reconnect", 0),
        (429, {"Retry-After": "-5"}, "reconnect", 0),
        (500, {}, "message", 0),
        (503, {"Retry-After": "7"}, "reconnect", 7),
    ],
)
def test_what_an_answer_leads_to(receiver, status, headers, retry, wait_s):
    receiver.answers.append((status, headers))
    with sink_to(receiver.url(PATH)) as sink:
        if retry is None:
            sink.deliver(message())
        else:
            with pytest.raises(SinkError, match=rf"^http://127.0.0.1:{receiver.port}: status {status}") as caught:
                sink.deliver(message())
            assert (caught.value.retry, caught.value.wait_s) == (retry, wait_s)
    assert [path for path, _, _ in receiver.requests] == [PATH], "no redirect is followed"


def test_a_server_that_is_not_there_and_one_that_is_silent(receiver):
    with sink_to(f"http://127.0.0.1:{free_port()}{PATH}") as sink, pytest.raises(SinkError) as caught:
        sink.deliver(message())
    assert caught.value.retry == "reconnect"
    assert "refused" in str(caught.value)
    receiver.is_silent.set()
    with sink_to(receiver.url(PATH), timeout_s=0.2) as sink, pytest.raises(SinkError, match="no answer in time"):
        sink.deliver(message())


def test_nothing_secret_is_said_or_logged(receiver, caplog):
    receiver.answers += [(404, {}), (500, {})]
    with caplog.at_level(logging.DEBUG), sink_to(receiver.url(PATH)) as sink:
        said = ""
        for _ in range(2):
            with pytest.raises(SinkError) as caught:
                sink.deliver(message())
            said += str(caught.value)
        sink.deliver(message())
    for secret in ("T0KEN", "S3CRET", SECRET):
        assert secret not in said + caplog.text


@pytest.mark.parametrize("url", ["ftp://x/S3CRET", "S3CRET", "http://", "http://[S3CRET", "http://x:99999/S3CRET", ""])
def test_addresses_that_are_none(url):
    with pytest.raises(UsageError, match=r"address of sink webhook: expected http://") as caught:
        WebhookSink(WebhookSettings(), url, "")
    assert "S3CRET" not in str(caught.value)


def test_certificates_that_are_none(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(UsageError, match="ca_file of sink webhook"):
        WebhookSink(WebhookSettings(ca_file=str(tmp_path / "ca.pem")), "https://x", "")
