"""What is published, what is retained and what is sent again, at the boundary of paho; the real broker is in
tests/live/test_mosquitto.py."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from mulde.errors import UsageError
from mulde.sinks.message import SinkError, Surroundings
from mulde.sinks.mqtt import MqttSink, parse_command
from mulde.sinks.settings import MqttSettings

from .fake_broker import FakeClient
from .receivers import message


@dataclass
class Mqtt:
    settings: MqttSettings = field(default_factory=MqttSettings)
    is_test: bool = False
    client: FakeClient = field(default_factory=FakeClient)
    now_s: float = 1000.0
    num_wakes: int = 0
    num_reached: int = 0
    warnings: list[str] = field(default_factory=list)
    commands: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self):
        self.stop = threading.Event()
        around = Surroundings(
            self.stop, self._wake, self._reached, self.warnings.append, lambda *words: self.commands.append(words),
            self.is_test,
        )  # fmt: skip
        self.sink = MqttSink(self.settings, "", around, client=self.client, clock=lambda: self.now_s)

    def _wake(self):
        self.num_wakes += 1

    def _reached(self):
        self.num_reached += 1

    def connected(self):
        self.sink.turn()
        self.client.connect()
        self.sink.turn()
        return self


def state(**fields):
    return {"state": "live", "health": [], "since": "2026-11-28T13:00:00.000Z", "fps": 2.0, "score": 1.5, "level": 6.0,
            "alert": None, "drift": None, **fields}  # fmt: skip


def test_the_will_is_offline_and_online_is_retained():
    mqtt = Mqtt().connected()
    assert mqtt.client.will == ("mulde/status", b"offline", 1, True)
    assert mqtt.client.retained == {"mulde/status": b"online"}
    assert mqtt.client.address[:2] == ("127.0.0.1", 1883)
    mqtt.sink.close()
    assert mqtt.client.retained == {"mulde/status": b"offline"}
    assert not mqtt.client.is_running


def test_the_last_state_of_a_camera_is_there_before_offline():
    mqtt = Mqtt().connected()
    mqtt.client.acknowledges = False
    mqtt.sink.show({"yard": state(alert="yard-1")})
    mqtt.sink.turn()
    mqtt.sink.show({"yard": state()})
    mqtt.client.answer()
    mqtt.client.acknowledges = True
    mqtt.client.sent.clear()
    mqtt.sink.close()
    assert mqtt.client.topics() == ["mulde/yard/state", "mulde/status"]
    assert mqtt.client.state()["alert"] is None
    assert mqtt.client.retained["mulde/status"] == b"offline"


def test_an_alert_is_published_behind_its_picture_and_neither_is_retained(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    mqtt, sent = Mqtt().connected(), message(picture=tmp_path / "a.jpg")
    mqtt.client.sent.clear()
    mqtt.sink.deliver(sent)
    assert mqtt.client.sent == [
        ("mulde/yard/alert/picture", b"jpeg", False),
        ("mulde/yard/alert", sent.json.encode(), False),
    ]
    mqtt.sink.deliver(message(2, picture=tmp_path / "gone.jpg"))
    assert mqtt.client.topics()[2:] == ["mulde/yard/alert"]


def deliver_beside(mqtt, sent, then):
    """Deliver while `then` happens once the message is under way; the failure, or None."""
    failures = []

    def deliver():
        try:
            mqtt.sink.deliver(sent)
        except SinkError as error:
            failures.append(error)

    thread = threading.Thread(target=deliver)
    thread.start()
    while thread.is_alive() and not mqtt.client.under_way:
        thread.join(0.001)
    then()
    thread.join()
    return failures[0] if failures else None


def test_an_alert_that_is_under_way_is_not_published_again():
    """Paho sends it again when it is connected again."""
    mqtt = Mqtt().connected()
    mqtt.client.acknowledges = False
    failure = deliver_beside(mqtt, message(), mqtt.client.lose)
    assert failure.retry == "reconnect"
    mqtt.client.is_connected = True
    mqtt.client.on_connect(mqtt.client, None, None, type("R", (), {"is_failure": False})(), None)
    mqtt.client.sent.clear()
    assert deliver_beside(mqtt, message(), mqtt.client.answer) is None
    assert mqtt.client.topics() == ["mulde/yard/alert"]


def test_a_process_that_ends_waits_for_no_broker():
    mqtt = Mqtt().connected()
    mqtt.client.acknowledges = False
    assert deliver_beside(mqtt, message(), mqtt.stop.set).retry == "reconnect"


def test_a_broker_that_refuses_says_why():
    mqtt = Mqtt()
    mqtt.stop.set()
    mqtt.sink.turn()
    mqtt.client.refuse("Not authorized")
    with pytest.raises(SinkError, match=r"^broker 127.0.0.1:1883: Not authorized$") as caught:
        mqtt.sink.deliver(message())
    assert caught.value.retry == "reconnect"
    assert mqtt.num_reached == 0
    mqtt.client.connect()
    assert mqtt.num_reached == 1
    mqtt.client.lose()
    with pytest.raises(SinkError, match="the connection is lost"):
        mqtt.sink.deliver(message())


def test_states_are_retained_at_once_where_facts_change_and_seldom_where_figures_do():
    mqtt = Mqtt().connected()

    def shown(**fields):
        mqtt.sink.show({"yard": state(**fields)})
        mqtt.sink.turn()
        return mqtt.client.state()

    assert shown() == state()
    mqtt.now_s += 9.9
    assert shown(score=2.0)["score"] == 1.5
    mqtt.now_s += 0.1
    assert shown(score=3.0, since="2026-11-28T13:00:00.001Z") == state(score=3.0, since="2026-11-28T13:00:00.001Z")
    assert shown(alert="yard-1")["alert"] == "yard-1"
    assert shown(score=4.0, alert="yard-1")["score"] == 1.5
    assert shown(state="lost", alert="yard-1")["state"] == "lost"
    assert shown(health=["image_too_dark"])["health"] == ["image_too_dark"]


def test_a_new_state_waits_until_the_one_before_has_arrived():
    """Else the older one, sent again after a reconnect, would arrive last and be what is retained."""
    mqtt = Mqtt().connected()
    mqtt.client.acknowledges = False
    for alert in ("yard-1", None):
        mqtt.sink.show({"yard": state(alert=alert)})
        mqtt.sink.turn()
    assert len(mqtt.client.under_way) == 1
    mqtt.client.answer()
    mqtt.sink.turn()
    mqtt.client.answer()
    assert mqtt.client.state()["alert"] is None


def test_all_that_is_retained_is_sent_again_in_a_new_connection():
    mqtt = Mqtt(MqttSettings(home_assistant=True)).connected()
    mqtt.sink.show({"yard": state(), "gate": state()})
    mqtt.sink.turn()
    before = dict(mqtt.client.retained)
    assert len(before) == 5
    mqtt.client.lose()
    mqtt.client.retained.clear()  # a broker that keeps nothing
    mqtt.sink.show({"yard": state(alert="yard-1"), "gate": state()})
    mqtt.sink.turn()
    assert mqtt.client.retained == {}
    mqtt.client.connect()
    mqtt.sink.turn()
    assert mqtt.client.retained.keys() == before.keys()
    assert mqtt.client.state()["alert"] == "yard-1"


def test_what_is_not_watched_any_more_is_removed():
    mqtt = Mqtt(MqttSettings(home_assistant=True)).connected()
    mqtt.client.tell("mulde/left_over/state", b"{}", retain=True)
    mqtt.sink.show({"yard": state(), "gate": state()})
    mqtt.sink.turn()
    mqtt.client.tell("mulde/later/state", b"{}", retain=True)
    mqtt.client.tell("mulde/echo/state", b"{}")
    mqtt.sink.show({"yard": state()})
    mqtt.sink.turn()
    mqtt.sink.turn()
    assert mqtt.client.retained.keys() == {
        "mulde/status", "mulde/yard/state", "homeassistant/device/mulde_yard/config"
    }  # fmt: skip
    removed = {topic for topic, payload, _ in mqtt.client.sent if not payload}
    assert removed == {
        *(f"mulde/{name}/state" for name in ("left_over", "gate", "later")),
        *(f"homeassistant/device/mulde_{name}/config" for name in ("left_over", "gate", "later")),
    }
    assert len(mqtt.sink._topics) == 3, "nothing is kept of what is gone"


def test_home_assistant_is_told_again_when_it_begins():
    mqtt = Mqtt(MqttSettings(home_assistant=True)).connected()
    mqtt.sink.show({"yard": state()})
    mqtt.sink.turn()
    mqtt.client.sent.clear()
    mqtt.client.tell("homeassistant/status", b"offline")
    mqtt.sink.turn()
    assert mqtt.client.topics() == []
    mqtt.client.tell("homeassistant/status", b"online")
    mqtt.sink.turn()
    assert sorted(mqtt.client.topics()) == ["homeassistant/device/mulde_yard/config", "mulde/yard/state"]


@pytest.mark.parametrize("commands", [False, True])
def test_commands_are_taken_where_they_are_allowed(commands):
    mqtt = Mqtt(MqttSettings(commands=commands)).connected()
    assert (("mulde/+/set", 0) in mqtt.client.subscribed) == commands
    mqtt.client.tell("mulde/yard/set", b"pause 1h", retain=True)  # of some other time
    assert mqtt.commands == []
    mqtt.client.tell("mulde/yard/set", b"pause 1h")
    mqtt.client.tell("mulde/yard/set", b"resume")
    mqtt.client.tell("mulde/yard/set", b"\xff" * 1000)
    assert mqtt.commands == ([("yard", 3600.0), ("yard", 0.0)] if commands else [])
    assert len(mqtt.warnings) == commands


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("resume", 0), ("pause 1h", 3600), ("pause 30m", 1800), ("pause 90s", 90), ("pause 168h", 604_800),
        ("pause 169h", None), ("pause 0s", None), ("pause", None), ("pause 1d", None), ("pause -1h", None),
        ("pause 1h; resume", None), ("PAUSE 1h", None), ("", None), ("pause 1٣h", None),
    ],
)  # fmt: skip
def test_nothing_else_is_a_command(text, seconds):
    assert parse_command(text) == seconds


def test_a_test_says_nothing_of_the_process():
    mqtt = Mqtt(MqttSettings(home_assistant=True, commands=True), is_test=True)
    mqtt.sink.turn()
    mqtt.client.connect()
    mqtt.sink.deliver(message(is_test=True))
    mqtt.sink.close()
    assert (mqtt.client.will, mqtt.client.retained, mqtt.client.subscribed) == ((), {}, [])
    assert mqtt.client.topics() == ["mulde/yard/alert"]


def test_other_topics_and_ports():
    mqtt = Mqtt(MqttSettings(topic="site/north", tls=True)).connected()
    mqtt.sink.deliver(message())
    assert mqtt.client.topics() == ["site/north/status", "site/north/yard/alert"]
    assert mqtt.client.address[:2] == ("127.0.0.1", 8883)


def test_certificates_that_are_none(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    around = Surroundings(threading.Event())
    for name in ("ca.pem", "none.pem"):
        with pytest.raises(UsageError, match="ca_file of sink mqtt"):
            MqttSink(MqttSettings(tls=True, ca_file=str(tmp_path / name)), "", around)


def test_the_client_has_the_settings(tmp_path):
    sink = MqttSink(MqttSettings(client_id="north", user="me"), "secret", Surroundings(threading.Event()))
    client = sink._client
    assert (client._client_id, client._clean_session) == (b"north", False)
    assert (client.username, client.password) == ("me", "secret")
