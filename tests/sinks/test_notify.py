"""Alerts through Apprise, to its own kinds of servers on loopback."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from mulde.errors import UsageError
from mulde.sinks.message import SinkError
from mulde.sinks.notify import NotifySink
from mulde.sinks.settings import AppriseSettings
from mulde.sinks.words import body, title
from tests.media.stream_servers import free_port

from .receivers import http_receiver, message


@pytest.fixture
def receiver():
    with http_receiver() as receiver:
        yield receiver


def url(port: int, path: str = "T0KEN-9") -> str:
    return f"json://user:S3CRET@127.0.0.1:{port}/{path}"


def test_a_person_reads_a_sentence_and_sees_the_picture(receiver, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"jpeg of the alert")
    sink = NotifySink(AppriseSettings(), url(receiver.port))
    sink.deliver(message(picture=tmp_path / "a.jpg"))
    ((path, _, sent),) = receiver.requests
    sent = json.loads(sent)
    assert path.startswith("/T0KEN-9")
    assert sent["title"] == "yard: something unusual"
    assert sent["message"] == "Person: moves fast\n2026-11-28 13:56:41 UTC"
    (attachment,) = sent["attachments"]
    assert base64.b64decode(attachment["base64"]) == b"jpeg of the alert"
    NotifySink(AppriseSettings(picture=False), url(receiver.port)).deliver(message(picture=tmp_path / "a.jpg"))
    assert json.loads(receiver.requests[1][2])["attachments"] == []


def test_words():
    closed = message(2, "closed", p_value=0.00041, num_withheld=2)
    assert title(closed) == "yard: something unusual, over"
    assert body(closed).splitlines() == [
        "Person: moves fast",
        "2026-11-28 13:56:41 to 13:56:43 UTC",
        "p-value 0.00041",
        "2 more alerts were not sent, for the number per hour",
    ]
    assert title(message(is_test=True, kind="flood")) == "Test: yard: too many alerts"
    assert body(message(reason="")) == "2026-11-28 13:56:41 UTC"
    assert "\x1b" not in body(message(reason="a\x1b[31mb"))
    assert body(message(num_withheld=1)).endswith("1 more alert was not sent, for the number per hour")


def test_an_address_that_has_it_is_not_sent_it_again(receiver):
    with http_receiver() as other:
        other.answers.append((500, {}))
        sink = NotifySink(AppriseSettings(), f"{url(receiver.port)} {url(other.port)}\n")
        with pytest.raises(SinkError) as caught:
            sink.deliver(message())
        assert caught.value.retry == "message"
        sink.deliver(message())
        assert (len(receiver.requests), len(other.requests)) == (1, 2)
        sink.deliver(message(2))
        assert (len(receiver.requests), len(other.requests)) == (2, 3)


def test_why_it_failed_is_said_without_what_is_secret(receiver, caplog):
    receiver.answers.append((418, {}))
    with caplog.at_level(logging.DEBUG):
        for port in (receiver.port, free_port()):
            sink = NotifySink(AppriseSettings(), url(port))
            with pytest.raises(SinkError) as caught:
                sink.deliver(message())
            assert len(str(caught.value)) > len("JSON: ")
            for secret in ("T0KEN", "S3CRET", str(port) + "/"):
                assert secret not in str(caught.value) + caplog.text


@pytest.mark.parametrize("urls", ["", " \n", "S3CRET", "nosuchkind://S3CRET"])
def test_addresses_that_apprise_does_not_know(urls, caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(UsageError) as caught:
        NotifySink(AppriseSettings(), urls)
    assert "of sink apprise: expected " in str(caught.value)
    assert "S3CRET" not in str(caught.value) + caplog.text
