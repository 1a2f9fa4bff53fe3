"""From the settings of a receiver to the receiver."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from mulde.errors import MuldeError
from mulde.secret import read_secret
from mulde.sinks.message import Sink, Surroundings
from mulde.sinks.settings import AppriseSettings, CommandSettings, MqttSettings, SinkSettings, WebhookSettings

_LIBRARIES = {"mqtt": "paho.mqtt", "webhook": "httpx", "apprise": "apprise"}


@dataclass(frozen=True)
class SinkSpec:
    """A receiver with what is secret of it, by the key of the setting: what decides whether it has to be opened again
    when the settings are read again."""

    settings: SinkSettings
    secrets: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        return self.settings.title


def spec_of(settings: SinkSettings, environment: Mapping[str, str] = os.environ) -> SinkSpec:
    """A receiver with its secrets. Raises UsageError for one that cannot be had."""
    owner = f"sink {settings.title}"

    def secret(key: str, variable: str, file: str) -> dict[str, str]:
        value = read_secret(owner, key, variable, file, environment)
        return {} if value is None else {key: value}

    match settings:
        case MqttSettings():
            return SinkSpec(settings, secret("password", settings.password_env, settings.password_file))
        case WebhookSettings():
            url = {"url": settings.url} if settings.url else secret("url", settings.url_env, settings.url_file)
            return SinkSpec(settings, {**url, **secret("secret", settings.secret_env, settings.secret_file)})
        case AppriseSettings():
            return SinkSpec(settings, secret("urls", settings.urls_env, settings.urls_file))
        case CommandSettings():
            return SinkSpec(settings, {})


def open_sink(spec: SinkSpec, around: Surroundings) -> Sink:
    """The receiver; nothing is sent yet. Raises UsageError for settings that it cannot use, and MuldeError where the
    library is missing."""
    settings, secrets = spec.settings, spec.secrets
    library = _LIBRARIES.get(settings.kind, "os")
    if importlib.util.find_spec(library.partition(".")[0]) is None:
        raise MuldeError(f"sink {spec.name} needs mulde[live]", hint="pip install 'mulde[live]'")
    match settings:
        case MqttSettings():
            from mulde.sinks.mqtt import MqttSink

            return MqttSink(settings, secrets.get("password", ""), around)
        case WebhookSettings():
            from mulde.sinks.webhook import WebhookSink

            return WebhookSink(settings, secrets["url"], secrets.get("secret", ""))
        case AppriseSettings():
            from mulde.sinks.notify import NotifySink

            return NotifySink(settings, secrets["urls"])
        case CommandSettings():
            from mulde.sinks.command import CommandSink

            return CommandSink(settings, around.stop)
