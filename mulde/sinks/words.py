"""An alert as a person reads it."""

from __future__ import annotations

from datetime import UTC, datetime

from mulde.names import printable
from mulde.sinks.message import Message

_KINDS = {
    "unusual": "something unusual",
    "camera": "the camera needs a hand",
    "drift": "the world has changed",
    "flood": "too many alerts",
}


def title(message: Message) -> str:
    """One line: the camera, what it is, and whether it is over."""
    alert = message.alert
    over = ", over" if alert["state"] == "closed" else ""
    return printable(f"{'Test: ' if message.is_test else ''}{alert['camera']}: {_KINDS[alert['kind']]}{over}")


def body(message: Message) -> str:
    """A few lines: why, when, how rare, and what was left out before."""
    alert = message.alert
    lines = [alert["reason"][:1].upper() + alert["reason"][1:]] if alert["reason"] else []
    start, end = (datetime.fromisoformat(alert[key]).astimezone(UTC) for key in ("start", "end"))
    till = f" to {end:%H:%M:%S}" if alert["state"] == "closed" else ""
    lines.append(f"{start:%Y-%m-%d %H:%M:%S}{till} UTC")
    if alert["p_value"] is not None and alert["kind"] == "unusual":
        lines.append(f"p-value {alert['p_value']:.2g}")
    if message.num_withheld:
        s = "s were" if message.num_withheld != 1 else " was"
        lines.append(f"{message.num_withheld} more alert{s} not sent, for the number per hour")
    return "\n".join(map(printable, lines))
