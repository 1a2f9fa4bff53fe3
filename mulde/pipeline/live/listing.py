"""Ages as people write them, for the alerts that a command lists."""

from __future__ import annotations

import re
import time

from mulde.errors import UsageError

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def milliseconds_ago(age: str, now_s: float | None = None) -> int:
    """UTC, in milliseconds since 1970, of an age such as `24h`, `30m` or `7d` ago. Raises UsageError for other text."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smhd])", age.strip())
    if match is None:
        raise UsageError("--since", expected="an age such as 24h, 30m or 7d", got=repr(age))
    now_s = time.time() if now_s is None else now_s
    return max(round(1000 * (now_s - float(match[1]) * _UNITS_S[match[2]])), 0)
