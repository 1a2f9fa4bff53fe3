"""TOML from outside, read within bounds: files of settings and single values as `section.key=value`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mulde.errors import UsageError
from mulde.files import MAX_DEPTH, is_deep, read_text

_MAX_BYTES = 2**20


def read_toml(path: Path) -> dict[str, Any]:
    """What a settings file holds. Raises UsageError for a file that cannot be read, is not TOML, is nested too deep or
    holds numbers of thousands of digits."""
    name = f"settings file {path}"
    return _parse(read_text(path, max_bytes=_MAX_BYTES, error=UsageError), name)


def parse_override(text: str) -> dict[str, Any]:
    """`section.key=value` as nested tables; a value that is not TOML is a string. Raises UsageError."""
    key, sign, raw = text.partition("=")
    if not sign or not key.strip():
        raise UsageError(f"setting {text[:300]!r}", expected="KEY=VALUE, as density.preset=paper")
    parts = key.strip().split(".")
    if len(text) > _MAX_BYTES or len(parts) > MAX_DEPTH:
        raise UsageError(f"setting {key[:300]!r}", expected="KEY=VALUE, as density.preset=paper", got="a longer one")
    value: Any
    try:
        value = _parse(f"value = {raw}", f"setting {key.strip()}")["value"]
    except _NotTomlError:
        value = raw.strip()  # a bare word is a string
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


class _NotTomlError(UsageError):
    """Text that is not TOML, unlike TOML that holds too much."""


def _parse(text: str, name: str) -> dict[str, Any]:
    hint = "`mulde settings` prints a valid file"
    deep = UsageError(f"{name} is nested too deep", expected=f"at most {MAX_DEPTH} levels")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _NotTomlError(f"{name} is not TOML ({error})", hint=hint) from None
    except ValueError as error:  # numbers of more digits than Python reads, dates that there are not
        reason = str(error).partition(";")[0]
        raise UsageError(f"{name} cannot be read ({reason})", hint=hint) from None
    except RecursionError:
        raise deep from None
    if is_deep(data):
        raise deep
    if _has_wide_number(data):
        raise UsageError(f"{name} cannot be read", expected="whole numbers of 64 bits", got="a longer one", hint=hint)
    return data


def _has_wide_number(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_wide_number, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of `base` with the values of `top` in the place of those of the same keys."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
