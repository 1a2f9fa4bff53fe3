"""Tables of plain data in tables, as JSON and TOML hold them: walked, compared, merged; keys as `video.decoder`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


def leaves(data: Mapping[Any, Any], prefix: str = "", *, into_lists: bool = False) -> Iterator[tuple[str, Any]]:
    """Every value that is no table, with its dotted key. An empty table has none.

    into_lists: the entries of a list of tables are walked by their numbers, as `finders.0.weights`.
    """
    for name, value in data.items():
        if into_lists and isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.", into_lists=into_lists)
        else:
            yield f"{prefix}{name}", value


def differences(a: Any, b: Any, *, into_lists: bool = False, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted key and both values wherever two tables differ, by key; None stands for a value that is missing.

    into_lists: lists of one length are compared entry by entry, as `finders[0].weights`.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in sorted(a.keys() | b.keys()):
            inner = f"{key}.{name}" if key else str(name)
            yield from differences(a.get(name), b.get(name), into_lists=into_lists, key=inner)
    elif into_lists and isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            yield from differences(x, y, into_lists=into_lists, key=f"{key}[{i}]")
    elif a != b:
        yield key, a, b


def with_values(data: Mapping[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
    """The same tables with `change(name, value)` in the place of each value that is no table; `name` is not dotted."""
    return {
        name: with_values(value, change) if isinstance(value, Mapping) else change(name, value)
        for name, value in data.items()
    }


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of `base` with the values of `top` in the place of those of the same keys."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
