"""Reads the JSON files of a run folder and checks them against types, which stand beside the code of each file.

A file may come from another version, a damaged disk or another person. For any content, the result is a value of the
requested type or a MuldeError that names the file and the field.
"""

from __future__ import annotations

import reprlib
from collections.abc import Hashable, Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mulde.errors import MuldeError
from mulde.files import MAX_BYTES, read_json
from mulde.names import output_path

T = TypeVar("T")
_MOST = 1e30  # squares of numbers stay finite, also in float32
_TABLE = "a table of names and values"
_EXPECTED = {"missing": "a value", "model_type": _TABLE, "dict_type": _TABLE, "extra_forbidden": "no such field"}


class FileModel(BaseModel):
    """A part of a file with exactly the types of its fields; unknown keys, for example of other versions, are kept."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", protected_namespaces=())


def _video_name(name: str) -> str:
    """The files of a video are written below a folder, under its name, so the name must not leave that folder."""
    try:
        output_path(Path(), name)
    except MuldeError:
        raise ValueError("a name of a video that stays in its folder") from None
    return name


def _path(text: str) -> str:
    if (
        "\0" in text
        or len(text) > 4096
        or any(len(part.encode()) > 255 and "\\x" not in part for part in text.split("/"))
    ):
        raise ValueError("a path")
    return text


def _file_path(text: str) -> str:
    if not Path(_path(text)).name:
        raise ValueError("a path of a file")
    return text


Number = Annotated[float, Field(ge=-_MOST, le=_MOST, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=0, le=_MOST, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
OrNone = Annotated[int, Field(ge=-1, lt=2**53)]
"""A number from 0 up, or -1 for none."""
VideoName = Annotated[str, AfterValidator(_video_name)]
SourcePath = Annotated[str, AfterValidator(_path)]
FilePath = Annotated[str, AfterValidator(_file_path)]


def read_typed(path: Path, kind: type[T], *, max_bytes: int = MAX_BYTES, hint: str | None = None) -> T:
    """The data of a JSON file as `kind`. Raises MuldeError, naming the file and the field."""
    try:
        data = read_json(path, max_bytes=max_bytes)
    except MuldeError as error:
        raise MuldeError(error.problem, expected=error.expected, got=error.got, hint=hint) from None
    try:
        return validated(data, kind)
    except MuldeError as error:
        raise MuldeError(f"{path} cannot be read ({error})", hint=hint) from None


def validated(data: Any, kind: type[T], name: str = "", *, hint: str | None = None) -> T:
    """Plain data as `kind`. Raises MuldeError that names the first field of `name` that is wrong."""
    try:
        value: T = _adapter(cast(Hashable, kind)).validate_python(data)
        return value
    except ValidationError as error:
        raise _refusal(error, name, hint) from None


def validated_json(text: str, kind: type[T], name: str) -> T:
    """JSON text as `kind`, whose fields have exactly their types. Raises MuldeError like `validated`."""
    try:
        value: T = _adapter(cast(Hashable, kind)).validate_json(text, strict=True)
        return value
    except ValidationError as error:
        raise _refusal(error, name, None) from None


def _refusal(error: ValidationError, name: str, hint: str | None) -> MuldeError:
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in (name, *first["loc"]) if part != "")
    if first["type"] == "json_invalid":
        return MuldeError(f"{name} is not JSON ({first['msg'].removeprefix('Invalid JSON: ')})", hint=hint)
    reason = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return MuldeError(
        field or "the whole",
        expected=_EXPECTED.get(first["type"], reason),
        got="none" if first["type"] == "missing" else reprlib.repr(first["input"]),
        hint=hint,
    )


def known_fields(entry: FileModel) -> dict[str, Any]:
    """The fields that the type of an entry declares, without those of other versions."""
    return {name: getattr(entry, name) for name in type(entry).model_fields}


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def distinct(values: Iterable[object], name: str) -> None:
    """Raises MuldeError when `values` holds a value twice; `name` is what they are."""
    seen = set()
    for value in values:
        if value in seen:
            raise MuldeError(name, expected="each value once", got=f"{value} twice")
        seen.add(value)
