"""mosquitto on loopback, started and stopped at will, and clients that see what it has."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PACKAGES = "mosquitto"
_LIMIT_S = 120.0


def mosquitto() -> str | None:
    """The program, which Debian keeps where only root looks."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def wait_until(is_so: Callable[[], bool], what: str, limit_s: float = _LIMIT_S) -> None:
    """Raises TimeoutError where it never comes."""
    end_s = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > end_s:
            raise TimeoutError(what)
        time.sleep(0.02)


class Broker:
    """One that keeps what it has over a stop. lines: more of its configuration."""

    def __init__(self, folder: Path, lines: tuple[str, ...] = ()) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port: int = taken.getsockname()[1]
        self._folder, self._process = folder, None
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            "\n".join(
                [
                    f"listener {self.port} 127.0.0.1",
                    "allow_anonymous true" if not lines else "",
                    "persistence true",
                    f"persistence_location {folder}/",
                    "user root",
                    *lines,
                    "",
                ]
            )
        )

    def start(self) -> None:
        program = mosquitto()
        assert program is not None, f"mosquitto is not installed. Debian: {PACKAGES}"
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
            [program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, "mosquitto answers")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self, *, forgets: bool = False) -> None:
        """End it; forgets: what it kept is gone."""
        if self._process is not None:
            self._process.kill() if forgets else self._process.terminate()
            self._process.wait()
            self._process = None
        if forgets:
            (self._folder / "mosquitto.db").unlink(missing_ok=True)

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def _client(name: str, *, clean: bool) -> Any:
    from paho.mqtt.client import Client, MQTTv311
    from paho.mqtt.enums import CallbackAPIVersion

    client = Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean, protocol=MQTTv311)
    client.reconnect_delay_set(1, 1)
    return client


@contextmanager
def receiver(port: int, topics: str = "mulde/#") -> Iterator[list[tuple[str, bytes]]]:
    """Gives the list of all that a client gets, also of what was sent while it, or the broker, was away."""
    got: list[tuple[str, bytes]] = []
    client, subscribed = _client("receiver", clean=False), threading.Event()
    client.on_connect = lambda *_: client.subscribe(topics, 1)
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _, __, message: got.append((message.topic, message.payload))
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        if not subscribed.wait(_LIMIT_S):
            raise TimeoutError("a subscription")
        yield got
    finally:
        client.disconnect()
        client.loop_stop()


def retained(port: int) -> dict[str, bytes]:
    """What a broker has for whoever comes now: all that it sends before a message of our own comes back."""
    found: dict[str, bytes] = {}
    mark, done = f"mark/{uuid.uuid4().hex}", threading.Event()
    client = _client(uuid.uuid4().hex[:20], clean=True)

    def take(_: object, __: object, message: Any) -> None:
        if message.topic == mark:
            done.set()
        else:
            found[message.topic] = message.payload

    client.on_connect = lambda *_: client.subscribe("#", 1)
    client.on_subscribe = lambda *_: client.publish(mark, b"", 1)
    client.on_message = take
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        if not done.wait(_LIMIT_S):
            raise TimeoutError("what is retained")
    finally:
        client.disconnect()
        client.loop_stop()
    return found


def publish(port: int, topic: str, payload: bytes, *, retain: bool = False) -> None:
    """One message of somebody else."""
    client = _client(uuid.uuid4().hex[:20], clean=True)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        client.publish(topic, payload, 1, retain).wait_for_publish(_LIMIT_S)
    finally:
        client.disconnect()
        client.loop_stop()
