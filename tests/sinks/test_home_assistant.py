"""Discovery against a description that was written by hand, of keys that Home Assistant documents."""

from __future__ import annotations

import json
from pathlib import Path

from mulde import __version__
from mulde.sinks.home_assistant import config_topic, discovery
from mulde.sinks.settings import MqttSettings

GOLDEN = Path(__file__).with_name("home_assistant.json")


def test_a_camera_is_described_as_home_assistant_reads_it():
    assert discovery(MqttSettings(), "yard") == json.loads(GOLDEN.read_text().replace("VERSION", __version__))
    assert config_topic(MqttSettings(), "yard") == "homeassistant/device/mulde_yard/config"


def test_two_processes_and_two_cameras_have_nothing_in_common():
    identities = set()
    for topic in ("mulde", "site/north"):
        for camera in ("yard", "gate"):
            settings = MqttSettings(topic=topic)
            described = discovery(settings, camera)
            own = {part["unique_id"] for part in described["components"].values()}
            assert not own & identities
            identities |= own | {config_topic(settings, camera), *described["device"]["identifiers"]}
    assert len(identities) == 4 * 8
