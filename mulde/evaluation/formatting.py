"""How figures are written, on the console and on pages."""

from __future__ import annotations

from collections.abc import Callable

UNDEFINED = "-"


def percent(share: float | None) -> str:
    """A share as percent, without the sign: two digits, or a dash where it is undefined."""
    return UNDEFINED if share is None else f"{100 * share:.2f}"


def number(value: float | None) -> str:
    """Two digits, thousands apart by commas, or a dash where the value is undefined."""
    return UNDEFINED if value is None else f"{value:,.2f}"


def with_spread(mean: float | None, std: float | None, show: Callable[[float | None], str] = percent) -> str:
    """A mean over seeds and, unless there is none, its standard deviation in brackets."""
    return show(mean) if std is None else f"{show(mean)} ({show(std)})"
