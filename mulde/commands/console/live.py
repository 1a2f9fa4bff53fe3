"""Alerts and their deliveries on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from mulde.commands.ending import echo
from mulde.console import print_json
from mulde.pipeline.live.alerts import json_schema, utc_text
from mulde.pipeline.live.ledger import StoredAlert
from mulde.pipeline.live.outbox import Delivery, OutboxCount


def print_alerts(alerts: Sequence[StoredAlert], *, json_: bool) -> None:
    """One line per alert, or one JSON array."""
    if json_:
        print_json([{**json.loads(stored.alert.to_json()), "covered_by": stored.covered_by} for stored in alerts])
        return
    for stored in alerts:
        alert = json.loads(stored.alert.to_json())
        length_s = (stored.alert.end - stored.alert.start) / 1000
        covered = f" (stands behind {stored.covered_by})" if stored.covered_by else ""
        cut = ", cut short" if stored.alert.cut_short else ""
        echo(
            f"{alert['start']}  {alert['camera']}  {alert['state']}{cut}, {length_s:.1f} s  "
            f"{alert['reason'] or alert['kind']}{covered}  {alert['id']}"
        )
    if not alerts:
        echo("no alerts")


def print_deliveries(deliveries: Sequence[Delivery], counts: Mapping[str, OutboxCount], *, json_: bool) -> None:
    """One line per sink and one per delivery, or one JSON array of deliveries."""
    if json_:
        print_json([{**asdict(delivery), "json": json.loads(delivery.json)} for delivery in deliveries])
        return
    for sink, count in counts.items():
        since = "" if count.oldest_ms is None else f" since {utc_text(count.oldest_ms)}"
        echo(f"{sink}: waiting {count.num_waiting}{since}, given up {count.num_given_up}")
    for delivery in deliveries:
        why = f", {delivery.tries} tries" + (f": {delivery.reason}" if delivery.reason else "")
        echo(f"{delivery.sink}  {delivery.alert} revision {delivery.revision}  {delivery.state}{why}")
    if not deliveries:
        echo("nothing is undelivered")


def print_schema() -> None:
    """The JSON schema of an alert."""
    print_json(json_schema())
