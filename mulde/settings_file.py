"""Settings from TOML files and `--set section.key=value`, read within bounds, and back to TOML with their meanings."""

from __future__ import annotations

import json
import re
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mulde.config import Settings
from mulde.errors import UsageError
from mulde.files import MAX_DEPTH, is_deep, read_text
from mulde.names import json_text
from mulde.nested import merge

_MAX_BYTES = 2**20


def load_settings(path: Path | None = None, overrides: Sequence[str] = (), base: Settings | None = None) -> Settings:
    """Settings from a TOML file (or `base`, or the defaults) with `section.key=value` overrides on top.

    Raises UsageError naming the key, what is allowed and what came.
    """
    data: dict[str, Any] = (base or Settings()).model_dump(mode="json")
    if path is not None:
        data = merge(data, read_toml(path))
    for override in overrides:
        data = merge(data, parse_override(override))
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise usage_error(error, "run `mulde settings` to list every setting with its default and bounds") from None


def dump_toml(settings: BaseModel, notes: Mapping[str, str] | None = None) -> str:
    """The settings as TOML, each value under a comment that says what it means and what is allowed.

    notes: a further comment by the dotted name of a setting or table, as `density.streams.velocity`.
    """
    import tomli_w

    # Strings are written as those of JSON.
    return json_text(_dump_section(settings, "", tomli_w.dumps, notes or {}))


def _dump_section(section: BaseModel, name: str, dumps: Any, notes: Mapping[str, str], header: str = "[{}]") -> str:
    lines, tables = [*([header.format(name)] if name else []), *_note(notes, name)], []
    for key, value in section:
        if isinstance(value, BaseModel):
            tables.append(_dump_section(value, f"{name}.{key}" if name else key, dumps, notes))
            continue
        if isinstance(value, tuple) and value and all(isinstance(part, BaseModel) for part in value):
            table = f"{name}.{key}" if name else key
            tables += [_dump_section(part, table, dumps, notes, "[[{}]]") for part in value]
            continue
        table = f"{name}.{key}" if name else key
        field = type(section).model_fields[key]
        plain, comment = section.model_dump(mode="json")[key], f"# {field.description}{_bounds(field.metadata)}"
        if isinstance(plain, dict):
            inner = {k: v for k, v in value.items() if isinstance(v, BaseModel)}  # tables by names that a person gives
            rest = dumps({k: v for k, v in plain.items() if k not in inner})
            tables.append(f"[{table}]\n{comment}\n{rest}".strip())
            tables += [_dump_section(v, f"{table}.{_toml_key(k)}", dumps, notes) for k, v in inner.items()]
        else:
            lines += [comment, *_note(notes, f"{name}.{key}"), dumps({key: plain}).strip()]
    return "\n\n".join(["\n".join(lines), *tables] if lines else tables) + ("" if name else "\n")


def _note(notes: Mapping[str, str], key: str) -> list[str]:
    return [f"# {' '.join(notes[key].split())}"] if key in notes else []


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _bounds(metadata: Sequence[object]) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "multiple_of": "a multiple of"}
    bounds = [
        f"{word} {getattr(limit, key)}" for limit in metadata for key, word in words.items() if hasattr(limit, key)
    ]
    return f" ({', '.join(bounds)})" if bounds else ""


def usage_error(error: ValidationError, hint: str, *, hides: str = "") -> UsageError:
    """The sentence for the first setting that cannot be used as given; hides: a table whose values are not shown."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    shows = bool(key) and first["loc"][0] != hides  # else all of the settings: the sentence names the one
    reason = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    expected = {"extra_forbidden": "an existing setting", "model_type": "a table", "dict_type": "a table"}
    return UsageError(
        f"setting {key}" if key else "settings",
        expected=expected.get(first["type"], reason),
        got=reprlib.repr(first["input"]) if shows else None,
        hint=hint,
    )


def read_toml(path: Path) -> dict[str, Any]:
    """What a settings file holds. Raises UsageError for a file that cannot be read, is not TOML, is nested too deep or
    holds numbers of thousands of digits."""
    name = f"settings file {path}"
    return _parse(read_text(path, max_bytes=_MAX_BYTES, error=UsageError), name)


def parse_override(text: str) -> dict[str, Any]:
    """`section.key=value` as nested tables; a value that is not TOML is a string.

    Raises UsageError, also for an empty table, which would change nothing.
    """
    key, sign, raw = text.partition("=")
    if not sign or not key.strip():
        raise UsageError(f"setting {text[:300]!r}", expected="KEY=VALUE, such as density.preset=paper")
    parts = key.strip().split(".")
    if len(text) > _MAX_BYTES or len(parts) > MAX_DEPTH:
        raise UsageError(
            f"setting {key[:300]!r}", expected="KEY=VALUE, such as density.preset=paper", got="a longer one"
        )
    value: Any
    try:
        value = _parse(f"value = {raw}", f"setting {key.strip()}")["value"]
    except _NotTomlError:
        value = raw.strip()  # a bare word is a string
    if value == {}:
        raise UsageError(
            f"setting {key.strip()}",
            expected="a value: tables are merged, so an empty one leaves all settings as they are",
            got=raw.strip(),
            hint="a --config without what is to go",
        )
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


class _NotTomlError(UsageError):
    """Text that is not TOML, unlike TOML that holds too much."""


def _parse(text: str, name: str) -> dict[str, Any]:
    hint = "run `mulde settings` to print a valid file"
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
