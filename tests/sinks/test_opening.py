"""Receivers from their settings: with their secrets, and with a sentence where a library is missing."""

from __future__ import annotations

import importlib.util
import threading

import pytest

from mulde.errors import MuldeError
from mulde.secret import without_secrets
from mulde.sinks.message import Surroundings
from mulde.sinks.opening import open_sink, spec_of
from mulde.sinks.settings import AppriseSettings, CommandSettings, MqttSettings, WebhookSettings

SETTINGS = [
    MqttSettings(user="me", password_env="PASSWORD"),
    WebhookSettings(url_env="URL", secret_env="KEY"),
    AppriseSettings(urls_env="URLS"),
    CommandSettings(command=("python3",)),
]
ENVIRONMENT = {"PASSWORD": "p4ss", "URL": "http://127.0.0.1/t0ken", "KEY": "k3y", "URLS": "json://127.0.0.1/t0ken"}


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.kind)
def test_each_kind_is_opened_and_closed_without_sending_anything(settings):
    spec = spec_of(settings, ENVIRONMENT)
    assert spec == spec_of(settings, dict(ENVIRONMENT))
    for secret in ENVIRONMENT.values():
        assert secret not in repr(spec)
    open_sink(spec, Surroundings(threading.Event())).close()


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=lambda settings: settings.kind)
def test_another_secret_is_another_sink(settings):
    changed = {name: f"{value}1" for name, value in ENVIRONMENT.items()}
    assert spec_of(settings, ENVIRONMENT) != spec_of(settings, changed)


@pytest.mark.parametrize("settings", SETTINGS[:3], ids=lambda settings: settings.kind)
def test_a_library_that_is_missing_is_named(settings, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MuldeError, match=rf"sink {settings.kind} needs mulde\[live\]. Try: pip install 'mulde\[live\]'"
    ):
        open_sink(spec_of(settings, ENVIRONMENT), Surroundings(threading.Event()))


@pytest.mark.parametrize(
    ("text", "secrets", "rest"),
    [
        ("at /t0ken/x of host", ("t0ken",), "at /.../x of host"),
        ("t0ken t0ken1", ("t0ken", "t0ken1"), "... ..."),
        ("a pin of 12", ("12",), "..."),
        ("nothing", ("", "t0ken"), "nothing"),
    ],
)
def test_text_without_secrets(text, secrets, rest):
    assert without_secrets(text, *secrets) == rest
