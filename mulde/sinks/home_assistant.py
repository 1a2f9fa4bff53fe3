"""What Home Assistant is told of a camera, so that it shows it without being configured (MQTT device discovery)."""

from __future__ import annotations

from typing import Any

from mulde import __version__
from mulde.sinks.settings import MqttSettings

_IS_UNUSUAL = "{{ 'ON' if value_json.alert else 'OFF' }}"
_IS_PROBLEM = "{{ 'OFF' if value_json.state in ('connecting', 'live') and not value_json.health else 'ON' }}"
_IS_LIVE = "{{ 'online' if value_json.state == 'live' else 'offline' }}"
_EVENT = (
    "{{ {'event_type': value_json.state, 'id': value_json.id, 'kind': value_json.kind, 'reason': value_json.reason,"
    " 'start': value_json.start, 'end': value_json.end, 'p_value': value_json.p_value} | to_json }}"
)


def device_id(settings: MqttSettings, camera: str) -> str:
    """Identifies a camera among all devices of a broker, as two processes have different topics."""
    return f"{settings.topic.replace('/', '_')}_{camera}"


def config_topic(settings: MqttSettings, camera: str) -> str:
    """Where the description of a camera is retained; an empty message there removes the device."""
    return f"{settings.discovery_topic}/device/{device_id(settings, camera)}/config"


def discovery(settings: MqttSettings, camera: str) -> dict[str, Any]:
    """The description of a camera: a device with one component for each thing that is shown of it.

    All are unavailable while this process is gone. The score and whether something is unusual are unavailable as well
    while the camera is not live, because nobody knows them then.
    """
    device, topic = device_id(settings, camera), f"{settings.topic}/{camera}"
    process = {"topic": f"{settings.topic}/status"}
    live = {"availability": [process, {"topic": f"{topic}/state", "value_template": _IS_LIVE}]}
    components: dict[str, dict[str, Any]] = {
        "unusual": {"platform": "binary_sensor", "name": "Unusual", "value_template": _IS_UNUSUAL, **live},
        "problem": {
            "platform": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "value_template": _IS_PROBLEM,
        },
        "score": {
            "platform": "sensor",
            "name": "Score",
            "state_class": "measurement",
            "value_template": "{{ value_json.score }}",
            **live,
        },
        "drift": {
            "platform": "sensor",
            "name": "Drift",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "value_template": "{{ value_json.drift }}",
        },
        "alert": {
            "platform": "event",
            "name": "Alert",
            "state_topic": f"{topic}/alert",
            "event_types": ["opened", "updated", "closed"],
            "value_template": _EVENT,
        },
        "picture": {
            "platform": "image",
            "name": "Latest alert",
            "image_topic": f"{topic}/alert/picture",
            "content_type": "image/jpeg",
        },
    }
    return {
        "device": {"identifiers": [device], "name": camera, "manufacturer": "mulde", "sw_version": __version__},
        "origin": {"name": "mulde", "sw_version": __version__},
        "availability": [process],
        "availability_mode": "all",
        "state_topic": f"{topic}/state",
        "qos": 1,
        "components": {name: {**part, "unique_id": f"{device}_{name}"} for name, part in components.items()},
    }
