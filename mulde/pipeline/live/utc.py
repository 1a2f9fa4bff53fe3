"""Moments and hours of UTC as names, so that no change of clocks in spring or autumn makes two of one name."""

from __future__ import annotations

from datetime import UTC, datetime

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
_HOUR, _SECOND = "%Y%m%dT%H", "%Y%m%dT%H%M%SZ"


def second_name(utc_ms: int) -> str:
    """A moment, in milliseconds of UTC since 1970, to the second: 20261128T135641Z."""
    return _name(utc_ms, _SECOND)


def hour_name(utc_ms: int) -> str:
    """The hour of UTC that a moment is in: 20261128T13."""
    return _name(utc_ms, _HOUR)


def hour_start_ms(name: str) -> int | None:
    """When an hour begins, by its name; None for any other name."""
    return _start_ms(name, _HOUR)


def second_start_ms(name: str) -> int | None:
    """The moment that `second_name` gave a name; None for any other name."""
    return _start_ms(name, _SECOND)


def day_name(day: int) -> str:
    """A day of UTC, counted from 1970: 2026-11-28."""
    return _name(day * DAY_MS, "%Y-%m-%d")


def _start_ms(name: str, pattern: str) -> int | None:
    try:
        start_ms = int(datetime.strptime(name, pattern).replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError:
        return None
    return start_ms if _name(start_ms, pattern) == name else None


def _name(utc_ms: int, pattern: str) -> str:
    return datetime.fromtimestamp(utc_ms // 1000, UTC).strftime(pattern)
