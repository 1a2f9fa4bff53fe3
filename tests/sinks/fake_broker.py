"""A client of a broker at the boundary of paho: what is published reaches `retained` and `sent` once it is told to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace


@dataclass
class FakeClient:
    """acknowledges: whether a broker answers at once; else `answer` does. retained, sent: what the broker has."""

    acknowledges: bool = True
    retained: dict[str, bytes] = field(default_factory=dict)
    sent: list[tuple[str, bytes, bool]] = field(default_factory=list)
    under_way: list[tuple[int, str, bytes, bool]] = field(default_factory=list)
    subscribed: list[tuple[str, int]] = field(default_factory=list)
    will: tuple = ()
    address: tuple = ()
    is_running: bool = False
    is_connected: bool = False
    mid: int = 0

    def will_set(self, topic, payload, qos, retain):
        self.will = topic, payload, qos, retain

    def connect_async(self, *address):
        self.address = address

    def loop_start(self):
        self.is_running = True

    def loop_stop(self):
        self.is_running = False

    def disconnect(self):
        self.is_connected = False

    def subscribe(self, topics):
        self.subscribed = topics

    def publish(self, topic, payload, qos, retain):
        assert qos == 1
        self.mid += 1
        self.under_way.append((self.mid, topic, payload, retain))
        if self.acknowledges and self.is_connected:
            self.answer()
        return SimpleNamespace(mid=self.mid)

    # --- what the broker does

    def answer(self):
        """Take what is under way, and acknowledge it."""
        waiting, self.under_way = self.under_way, []
        for mid, topic, payload, retain in waiting:
            self.sent.append((topic, payload, retain))
            if retain:
                self.retained[topic] = payload
                if not payload:
                    del self.retained[topic]
            self.on_publish(self, None, mid, None, None)

    def connect(self):
        self.is_connected = True
        self.on_connect(self, None, None, reason(False), None)
        if self.acknowledges:
            self.answer()

    def refuse(self, why):
        self.on_connect(self, None, None, reason(True, why), None)

    def lose(self, why="Unspecified error"):
        self.is_connected = False
        self.on_disconnect(self, None, None, reason(True, why), None)

    def tell(self, topic, payload, *, retain=False):
        self.on_message(self, None, SimpleNamespace(topic=topic, payload=payload, retain=retain))

    def state(self, camera="yard"):
        return json.loads(self.retained[f"mulde/{camera}/state"])

    def topics(self):
        """Of what was sent since the last time."""
        sent, self.sent = self.sent, []
        return [topic for topic, _, _ in sent]


def reason(is_failure, text="Success"):
    return type("Reason", (), {"is_failure": is_failure, "__str__": lambda self: text})()
