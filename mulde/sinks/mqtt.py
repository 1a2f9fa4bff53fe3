"""Alerts and states of cameras to an MQTT broker.

What is retained (whether the process is there, the state of each camera, discovery) is kept here by topic as it is to
be, and sent again whenever the connection is new: a broker that lost it and a process that died both end with what is
so now. Alerts are not retained; one is on its way at a time, with QoS 1.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mulde.errors import UsageError, first_line
from mulde.sinks.home_assistant import config_topic, discovery
from mulde.sinks.message import Message, Sink, SinkError, Surroundings
from mulde.sinks.settings import MqttSettings

ONLINE, OFFLINE = b"online", b"offline"
MAX_PAUSE_S = 7 * 86_400
_EVERY_S = 10.0
"""Between two states of a camera that differ in figures alone."""
_CONNECT_S, _ACKNOWLEDGE_S, _CLOSE_S, _STEP_S = 3.0, 10.0, 0.2, 0.1
_KEEPALIVE_S = 30
_MAX_RECONNECT_S = 30
_MAX_QUEUED = 10_000
_FIGURES = ("since", "fps", "score", "drift")
_PAUSE = re.compile(r"pause (\d{1,6})([smh])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_command(text: str) -> float | None:
    """For how many seconds a camera is to pause, 0 to resume; None for anything else, and for more than a week."""
    if text == "resume":
        return 0.0
    found = _PAUSE.fullmatch(text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    return float(seconds) if 0 < seconds <= MAX_PAUSE_S else None


@dataclass
class _Retained:
    """What a topic is to hold: empty for nothing. sent: what it was last sent, in which connection; mid: of that
    message until it is acknowledged."""

    wanted: bytes
    sent: bytes | None = None
    connection: int = 0
    mid: int | None = None


class MqttSink(Sink):
    """A client that connects by itself, again and again, from the first turn or message on. client: of paho, to be
    replaced in tests. Raises UsageError for certificates that cannot be used."""

    def __init__(
        self,
        settings: MqttSettings,
        password: str,
        around: Surroundings,
        *,
        client: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._around, self._clock = settings, around, clock
        self._port = settings.port or (8883 if settings.tls else 1883)
        self._problem = f"broker {settings.host}:{self._port}: no answer"
        self._lock, self._connected, self._changed = threading.Lock(), threading.Event(), threading.Event()
        self._connection, self._acknowledged = 0, set[int]()
        self._topics: dict[str, _Retained] = {}
        self._cameras: dict[str, tuple[tuple[object, ...], float]] | None = None  # what was shown, and when
        self._strangers: set[str] = set()  # whose state an earlier process left
        self._under_way: tuple[tuple[str, int], set[int]] | None = None
        self._has_begun = False
        self._client = client or _new_client(settings, password, around.is_test, self._note_problem)

    def _begin(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        client = self._client
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish, client.on_message = self._on_publish, self._on_message
        if not self._around.is_test:
            client.will_set(self._topic("status"), OFFLINE, qos=1, retain=True)
            self._topics[self._topic("status")] = _Retained(ONLINE)
        client.connect_async(self._settings.host, self._port, _KEEPALIVE_S)
        client.loop_start()

    def _topic(self, *parts: str) -> str:
        return "/".join((self._settings.topic, *parts))

    # --- alerts

    def deliver(self, message: Message) -> None:
        """Publish the picture, then the alert, and wait until the broker has both."""
        self._begin()
        self._wait(self._connected.is_set, _CONNECT_S)
        if not self._connected.is_set():
            raise SinkError(self._problem, "reconnect")
        if self._under_way is None or self._under_way[0] != message.key:  # else it still is: paho sends it again
            topic, picture = self._topic(message.alert["camera"], "alert"), message.picture_bytes()
            mids = set() if picture is None else {self._publish(f"{topic}/picture", picture)}
            self._under_way = message.key, mids | {self._publish(topic, message.json.encode())}
        mids = self._under_way[1]
        self._wait(lambda: mids <= self._acknowledged or not self._connected.is_set(), _ACKNOWLEDGE_S)
        if not mids <= self._acknowledged:
            raise SinkError(f"broker {self._settings.host}:{self._port}: no acknowledgement", "reconnect")
        self._acknowledged -= mids
        self._under_way = None

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        return int(self._client.publish(topic, payload, qos=1, retain=retain).mid)

    def _wait(self, is_so: Callable[[], bool], timeout_s: float) -> None:
        end_s = time.monotonic() + timeout_s
        while not is_so() and not self._around.stop.is_set() and time.monotonic() < end_s:
            self._changed.wait(_STEP_S)
            self._changed.clear()

    # --- what is retained

    def show(self, cameras: Mapping[str, Mapping[str, Any]]) -> None:
        with self._lock:
            known, now_s = self._cameras or {}, self._clock()
            self._cameras = {}
            for name, state in cameras.items():
                facts = tuple(value for key, value in state.items() if key not in _FIGURES)
                before = known.get(name)
                if before is not None and before[0] == facts and now_s - before[1] < _EVERY_S:
                    self._cameras[name] = before
                    continue
                self._cameras[name] = facts, now_s
                self._want(self._topic(name, "state"), json.dumps(state, allow_nan=False).encode())
                if self._settings.home_assistant:
                    self._want(config_topic(self._settings, name), json.dumps(discovery(self._settings, name)).encode())
            self._forget((known.keys() | self._strangers) - cameras.keys())
            self._strangers.clear()
        self._around.wake()

    def _want(self, topic: str, payload: bytes) -> None:
        self._topics.setdefault(topic, _Retained(payload)).wanted = payload

    def _forget(self, cameras: Iterable[str]) -> None:
        for name in cameras:
            self._want(self._topic(name, "state"), b"")
            if self._settings.home_assistant:
                self._want(config_topic(self._settings, name), b"")

    def turn(self) -> None:
        """Bring the topics that are retained up to date, one message each at a time: with two under way, the older one
        could arrive last after a reconnect."""
        self._begin()
        for topic, kept in self._due():
            kept.mid = self._publish(topic, kept.sent or b"", retain=True)

    def _due(self) -> list[tuple[str, _Retained]]:
        """What is to be published now, noted as sent."""
        due = []
        with self._lock:
            for topic, kept in list(self._topics.items()):
                if kept.mid is not None and kept.mid in self._acknowledged:
                    self._acknowledged.discard(kept.mid)
                    kept.mid = None
                if kept.mid is not None:
                    continue
                if kept.sent == kept.wanted and kept.connection == self._connection:
                    if not kept.wanted:
                        del self._topics[topic]
                elif self._connected.is_set():
                    kept.sent, kept.connection = kept.wanted, self._connection
                    due.append((topic, kept))
        return due

    def close(self) -> None:
        """Bring what is retained to its end, `offline` last, as far as the broker takes it in a moment."""
        if not self._has_begun:
            return
        if not self._around.is_test:
            self._settle()
            with self._lock:
                self._want(self._topic("status"), OFFLINE)
            self._settle()
        self._client.disconnect()
        # Its thread may be in the middle of a connect, which can take longer than a program that ends may wait.
        end = threading.Thread(target=self._client.loop_stop, daemon=True)
        end.start()
        end.join(_CLOSE_S)

    def _settle(self) -> None:
        end_s = time.monotonic() + _CLOSE_S
        while self._connected.is_set() and time.monotonic() < end_s:
            self._changed.clear()
            self.turn()
            if all(kept.mid is None for kept in self._topics.values()):
                return
            self._changed.wait(_CLOSE_S / 10)

    # --- in the thread of the client

    def _on_connect(self, client: Any, userdata: object, flags: object, reason: Any, properties: object) -> None:
        if reason.is_failure:
            self._note_problem(str(reason))
            return
        wanted = [] if self._around.is_test else [(self._topic("+", "state"), 0)]
        if self._settings.home_assistant and not self._around.is_test:
            wanted.append((f"{self._settings.discovery_topic}/status", 0))
        if self._settings.commands and not self._around.is_test:
            # QoS 0: a broker keeps no such message for later, when nobody wants the pause any more.
            wanted.append((self._topic("+", "set"), 0))
        if wanted:
            client.subscribe(wanted)
        self._connection += 1
        self._connected.set()
        self._around.reached()
        self._tell()

    def _on_disconnect(self, client: Any, userdata: object, flags: object, reason: Any, properties: object) -> None:
        if self._connected.is_set():  # else it was refused, which is known better
            self._note_problem("the connection is lost")
        self._connected.clear()
        self._tell()

    def _on_publish(self, client: Any, userdata: object, mid: int, reason: object, properties: object) -> None:
        self._acknowledged.add(mid)
        self._tell()

    def _on_message(self, client: Any, userdata: object, message: Any) -> None:
        if message.topic == f"{self._settings.discovery_topic}/status" and message.payload == ONLINE:
            self._send_again()
            return
        camera, _, what = message.topic.removeprefix(f"{self._settings.topic}/").partition("/")
        if what == "state" and message.retain and message.payload:
            self._note_stranger(camera)
        elif what == "set" and not message.retain and self._settings.commands:
            seconds = parse_command(message.payload[:100].decode("utf-8", "replace").strip())
            if seconds is None:
                self._around.warn(f"{message.topic}: expected `pause 1h` or `resume`, got something else")
            else:
                self._around.on_command(camera, seconds)

    def _send_again(self) -> None:
        """Discovery and states, for a Home Assistant that has just begun."""
        with self._lock:
            for topic, kept in self._topics.items():
                if topic != self._topic("status"):
                    kept.connection = 0
        self._tell()

    def _note_stranger(self, camera: str) -> None:
        with self._lock:
            if self._cameras is None:
                self._strangers.add(camera)
            elif camera not in self._cameras:
                self._forget([camera])
        self._tell()

    def _note_problem(self, problem: str) -> None:
        self._problem = f"broker {self._settings.host}:{self._port}: {problem}"

    def _tell(self) -> None:
        self._changed.set()
        self._around.wake()


def _new_client(settings: MqttSettings, password: str, is_test: bool, on_problem: Callable[[str], object]) -> Any:
    from paho.mqtt.client import Client, MQTTv311
    from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

    class TellingClient(Client):
        """Says why it could not connect, which paho keeps to itself."""

        def reconnect(self) -> MQTTErrorCode:
            try:
                return super().reconnect()
            except OSError as error:
                on_problem(first_line(error))
                raise

    client = TellingClient(
        CallbackAPIVersion.VERSION2,
        client_id=f"{settings.client_id}-test" if is_test else settings.client_id,
        clean_session=is_test,
        protocol=MQTTv311,
    )
    client.reconnect_delay_set(1, _MAX_RECONNECT_S)
    client.max_queued_messages_set(_MAX_QUEUED)
    if settings.user:
        client.username_pw_set(settings.user, password)
    if settings.tls:
        try:
            client.tls_set(ca_certs=settings.ca_file or None, cert_reqs=ssl.CERT_REQUIRED)
        except (OSError, ValueError) as error:
            problem = f"ca_file of sink {settings.title}: {first_line(error)}"
            raise UsageError(problem, expected="certificates (PEM)") from None
    return client
