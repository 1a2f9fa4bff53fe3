"""Checks of settings against tables of limits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from mulde.errors import UsageError

Limits = dict[str, tuple[float, float]]
"""Least and largest value by name; whole numbers where both limits are."""


def check_numbers(record: object, limits: Limits, optional: Limits) -> None:
    """Raises UsageError for an attribute that is out of its limits; those in `optional` may also be None."""
    for name, (low, high) in limits.items():
        check_number(name, getattr(record, name), low, high)
    for name, (low, high) in optional.items():
        if getattr(record, name) is not None:
            check_number(name, getattr(record, name), low, high)


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Raises UsageError unless low <= value <= high, and a whole number where both limits are."""
    whole = isinstance(low, int) and isinstance(high, int)
    fits = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    if not fits or not low <= value <= high:
        number = "a whole number" if whole else "a number"
        raise UsageError(name, expected=f"{number} from {low:g} to {high:g}", got=repr(value))


def check_known(what: str, names: Iterable[str], known: Collection[str], removed: Mapping[str, str]) -> None:
    """Raises UsageError for the first of `names` that is not among the known; `removed` says why some left."""
    for name in names:
        if name not in known:
            is_removed = name in removed
            got = f"{name}, which there is no more" if is_removed else name
            hint = f"leave it out: {removed[name]}" if is_removed else None
            raise UsageError(what, expected=f"settings among {', '.join(known)}", got=got, hint=hint)


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raises UsageError for a value that is none of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise UsageError(name, expected=f"one of {', '.join(choices)}", got=repr(value))
