"""Alerts and states on a real broker. `make test` leaves these out; `make test-live` runs them. Debian: mosquitto."""

from __future__ import annotations

import json
import os
import subprocess
import threading

import pytest

from benchmarks.watching import deliveries
from benchmarks.watching.broker import PACKAGES, Broker, mosquitto, publish, receiver, retained, wait_until
from mulde.pipeline.live.alerts import Alert
from mulde.sinks.message import SinkError, Surroundings
from mulde.sinks.mqtt import MqttSink
from mulde.sinks.settings import MqttSettings
from tests.sinks.receivers import message

if mosquitto() is None:
    assert not os.environ.get("MULDE_REQUIRE_LIVE"), f"no mosquitto. Debian: {PACKAGES}"
    pytest.skip(f"mosquitto is not installed. Debian: {PACKAGES}", allow_module_level=True)


def test_all_alerts_arrive_and_end_though_the_broker_goes_and_the_sender_is_killed(tmp_path):
    result = deliveries.measure(tmp_path, 50, 4, seed=0)
    assert result.is_met, "\n".join(result.rows())
    assert result["alerts"] == 50
    assert result["revisions"] >= 130


class Sink:
    """A sink of its own, turned by a thread as its worker does."""

    def __init__(self, settings, password="", **around):
        self.stop, self.woken = threading.Event(), threading.Event()
        self.sink = MqttSink(settings, password, Surroundings(self.stop, self.woken.set, **around))
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        while not self.stop.is_set():
            self.woken.clear()
            self.sink.turn()
            self.woken.wait(0.1)

    def __enter__(self):
        self.thread.start()
        return self.sink

    def __exit__(self, *error):
        self.stop.set()
        self.thread.join()
        self.sink.close()


def shown(**fields):
    return {"state": "live", "health": [], "since": "", "fps": 2.0, "score": 1.0, "level": 6.0, "alert": None, **fields}


def test_what_was_retained_of_a_camera_that_is_gone_is_removed(tmp_path):
    with Broker(tmp_path) as broker:
        publish(broker.port, "mulde/old/state", b"{}", retain=True)
        publish(broker.port, "homeassistant/device/mulde_old/config", b"{}", retain=True)
        with Sink(MqttSettings(port=broker.port, home_assistant=True)) as sink:
            sink.show({"yard": shown()})
            wait_until(
                lambda: (
                    set(retained(broker.port))
                    == {"mulde/status", "mulde/yard/state", "homeassistant/device/mulde_yard/config"}
                ),
                "the old camera is gone",
            )
            sink.show({})
            wait_until(lambda: set(retained(broker.port)) == {"mulde/status"}, "the camera is gone")
        assert retained(broker.port) == {"mulde/status": b"offline"}


def test_commands_come_once_and_home_assistant_is_told_again(tmp_path):
    commands, warnings = [], []
    settings = MqttSettings(commands=True, home_assistant=True)
    with Broker(tmp_path) as broker, receiver(broker.port, "homeassistant/device/#") as got:
        settings = settings.model_copy(update={"port": broker.port})
        publish(broker.port, "mulde/yard/set", b"pause 2h", retain=True)  # of some other time
        around = {"on_command": lambda *words: commands.append(words), "warn": warnings.append}
        with Sink(settings, **around) as sink:
            sink.show({"yard": shown()})
            wait_until(lambda: len(got) == 1, "discovery")
            publish(broker.port, "mulde/yard/set", b"pause 30m")
            publish(broker.port, "mulde/yard/set", b"reboot")
            publish(broker.port, "mulde/yard/set", b"resume")
            wait_until(lambda: len(commands) == 2, "commands")
            publish(broker.port, "homeassistant/status", b"online")
            wait_until(lambda: len(got) == 2, "discovery again")
        assert commands == [("yard", 1800.0), ("yard", 0.0)]
        assert len(warnings) == 1
        assert got[0] == got[1]


def test_a_password_is_needed_and_used(tmp_path):
    passwords = tmp_path / "passwords"
    tool = mosquitto().replace("sbin/mosquitto", "bin/mosquitto_passwd")
    subprocess.run([tool, "-b", "-c", passwords, "me", "s3cret"], check=True, capture_output=True)
    with Broker(tmp_path / "broker", ("allow_anonymous false", f"password_file {passwords}")) as broker:
        for password, is_let_in in (("s3cret", True), ("wrong", False)):
            settings = MqttSettings(port=broker.port, user="me", client_id=f"c{len(password)}")
            with Sink(settings, password) as sink:
                if is_let_in:
                    sink.deliver(message())
                    continue
                with pytest.raises(SinkError, match="Not authorized") as caught:
                    sink.deliver(message())
                assert "wrong" not in str(caught.value)


def test_alerts_are_as_the_schema_says_and_pictures_come_first(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    with Broker(tmp_path / "broker") as broker, receiver(broker.port) as got:
        with Sink(MqttSettings(port=broker.port)) as sink:
            sink.show({"yard": shown()})
            sink.deliver(message(picture=tmp_path / "a.jpg"))
            wait_until(lambda: len(got) >= 4, "all topics")
        payloads = dict(got)
        topics = [topic for topic, _ in got if "alert" in topic]
        assert topics == ["mulde/yard/alert/picture", "mulde/yard/alert"]
        assert Alert.from_json(payloads["mulde/yard/alert"].decode()) == Alert.from_json(message().json)
        assert payloads["mulde/yard/alert/picture"] == b"jpeg"
        assert set(json.loads(payloads["mulde/yard/state"])) == set(shown())
        assert not {topic for topic in retained(broker.port) if "alert" in topic}
