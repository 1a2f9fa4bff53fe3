"""Alerts to a web server that fails at times, from a process that is killed: none is lost, and all of them end."""

from __future__ import annotations

from benchmarks.watching.deliveries import CAMERAS, Sender, first_arrivals
from mulde.pipeline.live.alerts import Alert
from mulde.sinks.opening import SinkSpec
from mulde.sinks.settings import WebhookSettings
from tests.sinks.receivers import http_receiver

from .fake_cameras import wait_until

NUM_ALERTS, KILLED_AT = 12, (1, 8, 17, 25)


def test_kills_lose_no_revision(tmp_path):
    with http_receiver() as hook:
        hook.answers += [(500, {}), (200, {}), (503, {})] * 5
        sender = Sender(tmp_path, SinkSpec(WebhookSettings(url=hook.url()), {"url": hook.url()}), NUM_ALERTS)
        sender.start()
        done = 0
        for place in KILLED_AT:
            done += sender.raise_some(place - done)
            sender.kill()
            sender.start()
        sender.raise_some(100)
        assert sender.is_over
        wait_until(lambda: sender.num_waiting() == 0, 300)
        sender.end()
        alerts, revisions = sender.alerts(), sender.revisions()
        arrived = [Alert.from_json(body.decode()) for body in hook.accepted]
    assert len(alerts) == NUM_ALERTS
    assert {alert.state for alert in alerts} == {"closed"}
    assert 0 < sum(alert.cut_short for alert in alerts) <= len(CAMERAS) * len(KILLED_AT)
    assert {(one.id, one.revision): one.to_json() for one in arrived} == revisions
    assert {one.id for one in arrived if one.state == "closed"} == {alert.id for alert in alerts}
    assert all(sorted(numbers) == numbers for numbers in first_arrivals(arrived).values())
