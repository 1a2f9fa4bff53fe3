"""The settings of receivers of alerts: `[[sinks]]` in the file of `mulde watch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from mulde.errors import UsageError
from mulde.section import PathText, Section, Text

Kind = Literal["unusual", "camera", "drift", "flood"]
State = Literal["opened", "updated", "closed"]
_SECRETS = {
    "password": "password_env or password_file",
    "secret": "secret_env or secret_file",
    "token": "url_env or url_file, with an address that has the token",
    "urls": "urls_env or urls_file",
}
_HINT = "name an environment variable or a file that holds it: what is secret never stands in the file of cameras"

Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=200)]
Name = Annotated[str, Field(pattern="^([A-Za-z0-9][A-Za-z0-9_-]{0,63})?$")]


class _Sink(Section):
    kind: str
    name: Name = Field("", description="what deliveries are counted under; empty = the kind")
    only: tuple[Kind, ...] = Field((), description="kinds of alerts that are sent; empty = all")
    states: tuple[State, ...] = Field(
        ("opened", "updated", "closed"), description="states of an alert that are sent", min_length=1
    )
    at_most_per_hour: int = Field(
        0, ge=0, le=3600, description="alerts that are sent per hour, with all their updates and ends; 0 = no limit"
    )

    @property
    def title(self) -> str:
        """The name of the sink in the ledger, in messages and in figures."""
        return self.name or self.kind


class MqttSettings(_Sink):
    kind: Literal["mqtt"] = Field("mqtt", description="MQTT 3.1.1 broker, as mosquitto or that of Home Assistant")
    host: Text = Field("127.0.0.1", min_length=1, description="name or address of the broker")
    port: int = Field(0, ge=0, le=65535, description="port of the broker; 0 = 1883, or 8883 with tls")
    tls: bool = Field(False, description="encrypt, and check the broker's certificate")
    ca_file: PathText = Field("", description="certificate of the authority that signed the broker's; empty = system's")
    user: Text = Field("", description="user name for the broker")
    password_env: Text = Field("", description="environment variable that holds the password")
    password_file: PathText = Field("", description="file that holds the password")
    client_id: Topic = Field(
        "mulde", description="name of this process at the broker, which no other client may have", max_length=64
    )
    topic: Topic = Field("mulde", description="first part of all topics, which no other process may use")
    home_assistant: bool = Field(False, description="announce the cameras to Home Assistant")
    discovery_topic: Topic = Field("homeassistant", description="first part of Home Assistant's discovery topics")
    commands: bool = Field(False, description="take `pause 1h` and `resume` from TOPIC/CAMERA/set")


class WebhookSettings(_Sink):
    kind: Literal["webhook"] = Field("webhook", description="HTTP server that is sent each alert as JSON")
    url: Text = Field("", description="address, where it holds nothing secret")
    url_env: Text = Field("", description="environment variable that holds the address")
    url_file: PathText = Field("", description="file that holds the address")
    secret_env: Text = Field("", description="environment variable that holds the key of the signature; empty = none")
    secret_file: PathText = Field("", description="file that holds the key of the signature; empty = none")
    ca_file: PathText = Field("", description="certificate of the authority that signed the server's; empty = usual")
    timeout_s: float = Field(10.0, gt=0, le=120, description="seconds for which an answer is waited for")


class AppriseSettings(_Sink):
    kind: Literal["apprise"] = Field("apprise", description="mail, ntfy, Telegram and all else that Apprise reaches")
    states: tuple[State, ...] = Field(("opened",), description="states of an alert that are sent", min_length=1)
    urls_env: Text = Field("", description="environment variable that holds addresses of Apprise, between spaces")
    urls_file: PathText = Field("", description="file that holds addresses of Apprise, one per line")
    picture: bool = Field(True, description="attach the picture")


class CommandSettings(_Sink):
    kind: Literal["command"] = Field("command", description="program that is given each alert as JSON on its input")
    command: tuple[Text, ...] = Field(
        min_length=1, description="program and its arguments; no shell reads them, and exit code 0 acknowledges"
    )
    timeout_s: float = Field(30.0, gt=0, le=600, description="seconds after which the program is ended")


SinkSettings = Annotated[
    MqttSettings | WebhookSettings | AppriseSettings | CommandSettings, Field(discriminator="kind")
]


def refuse_secrets(sinks: object) -> None:
    """Raises UsageError, without the value, where tables of sinks as they were read hold what is secret."""
    for table in sinks if isinstance(sinks, list) else []:
        for key, value in table.items() if isinstance(table, Mapping) else ():
            if key in _SECRETS:
                raise UsageError(f"setting {key} of a sink", expected=_SECRETS[key], hint=_HINT)
            if key == "url" and isinstance(value, str) and _is_secret(value):
                problem = "setting url of a sink carries a user, a password or a query"
                raise UsageError(problem, expected="url_env or url_file", hint=_HINT)


def _is_secret(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return True  # nobody knows what stands in it
    return "@" in parts.netloc or bool(parts.query or parts.fragment)


def check_sinks(sinks: Sequence[Any]) -> None:
    """Raises UsageError for sinks of one name, and for settings that have no effect."""
    names: set[str] = set()
    for sink in sinks:
        title = sink.title
        if title in names:
            raise UsageError(
                "names of sinks",
                expected="each once",
                got=f"{title} twice",
                hint='give one of them another `name = "..."`',
            )
        names.add(title)
        if isinstance(sink, MqttSettings):
            _refuse_idle(title, sink.ca_file and not sink.tls, "ca_file", "tls = true")
            _refuse_idle(title, (sink.password_env or sink.password_file) and not sink.user, "password", "user")
            _refuse_idle(
                title, sink.discovery_topic != "homeassistant" and not sink.home_assistant, "discovery_topic",
                "home_assistant = true",
            )  # fmt: skip
        if isinstance(sink, WebhookSettings) and sum(map(bool, (sink.url, sink.url_env, sink.url_file))) != 1:
            raise UsageError(f"sink {title}", expected="one of url, url_env and url_file")
        if isinstance(sink, AppriseSettings) and bool(sink.urls_env) == bool(sink.urls_file):
            raise UsageError(f"sink {title}", expected="one of urls_env and urls_file")


def _refuse_idle(title: str, is_idle: object, key: str, other: str) -> None:
    if is_idle:
        raise UsageError(f"sink {title}: {key} has no effect without {other}", hint=f"leave {key} out, or add {other}")
